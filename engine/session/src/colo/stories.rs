//! Stories of a guest whose copy runs: when output may leave by a match, and what ends that.

mod auto;
mod ends;
mod rhythm;
mod takeovers;

use super::pair::{GAP, Held, INTERVAL, LIVE_MAX, PERIOD, Pair};
use super::{AfterCrash, CopyEnd, Divergence, Mode};
use crate::primary::{self, CopyStanding, Output, Rest, State, Wish};
use crate::secondary::{self, Output as Order};
use crate::{Decline, ToPrimary, ToSecondary, WitnessRequest};
use alloc::vec::Vec;
use understudy_checkpoint::{Epoch, Generation};

const INTERVAL_MS: u64 = INTERVAL.0 / 1_000_000;
const PERIOD_MS: u64 = PERIOD.0 / 1_000_000;
const LIVE_MAX_MS: u64 = LIVE_MAX.0 / 1_000_000;

fn place<T: PartialEq>(all: &[T], one: &T) -> Option<usize> {
    all.iter().position(|it| it == one)
}

fn captures(pair: &Pair) -> Vec<Epoch> {
    let captures = pair.of_primary.iter().filter_map(|output| match output {
        Output::Capture { epoch, .. } => Some(*epoch),
        _ => None,
    });
    captures.collect()
}

fn is_acked(pair: &Pair, epoch: Epoch) -> bool {
    let acks = |output: &Order| matches!(output, Order::Send(ToPrimary::Ack { epoch: acked, .. }) if *acked == epoch);
    pair.of_secondary.iter().any(acks)
}

fn matches_from(pair: &Pair) -> Vec<Epoch> {
    let bases = pair.of_primary.iter().filter_map(|output| match output {
        Output::MatchFrom { base } => Some(*base),
        _ => None,
    });
    bases.collect()
}

/// What copies were run from.
fn runs(pair: &Pair) -> Vec<Epoch> {
    let bases = pair.of_secondary.iter().filter_map(|output| match output {
        Order::RunCopy { base, .. } => Some(*base),
        _ => None,
    });
    bases.collect()
}

fn diverge(pair: &mut Pair) {
    let base = pair.base();
    pair.tell_primary(primary::Input::Diverged { base, why: Divergence::Content });
}

fn rests(pair: &Pair) -> Vec<(Rest, u64)> {
    let rests = pair.of_primary.iter().filter_map(|output| match output {
        Output::Report(primary::Event::CopyRests { why, rest }) => Some((*why, rest.0 / 1_000_000_000)),
        _ => None,
    });
    rests.collect()
}

#[test]
fn without_a_request_no_message_is_about_a_copy() {
    let mut pair = Pair::protected(Mode::Remus);
    pair.tell_primary(primary::Input::FramesLeft { by_match: 0, by_ack: 1_000 });
    pair.wait(PERIOD_MS);
    let of_copies = |output: &Output| {
        matches!(
            output,
            Output::MirrorInput { .. }
                | Output::MatchFrom { .. }
                | Output::StopMatch
                | Output::Send(ToSecondary::CopyWanted { .. })
        )
    };
    assert_eq!(pair.of_primary.iter().find(|output| of_copies(output)), None);
    assert!(captures(&pair).len() > 100);
}

