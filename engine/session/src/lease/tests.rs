//! A host that hangs, is cut off, or dies, and another one that wants its guests: in virtual time, with clocks that drift, an
//! arbiter that swaps, and messages that are late or lost. The judge knows real time, which nobody in the world does.

use super::*;
use crate::{NodeName, RequestId, Time, WitnessOutcome};
use core::ops::Range;
use std::collections::BTreeMap;
use std::vec::Vec;

mod real_time;
use real_time::{Chance, Clock, END, Mutant, SECOND, Seen};

/// How often the machines are asked whether their time has come: late is only late.
const TICK: u64 = SECOND / 4;

#[derive(Debug)]
enum Event {
    Tick,
    RenewAt { number: u64 },
    Renewed { number: u64 },
    HolderTold,
    LookAt,
    TakeAt { number: u64 },
    Told(Lease),
}

struct World {
    chance: Chance,
    mutant: Option<Mutant>,
    terms: Terms,
    events: BTreeMap<(u64, u64), Event>,
    count: u64,
    /// When the holder hangs, and from when on nothing gets through to the arbiter from it.
    hangs_at: Option<u64>,
    cut_at: Option<u64>,
    /// Meanwhile no look of the taker's reaches the arbiter, while the holder goes on.
    blind: Range<u64>,
    losses_percent: u64,
    delay_max: u64,
}

impl World {
    fn new(seed: u64, mutant: Option<Mutant>, fails: bool) -> Self {
        let mut chance = Chance(seed);
        let watchdog = Span::from_ms(4_000 + chance.below(4_000));
        let terms = Terms::new(watchdog).unwrap();
        let at = 20 * SECOND + chance.below(10 * SECOND);
        let (hangs_at, cut_at, blind) = match (fails, chance.below(3)) {
            (false, _) => (None, None, 0..0),
            (true, 0) => (Some(at), None, 0..0),
            (true, 1) => (None, Some(at), 0..0),
            (true, _) => (Some(55 * SECOND), None, 36 * SECOND..50 * SECOND),
        };
        let losses_percent = if fails { chance.below(3) * 20 } else { 0 };
        // An arbiter that takes a second to answer is no healthy one.
        let delays = [SECOND / 1_000, SECOND / 10, SECOND];
        let delay_max = delays[chance.below(if fails { 3 } else { 2 }) as usize];
        let (events, count) = (BTreeMap::new(), 0);
        Self { chance, mutant, terms, events, count, hangs_at, cut_at, blind, losses_percent, delay_max }
    }

    fn at(&mut self, when: u64, event: Event) {
        self.count += 1;
        self.events.insert((when, self.count), event);
    }

    fn send(&mut self, now: u64, event: Event) {
        if self.chance.below(100) >= self.losses_percent {
            let late = self.chance.below(self.delay_max) + 1;
            self.at(now + late, event);
        }
    }

