//! The drivers and sessions under every fault that their simulator knows: by chance, by exhaustion, and in stories.

use understudy::control::Wish;
use understudy_checkpoint::Epoch;
use understudy_session::Span;
use understudy_session::primary::State;
use understudy_tests::drivers::exhaustive::{
    events_until, faults, faults_of_copies, faults_of_pairs, life_of_a_copy, strike_after,
};
use understudy_tests::drivers::fate::Fate;
use understudy_tests::drivers::faults::{Fault, Moment};
use understudy_tests::drivers::judge::Invariant;
use understudy_tests::drivers::mutant::Mutant;
use understudy_tests::drivers::network::{LINK, WITNESS, witness_channel};
use understudy_tests::drivers::pair::{A, B, Pair};
use understudy_tests::drivers::run::{plain_settings, settings_with_copies};
use understudy_tests::drivers::settings::Settings;
use understudy_tests::drivers::{Options, run_seed, run_seeds};

/// Seeds in every run. Each is about 1.2 s of virtual time, 3,900 events and 10 to 14 ms of a processor.
const SEEDS: u64 = 10_000;
/// Each mutant must be caught within so many seeds.
const MUTANT_SEEDS: u64 = 1_000;
/// Seeds of the mutants that the scrub makes harmless.
const SCRUBBED_SEEDS: u64 = 200;

#[test]
fn seeds_hold_every_invariant() {
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
            |outcome: &understudy_tests::drivers::Outcome| outcome.trace.as_ref().map(|t| t.lines.clone());
        assert_eq!(lines(&first), lines(&second), "seed {seed}");
        assert_eq!(first.events, run_seed(seed, Options::default()).events, "a trace changes nothing");
    }
}

/// Seeds with a guest that needs fencing. They are long.
const FENCED_SEEDS: u64 = 40;

#[test]
fn a_guest_that_needs_fencing_runs_on_one_host_at_a_time_and_hosts_are_reset_for_it() {
    let fences = Options { fences: Some(true), ..Options::default() };
    let mut resets = 0;
    for seed in 0..FENCED_SEEDS {
        let outcome = run_seed(seed, fences);
        assert!(outcome.violation.is_none(), "seed {seed}: {:?}\n{:#?}", outcome.violation, outcome.faults);
        resets += usize::from(outcome.moments.contains(&Moment::Reset));
    }
    assert!(resets > 0, "no watchdog ran out");
}

#[test]
fn every_node_may_crash_and_every_connection_break_after_each_event_of_the_first_three_epochs() {
    let seed = 1;
    let settings = plain_settings();
    let events = events_until(Epoch(3), seed, &settings);
    for fault in faults() {
        for event in 1..=events {
            if let Some(violation) = strike_after(seed, &settings, event, fault, None) {
                panic!("{fault:?} after event {event}: {violation}");
            }
        }
    }
}

#[test]
fn a_second_fault_may_follow_the_first_at_any_distance() {
    let seed = 2;
    let settings = plain_settings();
    let events = events_until(Epoch(3), seed, &settings);
    let mut tried = 0;
    for (i, first) in faults_of_pairs().into_iter().enumerate() {
        for (j, second) in faults_of_pairs().into_iter().enumerate() {
            // Every pair of faults, each at another event and another distance.
            let event = 1 + (i * 31 + j * 17) as u64 % events;
            let after = Span::from_ms([0, 1, 5, 20, 60, 90, 130][(i + j) % 7]);
            if let Some(violation) = strike_after(seed, &settings, event, first, Some((after, second))) {
                panic!("{first:?} after event {event}, then {second:?} after {after:?}: {violation}");
            }
            tried += 1;
        }
    }
    assert!(tried > 1_000);
}

/// The copy stands beside a domain that stands by. After each event some of the faults strike, and each fault after events all over
/// the copy's life; all of them after each event are of the long run:
/// `cargo test --release -p understudy-tests --test drivers -- --ignored`.
#[test]
fn every_fault_may_strike_all_through_a_copys_life() {
    strike_all_through_a_copys_life(16);
}

