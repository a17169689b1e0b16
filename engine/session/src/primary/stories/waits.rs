//! How long output waits, whatever does not work.

use super::*;
use alloc::vec;

#[test]
fn captures_that_fail_for_ever_are_given_up() {
    let mut story = Story::protected();
    story.world = World::Fails;
    story.wait(1_900);
    assert_eq!(story.session.state(), State::Protected);
    story.wait(200);
    assert_eq!(story.session.given_up(), Some(GiveUp::CaptureFails));
    assert!(story.wants(&Output::PassOutput) && story.held().copy == Copy::Stale);
    story.world = World::Works;
    story.wait(20_000);
    assert_eq!(story.session.state(), State::Protected, "without a person");
}

#[test]
fn a_lost_dirty_log_gives_the_copy_up_at_once() {
    let mut story = Story::protected();
    story.world = World::Mute;
    story.wait(30);
    let epoch = story.session.newest_captured().expect("one").next();
    story.session.flow.capture_failed(epoch, story.now);
    let (mut inputs, mut out) = (VecDeque::new(), vec![]);
    let failing = story.session.flow.begin_checkpoint(false).0;
    let failed = Input::CaptureFailed { epoch: failing, guest_gone: false, needs_seed: true };
    story.session.handle(story.now, failed);
    out.extend(core::iter::from_fn(|| story.session.poll_output()));
    story.perform(out, &mut inputs);
    inputs.into_iter().for_each(|input| story.hear(input));
    assert_eq!(story.session.given_up(), Some(GiveUp::CaptureFails));
    assert_eq!(story.session.state(), State::Unprotected);
}

#[test]
fn while_commits_are_late_the_state_is_not_protected_and_the_wait_of_output_is_bounded() {
    let mut story = Story::protected();
    story.world = World::Mute;
    story.wait(2_100);
    assert_eq!(story.session.state(), State::Late);
    assert!(!story.wants(&Output::PassOutput), "policy stretch waits a little longer");
    story.wait(3_000);
    assert!(story.wants(&Output::PassOutput), "{:?}", story.session.state());
    assert_eq!(story.session.given_up(), Some(GiveUp::TooSlow));
}

#[test]
fn late_commits_that_still_come_lead_back_to_protected() {
    let mut story = Story::protected();
    story.world = World::Mute;
    story.wait(2_100);
    let epoch = story.session.newest_captured().expect("one");
    story.world = World::Works;
    story.say(ToPrimary::Ack { generation: G, epoch });
    assert_eq!(story.session.state(), State::Protected);
}

#[test]
fn a_new_link_does_not_restart_a_wait() {
    let mut story = Story::protected();
    story.world = World::Mute;
    story.wait(60);
    let standing = Standing::Complete { generation: G, epoch: story.session.acked().expect("one") };
    for _ in 0..30 {
        story.hear(Input::LinkDown);
        story.wait(50);
        assert!(story.session.state() != State::Protected, "the link is down");
        story.connect(standing);
        story.wait(150);
    }
    assert!(story.wants(&Output::PassOutput), "{:?}", story.session.state());
}

#[test]
fn failed_full_syncs_are_repeated_less_and_less_often() {
    let mut story = Story::protected();
    story.world = World::Fails;
    story.wait(100_000);
    let seed = |output: &&Output| matches!(output, Output::Capture { capture: Capture::Seed, .. });
    let seeds = story.wanted.iter().filter(seed).count();
    assert!((4..10).contains(&seeds), "{seeds} in 100 s, once in 16 s at last");
}

#[test]
fn a_shorter_interval_does_not_wait_for_the_longer_one() {
    let mut story = Story::protected();
    story.hear(Input::Pacing(Pacing::Clock { interval: Span::from_ms(1_000_000) }));
    story.wait(100);
    story.hear(Input::Pacing(Pacing::Clock { interval: Span::from_ms(25) }));
    story.wanted.clear();
    story.wait(60);
    assert!(story.wanted.iter().any(|output| matches!(output, Output::Capture { .. })));
}

#[test]
fn what_waited_for_a_longer_interval_is_not_late_in_a_shorter_one() {
    let mut story = Story::protected();
    story.hear(Input::Pacing(Pacing::Clock { interval: Span::from_ms(60_000) }));
    story.wait(20_000);
    assert_eq!(story.session.state(), State::Protected);
    story.hear(Input::Pacing(Pacing::Clock { interval: Span::from_ms(25) }));
    assert_eq!(story.session.state(), State::Protected);
    story.wait(500);
    assert_eq!((story.session.state(), story.session.given_up()), (State::Protected, None));
}

#[test]
fn a_session_that_is_over_asks_for_no_reports_of_output() {
    let mut story = Story::protected();
    let budgets = Budgets {
        interval_min: Span::from_us(100),
        interval_max: Span::from_ms(200),
        pause_percent_max: 25,
        link_bytes_per_s_max: 1 << 30,
        cpu_percent_max: 100,
    };
    story.hear(Input::Pacing(Pacing::Output(budgets)));
    assert_eq!(story.session.tell_at(), Some(1));
    story.b_takes_over();
    story.say(ToPrimary::Heartbeat { generation: G.next() });
    story.hear(Input::Rival { generation: G.next() });
    assert!(story.is_destroyed());
    // A driver tells as long as there is news. What this session does not take in would be news for ever.
    assert_eq!(story.session.tell_at(), None);
}
