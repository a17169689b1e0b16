//! Guests with disks in the simulator of the drivers: after every crash, and in stories of two that follow each other. Their judge is
//! that of I8, whose mutants are in `drivers.rs`.

use understudy_checkpoint::Epoch;
use understudy_session::Span;
use understudy_session::primary::State;
use understudy_tests::drivers::exhaustive::{events_until, strike_after};
use understudy_tests::drivers::faults::Fault;
use understudy_tests::drivers::network::LINK;
use understudy_tests::drivers::pair::{A, B, Pair};
use understudy_tests::drivers::run::settings_with_disks;
use understudy_tests::drivers::{Options, run_seed};

/// Seeds that are run twice.
const SAME_SEEDS: u64 = 10;

#[test]
fn a_seed_with_disks_is_the_same_run_every_time() {
    for seed in 0..SAME_SEEDS {
        let options = Options { disks: Some(true), traced: true, ..Options::default() };
        let lines = || run_seed(seed, options).trace.map(|trace| trace.lines);
        assert_eq!(lines(), lines(), "seed {seed}");
    }
}

#[test]
fn power_and_processes_may_end_and_the_link_break_at_any_time_of_the_first_three_epochs() {
    let (seed, settings) = (1, settings_with_disks());
    let events = events_until(Epoch(3), seed, &settings);
    let back = Some(Span::from_ms(60));
    let crashes = [A, B]
        .into_iter()
        .flat_map(|node| [true, false].map(|silent| Fault::Crash { node, silent, back_after: back }));
    let faults = crashes.chain([Fault::Reset { channel: LINK }, Fault::CommitFails { host: B }]);
    for (place, fault) in faults.enumerate() {
        // Each event has one fault of four after it, and each fault every fourth event.
        for event in (1 + place as u64 % 4..=events).step_by(4) {
            if let Some(violation) = strike_after(seed, &settings, event, fault, None) {
                panic!("{fault:?} after event {event}: {violation}");
            }
        }
    }
}

#[test]
fn the_power_of_both_hosts_may_end_one_after_the_other_in_both_orders() {
    let (seed, settings) = (2, settings_with_disks());
    let events = events_until(Epoch(3), seed, &settings);
    let power = |node, back| Fault::Crash { node, silent: true, back_after: Some(Span::from_ms(back)) };
    for (first, second) in [(A, B), (B, A)] {
        for (place, event) in (1..=events).step_by(3).enumerate() {
            let after = Span::from_ms([0, 1, 5, 40, 90, 150, 220][place % 7]);
            let (one, two) = (power(first, 100), power(second, 180));
            if let Some(violation) = strike_after(seed, &settings, event, one, Some((after, two))) {
                panic!("{one:?} after event {event}, then {two:?} {after:?} later: {violation}");
            }
        }
    }
}

/// The host that was taken over from comes back with more on its disk than the guest that goes on knows of. Then it takes over
/// itself.
#[test]
fn a_disk_that_was_taken_over_from_is_rolled_back_and_may_be_taken_over_to_again() {
    let mut pair = Pair::protected_with(|settings| *settings = settings_with_disks());
    for (from, to) in [(A, B), (B, A), (A, B)] {
        pair.pass(Span::from_ms(40));
        pair.lose_host(from, Some(Span::from_ms(100)));
        pair.until("a takeover", |pair| pair.state(to).is_some());
        pair.until("protection", |pair| pair.state(to) == Some(State::Protected));
        pair.checkpoint();
    }
    pair.ends_well();
}

#[test]
fn after_a_flap_of_the_link_the_copy_of_the_disk_follows_again() {
    let mut pair = Pair::protected_with(|settings| *settings = settings_with_disks());
    for lasts in [10, 30, 50] {
        pair.lose_link(Span::from_ms(lasts));
        pair.pass(Span::from_ms(100));
        pair.until("protection", |pair| pair.state(A) == Some(State::Protected));
        pair.checkpoint();
    }
    pair.ends_well();
}