#[test]
#[ignore = "takes minutes"]
fn every_fault_may_strike_after_each_event_of_a_copys_life() {
    strike_all_through_a_copys_life(1);
}

fn strike_all_through_a_copys_life(stride: usize) {
    let seed = 4;
    let settings = Settings { stands_by: true, ..settings_with_copies() };
    let events = life_of_a_copy(seed, &settings);
    for (number, fault) in faults_of_copies().into_iter().enumerate() {
        for event in events.clone().skip(number % stride).step_by(stride) {
            if let Some(violation) = strike_after(seed, &settings, event, fault, None) {
                panic!("{fault:?} after event {event} of {events:?}: {violation}");
            }
        }
    }
}

#[test]
fn a_second_fault_may_follow_the_first_while_a_copy_runs() {
    let seed = 5;
    let settings = settings_with_copies();
    let events = life_of_a_copy(seed, &settings);
    let (firsts, seconds) = (faults_of_copies(), faults_of_pairs());
    for (i, first) in firsts.into_iter().enumerate() {
        for (j, second) in seconds.iter().enumerate().skip(i % 6).step_by(6) {
            let event = events.start + (i * 31 + j * 17) as u64 % (events.end - events.start);
            let after = Span::from_ms([0, 1, 5, 20, 60, 90, 130][(i + j) % 7]);
            if let Some(violation) = strike_after(seed, &settings, event, first, Some((after, *second))) {
                panic!("{first:?} after event {event}, then {second:?} after {after:?}: {violation}");
            }
        }
    }
}