    fn run(mut self) -> Seen {
        let clocks: [Clock; 3] = std::array::from_fn(|_| Clock::new(&mut self.chance));
        let [own, xen, others] = &clocks;
        let mut holder = Holder::new(self.terms, 0, own.shows(0));
        let slack = Span(self.terms.wait().0 - self.terms.watchdog().0);
        let mutant = self.mutant;
        let told = |lease: Lease| match mutant {
            Some(Mutant::WaitsForTheWatchdogOnly) => {
                Lease { terms: Terms { watchdog: Span(lease.terms.watchdog.0 - slack.0) }, ..lease }
            }
            _ => lease,
        };
        let begins_at = 15 * SECOND + self.chance.below(20 * SECOND);
        let mut taker = Taker::new(others.shows(begins_at));
        let mut lease = Lease { number: 0, standing: Standing::Held, terms: self.terms };
        let mut runs_out: Option<u64> = None;
        let mut seen = Seen::default();
        for tick in 0..END / TICK {
            self.at(tick * TICK, Event::Tick);
        }
        while let Some(((now, _), event)) = self.events.pop_first() {
            if now > END || seen.fenced_at.is_some() {
                break;
            }
            if seen.dead_at.is_none() && runs_out.is_some_and(|at| at <= now) {
                // Until the reset is through, guests may write.
                seen.was_reset = true;
                seen.dead_at = Some(runs_out.unwrap() + self.chance.below(RESET_MAX.0));
            }
            let lives = seen.dead_at.is_none() && self.hangs_at.is_none_or(|at| now < at);
            let is_cut = self.cut_at.is_some_and(|at| now >= at);
            match event {
                Event::Tick => {
                    if lives && holder.next_timeout().is_some_and(|at| at <= own.shows(now)) {
                        holder.handle_timeout(own.shows(now));
                    }
                    if now >= begins_at && taker.next_timeout().is_some_and(|at| at <= others.shows(now)) {
                        taker.handle_timeout(others.shows(now));
                    }
                }
                Event::RenewAt { number } => {
                    if lease.standing == Standing::Held && lease.number + 1 == number {
                        lease.number = number;
                    }
                    match lease.standing {
                        Standing::Held if lease.number == number && !is_cut => {
                            self.send(now, Event::Renewed { number });
                        }
                        Standing::Taken if !is_cut => self.send(now, Event::HolderTold),
                        _ => {}
                    }
                }
                Event::Renewed { number } if lives => holder.renewed(own.shows(now), number),
                Event::HolderTold if lives => holder.taken(),
                Event::Renewed { .. } | Event::HolderTold => {}
                Event::LookAt => self.send(now, Event::Told(lease)),
                Event::TakeAt { number } => {
                    let agrees = lease.standing == Standing::Held && lease.number == number;
                    if agrees || self.mutant == Some(Mutant::TakesWithoutComparing) {
                        lease = Lease { number: lease.number + 1, standing: Standing::Taken, ..lease };
                    }
                    self.send(now, Event::Told(lease));
                }
                Event::Told(lease) => taker.told(others.shows(now), told(lease)),
            }
            while let Some(output) = holder.poll_output() {
                match output {
                    HolderOutput::Renew { number } => {
                        if self.mutant == Some(Mutant::ArmsUnconfirmed) {
                            runs_out = Some(now + xen.real(self.terms.watchdog.0));
                        }
                        if !is_cut {
                            self.send(now, Event::RenewAt { number });
                        }
                    }
                    HolderOutput::Arm { until } => {
                        let span = match self.mutant {
                            Some(Mutant::CountsFromTheAnswer) => self.terms.watchdog.0,
                            _ => (until - own.shows(now)).0 / SECOND * SECOND,
                        };
                        runs_out = Some(now + xen.real(span));
                        seen.armed += 1;
                    }
                    HolderOutput::Stop | HolderOutput::Go | HolderOutput::Lost => {}
                }
            }
            while let Some(output) = taker.poll_output() {
                match output {
                    TakerOutput::Look if self.blind.contains(&now) => {}
                    TakerOutput::Look => self.send(now, Event::LookAt),
                    TakerOutput::TakeAway { lease } => self.send(now, Event::TakeAt { number: lease.number }),
                    TakerOutput::Fenced => seen.fenced_at = Some(now),
                }
            }
        }
        seen
    }
}

fn worlds(mutant: Option<Mutant>, fails: bool) -> Vec<Seen> {
    (0..600).map(|seed| World::new(seed, mutant, fails).run()).collect()
}

#[test]
fn a_guest_starts_elsewhere_only_after_its_host_was_reset_and_then_it_does() {
    real_time::each_starts_the_guest_in_time(&worlds(None, true));
}

#[test]
fn a_host_that_renews_is_neither_reset_nor_fenced() {
    real_time::nobody_is_fenced(&worlds(None, false), 30);
}

#[test]
fn the_judge_notices_each_rule_that_is_broken() {
    real_time::each_mutant_is_noticed(|mutant| worlds(Some(mutant), true));
}

#[test]
fn a_wait_follows_from_the_watchdog_that_it_outlasts() {
    let wait_ms = |ms| Terms::new(Span::from_ms(ms)).map(|terms| terms.wait().0.div_ceil(1_000_000));
    assert_eq!((wait_ms(5_000), wait_ms(300_000)), (Ok(7_017), Ok(302_902)));
    for ms in [0, 3_999, 300_001, u64::from(u32::MAX)] {
        assert_eq!(wait_ms(ms), Err(TermsError(Span::from_ms(ms))));
        assert_eq!(Lease::of_numbers(1, Standing::Held, ms as u32), None);
    }
    assert_eq!(Lease::of_numbers(0, Standing::Held, 5_000), None, "0 is said of none");
}

