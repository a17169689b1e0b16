//! The pacer under loads: a guest, an encoder and a secondary with costs of their own, in virtual time.
//!
//! ```text
//!   guest sends ─► held ─► capture (pause) ─► encode ─► ack ─► out; a closed-loop client then asks again
//! ```

mod world;

use super::super::flow::Flow;
use super::*;
use alloc::collections::BinaryHeap;
use alloc::vec::Vec;
use core::cmp::Reverse;
use proptest::prelude::*;
use understudy_checkpoint::Epoch;
use world::*;

#[test]
fn an_idle_guest_costs_no_more_checkpoints_than_its_longest_interval_says() {
    let seen = paced(LIGHT).run(Span(SECOND.0 * 10));
    assert_eq!(seen.pauses.len(), 49, "in ten seconds, each 200 ms and a pause after the one before");
}

#[test]
fn a_single_answer_waits_only_for_its_own_checkpoint() {
    let clients = Clients { count: 1, service: Span::from_us(5), round_trip: Span::from_us(50) };
    let seen = paced(LIGHT).with_clients(clients).run(SECOND);
    let least = LIGHT.pause.0 + LIGHT.encode.0 + LIGHT.ack.0;
    // The first comes before the guest has had its shortest interval.
    let held = longest(&seen.answers_held[1..]);
    assert!(held.0 <= least + 1_000, "{held:?}");
    assert!(seen.answers_held.len() > 3_000, "{}", seen.answers_held.len());
}

#[test]
fn many_clients_lose_little_and_share_checkpoints() {
    let clients = Clients { count: 768, service: Span(1_300), round_trip: Span::from_us(30) };
    let seen = paced(LIGHT).with_clients(clients).run(SECOND);
    let unprotected = SECOND.0 / clients.service.0;
    let share = seen.answers_held.len() as f64 / unprotected as f64;
    assert!(share > 0.8, "{share}");
    assert!(seen.answers_held.len() / seen.pauses.len() > 50, "{} checkpoints", seen.pauses.len());
}

#[test]
fn a_few_clients_share_a_checkpoint_as_well() {
    let clients = Clients { count: 8, service: Span::from_us(4), round_trip: Span::from_us(30) };
    let seen = paced(LIGHT).with_clients(clients).run(SECOND);
    let each = seen.answers_held.len() as f64 / seen.pauses.len() as f64;
    assert!(each > 3.0, "{each} answers a checkpoint");
}

#[test]
fn pacing_by_a_clock_ignores_waiting_output() {
    let clock = Pacing::Clock { interval: Span::from_ms(25) };
    let clients = Clients { count: 8, service: Span::from_us(4), round_trip: Span::from_us(30) };
    let seen = World::new(clock, LIGHT).with_clients(clients).run(SECOND);
    assert_eq!(seen.pauses.len(), 39);
    assert_eq!(seen.ran_longest, Span::from_ms(25));
}

#[test]
fn a_guest_whose_pause_is_long_is_paced_as_by_a_clock_and_still_answers() {
    let costs = Costs { pause: Span::from_ms(150), ..LIGHT };
    let clients = Clients { count: 1, service: Span::from_us(4), round_trip: Span::from_us(30) };
    let seen = paced(costs).with_clients(clients).run(Span(SECOND.0 * 20));
    assert_eq!(seen.ran_longest, BUDGETS.interval_max);
    assert!(seen.spread() < 1.01, "{}", seen.spread());
    let most = BUDGETS.interval_max.0 + costs.pause.0 + costs.encode.0 + costs.ack.0;
    assert!(longest(&seen.answers_held).0 <= most);
}

#[test]
fn a_receiver_is_not_slowed_to_the_longest_interval_and_one_bare_frame_ends_no_epoch_early() {
    let mut alone = paced(LIGHT);
    alone.at(Time(0) + Span::from_ms(20), What::Bare);
    let seen = alone.run(SECOND);
    assert_eq!(seen.pauses[0].0, Time(0) + Span::from_ms(22), "it waited for company");

    let mut receiver = paced(LIGHT);
    (0..50_000).for_each(|at| receiver.at(Time(0) + Span::from_us(at * 20), What::Bare));
    let seen = receiver.run(SECOND);
    assert!(longest(&seen.bare_held) < Span::from_ms(2), "{:?}", longest(&seen.bare_held));
}

