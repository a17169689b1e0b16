//! Stories of a secondary, told input by input.

use super::*;
use crate::{Copy, Decline, RequestId, Standing, Time, WitnessOutcome};
use alloc::borrow::ToOwned;
use alloc::vec::Vec;

const G: Generation = Generation(1);

fn node(name: &str) -> NodeName {
    NodeName(name.to_owned())
}

fn told(revision: u64, copy: Copy) -> Input {
    let record = Some(Record { revision, generation: G, owner: node("a"), copy });
    Input::Witness(WitnessReply { id: RequestId(u64::MAX), outcome: WitnessOutcome::Told, record })
}

fn fresh_here() -> Copy {
    Copy::Fresh { holder: node("b") }
}

fn delta(epoch: u64) -> Input {
    let base = Some(Epoch(epoch - 1));
    Input::Message(ToSecondary::EpochBegin {
        generation: G,
        epoch: Epoch(epoch),
        kind: EpochKind::Delta,
        base,
    })
}

struct Story {
    session: Secondary,
    now: Time,
}

impl Story {
    /// A secondary that holds epoch 0, its link and its witness there.
    fn standing() -> Self {
        let config = Config {
            node: node("b"),
            heartbeat: Span::from_ms(20),
            silence_max: Span::from_ms(70),
            takeover_grace: Span::from_ms(60),
            witness_retry: Span::from_ms(25),
            flap_max: Span::from_ms(300),
            has_witness: true,
            runs_copies: false,
            after_crash: AfterCrash::default(),
        };
        let mut story = Self { session: Secondary::new(config, Time(0)), now: Time(0) };
        let seed =
            ToSecondary::EpochBegin { generation: G, epoch: Epoch(0), kind: EpochKind::Seed, base: None };
        story.hear(Input::WitnessUp);
        story.hear(Input::LinkUp);
        story.hear(Input::Message(seed));
        let out = story.hear(Input::Complete { generation: G, epoch: Epoch(0) });
        assert!(out.contains(&Output::Send(ToPrimary::Ack { generation: G, epoch: Epoch(0) })));
        assert_eq!(story.session.state(), State::Standing);
        story
    }

    fn hear(&mut self, input: Input) -> Vec<Output> {
        self.session.handle(self.now, input);
        let out: Vec<_> = core::iter::from_fn(|| self.session.poll_output()).collect();
        out
    }

    /// Lets time pass, timer by timer.
    fn wait(&mut self, span: Span) -> Vec<Output> {
        let end = self.now + span;
        let mut out = Vec::new();
        while let Some(at) = self.session.next_timeout().filter(|at| *at <= end) {
            self.now = self.now.max(at);
            self.session.handle_timeout(self.now);
            out.extend(core::iter::from_fn(|| self.session.poll_output()));
        }
        self.now = end;
        out
    }
}

fn asks_for_takeover(out: &[Output]) -> bool {
    out.iter().any(|output| {
        matches!(output, Output::AskWitness(WitnessRequest::Swap { new, .. }) if new.generation == G.next())
    })
}

#[test]
fn it_takes_over_when_the_grace_is_over_and_the_record_says_fresh() {
    let mut story = Story::standing();
    story.hear(Input::LinkDown);
    story.wait(Span::from_ms(59));
    assert!(!asks_for_takeover(&story.hear(told(2, fresh_here()))), "the grace is not over");
    story.wait(Span::from_ms(2));
    assert!(asks_for_takeover(&story.hear(told(3, fresh_here()))));
    let won = Record { revision: 4, generation: G.next(), owner: node("b"), copy: Copy::Stale };
    let reply =
        WitnessReply { id: RequestId(3), outcome: WitnessOutcome::Swapped, record: Some(won.clone()) };
    let out = story.hear(Input::Witness(reply));
    assert!(out.contains(&Output::Activate { record: won, epoch: Epoch(0), start: Start::Image }));
    assert_eq!(story.session.next_timeout(), None);
}

#[test]
fn a_link_that_comes_back_without_a_primary_does_not_end_the_grace() {
    let mut story = Story::standing();
    story.hear(Input::LinkDown);
    story.wait(Span::from_ms(20));
    story.hear(Input::LinkUp);
    story.wait(Span::from_ms(50));
    assert!(asks_for_takeover(&story.hear(told(2, fresh_here()))));
}

