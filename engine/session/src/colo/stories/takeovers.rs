//! What a takeover goes on from, row by row.

use super::*;
use crate::secondary::{Event, Start};
use crate::{Decline, WitnessRequest};

/// What the guest is started from, and the epoch.
fn started(pair: &Pair) -> Option<(Start, Epoch)> {
    pair.of_secondary.iter().find_map(|output| match output {
        Order::Activate { start, epoch, .. } => Some((*start, *epoch)),
        _ => None,
    })
}

fn swap_at(pair: &Pair) -> Option<usize> {
    let swaps = |output: &Order| matches!(output, Order::AskWitness(WitnessRequest::Swap { new, .. }) if new.owner.0 == "b");
    pair.of_secondary.iter().position(swaps)
}

#[test]
fn a_live_copy_of_the_newest_acked_epoch_goes_on_as_it_is() {
    let mut pair = Pair::live();
    let base = pair.base();
    pair.lose_a();
    assert_eq!(started(&pair), Some((Start::LiveCopy, base)));
    let stop = place(&pair.of_secondary, &Order::CutCopy);
    assert!(
        stop.is_some() && stop < swap_at(&pair),
        "it stops telling before it asks: {:?}",
        pair.of_secondary
    );
}

#[test]
fn a_copy_that_was_halted_for_an_epoch_that_is_not_acked_goes_on_as_it_is() {
    let mut pair = Pair::live();
    let base = pair.base();
    pair.hold(Held::Halt);
    diverge(&mut pair);
    pair.wait(INTERVAL_MS);
    let next = captures(&pair)[0];
    pair.lose_a();
    assert_eq!((started(&pair), swap_at(&pair)), (None, None), "it is about to stand still");
    pair.let_go(Held::Halt);
    pair.wait(30);
    assert_eq!(started(&pair), Some((Start::LiveCopy, base)));
    assert!(!is_acked(&pair, next) && pair.of_secondary.contains(&Order::DropIncomplete));
}

#[test]
fn once_the_next_epoch_is_acked_the_copy_is_set_to_it_and_run() {
    let mut pair = Pair::live();
    pair.hold(Held::Commit);
    diverge(&mut pair);
    pair.wait(INTERVAL_MS);
    let next = captures(&pair)[0];
    assert!(is_acked(&pair, next));
    pair.lose_a();
    assert_eq!(swap_at(&pair), None, "it is not committed");
    pair.hold(Held::Set);
    pair.let_go(Held::Commit);
    assert!(pair.of_secondary.contains(&Order::SetCopy { epoch: next }));
    assert_eq!(swap_at(&pair), None, "what may fail does so before");
    pair.let_go(Held::Set);
    assert_eq!(started(&pair), Some((Start::SetCopy, next)));
    assert!(!pair.of_secondary.iter().any(|it| matches!(it, Order::RunCopy { .. })));
}

/// The primary's host is lost while the copy is being set to this epoch, which was acked.
fn lost_while_setting() -> (Pair, Epoch) {
    let mut pair = Pair::live();
    pair.hold(Held::Set);
    diverge(&mut pair);
    pair.wait(INTERVAL_MS);
    let next = captures(&pair)[0];
    pair.lose_a();
    (pair, next)
}

#[test]
fn a_copy_that_is_being_set_is_set_to_the_end() {
    let (mut pair, next) = lost_while_setting();
    assert_eq!(swap_at(&pair), None);
    pair.let_go(Held::Set);
    assert_eq!(started(&pair), Some((Start::SetCopy, next)));
}

#[test]
fn a_copy_that_cannot_be_set_leaves_the_image() {
    let (mut pair, next) = lost_while_setting();
    pair.tell_secondary(secondary::Input::CopySetFailed { epoch: next });
    assert_eq!(started(&pair), Some((Start::Image, next)));
}

#[test]
fn without_a_copy_a_takeover_starts_from_the_image() {
    let mut pair = Pair::protected(Mode::Remus);
    pair.wait(INTERVAL_MS + 1);
    let acked = pair.secondary.acked().expect("an image");
    pair.lose_a();
    assert_eq!(started(&pair), Some((Start::Image, acked)));
}

/// The copy crashes when a is gone already: no checkpoint mends it.
fn crashed(after_crash: AfterCrash, has_forwarded: bool) -> (Pair, Epoch) {
    let mut pair = Pair::live_with(after_crash);
    let base = pair.base();
    pair.is_linked = false;
    pair.tell_secondary(secondary::Input::CopyCrashed { has_forwarded });
    pair.lose_a();
    (pair, base)
}

#[test]
fn a_copy_that_crashed_after_clients_may_have_seen_it_leaves_the_decision_to_a_person() {
    let (mut pair, base) = crashed(AfterCrash::Refuse, true);
    let withheld = Order::Report(Event::TakeoverWithheld { base });
    assert_eq!((swap_at(&pair), started(&pair)), (None, None));
    assert_eq!(pair.of_secondary.iter().filter(|it| **it == withheld).count(), 1, "said once");
    assert_eq!(pair.secondary.state(), secondary::State::Alone);
    pair.tell_secondary(secondary::Input::ForceTakeover);
    pair.wait(30);
    assert_eq!(started(&pair), Some((Start::Image, base)));
}

