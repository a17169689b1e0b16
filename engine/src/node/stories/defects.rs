//! Stories of sessions that panic: their guest alone is concerned, and no guest is let out or lost by it.

use super::*;
use crate::config::PacingSettings;

impl Story {
    /// The guest's session finds that something does not hold.
    fn fail(&mut self) {
        self.guests.guests.get_mut("web").expect("a guest").fail(&mut self.outside);
        self.guests.run(&mut self.outside);
    }
}

fn adopted() -> (Story, HeldOutput, Arc<Fake>) {
    let machine = Arc::new(Fake { takes_marks: true.into(), ..Fake::default() });
    let (story, output) = Story::adopted(&machine);
    (story, output, machine)
}

#[test]
fn a_guest_whose_session_fails_while_output_is_held_is_paused_and_kept() {
    let (mut story, output, machine) = adopted();
    output.transmit(b"a frame");
    story.fail();
    assert!(machine.is_paused.load(Ordering::Relaxed) && !machine.is_stopped.load(Ordering::Relaxed));
    // What would have let it out, had the session been told of it.
    story.hear(Inbound::ToPrimary(ToPrimary::Stand {
        generation: Generation(0),
        standing: Standing::Nothing,
    }));
    output.transmit(b"a frame");
    story.pass(Span::from_ms(60_000));
    assert_eq!((story.state(), leaves(&output)), (Some(primary::State::Asking), 0));
    let status = story.status();
    assert!(status.reason.contains("as the test says") && !status.protected, "{}", status.reason);
    let refused = story.guests.wish("web", Wish::Unprotect, &mut story.outside).unwrap_err().to_string();
    assert!(refused.contains("restart the node"), "{refused}");
}

#[test]
fn a_guest_whose_session_fails_while_its_record_is_stale_runs_on() {
    let (mut story, output, machine) = adopted();
    story.hear(Inbound::ToPrimary(ToPrimary::Stand {
        generation: Generation(0),
        standing: Standing::Nothing,
    }));
    assert_eq!(story.state(), Some(primary::State::Unprotected));
    story.fail();
    output.transmit(b"a frame");
    story.pass(Span::from_ms(1));
    assert_eq!(leaves(&output), 1);
    assert!(!machine.is_paused.load(Ordering::Relaxed));
    let now = Time(story.outside.now);
    assert!(story.guests.next_timeout().is_none_or(|at| at > now), "a lost session has no timers");
}

/// What captures it died in a pause, and nothing else lets it run again. Its memory takes a moment to be found anew.
#[test]
fn a_guest_whose_capture_thread_died_has_another_within_a_second_if_the_first_attempts_fail() {
    let machine = Arc::new(Fake { takes_marks: true.into(), can_reopen: true.into(), ..Fake::default() });
    let (mut story, _output) = Story::adopted(&machine);
    story.hear(Inbound::ToPrimary(ToPrimary::Stand {
        generation: Generation(0),
        standing: Standing::Nothing,
    }));
    assert_eq!(story.state(), Some(primary::State::Unprotected));
    story.bench.threads_missing.store(2, Ordering::Relaxed);
    story.report(1, Report::Panicked { worker: "capture", message: "as the story says".into() });
    assert!(story.status().reason.contains("nothing can copy it"), "{}", story.status().reason);
    for _ in 0..10 {
        story.pass(Span::from_ms(100));
    }
    assert!(!story.status().reason.contains("nothing can copy it"), "{}", story.status().reason);
}

/// Its node tells as long as there is news, and a lost session takes nothing in.
#[test]
fn a_lost_session_is_not_told_of_output_for_ever() {
    let (mut story, output, _) = adopted();
    let budgets = primary::Budgets {
        interval_min: Span::from_us(100),
        interval_max: Span::from_ms(200),
        pause_percent_max: 25,
        link_bytes_per_s_max: 1 << 30,
        cpu_percent_max: 100,
    };
    let paced_by_output = PacingSettings::from(Pacing::Output(budgets));
    story.guests.set_pacing("web", paced_by_output, &mut story.outside).unwrap();
    story.fail();
    output.transmit(b"an answer");
    story.pass(Span::from_ms(1));
    assert_eq!(leaves(&output), 0);
}

#[test]
fn a_copy_whose_session_fails_is_held_anew_if_a_primary_is_there_and_kept_if_none_is() {
    let mut story = Story::new();
    story.offer(G);
    story.primary(seed());
    story.fail();
    assert!(story.outside.said.contains(&Said::Declined(HoldReason::Internal)), "{:?}", story.outside.said);

    let mut story = Story::standing();
    story.guests.link_down(&node("a"), &mut story.outside);
    assert_eq!(story.secondary(), Some(secondary::State::Alone));
    story.fail();
    story.pass(Span::from_ms(60_000));
    assert_eq!(story.secondary(), Some(secondary::State::Alone), "it is kept");
    let refused = story.guests.wish("web", Wish::ForceTakeover, &mut story.outside).unwrap_err().to_string();
    assert!(refused.contains("as the test says"), "{refused}");
    assert!(!story.bench.work.lock().contains(&"activate"), "a lost session decides nothing");
}