#[test]
fn a_stale_record_is_read_again_and_the_image_is_kept() {
    let mut story = Story::standing();
    story.hear(Input::LinkDown);
    story.wait(Span::from_ms(61));
    for revision in 2..5 {
        assert!(!asks_for_takeover(&story.hear(told(revision, Copy::Stale))));
        story.wait(Span::from_ms(26));
    }
    story.hear(Input::LinkUp);
    let out = story.hear(Input::Message(ToSecondary::Offer { generation: G, acked: None }));
    let standing = Standing::Complete { generation: G, epoch: Epoch(0) };
    assert!(out.contains(&Output::Send(ToPrimary::Stand { generation: G, standing })));
}

#[test]
fn commits_are_finished_before_the_witness_is_asked_and_one_that_fails_costs_no_authority() {
    let mut story = Story::standing();
    story.hear(delta(1));
    story.hear(Input::Complete { generation: G, epoch: Epoch(1) });
    story.hear(Input::LinkDown);
    story.wait(Span::from_ms(61));
    assert!(!asks_for_takeover(&story.hear(told(2, fresh_here()))), "epoch 1 is not committed");
    assert_eq!(story.session.state(), State::TakingOver);
    let out = story.hear(Input::CommitFailed { epoch: Epoch(1) });
    assert!(out.contains(&Output::DropImage) && !asks_for_takeover(&out));
}

#[test]
fn an_epoch_dropped_for_a_takeover_is_declined_because_the_takeover_may_fail() {
    let mut story = Story::standing();
    story.hear(delta(1));
    let out = story.hear(Input::ForceTakeover);
    let declined = ToPrimary::Declined { generation: G, epoch: Some(Epoch(1)), why: Decline::TakingOver };
    assert!(out.contains(&Output::DropIncomplete) && out.contains(&Output::Send(declined)));
    story.hear(told(2, Copy::Stale));
    assert_eq!(story.session.state(), State::Standing, "refused without having asked: the image stays");
}

#[test]
fn nothing_of_an_older_generation_is_acked() {
    let mut story = Story::standing();
    story.hear(Input::Message(ToSecondary::Offer { generation: G.next(), acked: None }));
    assert_eq!(story.session.state(), State::Outdated);
    let out = story.hear(delta(1));
    let why = Decline::Fenced { generation: G.next() };
    assert!(out.contains(&Output::Send(ToPrimary::Declined { generation: G, epoch: Some(Epoch(1)), why })));
}

#[test]
fn a_primary_whose_guest_has_ended_may_be_silent() {
    let mut story = Story::standing();
    story.hear(Input::Message(ToSecondary::Farewell { generation: G }));
    let out = story.wait(Span::from_ms(500));
    assert!(!out.contains(&Output::CloseLink), "other guests share the link: {out:?}");
    story.hear(Input::Message(ToSecondary::Heartbeat { generation: G }));
    assert!(
        story.wait(Span::from_ms(500)).contains(&Output::CloseLink),
        "one that speaks is expected to go on"
    );
}

#[test]
fn a_message_after_the_session_closed_the_link_does_not_end_the_grace() {
    let mut story = Story::standing();
    story.hear(Input::Message(ToSecondary::Heartbeat { generation: G }));
    // The primary's host dies. A heartbeat of it waits in the driver while the silence runs out.
    assert!(story.wait(Span::from_ms(71)).contains(&Output::CloseLink));
    story.hear(Input::Message(ToSecondary::Heartbeat { generation: G }));
    story.hear(Input::SignOfLife);
    story.hear(Input::LinkDown);
    assert_eq!(story.session.state(), State::Alone);
    story.wait(Span::from_ms(61));
    assert!(asks_for_takeover(&story.hear(told(2, fresh_here()))));
}

#[test]
fn an_image_is_kept_until_a_full_copy_of_a_newer_generation_begins() {
    let mut story = Story::standing();
    let newer = G.next();
    for message in [
        ToSecondary::Offer { generation: newer, acked: None },
        ToSecondary::Heartbeat { generation: newer },
        ToSecondary::Farewell { generation: newer },
    ] {
        let out = story.hear(Input::Message(message));
        assert!(!out.contains(&Output::DropImage), "{out:?}");
        assert_eq!(story.session.committed(), Some(Epoch(0)));
    }
    let seed =
        ToSecondary::EpochBegin { generation: newer, epoch: Epoch(9), kind: EpochKind::Seed, base: None };
    assert!(story.hear(Input::Message(seed)).contains(&Output::DropImage));
}