#[test]
fn a_copy_is_set_to_an_acked_epoch_whose_input_is_told_and_then_frames_match() {
    let mut pair = Pair::protected(Mode::Colo);
    let asked = pair.of_primary.iter().find_map(|output| match output {
        Output::Send(ToSecondary::CopyWanted { from: Some(from), .. }) => Some(*from),
        _ => None,
    });
    let from = asked.expect("a copy is asked for");
    assert_eq!(
        pair.of_secondary.iter().filter(|it| matches!(it, Order::SetCopy { .. })).count(),
        0,
        "{from}"
    );
    let mirror = place(&pair.of_primary, &Output::MirrorInput { from: Some(from) });
    assert!(mirror.is_some() && mirror < place(&pair.of_primary, &wanted(&pair, from)));
    pair.wait(INTERVAL_MS + 1);
    let generation = pair.primary.generation();
    let orders = [
        Order::Send(ToPrimary::Ack { generation, epoch: from }),
        Order::Commit { epoch: from },
        Order::SetCopy { epoch: from },
        Order::RunCopy { generation, base: from },
        Order::Send(ToPrimary::Live { generation, base: from }),
    ];
    let places: Vec<_> =
        orders.iter().map(|order| place(&pair.of_secondary, order).expect("an order")).collect();
    assert!(places.is_sorted(), "{places:?}");
    assert_eq!(matches_from(&pair), [from]);
}

fn wanted(pair: &Pair, from: Epoch) -> Output {
    let (generation, mode) = (pair.primary.generation(), pair.primary.mode());
    Output::Send(ToSecondary::CopyWanted { generation, mode, from: Some(from) })
}

#[test]
fn an_epoch_is_never_acked_before_the_copy_is_halted() {
    let mut pair = Pair::live();
    pair.hold(Held::Halt);
    diverge(&mut pair);
    pair.wait(INTERVAL_MS);
    let next = captures(&pair)[0];
    assert!(place(&pair.of_secondary, &Order::HaltCopy).is_some() && !is_acked(&pair, next));
    assert!(pair.secondary.is_halting());
    assert_eq!(pair.secondary.live_base(), None, "nothing is told any more");
    pair.let_go(Held::Halt);
    assert!(is_acked(&pair, next) && !pair.secondary.is_halting());
    assert_eq!(matches_from(&pair), [next], "set anew, and live again");
}

/// The domain that stands by may have gone while the copy was halted ([S3](docs/DESIGN.md#s3)).
#[test]
fn the_image_is_looked_at_again_once_the_copy_is_halted_and_before_the_ack() {
    for crashes in [false, true] {
        let mut pair = Pair::live();
        pair.hold(Held::Halt);
        pair.hold(Held::Look);
        diverge(&mut pair);
        pair.wait(INTERVAL_MS);
        let (generation, next) = (pair.primary.generation(), captures(&pair)[0]);
        let look = Order::LookAgain { generation, epoch: next };
        assert_eq!(place(&pair.of_secondary, &look), None, "the copy still runs");
        // No driver hands the next epoch over before the verdict on this one.
        pair.is_linked = false;
        pair.tell_secondary(match crashes {
            false => secondary::Input::CopyHalted,
            true => secondary::Input::CopyCrashed { has_forwarded: true },
        });
        assert!(place(&pair.of_secondary, &look).is_some() && !is_acked(&pair, next));
        let why = Decline::ImageLost;
        pair.tell_secondary(secondary::Input::Broken { generation, epoch: next, why });
        assert!(!is_acked(&pair, next), "nothing could be activated");
        assert!(place(&pair.of_secondary, &Order::DropImage).is_some());
    }
}

#[test]
fn a_copy_that_crashes_while_it_is_halted_does_not_keep_the_ack_back() {
    let mut pair = Pair::live();
    pair.hold(Held::Halt);
    diverge(&mut pair);
    pair.wait(INTERVAL_MS);
    pair.tell_secondary(secondary::Input::CopyCrashed { has_forwarded: true });
    assert!(is_acked(&pair, captures(&pair)[0]));
}

#[test]
fn an_epoch_that_is_acked_while_the_copy_is_set_leaves_nothing_to_run() {
    let mut pair = Pair::protected(Mode::Colo);
    pair.hold(Held::Set);
    pair.wait(4 * (INTERVAL_MS + LIVE_MAX_MS));
    let acked = pair.secondary.acked().expect("acks do not wait for a copy");
    assert!(captures(&pair).len() > 2);
    pair.forget();
    pair.let_go(Held::Set);
    assert_eq!(
        pair.of_secondary[0],
        Order::SetCopy { epoch: acked },
        "not run, but set once more: {:?}",
        pair.of_secondary
    );
    assert_eq!(matches_from(&pair), [acked]);
}