#[test]
fn a_bulk_sender_goes_out_at_the_pace_of_its_checkpoints() {
    let mut sender = paced(LIGHT);
    (0..100_000).for_each(|at| sender.at(Time(0) + Span::from_us(at * 10), What::Answer(None)));
    let seen = sender.run(SECOND);
    assert!(seen.spread() < 2.0, "{}", seen.spread());
    assert!(longest(&seen.answers_held) < Span::from_ms(1), "{:?}", longest(&seen.answers_held));
}

/// Frames of a Linux guest as they came, recorded at its card: microseconds, and whether they carry something. `pages`: five
/// clients at a time fetch 300 kB each by HTTP, six times. `upload`: it receives 64 KiB each millisecond.
const RECORDED_PAGES: &str = include_str!("recorded/pages.txt");
const RECORDED_UPLOAD: &str = include_str!("recorded/upload.txt");

fn replayed(recorded: &str) -> (World, Span) {
    let (mut world, mut last) = (paced(LIGHT), Time(0));
    for line in recorded.lines() {
        let (at_us, kind) = line.split_once(' ').expect("a time and a kind");
        last = Time(0) + Span::from_us(at_us.parse().expect("microseconds"));
        world.at(last, if kind == "bare" { What::Bare } else { What::Answer(None) });
    }
    (world, (last + SECOND) - Time(0))
}

#[test]
fn recorded_pages_are_answered_at_once_by_fewer_checkpoints_than_frames() {
    let (world, span) = replayed(RECORDED_PAGES);
    let seen = world.run(span);
    let least = LIGHT.pause.0 + LIGHT.encode.0 + LIGHT.ack.0;
    assert_eq!(
        seen.answers_held.len(),
        RECORDED_PAGES.lines().filter(|line| line.ends_with("answer")).count()
    );
    assert!(longest(&seen.answers_held).0 < least * 4, "{:?}", longest(&seen.answers_held));
    let idle = (span.0 / BUDGETS.interval_max.0) as usize;
    assert!(seen.pauses.len() < idle + seen.answers_held.len() / 2, "{} checkpoints", seen.pauses.len());
}

#[test]
fn a_recorded_receiver_ends_epochs_by_many_acknowledgements_and_none_waits_long() {
    let (world, span) = replayed(RECORDED_UPLOAD);
    let seen = world.run(span);
    assert!(longest(&seen.bare_held) < Span::from_ms(3), "{:?}", longest(&seen.bare_held));
    let idle = (span.0 / BUDGETS.interval_max.0) as usize;
    assert!(seen.pauses.len() < idle + seen.bare_held.len() / 2, "{} checkpoints", seen.pauses.len());
}

#[test]
fn bursts_after_silence_do_not_wait_for_the_batch_of_before() {
    let mut bursts = paced(LIGHT);
    for burst in 0..100 {
        let at = Time(0) + Span::from_ms(burst * 9);
        // The hundredth is a single answer after bursts of forty.
        (0..if burst == 99 { 1 } else { 40 })
            .for_each(|nth| bursts.at(at + Span::from_us(nth), What::Answer(None)));
    }
    let seen = bursts.run(SECOND);
    let least = LIGHT.pause.0 + LIGHT.encode.0 + LIGHT.ack.0;
    assert!(longest(&seen.answers_held).0 < least * 3, "{:?}", longest(&seen.answers_held));
}

#[test]
fn a_budget_is_kept_and_named() {
    let budgets = Budgets { link_bytes_per_s_max: 1_000_000, ..BUDGETS };
    let mut pacer = Pacer::new(Pacing::Output(budgets), Time(0));
    pacer.resumed(Some(LIGHT.pause), Time(0));
    pacer.cost(LIGHT.encode, 10_000);
    pacer.waits(Waiting { answers: 1, bare: 0 }, Time(1_000));
    let ten_ms = Time(0) + Span::from_ms(10);
    assert_eq!(pacer.due(false), Due { at: ten_ms, by: PacedBy::LinkRate });
    pacer.set_pacing(Pacing::Output(Budgets { cpu_percent_max: 1, ..BUDGETS }));
    assert_eq!(pacer.due(false), Due { at: Time(0) + Span::from_ms(6), by: PacedBy::CpuShare });
    pacer.set_pacing(Pacing::Output(BUDGETS));
    assert_eq!(pacer.due(false), Due { at: Time(0) + Span::from_us(100), by: PacedBy::IntervalMin });
    pacer.set_pacing(Pacing::Output(Budgets { pause_percent_max: 1, ..BUDGETS }));
    assert_eq!(pacer.due(false), Due { at: Time(0) + Span::from_us(1_980), by: PacedBy::PauseShare });
}