#[test]
fn guests_are_stopped_before_the_watchdog_and_go_on_if_the_lease_is_confirmed_after_all() {
    let terms = Terms::new(Span::from_ms(8_000)).unwrap();
    let at = |ms: u64| Time(ms * 1_000_000);
    let mut holder = Holder::new(terms, 7, at(0));
    let told =
        |holder: &mut Holder| -> Vec<HolderOutput> { std::iter::from_fn(|| holder.poll_output()).collect() };
    holder.handle_timeout(at(0));
    assert_eq!(told(&mut holder), [HolderOutput::Renew { number: 8 }]);
    holder.renewed(at(500), 7);
    assert!(told(&mut holder).is_empty(), "an old answer confirms nothing");
    holder.renewed(at(1_100), 8);
    assert_eq!(told(&mut holder), [HolderOutput::Arm { until: at(8_000) }], "counted from the question");
    assert!(holder.is_held());
    for ms in [2_000, 4_000] {
        holder.handle_timeout(at(ms));
        assert_eq!(told(&mut holder), [HolderOutput::Renew { number: 9 }], "again, as it may be lost");
    }
    holder.handle_timeout(at(6_000));
    assert_eq!(told(&mut holder), [HolderOutput::Renew { number: 9 }, HolderOutput::Stop]);
    assert!(!holder.is_held());
    holder.renewed(at(6_500), 9);
    assert_eq!(
        told(&mut holder),
        [HolderOutput::Arm { until: at(10_000) }, HolderOutput::Go],
        "counted from the first question"
    );
    holder.taken();
    assert_eq!(told(&mut holder), [HolderOutput::Lost]);
    holder.renewed(at(7_000), 10);
    assert_eq!((told(&mut holder), holder.next_timeout()), (Vec::new(), None), "it is over");
}

#[test]
fn answers_that_come_late_do_not_count_and_a_newer_number_begins_the_wait_anew() {
    let terms = Terms::new(Span::from_ms(4_000)).unwrap();
    let at = |ms: u64| Time(ms * 1_000_000);
    let lease = |number, standing| Lease { number, standing, terms };
    let mut taker = Taker::new(at(0));
    taker.told(at(1_000), lease(5, Standing::Held));
    taker.told(at(5_000), lease(6, Standing::Held));
    taker.told(at(5_500), lease(4, Standing::Taken));
    taker.told(at(6_000), lease(5, Standing::Held));
    assert_eq!(taker.waits_until(), Some(at(5_000) + terms.wait()));
    let told =
        |taker: &mut Taker| -> Vec<TakerOutput> { std::iter::from_fn(|| taker.poll_output()).collect() };
    taker.handle_timeout(at(11_013));
    assert_eq!(told(&mut taker), [TakerOutput::Look], "the wait began with 6");
    taker.handle_timeout(at(11_514));
    assert_eq!(told(&mut taker), [TakerOutput::TakeAway { lease: lease(6, Standing::Held) }]);
    taker.told(at(14_000), lease(7, Standing::Taken));
    assert_eq!((told(&mut taker), taker.next_timeout()), (std::vec![TakerOutput::Fenced], None));
}

fn named(name: &str) -> NodeName {
    NodeName(name.into())
}

