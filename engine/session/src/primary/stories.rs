//! Stories of a primary with a real witness: what it does when something around it fails that is no fault of the guest.

mod claims;
mod handover;
mod unwitnessed;
mod waits;

use super::fixtures::{config, fresh, node};
use super::*;
use crate::witness::{self, Witness};
use crate::{Copy, Decline, EpochKind, NodeName, Record, RequestId, Standing, Time, WitnessOutcome};
use alloc::borrow::ToOwned;
use alloc::collections::VecDeque;
use alloc::vec;
use alloc::vec::Vec;

const G: Generation = Generation(4);

fn record(revision: u64, generation: u64, owner: &str, copy: Copy) -> Record {
    Record { revision, generation: Generation(generation), owner: node(owner), copy }
}

/// What the peer and the driver do with what the session wants.
#[derive(Clone, Copy, PartialEq)]
enum World {
    /// Captures succeed, epochs are acked.
    Works,
    /// Captures succeed, nothing is acked.
    Mute,
    /// Captures fail.
    Fails,
}

struct Story {
    session: Primary,
    witness: Option<Witness>,
    now: Time,
    world: World,
    /// Everything wanted since it was looked at.
    wanted: Vec<Output>,
}

impl Story {
    fn begin(origin: Origin, held: Option<Record>, has_witness: bool) -> Self {
        let witness = has_witness.then(|| Witness::new(held.map(|record| ("g".to_owned(), record))));
        let session = Primary::new(config(has_witness), origin, Time(0));
        let mut story = Self { session, witness, now: Time(0), world: World::Works, wanted: vec![] };
        story.wait(0);
        if has_witness {
            story.hear(Input::WitnessUp);
        }
        story
    }

    /// A guest that runs here in generation 4 and is protected towards b.
    fn protected() -> Self {
        let adopted = Origin::Adopted { generation: Generation(3), is_halted: false };
        let mut story = Self::begin(adopted, Some(record(5, 3, "a", Copy::Stale)), true);
        assert_eq!(story.session.generation(), G);
        story.connect(Standing::Nothing);
        story.wait(10);
        assert_eq!(story.session.state(), State::Protected);
        story.wanted.clear();
        story
    }

    fn connect(&mut self, standing: Standing) {
        self.hear(Input::LinkUp);
        let generation = self.session.generation();
        self.say(ToPrimary::Stand { generation, standing });
    }

    fn say(&mut self, message: ToPrimary) {
        self.hear(Input::Message(message));
    }

    fn hear(&mut self, input: Input) {
        let mut inputs = VecDeque::from([input]);
        while let Some(input) = inputs.pop_front() {
            let mut out = Vec::new();
            self.session.handle(self.now, input);
            out.extend(core::iter::from_fn(|| self.session.poll_output()));
            self.perform(out, &mut inputs);
        }
    }

    fn perform(&mut self, out: Vec<Output>, inputs: &mut VecDeque<Input>) {
        for output in out {
            match &output {
                Output::AskWitness(request) => {
                    inputs.extend(self.ask(node("a"), request.clone()).map(Input::Witness));
                }
                Output::Capture { epoch, .. } if self.world == World::Fails => {
                    let epoch = *epoch;
                    inputs.push_back(Input::CaptureFailed { epoch, guest_gone: false, needs_seed: false });
                }
                Output::Capture { epoch, generation, .. } => {
                    inputs.push_back(Input::Captured { epoch: *epoch, pause: Span(0) });
                    if self.world == World::Works {
                        let ack = ToPrimary::Ack { generation: *generation, epoch: *epoch };
                        inputs.push_back(Input::Message(ack));
                    }
                }
                _ => {}
            }
            self.wanted.push(output);
        }
    }

    fn ask(&mut self, from: NodeName, request: WitnessRequest) -> Option<WitnessReply> {
        let witness = self.witness.as_mut()?;
        let mut out = Vec::new();
        witness.handle(witness::Input::Request { client: 1, from, guest: "g".into(), request });
        out.extend(core::iter::from_fn(|| witness.poll_output()));
        while let Some(witness::Output::Persist { ticket, .. }) = out.first().cloned() {
            out.clear();
            witness.handle(witness::Input::Persisted { ticket });
            out.extend(core::iter::from_fn(|| witness.poll_output()));
        }
        out.into_iter().find_map(|output| match output {
            witness::Output::Reply { reply, .. } => Some(reply),
            witness::Output::Persist { .. } | witness::Output::NoRoom { .. } => None,
        })
    }

    /// b takes the guest over at the witness.
    fn b_takes_over(&mut self) {
        let held = self.held();
        let new = Record {
            revision: held.revision + 1,
            generation: held.generation.next(),
            owner: node("b"),
            copy: Copy::Stale,
        };
        let swap = WitnessRequest::Swap { id: RequestId(9), expect: held.revision, new };
        assert_eq!(self.ask(node("b"), swap).expect("an answer").outcome, WitnessOutcome::Swapped);
    }

    fn held(&self) -> Record {
        self.witness.as_ref().and_then(|witness| witness.record("g")).expect("a record").clone()
    }