#[test]
fn a_crashed_copy_does_not_stop_a_takeover_if_nothing_was_reported_or_the_image_may_be_used() {
    for (after_crash, has_forwarded) in
        [(AfterCrash::Refuse, false), (AfterCrash::FromCommit, true), (AfterCrash::FromCommit, false)]
    {
        let (pair, base) = crashed(after_crash, has_forwarded);
        assert_eq!(started(&pair), Some((Start::Image, base)));
        let drop = place(&pair.of_secondary, &Order::DropCopy);
        assert!(drop.is_some());
    }
}

#[test]
fn a_crash_of_the_copy_is_repaired_by_the_next_ack() {
    let mut pair = Pair::live();
    pair.tell_secondary(secondary::Input::CopyCrashed { has_forwarded: true });
    pair.wait(INTERVAL_MS);
    let next = captures(&pair)[0];
    assert!(is_acked(&pair, next), "a crash demands a checkpoint");
    pair.lose_a();
    let (start, epoch) = started(&pair).expect("it takes over");
    assert!(epoch >= next && start == Start::LiveCopy);
}

#[test]
fn a_live_copy_that_crashes_while_it_is_started_leaves_the_decision_to_a_person() {
    let mut pair = Pair::live();
    pair.hold(Held::Reply);
    pair.lose_a();
    pair.let_go(Held::Reply);
    // What comes of the order to start it is for the driver to say.
    assert!(matches!(started(&pair), Some((Start::LiveCopy, _))));
    pair.tell_secondary(secondary::Input::CopyCrashed { has_forwarded: true });
    pair.forget();
    pair.tell_secondary(secondary::Input::ActivationDelayed);
    assert_eq!(pair.secondary.state(), secondary::State::ActivationFailed);
    assert_eq!(started(&pair), None);
}

#[test]
fn a_live_copy_that_crashes_while_it_is_started_is_replaced_by_the_image_if_that_may_be_used() {
    let mut pair = Pair::live_with(AfterCrash::FromCommit);
    let base = pair.base();
    pair.lose_a();
    pair.tell_secondary(secondary::Input::ActivationDelayed);
    pair.tell_secondary(secondary::Input::CopyCrashed { has_forwarded: true });
    pair.forget();
    pair.lose_a();
    pair.lose_a();
    pair.lose_a();
    pair.lose_a();
    assert_eq!(started(&pair), Some((Start::Image, base)));
}

/// Nobody has heard of it.
#[test]
fn a_copy_that_was_set_for_a_takeover_and_crashes_while_it_is_started_leaves_the_image() {
    let (mut pair, next) = lost_while_setting();
    pair.let_go(Held::Set);
    assert_eq!(started(&pair), Some((Start::SetCopy, next)));
    pair.tell_secondary(secondary::Input::CopyCrashed { has_forwarded: false });
    pair.tell_secondary(secondary::Input::ActivationDelayed);
    pair.forget();
    (0..4).for_each(|_| pair.lose_a());
    assert_eq!(started(&pair), Some((Start::Image, next)));
}

#[test]
fn a_persons_takeover_ends_the_copys_reports_for_good_even_if_it_is_refused() {
    let mut pair = Pair::live();
    pair.hold(Held::Reply);
    pair.tell_secondary(secondary::Input::ForceTakeover);
    assert!(pair.of_secondary.contains(&Order::CutCopy));
    assert_eq!(pair.secondary.live_base(), None);
    // Stale was quicker.
    pair.tell_primary(primary::Input::Operator(Wish::Unprotect));
    pair.forget();
    pair.let_go(Held::Reply);
    pair.wait(10);
    assert_eq!((started(&pair), pair.secondary.live_base()), (None, None));
}

#[test]
fn a_switchover_goes_on_from_its_last_epoch() {
    let mut pair = Pair::live();
    pair.tell_primary(primary::Input::Operator(Wish::Switchover));
    pair.wait(10);
    let (start, epoch) = started(&pair).expect("handed over");
    assert_eq!(epoch, captures(&pair)[0]);
    assert_ne!(start, Start::Image);
}

#[test]
fn whatever_drops_the_image_drops_the_copy() {
    for lose in [
        |pair: &mut Pair| {
            let generation = pair.primary.generation();
            pair.tell_secondary(secondary::Input::Message(ToSecondary::Farewell { generation }));
        },
        |pair: &mut Pair| {
            pair.hold(Held::Commit);
            diverge(pair);
            pair.wait(INTERVAL_MS);
            let epoch = captures(pair)[0];
            pair.tell_secondary(secondary::Input::CommitFailed { epoch });
        },
        |pair: &mut Pair| {
            pair.hold(Held::Complete);
            diverge(pair);
            pair.wait(INTERVAL_MS);
            let (generation, epoch) = (pair.primary.generation(), captures(pair)[0]);
            pair.tell_secondary(secondary::Input::Broken { generation, epoch, why: Decline::ImageLost });
        },
    ] {
        let mut pair = Pair::live();
        lose(&mut pair);
        let drop = place(&pair.of_secondary, &Order::DropCopy);
        assert!(
            drop.is_some() && drop < place(&pair.of_secondary, &Order::DropImage),
            "{:?}",
            pair.of_secondary
        );
        assert_eq!(pair.secondary.live_base(), None);
    }
}
