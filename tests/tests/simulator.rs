//! The sessions under every fault the simulator knows: by chance, by exhaustion, and with the judges themselves
//! put to the test.

use understudy::session::Span;
use understudy::session::primary::Wish;
use understudy_checkpoint::Epoch;
use understudy_tests::sim::exhaustive::{events_until, faults, strike_after};
use understudy_tests::sim::faults::{Fault, Moment};
use understudy_tests::sim::mutant::Mutant;
use understudy_tests::sim::{Options, run_seed, run_seeds};

/// Seeds in every run. Each is about 1.7 s of virtual time and 2,400 events.
const SEEDS: u64 = 10_000;
/// Each mutant must be caught within so many seeds.
const MUTANT_SEEDS: u64 = 3_000;

#[test]
fn ten_thousand_seeds_hold_every_invariant() {
    if let Err(outcome) = run_seeds(0..SEEDS, Options::default()) {
        panic!("seed {}: {}\n{:#?}", outcome.seed, outcome.violation.expect("it failed"), outcome.faults);
    }
}

#[test]
fn a_seed_is_the_same_run_every_time() {
    for seed in 0..20 {
        let traced = Options { traced: true, ..Options::default() };
        let (first, second) = (run_seed(seed, traced), run_seed(seed, traced));
        let lines =
            |outcome: &understudy_tests::sim::Outcome| outcome.trace.as_ref().map(|t| t.lines.clone());
        assert_eq!(lines(&first), lines(&second), "seed {seed}");
        assert_eq!(first.events, run_seed(seed, Options::default()).events, "a trace changes nothing");
    }
}

#[test]
fn every_node_may_crash_and_every_connection_break_after_each_event_of_the_first_three_epochs() {
    let seed = 1;
    let events = events_until(Epoch(3), seed);
    for fault in faults() {
        for event in 1..=events {
            if let Some(violation) = strike_after(seed, event, fault, None) {
                panic!("{fault:?} after event {event}: {violation}");
            }
        }
    }
}

#[test]
fn a_second_fault_may_follow_the_first_at_any_distance() {
    let seed = 2;
    let events = events_until(Epoch(3), seed);
    let mut tried = 0;
    for (i, first) in faults().into_iter().enumerate() {
        for (j, second) in faults().into_iter().enumerate() {
            // Every pair of faults, each at another event and another distance.
            let event = 1 + (i * 31 + j * 17) as u64 % events;
            let after = Span::from_ms([0, 1, 5, 20, 60, 90, 130][(i + j) % 7]);
            if let Some(violation) = strike_after(seed, event, first, Some((after, second))) {
                panic!("{first:?} after event {event}, then {second:?} after {after:?}: {violation}");
            }
            tried += 1;
        }
    }
    assert!(tried > 400);
}

/// Each of these once broke a session that the other tests had passed.
#[test]
fn faults_that_found_something_find_nothing_any_more() {
    let seed = 3;
    let events = events_until(Epoch(3), seed);
    let ms = Span::from_ms;
    let stories = [
        // The host that restarted kept its link up, and with it the secondary's patience: nobody took over.
        (Fault::Crash { node: 0, silent: true, back_after: Some(ms(6)) }, None),
        // The offer of the new primary met the old one, which gave way, and was lost: never protected again.
        (Fault::Wish(Wish::Switchover), None),
        (Fault::Hang { node: 0, lasts: ms(300) }, None),
        // A guest that ended between two captures, or unprotected, was never seen to have ended.
        (Fault::GuestEnds, None),
        (Fault::Wish(Wish::Unprotect), Some((ms(30), Fault::GuestEnds))),
        // Acks ahead of commits, and no one to stop them.
        (Fault::Hang { node: 1, lasts: ms(60) }, Some((ms(1), Fault::CommitFails { host: 1 }))),
        // Both lost what they had: the copy that the record still names must be renounced.
        (
            Fault::CommitFails { host: 1 },
            Some((ms(9), Fault::Crash { node: 0, silent: false, back_after: Some(ms(50)) })),
        ),
    ];
    // A takeover that was refused before it was asked for dropped an epoch and said nothing of it.
    // Another took a link on which no primary had spoken for the primary's, and waited for it for ever.
    for seed in [1_082_660, 2_050_999] {
        assert_eq!(run_seed(seed, Options::default()).violation, None, "seed {seed}");
    }
    for (first, second) in stories {
        for event in events.saturating_sub(40)..events {
            if let Some(violation) = strike_after(seed, event, first, second) {
                panic!("{first:?} after event {event}, then {second:?}: {violation}");
            }
        }
    }
}

#[test]
fn each_mutant_is_caught_by_each_judge_that_should_by_itself() {
    let mut escaped = Vec::new();
    for (mutant, invariants) in Mutant::ALL {
        for invariant in invariants {
            let options = Options { mutant: Some(mutant), alone: Some(*invariant), ..Options::default() };
            match run_seeds(0..MUTANT_SEEDS, options) {
                Ok(_) => escaped.push(format!("{mutant:?} by {invariant:?} within {MUTANT_SEEDS} seeds")),
                Err(outcome) => println!("{mutant:?}: seed {}: {:?}", outcome.seed, outcome.violation),
            }
        }
    }
    assert!(escaped.is_empty(), "not caught: {escaped:#?}");
}

#[test]
fn the_seeds_lead_through_every_state() {
    let mut missing: Vec<_> = every_moment();
    for seed in 0..SEEDS {
        let outcome = run_seed(seed, Options::default());
        missing.retain(|moment| !outcome.moments.contains(moment));
        if missing.is_empty() {
            return;
        }
    }
    panic!("never seen: {missing:?}");
}

fn every_moment() -> Vec<Moment> {
    use understudy::session::primary::State as P;
    use understudy::session::secondary::State as S;
    let primary = [
        P::Claiming,
        P::Unprotected,
        P::Seeding,
        P::Arming,
        P::Protected,
        P::LinkLost,
        P::MarkingStale,
        P::PausedUndecided,
        P::SwitchingOver,
        P::Fenced,
        P::Ended,
    ];
    let secondary = [S::Empty, S::Seeding, S::Standing, S::Alone, S::TakingOver, S::Activating];
    primary.map(Moment::Primary).into_iter().chain(secondary.map(Moment::Secondary)).collect()
}