    /// Lets time pass, timer by timer; the peer gives signs of life while the link is up.
    fn wait(&mut self, ms: u64) {
        let end = self.now + Span::from_ms(ms);
        while let Some(at) = self.session.next_timeout().filter(|at| *at <= end) {
            self.now = self.now.max(at);
            let mut out = Vec::new();
            if self.session.link.is_up() {
                self.session.link.heard(self.now);
            }
            self.session.handle_timeout(self.now);
            out.extend(core::iter::from_fn(|| self.session.poll_output()));
            let mut inputs = VecDeque::new();
            self.perform(out, &mut inputs);
            inputs.into_iter().for_each(|input| self.hear(input));
        }
        self.now = end;
    }

    fn wants(&self, output: &Output) -> bool {
        self.wanted.contains(output)
    }

    fn is_destroyed(&self) -> bool {
        self.wanted.iter().any(|output| matches!(output, Output::Destroy { .. }))
    }

    fn is_fenced(&self) -> bool {
        self.wanted.iter().any(|output| matches!(output, Output::Fence { .. }))
    }
}

#[test]
fn if_capture_threads_fail_the_guest_runs_on_unprotected_until_they_are_replaced() {
    let mut story = Story::protected();
    story.hear(Input::CaptureBroke);
    assert_eq!(story.session.state(), State::Unprotected);
    assert_eq!(story.held().copy, Copy::Stale);
    assert!(story.wants(&Output::PassOutput) && !story.is_destroyed() && !story.is_fenced());
    story.wait(60_000);
    assert_eq!(story.session.state(), State::Unprotected, "nothing can be captured");
    story.hear(Input::CaptureMended);
    story.wait(10);
    assert_eq!(story.session.state(), State::Protected);
}

/// New threads do not know what the guest wrote since the copy's epoch, whatever the copy is given up for.
#[test]
fn after_capture_threads_failed_no_checkpoint_builds_on_the_copy_even_if_a_person_unprotects() {
    let mut story = Story::protected();
    let acked = story.session.flow.acked().expect("an ack");
    story.hear(Input::LinkDown);
    story.hear(Input::WitnessDown);
    story.hear(Input::CaptureBroke);
    story.hear(Input::CaptureMended);
    story.hear(Input::Operator(Wish::Unprotect));
    story.wanted.clear();
    story.connect(Standing::Complete { generation: G, epoch: acked });
    story.wait(10_000);
    let captures = |output: &Output| matches!(output, Output::Capture { .. });
    assert!(!story.wanted.iter().any(captures), "{:?}", story.wanted);
}

#[test]
fn if_capture_threads_fail_without_the_witness_the_guest_is_paused_and_sends_no_sign_of_life() {
    let mut story = Story::protected();
    story.hear(Input::WitnessDown);
    story.hear(Input::CaptureBroke);
    story.wanted.clear();
    story.wait(10_000);
    assert_eq!(story.session.state(), State::PausedUndecided);
    assert!(!story.wanted.iter().any(|output| matches!(output, Output::Send(_))), "the secondary decides");
    assert!(!story.is_destroyed() && !story.wants(&Output::PassOutput));
    // It has decided.
    story.b_takes_over();
    story.hear(Input::WitnessUp);
    assert!(story.session.state() == State::Fenced && !story.is_destroyed());
}

#[test]
fn a_fenced_guest_is_kept_until_the_newer_generation_speaks_from_a_guest_that_runs() {
    let mut story = Story::protected();
    story.b_takes_over();
    story.say(ToPrimary::Heartbeat { generation: G.next() });
    assert_eq!(story.session.state(), State::Fenced);
    let at = |wish: &Output| story.wanted.iter().position(|output| output == wish);
    assert!(
        at(&Output::Fence { generation: G.next(), is_wished: false }) < at(&Output::PauseGuest),
        "{:?}",
        story.wanted
    );
    story.wait(3_600_000);
    assert!(!story.is_destroyed(), "nobody else has it running");
    story.hear(Input::Rival { generation: G.next() });
    assert!(story.wants(&Output::Destroy { why: End::Superseded { generation: G.next() } }));
}

#[test]
fn a_person_gets_a_fenced_guest_back_in_a_newer_generation() {
    let mut story = Story::protected();
    story.b_takes_over();
    story.say(ToPrimary::Heartbeat { generation: G.next() });
    story.hear(Input::Operator(Wish::Reclaim));
    assert_eq!((story.session.state(), story.session.generation()), (State::Unprotected, Generation(6)));
    let at = |wish: &Output| story.wanted.iter().position(|output| output == wish);
    assert!(at(&Output::Revive).is_some() && at(&Output::Revive) < at(&Output::PassOutput));
    assert!(at(&Output::PassOutput) < at(&Output::ResumeGuest));
    assert_eq!((story.held().owner, story.held().generation), (node("a"), Generation(6)));
}