/// Each end of matching, and what stands behind `StopMatch`.
#[test]
fn matching_ends_with_the_next_ack_and_with_whatever_ends_protection() {
    type Ending = fn(&mut Pair);
    let endings: [(&str, Ending); 9] = [
        ("the next ack", |pair| pair.wait(PERIOD_MS)),
        ("the link", |pair| pair.link(false)),
        ("silence", |pair| {
            pair.is_linked = false;
            pair.wait(400);
        }),
        ("a copy that crashes", |pair| {
            pair.tell_secondary(secondary::Input::CopyCrashed { has_forwarded: true });
        }),
        ("a copy that is stopped", |pair| {
            let (generation, base) = (pair.primary.generation(), pair.base());
            pair.say(ToPrimary::Halted { generation, base, why: CopyEnd::Operator });
        }),
        ("a newer generation", |pair| {
            let held = pair.witness.record("g").expect("a record").clone();
            let new = crate::Record {
                revision: held.revision + 1,
                generation: held.generation.next(),
                owner: crate::NodeName("b".into()),
                copy: crate::Copy::Stale,
            };
            let id = crate::RequestId(99);
            pair.ask("b", WitnessRequest::Swap { id, expect: held.revision, new });
            pair.say(ToPrimary::Heartbeat { generation: held.generation.next() });
            assert_eq!(pair.primary.state(), State::Fenced);
        }),
        ("marking stale", |pair| {
            pair.tell_primary(primary::Input::Operator(Wish::Unprotect));
            assert_eq!(pair.primary.state(), State::Unprotected);
        }),
        ("a switchover", |pair| pair.tell_primary(primary::Input::Operator(Wish::Switchover))),
        ("another mode", |pair| pair.tell_primary(primary::Input::Mode(Mode::Remus))),
    ];
    for (name, end) in endings {
        let mut pair = Pair::live();
        let base = pair.base();
        end(&mut pair);
        let stop = place(&pair.of_primary, &Output::StopMatch);
        assert!(stop.is_some(), "{name}: {:?}", pair.of_primary);
        let later = |output: &Output| {
            matches!(output, Output::Fence { .. } | Output::PassOutput)
                || matches!(output, Output::Release { through } if *through > base)
        };
        assert!(pair.of_primary.iter().position(later).is_none_or(|at| stop < Some(at)), "{name}");
        assert_ne!(pair.primary.live_base(), Some(base), "{name}");
    }
}

#[test]
fn only_the_newest_acked_epoch_in_this_generation_lets_frames_match_and_only_while_protected() {
    let mut pair = Pair::protected(Mode::Colo);
    pair.hold(Held::Set);
    pair.wait(INTERVAL_MS + 1);
    let (generation, acked) = (pair.primary.generation(), pair.primary.acked().expect("acked"));
    pair.forget();
    for (generation, base) in [
        (Generation(generation.0 - 1), acked),
        (generation.next(), acked),
        (generation, Epoch(acked.0 - 1)),
        (generation, acked.next()),
    ] {
        pair.say(ToPrimary::Live { generation, base });
    }
    assert_eq!(matches_from(&pair), []);
    let live = ToPrimary::Live { generation, base: acked };
    pair.say(live.clone());
    assert_eq!(matches_from(&pair), [acked]);
    pair.forget();
    pair.tell_primary(primary::Input::Operator(Wish::Switchover));
    pair.say(live);
    assert_eq!(matches_from(&pair), []);
}