#[test]
fn a_busy_encoder_is_waited_for_and_no_longer_than_the_longest_interval() {
    let mut pacer = Pacer::new(Pacing::Output(BUDGETS), Time(0));
    pacer.resumed(Some(LIGHT.pause), Time(0));
    pacer.waits(Waiting { answers: 1, bare: 0 }, Time(1_000));
    let latest = Time(0) + BUDGETS.interval_max;
    assert_eq!(pacer.due(true), Due { at: latest, by: PacedBy::Encoder });
    assert!(pacer.due(false).at < latest, "it is due once the encoder is free");
    let clock = Pacing::Clock { interval: Span::from_ms(5) };
    pacer.set_pacing(clock);
    assert_eq!(
        pacer.due(true),
        Due { at: Time(0) + Span::from_ms(5), by: PacedBy::Clock },
        "a clock waits for nothing"
    );
}

fn any_costs() -> impl Strategy<Value = Costs> {
    (10u64..20_000, 0u64..30, 10u64..20_000, 10u64..20_000).prop_map(|(pause, of_run, encode, ack)| Costs {
        pause: Span::from_us(pause),
        pause_percent_of_run: of_run,
        encode: Span::from_us(encode),
        ack: Span::from_us(ack),
    })
}

fn any_clients() -> impl Strategy<Value = Clients> {
    (0u32..200, 1u64..500, 1u64..5_000).prop_map(|(count, service, round_trip)| Clients {
        count,
        service: Span::from_us(service),
        round_trip: Span::from_us(round_trip),
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever waits and whatever it costs: the guest runs on after `interval_max` and never shorter than its share, and
    /// nothing waits longer than an interval and two checkpoints.
    #[test]
    fn no_guest_starves_and_no_budget_is_broken(costs in any_costs(), clients in any_clients(), arrivals in proptest::collection::vec((0u64..2_000_000, any::<bool>()), 0..300)) {
        let span = Span(SECOND.0 * 2);
        let mut world = paced(costs).with_clients(clients);
        for (at_us, is_bare) in arrivals {
            world.at(Time(0) + Span::from_us(at_us), if is_bare { What::Bare } else { What::Answer(None) });
        }
        let seen = world.run(span);
        let pipeline = costs.encode.0 + costs.ack.0;
        prop_assert!(seen.ran_longest.0 <= BUDGETS.interval_max.0.max(pipeline));
        let longest_pause = seen.pauses.iter().map(|(_, pause)| pause.0).max().unwrap_or(0);
        let most = BUDGETS.interval_max.0.max(pipeline) + 2 * longest_pause + pipeline;
        let held = longest(&seen.answers_held).max(longest(&seen.bare_held));
        prop_assert!(held.0 <= most, "{held:?} of {most}");
        // Where the share alone decided, it is kept, but for what the mean learns late.
        let is_bound = longest_pause * 3 < BUDGETS.interval_max.0;
        let still = seen.percent_still(span);
        prop_assert!(!is_bound || still <= 35.0, "{still} %");
    }

    /// A steady load leads to a steady pace.
    #[test]
    fn a_steady_load_is_paced_steadily(costs in any_costs(), every_us in 5u64..5_000) {
        let mut world = paced(costs);
        for nth in 0..2_000_000 / every_us {
            world.at(Time(0) + Span::from_us(nth * every_us), What::Answer(None));
        }
        let seen = world.run(Span(SECOND.0 * 2));
        prop_assume!(seen.pauses.len() > 8);
        // A pace of a few arrivals differs by one of them.
        let gap = SECOND.0 * 2 / seen.pauses.len() as u64;
        let by_one = 1.0 + 2.0 * (every_us * 1_000) as f64 / gap as f64;
        prop_assert!(seen.spread() <= 2.0 * by_one, "{} with {} pauses", seen.spread(), seen.pauses.len());
    }
}
