//! Two nodes' real drivers of leases, with our witness's real records, in virtual time: clocks drift, messages are late or lost, the
//! holder hangs, for good or for a while, or is cut off. The judge knows real time, which nobody in the world does. What resets a
//! host is a model.

use super::*;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::ops::Range;
use understudy_session::Span;
use understudy_session::lease::{
    Arbiter, DRIFT_PPM_MAX, Input, Lease, LeaseRequest, Output, RESET_MAX, Standing,
};

mod outside;
use outside::{Asked, SimHost, Timer};

#[path = "../../../session/src/lease/tests/real_time.rs"]
mod real_time;
use real_time::{Chance, Clock, END, Mutant, SECOND, Seen};

const TICK: u64 = SECOND / 10;

#[derive(Debug)]
enum Event {
    Tick,
    /// A request of one of the two reaches the witness.
    Asks(usize, NodeName, LeaseRequest),
    /// An answer reaches one of the two.
    Told(usize, NodeName, LeaseReply),
}

fn name(node: usize) -> NodeName {
    NodeName(["a", "b"][node].into())
}

struct World {
    chance: Chance,
    mutant: Option<Mutant>,
    events: BTreeMap<(u64, u64), Event>,
    count: u64,
    hangs: Range<u64>,
    cut_at: u64,
    blind: Range<u64>,
    losses_percent: u64,
    delay_max: u64,
    terms: Terms,
}