#[test]
fn a_question_is_answered_and_changes_nothing() {
    let mut story = Story::standing();
    story.hear(Input::LinkDown);
    story.hear(Input::LinkUp);
    let question = ToSecondary::Offer { generation: Generation(0), acked: None };
    let out = story.hear(Input::Message(question));
    let standing = Standing::Complete { generation: G, epoch: Epoch(0) };
    assert!(out.contains(&Output::Send(ToPrimary::Stand { generation: Generation(0), standing })), "{out:?}");
    assert!(out.contains(&Output::Send(ToPrimary::Heartbeat { generation: G })), "{out:?}");
    assert_eq!(story.session.state(), State::Alone, "no primary has spoken");
}

#[test]
fn bytes_of_other_guests_do_not_make_a_primary_of_this_one() {
    let mut story = Story::standing();
    story.hear(Input::LinkDown);
    story.hear(Input::LinkUp);
    story.hear(Input::SignOfLife);
    let out = story.wait(Span::from_ms(500));
    assert!(!out.contains(&Output::CloseLink), "{out:?}");
}

#[test]
fn a_link_that_flaps_without_a_complete_epoch_leads_to_a_takeover() {
    let mut story = Story::standing();
    let mut asked = false;
    for revision in 2..20 {
        story.hear(Input::LinkDown);
        story.wait(Span::from_ms(20));
        story.hear(Input::LinkUp);
        story.hear(Input::Message(ToSecondary::Offer { generation: G, acked: Some(Epoch(0)) }));
        story.hear(delta(1));
        story.wait(Span::from_ms(20));
        let out = story.wait(Span::from_ms(30));
        if out.iter().any(|output| matches!(output, Output::AskWitness(WitnessRequest::Read { .. }))) {
            asked |= asks_for_takeover(&story.hear(told(revision, fresh_here())));
        }
    }
    assert!(asked, "{:?}", story.session.state());
}

/// The witness has put this host in charge: the guest is being started.
fn activating() -> (Story, Output) {
    let mut story = Story::standing();
    story.hear(Input::LinkDown);
    story.wait(Span::from_ms(61));
    story.hear(told(3, fresh_here()));
    let won = Record { revision: 4, generation: G.next(), owner: node("b"), copy: Copy::Stale };
    let reply =
        WitnessReply { id: RequestId(3), outcome: WitnessOutcome::Swapped, record: Some(won.clone()) };
    let activate = Output::Activate { record: won, epoch: Epoch(0), start: Start::Image };
    assert!(story.hear(Input::Witness(reply)).contains(&activate));
    (story, activate)
}

#[test]
fn a_takeover_whose_image_stays_whole_is_tried_again_within_a_bound() {
    let (mut story, activate) = activating();
    let mut tries = 1;
    while story.session.state() == State::Activating {
        assert_eq!(story.session.next_timeout(), None, "it is being started");
        story.hear(Input::ActivationDelayed);
        if story.session.state() == State::Activating {
            assert_eq!(story.wait(Span::from_ms(999)), []);
            assert_eq!(story.wait(Span::from_ms(1)), core::slice::from_ref(&activate));
            tries += 1;
        }
    }
    assert_eq!((story.session.state(), tries), (State::ActivationFailed, 31));
    assert_eq!(story.session.next_timeout(), None);
}

#[test]
fn a_guest_that_cannot_be_started_is_reported_and_waits_for_a_person() {
    let (mut story, _) = activating();
    let out = story.hear(Input::ActivationFailed);
    assert!(out.contains(&Output::Report(Event::ActivationFailed { generation: G.next() })), "{out:?}");
    assert_eq!(story.session.state(), State::ActivationFailed);
}

#[test]
fn a_generation_number_that_is_too_large_is_ignored() {
    let mut story = Story::standing();
    story.hear(Input::Message(ToSecondary::Heartbeat { generation: Generation(u64::MAX) }));
    assert_eq!((story.session.state(), story.session.generation()), (State::Standing, G));
}

