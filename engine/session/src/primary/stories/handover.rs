//! A switchover that comes to nothing: what the guest does meanwhile, and what is said of it.

use super::*;

/// The guest is suspended by the capture before the handover. Another capture of it would let it run again when it ends,
/// whatever the session thinks of that: what it sent then was held by nothing but its queue.
#[test]
fn a_guest_that_was_handed_over_stays_paused_until_the_witness_decides() {
    let mut story = Story::protected();
    story.hear(Input::WitnessDown);
    story.hear(Input::Operator(Wish::Switchover));
    story.wait(10);
    assert_eq!(story.session.state(), State::SwitchingOver);
    story.wanted.clear();
    story.wait(60_000);
    assert_eq!(story.session.state(), State::PausedUndecided);
    let captures = |output: &&Output| matches!(output, Output::Capture { .. });
    assert_eq!(story.wanted.iter().find(captures), None);
    story.hear(Input::WitnessUp);
    let at = |is_it: &dyn Fn(&Output) -> bool| story.wanted.iter().position(is_it);
    let (runs, captured) = (
        at(&|output| *output == Output::ResumeGuest),
        at(&|output| matches!(output, Output::Capture { .. })),
    );
    assert!(runs.is_some() && runs < captured, "{:?}", story.wanted);
    assert_eq!(story.session.state(), State::Protected, "by a full copy");
}

/// It was not late as long as it was switching over.
#[test]
fn a_switchover_called_off_after_a_long_time_leads_to_late_and_not_to_protected() {
    let mut story = Story::protected();
    story.world = World::Mute;
    story.hear(Input::Operator(Wish::Switchover));
    assert_eq!(story.session.state(), State::SwitchingOver);
    story.wanted.clear();
    story.wait(4_900);
    assert_eq!(story.session.state(), State::SwitchingOver);
    story.wait(200);
    assert!(!story.wants(&Output::Report(Event::State(State::Protected))), "{:?}", story.wanted);
    assert!(story.wants(&Output::Report(Event::State(State::Late))), "{:?}", story.wanted);
    assert_eq!(story.session.given_up(), Some(GiveUp::TooSlow));
}