impl World {
    fn new(seed: u64, mutant: Option<Mutant>, fails: bool) -> Self {
        let mut chance = Chance(seed);
        // Long enough that a mutant can name a shorter one.
        let terms = Terms::new(Span::from_ms(7_000 + chance.below(3_000))).unwrap();
        let at = 20 * SECOND + chance.below(10 * SECOND);
        let never = END + 1;
        let (hangs, cut_at, blind) = match (fails, chance.below(4)) {
            (false, _) => (never..never, never, 0..0),
            (true, 0) => (at..never, never, 0..0),
            (true, 1) => (at..at + SECOND + chance.below(6 * SECOND), at + 8 * SECOND, 0..0),
            (true, 2) => (never..never, at, 0..0),
            (true, _) => (55 * SECOND..never, never, 36 * SECOND..52 * SECOND),
        };
        let losses_percent = if fails { chance.below(3) * 20 } else { 0 };
        let delays = [SECOND / 1_000, SECOND / 10, SECOND];
        let delay_max = delays[chance.below(if fails { 3 } else { 2 }) as usize];
        let events = BTreeMap::new();
        Self { chance, mutant, events, count: 0, hangs, cut_at, blind, losses_percent, delay_max, terms }
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

    fn is(&self, mutant: Mutant) -> bool {
        self.mutant == Some(mutant)
    }

    /// For a mutant: what a taker is told, so that it waits for the watchdog alone.
    fn shorter(&self, mut reply: LeaseReply) -> LeaseReply {
        if let Some(lease) = &mut reply.lease {
            let wait = self.terms.wait().0 - self.terms.watchdog().0;
            lease.terms = Terms::new(Span(self.terms.watchdog().0 - wait)).unwrap();
        }
        reply
    }

    fn run(mut self) -> Seen {
        let clocks: [Clock; 2] = std::array::from_fn(|_| Clock::new(&mut self.chance));
        let timers: [_; 2] = std::array::from_fn(|_| {
            let clock = Clock::new(&mut self.chance);
            let whole = self.is(Mutant::CountsFromTheAnswer).then_some(self.terms.watchdog().0);
            SimHost(Arc::new(Mutex::new(Timer { now: 0, clock, runs_out: None, sets: 0, whole })))
        });
        let mut nodes: [Fencing; 2] = std::array::from_fn(|node| {
            Fencing::new(name(node), self.terms, Arc::new(timers[node].clone()), PathBuf::new())
        });
        let mut cxs: [Asked; 2] = Default::default();
        let mut arbiter = Arbiter::new([]);
        let begins_at = 15 * SECOND + self.chance.below(20 * SECOND);
        let (mut seen, hosts) = (Seen::default(), BTreeSet::from([name(0)]));
        for tick in 0..END / TICK {
            self.at(tick * TICK, Event::Tick);
        }
        while let Some(((now, _), event)) = self.events.pop_first() {
            if now > END || seen.fenced_at.is_some() {
                break;
            }
            timers.iter().for_each(|timer| timer.0.lock().now = now);
            if let (None, Some(at)) = (seen.dead_at, timers[0].0.lock().runs_out.filter(|at| *at <= now)) {
                seen.was_reset = true;
                seen.dead_at = Some(at + self.chance.below(RESET_MAX.0));
            }
            let lives = |node: usize| node == 1 || seen.dead_at.is_none() && !self.hangs.contains(&now);
            for node in 0..2 {
                cxs[node].now = clocks[node].shows(now);
            }
            match event {
                Event::Tick => {
                    for node in (0..2).filter(|node| lives(*node)) {
                        nodes[node].run(Need::Arm, &mut cxs[node]);
                    }
                    if now >= begins_at {
                        nodes[1].take_from(&hosts, &mut cxs[1]);
                    }
                }
                Event::Asks(node, host, mut request) => {
                    if let LeaseRequest::Swap { expect, new, .. } = &mut request
                        && self.is(Mutant::TakesWithoutComparing)
                        && new.standing == Standing::Taken
                        && let Some((_, held)) = arbiter.leases().find(|(of, _)| **of == host)
                    {
                        (*expect, new.number) = (held.number, held.number + 1);
                    }
                    arbiter.handle(Input::Request { client: node as u64, from: name(node), host, request });
                }
                Event::Told(node, host, reply) if lives(node) => {
                    let is_taken = node == 1 && host == name(0) && self.is(Mutant::WaitsForTheWatchdogOnly);
                    let reply = if is_taken { self.shorter(reply) } else { reply };
                    nodes[node].told(&host, reply, &mut cxs[node]);
                }
                Event::Told(..) => {}
            }
            while let Some(output) = arbiter.poll_output() {
                match output {
                    Output::Persist { host, .. } => arbiter.handle(Input::Persisted { host, done: true }),
                    Output::Reply { client, host, reply } => {
                        let node = client as usize;
                        if node == 1 || now < self.cut_at {
                            self.send(now, Event::Told(node, host, reply));
                        }
                    }
                    Output::NoRoom { host } => panic!("no room for {host}"),
                }
            }
            for (node, cx) in cxs.iter_mut().enumerate() {
                for (host, request) in std::mem::take(&mut cx.asked) {
                    let is_renewal =
                        matches!(request, LeaseRequest::Swap { new, .. } if new.standing == Standing::Held);
                    if node == 0 && is_renewal && self.is(Mutant::ArmsUnconfirmed) {
                        let mut timer = timers[0].0.lock();
                        timer.runs_out = Some(now + timer.clock.real(self.terms.watchdog().0));
                    }
                    let is_lost = node == 0 && now >= self.cut_at
                        || node == 1 && host == name(0) && self.blind.contains(&now);
                    if !is_lost {
                        self.send(now, Event::Asks(node, host, request));
                    }
                }
            }
            if nodes[1].is_fenced(&name(0)) {
                seen.fenced_at = Some(now);
            }
        }
        seen.armed = timers[0].0.lock().sets;
        seen
    }
}

fn worlds(mutant: Option<Mutant>, fails: bool) -> Vec<Seen> {
    (0..500).map(|seed| World::new(seed, mutant, fails).run()).collect()
}

#[test]
fn no_guest_starts_before_its_former_host_is_gone_and_then_it_does() {
    let seen = worlds(None, true);
    real_time::each_starts_the_guest_in_time(&seen);
    assert!(seen.iter().filter(|seen| seen.was_reset).count() > 400, "most of them are reset");
}

#[test]
fn hosts_that_renew_are_neither_reset_nor_fenced() {
    real_time::nobody_is_fenced(&worlds(None, false), 20);
}

#[test]
fn the_judge_notices_each_rule_that_is_broken() {
    real_time::each_mutant_is_noticed(|mutant| worlds(Some(mutant), true));
}

/// One node, whose witness answers at once.
struct Alone {
    fencing: Fencing,
    cx: Asked,
    arbiter: Arbiter,
    timer: SimHost,
}

impl Alone {
    fn new(leases: impl IntoIterator<Item = (NodeName, Lease)>) -> Self {
        let clock = Clock::new(&mut Chance(0));
        let timer =
            SimHost(Arc::new(Mutex::new(Timer { now: 0, clock, runs_out: None, sets: 0, whole: None })));
        let terms = Terms::new(Span::from_ms(5_000)).unwrap();
        let fencing = Fencing::new(name(0), terms, Arc::new(timer.clone()), PathBuf::new());
        Self { fencing, cx: Asked::default(), arbiter: Arbiter::new(leases), timer }
    }