#[test]
fn a_peer_that_cannot_run_a_copy_is_asked_again_later_and_the_guest_is_protected_meanwhile() {
    let mut pair = Pair::protected(Mode::Colo);
    pair.hold(Held::Set);
    pair.wait(INTERVAL_MS + 1);
    let base = pair.secondary.acked().expect("an image");
    pair.forget();
    pair.tell_secondary(secondary::Input::CopySetFailed { epoch: base });
    assert_eq!(rests(&pair), [(Rest::NoCopy { why: CopyEnd::NoRoom }, 5)]);
    pair.wait(2_000);
    assert!(captures(&pair).len() > 60, "as without a copy");
    assert!(!pair.of_secondary.iter().any(|it| matches!(it, Order::SetCopy { .. })));
    pair.wait(4_000);
    assert!(pair.of_secondary.iter().any(|it| matches!(it, Order::SetCopy { .. })), "tried again");
}

#[test]
fn after_a_lost_link_a_copy_is_live_only_from_an_epoch_of_the_new_link() {
    let mut pair = Pair::live();
    let base = pair.base();
    pair.link(false);
    assert!(place(&pair.of_secondary, &Order::CutCopy).is_some());
    assert!(place(&pair.of_primary, &Output::MirrorInput { from: None }).is_some());
    pair.wait(50);
    assert!(!pair.of_secondary.contains(&Order::HaltCopy), "it runs on");
    pair.forget();
    pair.link(true);
    assert_ne!(pair.primary.live_base(), Some(base), "it has missed input");
    pair.wait(2 * INTERVAL_MS);
    let resync = Output::Report(primary::Event::Resync { base });
    assert!(place(&pair.of_primary, &resync).is_some());
    assert!(pair.base() > base && runs(&pair).iter().all(|of| *of > base));
}

#[test]
fn a_copy_that_was_being_set_when_the_link_was_lost_is_not_run() {
    let mut pair = Pair::protected(Mode::Colo);
    pair.hold(Held::Set);
    pair.wait(INTERVAL_MS + 1);
    let base = pair.secondary.acked().expect("an image");
    pair.link(false);
    pair.let_go(Held::Set);
    pair.link(true);
    assert!(runs(&pair).iter().all(|of| *of > base), "{:?}", pair.of_secondary);
}

#[test]
fn a_copy_that_lacks_input_stays_halted_until_it_is_set_to_a_later_epoch() {
    let mut pair = Pair::protected(Mode::Colo);
    pair.hold(Held::Set);
    pair.wait(INTERVAL_MS + 1);
    let base = pair.primary.acked().expect("an acked epoch");
    pair.tell_secondary(secondary::Input::CopySet { epoch: base, hears_all: false });
    assert_eq!((pair.secondary.live_base(), pair.primary.live_base()), (None, None));
    pair.let_go(Held::Set);
    assert_eq!(pair.secondary.live_base(), None, "it was set once");
    pair.wait(LIVE_MAX_MS + INTERVAL_MS);
    assert!(pair.primary.live_base() > Some(base), "{:?}", pair.primary);
    assert_eq!(pair.primary.copy_standing(), CopyStanding::Live { base: pair.base() }, "and nobody rests");
}

#[test]
fn the_peer_is_told_the_guests_mode() {
    let mut pair = Pair::protected(Mode::Auto);
    assert_eq!(pair.secondary.mode(), Mode::Auto, "also while no copy is asked for");
    assert_eq!(pair.primary.copy_standing(), CopyStanding::Idle);
    pair.tell_primary(primary::Input::Mode(Mode::Colo));
    assert_eq!(pair.secondary.mode(), Mode::Colo);
    pair.tell_primary(primary::Input::Mode(Mode::Remus));
    assert_eq!(pair.secondary.mode(), Mode::Remus);
    assert_eq!(pair.primary.copy_standing(), CopyStanding::Unwanted);
    pair.tell_primary(primary::Input::Mode(Mode::Colo));
    // A full sync begins anew what is known there.
    pair.tell_primary(primary::Input::Operator(Wish::Unprotect));
    pair.tell_primary(primary::Input::Operator(Wish::Protect));
    pair.wait(3_000);
    assert_eq!((pair.primary.state(), pair.secondary.mode()), (State::Protected, Mode::Colo));
}
