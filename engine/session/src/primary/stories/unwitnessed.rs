//! Without a witness: who is asked before anything leaves, and who decides.

use super::*;
use alloc::vec::Vec;

/// Without a witness: a session of a guest that ran here under `past`, whose peer has answered.
pub(super) fn answered(past: Option<u64>, standing: Standing) -> Story {
    let origin = past.map_or(Origin::Started, |generation| Origin::Adopted {
        generation: Generation(generation),
        is_halted: true,
    });
    let mut story = Story::begin(origin, None, false);
    assert!(!story.wants(&Output::PassOutput) && !story.wants(&Output::ResumeGuest), "nobody was asked");
    story.wait(60_000);
    assert!(!story.wants(&Output::PassOutput), "{:?}", story.session.state());
    story.connect(standing);
    story
}

fn complete(generation: u64) -> Standing {
    Standing::Complete { generation: Generation(generation), epoch: Epoch(8) }
}

#[test]
fn without_a_witness_a_restarted_engine_waits_for_its_peer_and_begins_a_later_generation() {
    for standing in [Standing::Nothing, complete(3), complete(2)] {
        let story = answered(Some(3), standing);
        assert_eq!(story.session.generation(), G, "{standing:?}");
        assert!(story.wants(&Output::PassOutput) && story.wants(&Output::ResumeGuest));
    }
}

#[test]
fn without_a_witness_a_later_generation_begins_if_the_peer_only_held_a_newer_one() {
    let mut story = answered(Some(3), Standing::Nothing);
    story.say(ToPrimary::Heartbeat { generation: Generation(6) });
    assert_eq!(story.session.generation(), Generation(7));
    assert!(!story.is_fenced() && !story.is_destroyed());
}

#[test]
fn without_a_witness_a_peer_that_runs_a_newer_generation_gets_the_old_guest_paused() {
    let mut story =
        Story::begin(Origin::Adopted { generation: Generation(3), is_halted: false }, None, false);
    story.hear(Input::LinkUp);
    story.hear(Input::Rival { generation: G });
    assert_eq!(story.session.state(), State::Contested);
    story.wait(60_000);
    assert!(!story.is_destroyed() && !story.wants(&Output::PassOutput), "a person decides");
    story.hear(Input::Operator(Wish::Reclaim));
    assert_eq!((story.session.state(), story.session.generation()), (State::Unprotected, Generation(5)));
}

#[test]
fn without_a_witness_a_fresh_guest_that_meets_a_copy_of_its_name_waits_for_a_person() {
    let mut story = answered(None, complete(3));
    assert_eq!(story.session.state(), State::AwaitingOperator);
    story.wait(60_000);
    let sends = |output: &&Output| matches!(output, Output::Capture { .. } | Output::PassOutput);
    assert!(!story.wanted.iter().any(|output| sends(&output)), "{:?}", story.wanted);
    story.hear(Input::Operator(Wish::Reclaim));
    assert_eq!(story.session.state(), State::Unprotected);
    assert!(story.session.generation() > Generation(3), "generations only grow");
}

#[test]
fn without_a_witness_a_fresh_guest_makes_way_for_one_that_was_taken_over() {
    let mut story = answered(None, complete(3));
    story.hear(Input::Rival { generation: G });
    assert!(story.wants(&Output::Destroy { why: End::Superseded { generation: G } }));
}

#[test]
fn without_a_witness_a_guest_that_a_person_moves_makes_way_where_it_arrives() {
    let mut story = answered(None, Standing::Nothing);
    let generation = story.session.generation();
    story.say(ToPrimary::Stand { generation, standing: Standing::Nothing });
    story.wait(10);
    assert_eq!(story.session.state(), State::Protected);
    story.hear(Input::Operator(Wish::Switchover));
    story.wait(10);
    assert_eq!(story.session.state(), State::SwitchingOver);
    let generation = generation.next();
    story.hear(Input::Rival { generation });
    assert!(story.wants(&Output::Destroy { why: End::Superseded { generation } }));
}