    fn run_for(&mut self, need: Need, ms: u64) {
        for _ in 0..ms / 100 {
            self.cx.now = self.cx.now + Span::from_ms(100);
            self.timer.0.lock().now = self.cx.now.0;
            self.fencing.run(need, &mut self.cx);
            while let Some((host, request)) = self.cx.asked.pop() {
                self.arbiter.handle(Input::Request { client: 0, from: name(0), host, request });
                while let Some(output) = self.arbiter.poll_output() {
                    match output {
                        Output::Persist { host, .. } => {
                            self.arbiter.handle(Input::Persisted { host, done: true });
                        }
                        Output::Reply { host, reply, .. } => self.fencing.told(&host, reply, &mut self.cx),
                        Output::NoRoom { host } => panic!("no room for {host}"),
                    }
                }
            }
        }
    }

    fn lease(&self) -> Lease {
        *self.arbiter.leases().next().expect("a lease").1
    }

    fn is_armed(&self) -> bool {
        self.timer.0.lock().runs_out.is_some()
    }
}

#[test]
fn a_watchdog_is_set_while_a_guest_needs_it_and_the_lease_given_back_when_none_does() {
    let mut alone = Alone::new([]);
    alone.run_for(Need::Nothing, 1_000);
    assert_eq!(alone.arbiter.leases().count(), 0, "nothing is asked for nothing");
    alone.run_for(Need::Renew, 3_000);
    assert_eq!((alone.fencing.held(), alone.is_armed()), (Held::Renewed, false));
    alone.run_for(Need::Arm, 3_000);
    assert_eq!((alone.fencing.held(), alone.is_armed()), (Held::Armed, true));
    alone.run_for(Need::Renew, 100);
    assert!(!alone.is_armed(), "the guest has left");
    alone.run_for(Need::Nothing, 1_000);
    assert_eq!(alone.lease().standing, Standing::Released);
    alone.run_for(Need::Arm, 3_000);
    assert_eq!((alone.lease().standing, alone.is_armed()), (Standing::Held, true));
    alone.fencing.leave(Need::Arm);
    assert!(alone.is_armed(), "a guest may be left");
    alone.fencing.leave(Need::Renew);
    assert!(!alone.is_armed());
}

#[test]
fn a_lease_names_the_longer_watchdog_until_the_shorter_one_is_set() {
    let before = Lease::of_numbers(40, Standing::Held, 60_000).unwrap();
    let mut alone = Alone::new([(name(0), before)]);
    alone.run_for(Need::Arm, 200);
    assert_eq!((alone.lease().number, alone.lease().watchdog_ms()), (41, 60_000));
    alone.run_for(Need::Arm, 3_000);
    assert_eq!(alone.lease().watchdog_ms(), 5_000);
    // One that was taken away is taken anew; nothing of what was armed under it runs.
    let taken = Lease::of_numbers(40, Standing::Taken, 60_000).unwrap();
    let mut alone = Alone::new([(name(0), taken)]);
    alone.run_for(Need::Arm, 200);
    assert_eq!((alone.lease().number, alone.lease().watchdog_ms()), (41, 5_000));
    assert_eq!(alone.lease().standing, Standing::Held);
}
