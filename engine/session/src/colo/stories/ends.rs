//! What a copy that was asked for counts for once the link was lost, or before it could be one; and whose fault a long wait is not.

use super::super::pair::{Held, Pair};
use super::super::{CopyEnd, Mode};
use super::{INTERVAL_MS, PERIOD_MS, diverge, matches_from};
use crate::primary::{self, Output, State};
use crate::secondary::{self, Output as Order};
use crate::{EpochKind, ToPrimary, ToSecondary};
use alloc::vec::Vec;
use understudy_checkpoint::Epoch;

fn sets(pair: &Pair) -> Vec<Epoch> {
    let sets = pair.of_secondary.iter().filter_map(|order| match order {
        Order::SetCopy { epoch } => Some(*epoch),
        _ => None,
    });
    sets.collect()
}

#[test]
fn a_copy_does_not_run_if_the_link_was_lost_while_it_was_set() {
    let mut pair = Pair::protected(Mode::Colo);
    pair.hold(Held::Set);
    pair.wait(INTERVAL_MS + 1);
    let base = *sets(&pair).last().expect("it is being set");
    pair.link(false);
    pair.forget();
    // Input was told on the link that is gone.
    pair.tell_secondary(secondary::Input::LinkUp);
    let (generation, mode, from) = (pair.primary.generation(), Mode::Colo, Some(base));
    pair.tell_secondary(secondary::Input::Message(ToSecondary::CopyWanted { generation, mode, from }));
    pair.let_go(Held::Set);
    let runs = pair.of_secondary.iter().any(|order| matches!(order, Order::RunCopy { .. }));
    assert!(!runs && pair.secondary.live_base().is_none(), "{:?}", pair.of_secondary);
}

#[test]
fn a_request_for_a_copy_ends_with_its_link() {
    let mut pair = Pair::live();
    pair.link(false);
    // Nobody is there to hear of it.
    pair.tell_primary(primary::Input::Mode(Mode::Remus));
    pair.forget();
    pair.link(true);
    pair.wait(10 * INTERVAL_MS);
    assert_eq!(pair.primary.state(), State::Protected);
    assert!(pair.primary.acked() > Some(Epoch(3)), "epochs were committed");
    assert_eq!(sets(&pair), []);
}

#[test]
fn a_copy_of_an_epoch_before_the_request_is_ignored() {
    let mut pair = Pair::protected(Mode::Remus);
    pair.wait(INTERVAL_MS + 1);
    let acked = pair.primary.acked().expect("an acked epoch");
    pair.hold(Held::Complete);
    pair.tell_primary(primary::Input::Mode(Mode::Colo));
    let from = pair.of_primary.iter().find_map(|output| match output {
        Output::Send(ToSecondary::CopyWanted { from, .. }) => *from,
        _ => None,
    });
    assert!(from > Some(acked), "what is heard is told from the next cut on: {from:?}");
    // Whatever it was set to, nobody has told it what the guest has heard.
    pair.say(ToPrimary::Live { generation: pair.primary.generation(), base: acked });
    assert_eq!((matches_from(&pair), pair.primary.live_base()), (Vec::new(), None));
}

#[test]
fn a_peer_is_not_blamed_for_the_time_without_acks_while_a_copy_was_live() {
    let mut pair = Pair::live();
    pair.wait(PERIOD_MS - 500);
    let (generation, base) = (pair.primary.generation(), pair.base());
    // The ack of the checkpoint that follows is a moment late.
    pair.is_linked = false;
    pair.say(ToPrimary::Halted { generation, base, why: CopyEnd::Crashed });
    assert_eq!(pair.primary.live_base(), None);
    pair.wait(200);
    assert_eq!(pair.primary.state(), State::Protected, "two and a half seconds would be too late");
}

/// A secondary that hears nothing for too long, on a link that stays for other guests, drops the epoch that is arriving. Its primary
/// has noticed nothing: with a live copy it would wait for that ack until the period is over, and its output as long.
#[test]
fn an_epoch_that_is_dropped_in_a_silence_is_declined_as_soon_as_the_primary_speaks_again() {
    let mut pair = Pair::live();
    let base = pair.base();
    pair.hold(Held::Complete);
    diverge(&mut pair);
    pair.wait(20);
    assert!(pair.primary.newest_captured() > Some(base), "it is on its way");
    pair.tell_secondary(secondary::Input::LinkDown);
    pair.let_go(Held::Complete);
    assert_eq!(pair.primary.acked(), Some(base));
    pair.tell_secondary(secondary::Input::LinkUp);
    pair.wait(200);
    assert_eq!(pair.primary.state(), State::Protected);
    assert!(pair.primary.acked() > Some(base), "{:?}", pair.primary);
}

/// What was said on a link that is lost may not have arrived, and what is said meanwhile cannot.
#[test]
fn a_peer_that_was_told_a_mode_is_told_again_on_the_next_link() {
    let mut pair = Pair::live();
    pair.link(false);
    pair.tell_primary(primary::Input::Mode(Mode::Remus));
    pair.link(true);
    pair.wait(2 * INTERVAL_MS);
    assert_eq!((pair.primary.state(), pair.secondary.mode()), (State::Protected, Mode::Remus));
}

/// The next epoch comes on a link that stayed, of which this host heard nothing for too long.
#[test]
fn a_copy_that_was_asked_for_before_a_silence_is_not_set_after_it() {
    let mut pair = Pair::live();
    let (generation, acked) = (pair.primary.generation(), pair.base());
    let epoch = acked.next();
    pair.is_linked = false;
    pair.tell_secondary(secondary::Input::LinkDown);
    pair.tell_secondary(secondary::Input::LinkUp);
    let (kind, base) = (EpochKind::Delta, Some(acked));
    pair.tell_secondary(secondary::Input::Message(ToSecondary::EpochBegin { generation, epoch, kind, base }));
    pair.tell_secondary(secondary::Input::Complete { generation, epoch });
    assert!(pair.of_secondary.contains(&Order::Commit { epoch }), "{:?}", pair.of_secondary);
    assert!(!pair.of_secondary.contains(&Order::SetCopy { epoch }));
    assert!(pair.of_secondary.contains(&Order::DropCopy));
}