/// Each of these once broke a session that the other tests had passed.
#[test]
fn faults_that_found_something_find_nothing_any_more() {
    let seed = 3;
    let settings = plain_settings();
    let events = events_until(Epoch(3), seed, &settings);
    let ms = Span::from_ms;
    let stories = [
        // The host that restarted kept its link up, and with it the secondary's patience: nobody took over.
        (Fault::Crash { node: 0, silent: true, back_after: Some(ms(6)) }, None),
        // The offer of the new primary met the old one, which gave way, and was lost: never protected again.
        (Fault::Wish { guest: 0, wish: Wish::Switchover }, None),
        (Fault::Hang { node: 0, lasts: ms(300) }, None),
        // A guest that ended between two captures, or unprotected, was never seen to have ended.
        (Fault::GuestEnds { guest: 0 }, None),
        (Fault::Wish { guest: 0, wish: Wish::Unprotect }, Some((ms(30), Fault::GuestEnds { guest: 0 }))),
        // Acks ahead of commits, and no one to stop them.
        (Fault::Hang { node: 1, lasts: ms(60) }, Some((ms(1), Fault::CommitFails { host: 1 }))),
        // Both lost what they had: the copy that the record still names must be renounced.
        (
            Fault::CommitFails { host: 1 },
            Some((ms(9), Fault::Crash { node: 0, silent: false, back_after: Some(ms(50)) })),
        ),
    ];
    for (first, second) in stories {
        for event in events.saturating_sub(40)..events {
            if let Some(violation) = strike_after(seed, &settings, event, first, second) {
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

/// What the scrub is for: what a wrong account of dirty pages leads to is found soon, where each page that is not sent is
/// compared from time to time (a guest so small is compared whole, each 25 ms).
#[test]
fn where_unchanged_pages_are_compared_what_a_resync_forgets_is_found() {
    for mutant in [Mutant::ResyncForgets, Mutant::ResyncBaseLater] {
        for judge in [Invariant::Atomicity, Invariant::Divergence] {
            let options = Options {
                mutant: Some(mutant),
                alone: Some(judge),
                scrubs: Some(true),
                ..Options::default()
            };
            let outcome = run_seeds(0..SCRUBBED_SEEDS, options);
            assert!(outcome.is_ok(), "{mutant:?}: {outcome:?}");
        }
    }
}

#[test]
fn the_seeds_lead_through_every_state() {
    let mut missing = every_moment();
    for seed in 0..SEEDS {
        let outcome = run_seed(seed, Options::default());
        missing.retain(|moment| !outcome.moments.contains(moment));
        if missing.is_empty() {
            return;
        }
    }
    panic!("never seen: {missing:?}");
}

/// All states that there are: whoever adds one adds it here, for the compiler says so.
fn every_moment() -> Vec<Moment> {
    use understudy_session::primary::State as P;
    use understudy_session::secondary::State as S;
    let primary = std::iter::successors(Some(P::Asking), |state| match state {
        P::Asking => Some(P::AwaitingOperator),
        P::AwaitingOperator => Some(P::Claiming),
        P::Claiming => Some(P::ClaimRefused),
        P::ClaimRefused => Some(P::Unprotected),
        P::Unprotected => Some(P::Seeding),
        P::Seeding => Some(P::Arming),
        P::Arming => Some(P::Protected),
        P::Protected => Some(P::Late),
        P::Late => Some(P::LinkLost),
        P::LinkLost => Some(P::MarkingStale),
        P::MarkingStale => Some(P::PausedUndecided),
        P::PausedUndecided => Some(P::SwitchingOver),
        P::SwitchingOver => Some(P::Fenced),
        P::Fenced => Some(P::Contested),
        P::Contested => Some(P::Ended),
        P::Ended => None,
    });
    let secondary = std::iter::successors(Some(S::Empty), |state| match state {
        S::Empty => Some(S::Seeding),
        S::Seeding => Some(S::Standing),
        S::Standing => Some(S::Outdated),
        S::Outdated => Some(S::Alone),
        S::Alone => Some(S::TakingOver),
        S::TakingOver => Some(S::Activating),
        S::Activating => Some(S::ActivationFailed),
        S::ActivationFailed => None,
    });
    let copies = [Moment::Matches, Moment::CopyLives, Moment::CopyHalts];
    primary.map(Moment::Primary).chain(secondary.map(Moment::Secondary)).chain(copies).collect()
}

#[test]
fn a_link_that_comes_back_in_time_costs_nothing_and_one_that_does_not_costs_the_copy() {
    let mut pair = Pair::protected();
    pair.checkpoint();
    pair.lose_link(Span::from_ms(20));
    pair.pass(Span::from_ms(40));
    pair.checkpoint();
    assert_eq!(pair.state(B), None, "the guest stayed where it was");
    pair.lose_link(Span::from_ms(400));
    pair.pass(Span::from_ms(200));
    assert_eq!(pair.state(B), None, "between two healthy hosts the one that runs the guest wins");
    pair.ends_well();
}

#[test]
fn a_host_that_dies_is_taken_over_from_and_one_that_comes_back_is_the_other_ones_secondary() {
    let mut pair = Pair::protected();
    pair.checkpoint();
    pair.lose_host(A, Some(Span::from_ms(300)));
    pair.takeover();
    pair.ends_well();
}

#[test]
fn an_engine_whose_kernel_says_that_it_is_gone_is_not_waited_for() {
    let grace = Settings::TAKEOVER_GRACE;
    let time = |is_told: bool| {
        let mut pair = Pair::protected();
        pair.checkpoint();
        let began = pair.now();
        match is_told {
            true => pair.kill_engine(A, None),
            false => pair.lose_host(A, None),
        }
        pair.takeover();
        let took = pair.now() - began;
        pair.ends_well();
        took
    };
    assert!(time(true) < grace, "the kernel's word is enough");
    assert!(time(false) > grace, "a silence is not");
    // One that is there again is not gone.
    let mut pair = Pair::protected();
    pair.checkpoint();
    pair.kill_engine(A, Some(Span::from_ms(5)));
    pair.pass(Span::from_ms(30));
    assert_eq!(pair.state(B), None);
    pair.ends_well();
}

#[test]
fn a_person_moves_the_guest() {
    let mut pair = Pair::protected();
    pair.switch_over();
    pair.takeover();
    pair.ends_well();
}

/// A takeover that was refused before it was asked for dropped the epoch that was arriving, and said nothing of it. With
/// one epoch in flight the primary waited for its ack for ever.
#[test]
fn a_takeover_of_a_copy_that_is_not_fresh_yet_costs_no_epoch_unseen() {
    for wait_us in (0..12_000).step_by(500) {
        let mut pair = Pair::begun(1);
        pair.until("the first copy is complete", |pair| pair.committed().is_some());
        pair.pass(Span::from_us(wait_us));
        pair.force_takeover(B);
        pair.ends_well();
    }
}

/// A takeover was refused, because the record still said stale; then the dead primary's own swap to fresh came late. The
/// secondary waited for a primary on a link that led to a host that had restarted and was none: nobody took over.
#[test]
fn a_record_that_becomes_fresh_after_its_primary_has_died_is_acted_upon() {
    for wait_us in (0..30_000).step_by(1_500) {
        let mut pair = Pair::begun(2);
        pair.until("the first copy is complete", |pair| pair.committed().is_some());
        pair.strike(Fault::Stall {
            channel: witness_channel(A),
            ends: [true, false],
            lasts: Span::from_ms(60),
        });
        pair.pass(Span::from_us(wait_us));
        pair.lose_host(A, Some(Span::from_ms(6)));
        pair.force_takeover(B);
        pair.ends_well();
    }
}

#[test]
fn a_domain_that_stands_by_no_more_is_not_acked_and_another_copy_is_made() {
    for fate in [Fate::Destroyed, Fate::Ran] {
        let mut pair = Pair::protected();
        pair.checkpoint();
        pair.strike(Fault::StandingSuffers { host: B, guest: 0, fate });
        pair.is_protected_again(A);
        pair.ends_well();
    }
}

#[test]
fn what_the_dirty_log_does_not_tell_is_found_and_all_of_it_is_copied_anew() {
    let lost =
        [Fault::LogOff { guest: 0 }, Fault::BitsStolen { guest: 0 }, Fault::BitsLost { guest: 0, writes: 3 }];
    for fault in lost {
        let mut pair = Pair::protected();
        pair.checkpoint();
        // Not at once after a drain: something has to be in the log to be stolen.
        pair.pass(Span::from_ms(4));
        // What was lost does no harm where the guest writes the same again before long: then it is lost once more.
        for _ in 0..20 {
            pair.strike(fault);
            pair.pass(Span::from_ms(15));
            if pair.state(A) != Some(State::Protected) {
                break;
            }
        }
        pair.is_protected_again(A);
        pair.ends_well();
    }
}

#[test]
fn what_left_unheld_makes_the_copy_stale() {
    let mut pair = Pair::protected();
    pair.checkpoint();
    pair.strike(Fault::RedirectLost { guest: 0, lasts: Span::from_ms(60) });
    pair.is_protected_again(A);
    pair.ends_well();
}

#[test]
fn a_takeover_that_takes_long_is_waited_for() {
    let mut pair = Pair::protected();
    pair.strike(Fault::ActivationSlow { host: B });
    pair.switch_over();
    pair.takeover();
    pair.ends_well();
}

/// Nothing of the guest has run, and its image is whole.
#[test]
fn a_takeover_that_meets_a_shortage_is_carried_out_when_that_has_passed() {
    for stands_by in [true, false] {
        let mut pair = Pair::protected_with(|settings| settings.stands_by = stands_by);
        pair.strike(Fault::ActivationShort { host: B });
        pair.switch_over();
        pair.takeover();
        pair.ends_well();
    }
}

/// The witness has put B in charge, which cannot start the guest; A has it, paused, and a person has it back.
#[test]
fn a_guest_whose_takeover_comes_to_nothing_is_kept_and_can_be_had_back() {
    for fault in [Fault::ActivationFails { host: B }, Fault::DiesActivating { host: B }] {
        let mut pair = Pair::protected();
        pair.strike(fault);
        pair.switch_over();
        pair.until("A gives way", |pair| pair.state(A) == Some(State::Fenced));
        pair.reclaim();
        pair.until("the guest runs on A", |pair| pair.state(A) == Some(State::Protected));
        pair.ends_well();
    }
}

/// What holds the first guest's copy on B stands still. The second one, which runs on B, goes on.
#[test]
fn a_guest_that_is_not_taken_in_stops_no_other_on_its_link() {
    let mut pair = Pair::protected_with(|settings| settings.guests = 2);
    pair.strike(Fault::ReceiverHangs { host: B, guest: 0, lasts: None });
    pair.ends_well();
}

/// The hosts lose their power, A comes back first and starts the guest from its disk: that guest is not the one that was
/// protected, and B, which has the copy, takes over.
#[test]
fn a_guest_that_is_booted_anew_does_not_replace_one_that_is_held() {
    let mut pair = Pair::protected_with(|settings| settings.autostarts = true);
    pair.checkpoint();
    pair.lose_host(A, Some(Span::from_ms(50)));
    pair.takeover();
    pair.ends_well();
}

#[test]
fn without_a_witness_a_guest_that_is_booted_anew_waits_for_a_person() {
    let mut pair = Pair::begun_with(|settings| {
        (settings.has_witness, settings.autostarts) = (false, true);
    });
    pair.until("the guest is protected", |pair| pair.state(A) == Some(State::Protected));
    pair.lose_host(A, Some(Span::from_ms(50)));
    pair.until("it is asked for", |pair| pair.state(A) == Some(State::AwaitingOperator));
    pair.force_takeover(B);
    pair.takeover();
    pair.ends_well();
}

/// The guest was moved to B and its copy was on A when both hosts lost their power: the record has a fresh copy on A that
/// went with it. Both toolstacks start the guest from its disk; B is its owner, and may begin it anew once A has said that
/// there is no copy.
#[test]
fn a_copy_that_is_lost_with_its_guest_is_renounced_also_where_a_guest_of_that_name_was_booted() {
    for (a_ms, b_ms) in [(20, 60), (60, 20)] {
        let mut pair = Pair::protected_with(|settings| settings.autostarts = true);
        pair.switch_over();
        pair.until("B is protected", |pair| pair.state(B) == Some(State::Protected));
        pair.lose_host(A, Some(Span::from_ms(a_ms)));
        pair.lose_host(B, Some(Span::from_ms(b_ms)));
        pair.until("B begins anew", |pair| pair.state(B) == Some(State::Unprotected));
        pair.ends_well();
    }
}

/// The engine of A dies and its guest lives on; B takes over and has begun to speak when A's next engine looks for guests.
#[test]
fn what_a_dead_engine_left_makes_way_for_the_guest_that_was_taken_over() {
    for back_ms in [90, 150, 300] {
        let mut pair = Pair::protected_with(|settings| settings.outlives = true);
        pair.checkpoint();
        let back_after = Some(Span::from_ms(back_ms));
        pair.strike(Fault::Crash { node: A, silent: false, back_after });
        pair.takeover();
        pair.ends_well();
    }
}

/// A receiver that stands still for good does so also if a shorter standstill comes upon it.
#[test]
fn of_two_standstills_of_a_receiver_the_longer_counts() {
    let mut pair = Pair::protected_with(|settings| settings.guests = 2);
    for lasts in [None, Some(Span::from_ms(30))] {
        pair.strike(Fault::ReceiverHangs { host: B, guest: 0, lasts });
    }
    pair.ends_well();
}

/// What it said leaves if its claim was confirmed, and nobody ever says it otherwise.
#[test]
fn a_guest_may_end_while_it_is_claimed() {
    for wait_us in (0..14_000).step_by(250) {
        let mut pair = Pair::begun(2);
        pair.pass(Span::from_us(wait_us));
        pair.strike(Fault::GuestEnds { guest: 0 });
        pair.ends_well();
    }
}

/// Without a witness, the engine of B dies when it has just started the guest, and that of A before it hears of it: what was
/// begun in the later generation has said nothing, and nobody knows of it.
#[test]
fn without_a_witness_a_generation_of_which_nobody_knows_is_begun_again() {
    let mut pair = Pair::begun_with(|settings| (settings.has_witness, settings.outlives) = (false, true));
    pair.until("the guest is protected", |pair| pair.state(A) == Some(State::Protected));
    pair.checkpoint();
    pair.strike(Fault::DiesActivating { host: B });
    pair.switch_over();
    pair.until("B has started the guest", |pair| pair.is_activated());
    pair.strike(Fault::Crash { node: A, silent: false, back_after: Some(Span::from_ms(165)) });
    pair.ends_well();
}

/// The first copy is complete, and the link is lost before the primary hears of it: it goes on unprotected, as before. A
/// person who starts the guest from that copy has two.
#[test]
fn without_a_witness_a_copy_of_which_its_primary_never_heard_holds_nothing_back() {
    let mut pair = Pair::begun_with(|settings| settings.has_witness = false);
    pair.until("a copy is made", |pair| pair.state(A) == Some(State::Seeding));
    pair.strike(Fault::Stall { channel: LINK, ends: [false, true], lasts: Span::from_ms(300) });
    pair.until("it is complete", |pair| pair.committed().is_some());
    pair.until("the link is lost", |pair| pair.state(A) == Some(State::Unprotected));
    pair.force_takeover(B);
    pair.takeover();
    pair.pass(Span::from_ms(20));
    pair.ends_well();
}

/// The guest was suspended to be handed over, and the witness dies before anybody has decided. A checkpoint of it let it run
/// again, though it was said to stand still; what it then sent past its queue nobody paused it for.
#[test]
fn a_guest_that_was_handed_over_stands_still_until_somebody_has_decided() {
    let mut pair = Pair::protected();
    pair.strike(Fault::Crash { node: WITNESS, silent: false, back_after: None });
    pair.switch_over();
    pair.until("nobody decides", |pair| pair.state(A) == Some(State::PausedUndecided));
    pair.strike(Fault::RedirectLost { guest: 0, lasts: Span::from_ms(300) });
    pair.pass(Span::from_ms(300));
    assert_eq!(pair.state(A), Some(State::PausedUndecided));
    pair.ends_well();
}

/// Without a witness, a person starts the guest on B, which is about to run; on A, which has not heard of it, it ends by
/// itself. What it said last, B's knows nothing of.
#[test]
fn without_a_witness_what_a_guest_said_before_its_end_is_dropped_while_its_peer_starts_it() {
    for has_link in [true, false] {
        let mut pair = Pair::protected_with(|settings| settings.has_witness = false);
        pair.checkpoint();
        if !has_link {
            pair.lose_link(Span::from_ms(400));
            pair.pass(Span::from_ms(100));
        }
        pair.strike(Fault::ActivationSlow { host: B });
        pair.force_takeover(B);
        pair.pass(Span::from_ms(10));
        pair.strike(Fault::GuestEnds { guest: 0 });
        pair.until("B runs it", |pair| pair.is_activated());
        pair.pass(Span::from_ms(400));
        assert_eq!(pair.state(A), None, "{has_link}");
        pair.ends_well();
    }
}

/// The host of the guest dies, and so does that of the copy which went on, once it has one of its own. What clients saw is in the
/// guest all the way: its judges look at every word.
#[test]
fn a_copy_goes_on_as_the_guest_and_so_does_a_copy_of_it() {
    let mut pair = Pair::protected_with(|settings| *settings = settings_with_copies());
    pair.matches(A);
    pair.pass(Span::from_ms(15));
    pair.lose_host(A, Some(Span::from_ms(90)));
    pair.takeover();
    assert!(pair.was_copy(B), "it goes on as it is");
    pair.matches(B);
    pair.pass(Span::from_ms(15));
    pair.lose_host(B, Some(Span::from_ms(400)));
    pair.until("a takeover back", |pair| pair.state(A).is_some());
    assert!(pair.was_copy(A), "it goes on as it is");
    pair.ends_well();
}