#[test]
fn a_guest_that_needs_fencing_is_taken_over_once_its_host_is_fenced_and_not_before() {
    let mut story = Story::standing();
    story.session.needs_fencing();
    story.hear(Input::LinkDown);
    story.wait(Span::from_ms(61));
    for revision in 2..5 {
        assert!(!asks_for_takeover(&story.hear(told(revision, fresh_here()))));
        assert!(story.session.awaits_fencing());
        story.wait(Span::from_ms(26));
    }
    assert!(!asks_for_takeover(&story.hear(told(5, Copy::Stale))), "its host goes on alone");
    assert!(!story.session.awaits_fencing());
    story.wait(Span::from_ms(26));
    story.hear(told(6, fresh_here()));
    let out = story.hear(Input::Fenced);
    assert!(out.iter().any(|it| matches!(it, Output::AskWitness(WitnessRequest::Read { .. }))), "{out:?}");
    assert!(asks_for_takeover(&story.hear(told(6, fresh_here()))));
}

#[test]
fn what_was_fenced_does_not_count_once_its_host_has_spoken_again() {
    let mut story = Story::standing();
    story.session.needs_fencing();
    story.hear(Input::LinkDown);
    story.wait(Span::from_ms(61));
    story.hear(told(2, fresh_here()));
    story.hear(Input::Fenced);
    story.hear(Input::LinkUp);
    story.hear(Input::Message(ToSecondary::Offer { generation: G, acked: None }));
    assert_eq!(story.session.state(), State::Standing);
    story.hear(Input::LinkDown);
    story.wait(Span::from_ms(61));
    assert!(!asks_for_takeover(&story.hear(told(3, fresh_here()))));
    assert!(story.session.awaits_fencing());
}

#[test]
fn a_guest_that_is_handed_over_needs_no_fencing() {
    let mut story = Story::standing();
    story.session.needs_fencing();
    story.hear(Input::Message(ToSecondary::Switchover { generation: G, epoch: Epoch(0) }));
    assert!(asks_for_takeover(&story.hear(told(2, fresh_here()))));
}

#[test]
fn a_primary_whose_process_is_gone_is_not_waited_for_and_the_witness_decides_as_ever() {
    let asks = |out: &[Output]| out.iter().any(|output| matches!(output, Output::AskWitness(_)));
    let mut story = Story::standing();
    let out = story.hear(Input::PrimaryGone);
    assert!(out.is_empty() && story.session.state() == State::Standing, "there is a link: {out:?}");
    story.hear(Input::LinkDown);
    assert!(!asks(&story.wait(Span::from_ms(10))), "a link may come back");
    let out = story.hear(Input::PrimaryGone);
    assert!(out.contains(&Output::Report(Event::PrimaryGone)), "{out:?}");
    assert!(asks(&story.wait(Span(0))), "at once");
    // It has marked the copy stale before it died.
    story.hear(told(3, Copy::Stale));
    assert_eq!(story.session.state(), State::Alone);

    // In the hands of a person nothing changes.
    let mut story = Story::standing();
    story.session.config.has_witness = false;
    story.hear(Input::LinkDown);
    assert!(story.hear(Input::PrimaryGone).is_empty());
}

#[test]
fn a_primary_that_is_heard_on_another_network_is_waited_for_but_not_longer_than_one_whose_link_comes_and_goes()
 {
    let asks = |out: &[Output]| out.iter().any(|output| matches!(output, Output::AskWitness(_)));
    let mut story = Story::standing();
    story.hear(Input::LinkDown);
    // Grace 60 ms; a link may come and go for 300 ms.
    for heard in 0..5 {
        assert!(!asks(&story.wait(Span::from_ms(50))), "sign of life {heard}");
        assert!(story.hear(Input::PrimaryAlive).is_empty());
    }
    assert!(!asks(&story.wait(Span::from_ms(49))));
    story.hear(Input::PrimaryAlive);
    assert!(asks(&story.wait(Span::from_ms(1))), "that was long enough");
    assert!(asks_for_takeover(&story.hear(told(2, fresh_here()))));

    // The last sign of life begins a whole grace.
    let mut story = Story::standing();
    story.hear(Input::LinkDown);
    story.wait(Span::from_ms(50));
    story.hear(Input::PrimaryAlive);
    assert!(!asks(&story.wait(Span::from_ms(59))));
    assert!(asks(&story.wait(Span::from_ms(1))));

    // What was asked before a sign of life is not acted upon.
    let mut story = Story::standing();
    story.hear(Input::LinkDown);
    assert!(asks(&story.wait(Span::from_ms(60))));
    story.hear(Input::PrimaryAlive);
    assert!(!asks_for_takeover(&story.hear(told(2, fresh_here()))));
    assert_eq!(story.session.state(), State::Alone);
}