/// Only the engine that handed the guest over knows that a person did it, and would end the guest by itself.
#[test]
fn without_a_witness_an_engine_after_the_one_that_handed_the_guest_over_keeps_it_for_a_person() {
    let handed_over = || {
        let left = Origin::Adopted { generation: Generation(3), is_halted: true };
        let mut story = Story::begin(left, None, false);
        story.world = World::Mute;
        story.hear(Input::LinkUp);
        story.wait(60_000);
        assert_eq!(story.session.state(), State::Asking, "a peer that starts the guest does not answer");
        assert!(!story.wants(&Output::ResumeGuest) && !story.wants(&Output::PassOutput));
        story
    };
    let mut story = handed_over();
    story.hear(Input::Rival { generation: G });
    story.wait(60_000);
    assert_eq!(story.session.state(), State::Contested);
    assert!(!story.is_destroyed() && !story.wants(&Output::PassOutput));
    story.hear(Input::Operator(Wish::Discard));
    assert!(story.is_destroyed());

    // The peer could not start it: a person has it back.
    let mut story = handed_over();
    story.hear(Input::Operator(Wish::Reclaim));
    assert!(story.wants(&Output::ResumeGuest));
    assert!(story.session.generation() > Generation(3));
}

/// A secondary on `a` that holds epoch 9 of generation 2, which b ran.
fn holder() -> crate::Secondary {
    use crate::secondary::{Config, Input};
    let config = Config {
        node: node("a"),
        heartbeat: Span::from_ms(50),
        silence_max: Span::from_ms(300),
        takeover_grace: Span::from_ms(250),
        witness_retry: Span::from_ms(200),
        flap_max: Span::from_ms(10_000),
        has_witness: false,
        runs_copies: false,
        after_crash: crate::colo::AfterCrash::default(),
    };
    let (generation, epoch) = (Generation(2), Epoch(9));
    let mut held = crate::Secondary::new(config, Time(0));
    let seed = ToSecondary::EpochBegin { generation, epoch, kind: EpochKind::Seed, base: None };
    for input in [
        Input::LinkUp,
        Input::Message(seed),
        Input::Complete { generation, epoch },
        Input::LinkDown,
        Input::LinkUp,
    ] {
        held.handle(Time(0), input);
    }
    core::iter::from_fn(|| held.poll_output()).for_each(drop);
    assert_eq!(held.acked(), Some(epoch));
    held
}

/// Carries messages between the two until both are silent.
fn talk(primary: &mut Story, secondary: &mut crate::Secondary) {
    use crate::secondary::{Input as In, Output as Out};
    primary.hear(Input::LinkUp);
    loop {
        let said = core::mem::take(&mut primary.wanted);
        let sent = said.into_iter().filter_map(|output| match output {
            Output::Send(message) => Some(message),
            _ => None,
        });
        sent.for_each(|message| secondary.handle(Time(0), In::Message(message)));
        let answers: Vec<_> = core::iter::from_fn(|| secondary.poll_output())
            .filter_map(|output| match output {
                Out::Send(message) => Some(message),
                _ => None,
            })
            .collect();
        if answers.is_empty() {
            return;
        }
        answers.into_iter().for_each(|message| primary.say(message));
    }
}

#[test]
fn without_a_witness_a_plain_restart_after_a_move_ends_nothing() {
    let mut held = holder();
    let restarted = Origin::Adopted { generation: Generation(2), is_halted: false };
    let mut runs = Story::begin(restarted, None, false);
    runs.world = World::Mute;
    talk(&mut runs, &mut held);
    assert_eq!((runs.session.generation(), runs.session.state()), (Generation(3), State::Seeding));
}

#[test]
fn without_a_witness_a_fresh_guest_leaves_a_standing_copy_alone() {
    let mut held = holder();
    let mut runs = Story::begin(Origin::Started, None, false);
    talk(&mut runs, &mut held);
    runs.wait(10_000);
    talk(&mut runs, &mut held);
    assert_eq!(runs.session.state(), State::AwaitingOperator);
    assert_eq!(held.committed(), Some(Epoch(9)));
}