#[test]
fn a_persons_order_does_not_apply_to_a_record_that_has_changed_since() {
    let mut story = Story::protected();
    story.b_takes_over();
    story.say(ToPrimary::Heartbeat { generation: G.next() });
    // b starts it after all, and has a copy made elsewhere; this host has not heard of it.
    let held = story.held();
    let new = record(held.revision + 1, 5, "b", Copy::Fresh { holder: node("c") });
    let swap = WitnessRequest::Swap { id: RequestId(9), expect: held.revision, new };
    story.ask(node("b"), swap);
    story.hear(Input::Operator(Wish::Reclaim));
    assert_eq!(story.session.state(), State::ClaimRefused);
    assert_eq!(story.held().owner, node("b"));
    assert!(!story.wants(&Output::PassOutput) && !story.is_destroyed());
}

#[test]
fn a_person_discards_a_fenced_guest() {
    let mut story = Story::protected();
    story.b_takes_over();
    story.say(ToPrimary::Heartbeat { generation: G.next() });
    story.hear(Input::Operator(Wish::Discard));
    assert!(story.wants(&Output::Destroy { why: End::Discarded }));
}

#[test]
fn a_newer_generation_that_a_peer_mentions_is_checked_with_the_witness_first() {
    let mut story = Story::protected();
    let why = Decline::Fenced { generation: Generation(99) };
    story.say(ToPrimary::Declined { generation: G, epoch: None, why });
    story.say(ToPrimary::Heartbeat { generation: Generation(99) });
    assert!(!story.is_fenced() && !story.is_destroyed());
    let refuted = Event::RumourRefuted { generation: Generation(99) };
    assert!(story.wants(&Output::Report(refuted)));
    story.wait(1_000);
    assert_eq!(story.session.state(), State::Protected);
}

#[test]
fn a_newer_primary_that_the_witness_does_not_know_gets_the_guest_paused_and_not_ended() {
    let mut story = Story::protected();
    story.hear(Input::Rival { generation: Generation(99) });
    assert_eq!(story.session.state(), State::Contested);
    story.wait(60_000);
    assert!(story.is_fenced() && !story.is_destroyed());
}

#[test]
fn two_primaries_of_one_generation_both_pause_their_guest() {
    for has_witness in [true, false] {
        let mut story =
            if has_witness { Story::protected() } else { unwitnessed::answered(None, Standing::Nothing) };
        let generation = story.session.generation();
        story.hear(Input::Rival { generation });
        assert_eq!(story.session.state(), State::Contested);
        assert!(story.is_fenced() && !story.is_destroyed());
    }
}

#[test]
fn a_generation_number_that_is_too_large_is_ignored() {
    let mut story = Story::protected();
    story.say(ToPrimary::Heartbeat { generation: Generation(u64::MAX) });
    story.hear(Input::Rival { generation: Generation(u64::MAX) });
    story.wait(100);
    assert_eq!(story.session.state(), State::Protected);
}

/// While nobody makes the record stale, the link comes back, and the peer says where its copy stands: an ack of what is built
/// on that would let out what no takeover goes on from.
#[test]
fn no_epoch_builds_on_a_diverged_copy_even_if_its_record_cannot_be_made_stale() {
    let mut story = Story::protected();
    story.hear(Input::WitnessDown);
    story.world = World::Mute;
    story.wait(30);
    let epoch = story.session.newest_captured().expect("it goes on");
    story.say(ToPrimary::Declined { generation: G, epoch: Some(epoch), why: Decline::Diverged });
    assert_eq!(story.session.state(), State::MarkingStale);
    story.wanted.clear();
    story.world = World::Works;
    story.hear(Input::LinkDown);
    story.connect(Standing::Complete { generation: G, epoch });
    story.wait(1_000);
    let goes_on = |output: &&Output| {
        matches!(output, Output::Capture { .. } | Output::Release { .. } | Output::PassOutput)
    };
    assert_eq!(story.wanted.iter().find(goes_on), None);
    story.hear(Input::WitnessUp);
    story.wait(100);
    assert_eq!(story.session.state(), State::Protected, "by a full sync");
}

/// Its queue has dropped what that would let out, and whoever took over may have gone on from less.
#[test]
fn a_late_ack_releases_nothing_of_a_fenced_guest() {
    let mut story = Story::protected();
    story.world = World::Mute;
    story.wait(30);
    let epoch = story.session.newest_captured().expect("it goes on");
    story.b_takes_over();
    story.say(ToPrimary::Heartbeat { generation: G.next() });
    assert_eq!(story.session.state(), State::Fenced);
    story.wanted.clear();
    story.say(ToPrimary::Ack { generation: G, epoch });
    assert!(!story.wants(&Output::Release { through: epoch }), "{:?}", story.wanted);
}

/// Who drives the session lets go of the guest's memory and disk then.
#[test]
fn a_guest_that_ends_before_it_is_claimed_is_told_of_as_ended() {
    let mut session = Primary::new(config(true), Origin::Started, Time(0));
    session.handle(Time(0), Input::GuestGone);
    let out: Vec<_> = core::iter::from_fn(|| session.poll_output()).collect();
    assert!(out.contains(&Output::Report(Event::State(State::Ended))), "{out:?}");
}