#[test]
fn a_host_takes_renews_and_gives_back_its_lease_and_only_others_take_it_away() {
    use Standing::{Held, Released, Taken};
    use WitnessOutcome::{Conflict, Illegal, Swapped};
    let terms = Terms::new(Span::from_ms(5_000)).unwrap();
    let lease = |number, standing| Lease { number, standing, terms };
    let outcome = |held: Option<(u64, Standing)>, expect, new: (u64, Standing), from: &str| {
        let held = held.map(|(number, standing)| lease(number, standing));
        judge(held.as_ref(), expect, &lease(new.0, new.1), &named("a"), &named(from))
    };
    assert_eq!(outcome(None, 0, (1, Held), "a"), Swapped);
    assert_eq!(outcome(None, 0, (1, Held), "b"), Illegal, "for itself alone");
    assert_eq!(outcome(None, 0, (1, Taken), "b"), Illegal, "what is absent cannot be taken");
    assert_eq!(outcome(None, 0, (1, Released), "a"), Illegal);
    assert_eq!(outcome(Some((7, Held)), 7, (8, Held), "a"), Swapped);
    assert_eq!(outcome(Some((7, Held)), 7, (9, Held), "a"), Illegal, "one at a time");
    assert_eq!(outcome(Some((7, Held)), 6, (7, Held), "a"), Conflict);
    assert_eq!(outcome(Some((7, Held)), 7, (8, Taken), "b"), Swapped);
    assert_eq!(outcome(Some((8, Held)), 7, (8, Taken), "b"), Conflict, "it was renewed");
    assert_eq!(outcome(Some((7, Held)), 7, (8, Taken), "a"), Illegal);
    assert_eq!(outcome(Some((7, Held)), 7, (8, Released), "b"), Illegal);
    assert_eq!(outcome(Some((7, Held)), 7, (8, Released), "a"), Swapped);
    for standing in [Released, Taken] {
        assert_eq!(outcome(Some((7, standing)), 7, (8, Held), "a"), Swapped, "it returns");
        assert_eq!(outcome(Some((7, standing)), 7, (8, Taken), "b"), Illegal, "there is nothing to take");
    }
    assert_eq!(outcome(Some((u64::MAX, Held)), u64::MAX, (0, Held), "a"), Illegal);
}

#[test]
fn our_witness_tells_no_lease_that_is_not_stable() {
    let terms = Terms::new(Span::from_ms(5_000)).unwrap();
    let lease = |number| Lease { number, standing: Standing::Held, terms };
    let mut arbiter = Arbiter::new([(named("b"), lease(3))]);
    let ask = |arbiter: &mut Arbiter, request| {
        arbiter.handle(Input::Request { client: 1, from: named("a"), host: named("a"), request });
        std::iter::from_fn(|| arbiter.poll_output()).collect::<Vec<_>>()
    };
    let (first, read) = (RequestId(1), LeaseRequest::Read { id: RequestId(2) });
    let swap = LeaseRequest::Swap { id: first, expect: 0, new: lease(1) };
    assert_eq!(ask(&mut arbiter, swap), [Output::Persist { host: named("a"), lease: lease(1) }]);
    assert_eq!(ask(&mut arbiter, read), [], "nothing is told meanwhile");
    arbiter.handle(Input::Persisted { host: named("a"), done: false });
    let told = |outcome, id, lease| Output::Reply {
        client: 1,
        host: named("a"),
        reply: LeaseReply { id, outcome, lease },
    };
    let out: Vec<_> = std::iter::from_fn(|| arbiter.poll_output()).collect();
    assert_eq!(out, [told(WitnessOutcome::Told, RequestId(2), None)], "and the swap has no answer");
    ask(&mut arbiter, swap);
    arbiter.handle(Input::Persisted { host: named("a"), done: true });
    let out: Vec<_> = std::iter::from_fn(|| arbiter.poll_output()).collect();
    assert_eq!(out, [told(WitnessOutcome::Swapped, first, Some(lease(1)))]);
    for _ in 0..2 * super::arbiter::WAITING_MAX {
        let swap = LeaseRequest::Swap { id: first, expect: 1, new: lease(2) };
        ask(&mut arbiter, swap);
    }
    arbiter.handle(Input::Persisted { host: named("a"), done: true });
    let waited = std::iter::from_fn(|| arbiter.poll_output()).count();
    assert_eq!(waited, 1 + super::arbiter::WAITING_MAX, "further ones are dropped");
    assert_eq!(arbiter.leases().count(), 2);
    // A full arbiter knows its hosts, and no others.
    let many = (0..HOSTS_MAX).map(|number| (named(&std::format!("h{number}")), lease(1)));
    let mut arbiter = Arbiter::new(many);
    assert_eq!(ask(&mut arbiter, swap), [Output::NoRoom { host: named("a") }]);
}