/// What it sends is held until then, and would fill every memory.
#[test]
fn a_guest_without_an_answer_is_paused_after_hold_max_and_runs_once_there_is_one() {
    let adopted = || Origin::Adopted { generation: Generation(3), is_halted: false };
    let mut story = Story::begin(adopted(), None, false);
    story.wait(4_900);
    assert!(!story.wants(&Output::PauseGuest), "the hold is not over");
    story.wait(200);
    assert!(story.wants(&Output::PauseGuest));
    assert_eq!(story.session.state(), State::Asking);
    story.connect(Standing::Nothing);
    assert!(story.wants(&Output::PassOutput) && story.wants(&Output::ResumeGuest));

    let mut story = Story::begin(Origin::Started, None, true);
    assert_eq!(story.session.state(), State::Unprotected, "a witness that answers is not waited for");
    story.wait(10_000);
    assert!(!story.wants(&Output::PauseGuest));
}

/// A guest that is protected without a witness; nothing of its last epoch is acked.
fn protected_and_mute() -> Story {
    let mut story = answered(None, Standing::Nothing);
    let generation = story.session.generation();
    story.say(ToPrimary::Stand { generation, standing: Standing::Nothing });
    story.wait(10);
    assert_eq!(story.session.state(), State::Protected);
    story.world = World::Mute;
    story.wait(30);
    story.wanted.clear();
    story
}

/// A person may have said at the peer that this host is dead: what was not acked is unknown to the guest that runs there.
#[test]
fn without_a_witness_a_guests_last_output_leaves_once_its_peer_holds_no_copy() {
    let mut story = protected_and_mute();
    let generation = story.session.generation();
    story.hear(Input::GuestGone);
    story.wait(100);
    let at = |message: ToSecondary| story.wanted.iter().position(|out| *out == Output::Send(message.clone()));
    let farewell = at(ToSecondary::Farewell { generation });
    let offer = at(ToSecondary::Offer { generation, acked: story.session.acked() });
    assert!(farewell.is_some() && farewell < offer, "{:?}", story.wanted);
    assert!(!story.wants(&Output::PassOutput), "the peer has not answered");
    story.say(ToPrimary::Stand { generation, standing: Standing::Nothing });
    assert!(story.wants(&Output::PassOutput));
    assert_eq!(story.session.state(), State::Ended);
}

#[test]
fn without_a_witness_a_guests_last_output_is_dropped_if_its_peer_is_silent_or_takes_over() {
    let generation = Generation(1);
    let takes_over = ToPrimary::Declined { generation, epoch: None, why: Decline::TakingOver };
    let standing = Standing::Complete { generation, epoch: Epoch(1) };
    for says in [None, Some(takes_over), Some(ToPrimary::Stand { generation, standing })] {
        let mut story = protected_and_mute();
        assert_eq!(story.session.generation(), generation);
        story.hear(Input::GuestGone);
        says.clone().into_iter().for_each(|message| story.say(message));
        story.wait(4_900);
        assert_eq!(story.session.state(), State::MarkingStale, "{says:?}");
        story.wait(200);
        assert_eq!(story.session.state(), State::Ended, "{says:?}");
        assert!(!story.wants(&Output::PassOutput), "{says:?}");
        assert!(story.wants(&Output::Report(Event::LastOutputDropped)), "{says:?}");
    }
    // Nor does a link that is down from the beginning say anything, and a person may.
    let mut story = protected_and_mute();
    story.hear(Input::LinkDown);
    story.hear(Input::GuestGone);
    assert!(!story.wants(&Output::PassOutput));
    story.hear(Input::Operator(Wish::Unprotect));
    assert!(story.wants(&Output::PassOutput));
    assert_eq!(story.session.state(), State::Ended);
}
