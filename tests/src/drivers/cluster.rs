//! The cluster in virtual time: two hosts, a witness, the channels between them, and the loop from one event to the
//! next. Everything is determined by the seed.

use super::events::{Agenda, Event};
use super::facts::Fact;
use super::faults::{Aimed, Fault, Moment};
use super::harm::Trouble;
use super::host::{Host, Item};
use super::invariant::Violation;
use super::judge::Judges;
use super::mutant::Mutant;
use super::network::{Channel, ENDS, LINK, NODES, WITNESS};
use super::rng::Rng;
use super::settings::Settings;
use super::witness_node::WitnessNode;
use super::{GUESTS, GuestId, HostId, Options, trace};
use understudy::control::Wish;
use understudy_session::colo::AfterCrash;
use understudy_session::{Span, Time};

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Node {
    pub(super) down: bool,
    /// The node handles nothing before this time.
    pub(super) hangs_until: Time,
    /// Since when the node has existed without hanging.
    pub(super) there_since: Time,
    /// After a hang, timers run before the messages that arrived meanwhile.
    pub(super) timers_first: bool,
}

/// The simulated world.
#[derive(Debug)]
pub struct Cluster {
    pub(super) now: Time,
    pub(super) rng: Rng,
    pub(super) agenda: Agenda,
    pub(super) net: [Channel; 3],
    pub(super) nodes: [Node; NODES],
    pub(super) hosts: [Host; 2],
    pub(super) witness: WitnessNode,
    pub(super) settings: Settings,
    pub(super) mutant: Option<Mutant>,
    /// One set for each guest.
    pub(super) judges: [Judges; GUESTS],
    pub(super) violation: Option<Violation>,
    pub(super) events_handled: u64,
    /// How often clients have asked each guest.
    pub(super) asked: [u64; GUESTS],
    /// The time at which a frame of each guest last left.
    pub(super) left_at: [Time; GUESTS],
    /// Since when hosts, link and witness have been without fault.
    pub(super) well_since: Option<Time>,
    /// Faults are over: crashed nodes that should return do so, and nothing new fails.
    pub(super) healed: bool,
    /// Faults that wait for a particular moment.
    pub(super) aimed: Vec<Aimed>,
    /// The moments so far.
    pub(super) moments: Vec<Moment>,
    trace: Option<trace::Trace>,
}

impl Cluster {
    /// Two hosts and a witness at time 0. The first guest is started on the first host, the second on the second.
    pub fn new(rng: Rng, settings: Settings, options: Options) -> Self {
        let has_witness = settings.has_witness;
        let is_fenced = settings.is_fenced;
        let takes_the_image = settings.colo.after_crash == AfterCrash::FromCommit;
        let mut cluster = Self {
            now: Time(0),
            rng,
            agenda: Agenda::default(),
            net: Default::default(),
            nodes: Default::default(),
            hosts: [0, 1].map(|host| Host::down(host, &settings, options.mutant)),
            witness: WitnessNode::new(),
            settings,
            mutant: options.mutant,
            judges: [0, 1]
                .map(|_| Judges::only(options.alone, has_witness, options.hears_all, takes_the_image))
                .map(|judges| judges.fenced(is_fenced)),
            violation: None,
            events_handled: 0,
            asked: [0; GUESTS],
            left_at: [Time(0); GUESTS],
            well_since: None,
            healed: false,
            aimed: Vec::new(),
            moments: Vec::new(),
            trace: options.traced.then(trace::Trace::default),
        };
        for host in 0..2 {
            cluster.start_engine(host);
        }
        for guest in 0..cluster.settings.guests {
            cluster.start_here(guest, guest);
            if cluster.settings.answers.is_some() {
                cluster.asks_later(guest);
            }
        }
        for channel in 0..ENDS.len() {
            if channel == LINK || cluster.settings.has_witness {
                cluster.dial_later(channel);
            }
        }
        cluster.agenda.add(Time(0) + Span::from_ms(40), Event::OperatorLooks);
        if cluster.settings.has_spare {
            cluster.agenda.add(Time(0) + Settings::BEAT_EVERY, Event::Beats);
        }
        cluster
    }

    /// Handles events up to `until`, a violation, or `events_max` events.
    pub fn run(&mut self, until: Time, events_max: u64) {
        while self.violation.is_none() && self.events_handled < events_max {
            let Some(at) = self.next_at().filter(|at| *at <= until) else {
                self.now = self.now.max(until);
                return;
            };
            if at > self.now {
                self.now = at;
                if self.settings.disks {
                    self.hosts.iter().for_each(|host| host.yard.get().machine.is_now(at));
                }
                self.hosts.iter_mut().for_each(|host| host.timeouts_in_a_row = 0);
            }
            self.handle_next(at);
            self.events_handled += 1;
            self.look_at_health();
            for guest in 0..self.settings.guests {
                self.judge(guest);
            }
        }
    }

    fn judge(&mut self, guest: GuestId) {
        let in_flight_max = self.settings.in_flight_max as usize;
        for (host, node) in self.hosts.iter_mut().zip(&self.nodes) {
            host.look_whether_it_stands_still(guest, self.now, node.there_since == self.now);
        }
        let mut views = [0, 1].map(|host: HostId| self.hosts[host].view(guest, in_flight_max));
        let is_held_up = self.hosts.iter().any(|host| {
            let domain = host.yard.get().domains[guest].clone();
            let fails = domain.is_some_and(|domain| domain.get().trouble != Trouble::None);
            fails || host.receives_from[guest] > self.now
        });
        for view in &mut views {
            view.well_since = self.well_since;
            view.is_held_up = is_held_up;
            view.period = self.settings.answers.map_or(Span(0), |_| self.settings.colo.session.period);
        }
        if let Err(violation) = self.judges[guest].after_event(self.now, &views) {
            self.violation.get_or_insert(violation);
        }
    }

    fn look_at_health(&mut self) {
        for node in &mut self.nodes {
            if node.down || node.hangs_until > self.now {
                node.there_since = self.now;
            }
        }
        let hosts_are_well = self.nodes.iter().all(|node| !node.down && node.hangs_until <= self.now);
        let used = (0..ENDS.len()).filter(|channel| *channel == LINK || self.settings.has_witness);
        let lines_are_well = { used }.all(|channel| {
            let line = &self.net[channel];
            line.up == [true, true] && line.is_clear() && line.slowness == Span(0)
        });
        self.well_since = match self.well_since {
            Some(since) if hosts_are_well && lines_are_well => Some(since),
            _ => (hosts_are_well && lines_are_well).then_some(self.now),
        };
    }

    fn next_at(&self) -> Option<Time> {
        let timers = (0..2).filter_map(|host| self.timeout_at(host));
        timers.chain(self.agenda.next_at()).min()
    }

    /// The time of a host's next timeout: not while the host hangs, and never in the past.
    fn timeout_at(&self, host: HostId) -> Option<Time> {
        let at = self.hosts[host].next_timeout()?;
        Some(at.max(self.nodes[host].hangs_until).max(self.now))
    }

    fn handle_next(&mut self, at: Time) {
        let event_at = self.agenda.next_at();
        for host in 0..2 {
            let first = self.nodes[host].timers_first || event_at.is_none_or(|event_at| event_at > at);
            if first && self.timeout_at(host) == Some(at) {
                self.hosts[host].timeouts_in_a_row += 1;
                return self.turn(host, Item::Nothing);
            }
        }
        let Some((at, order, event)) = self.agenda.pop() else { return };
        // A hung dom0 and what it does not look after are two things: a guest that needs fencing goes on.
        let goes_on = self.settings.is_fenced && matches!(event, Event::Step { .. });
        let node = node_of(&event).filter(|_| !goes_on);
        if let Some(until) = node.map(|node| self.nodes[node].hangs_until).filter(|until| *until > at) {
            self.agenda.put_off(until, order, event);
            return;
        }
        self.handle_event(event);
    }

    fn handle_event(&mut self, event: Event) {
        match event {
            Event::Arrives { channel, conn, end, wire } => self.arrives(channel, conn, end, wire),
            Event::Up { channel, conn, end } => self.comes_up(channel, conn, end),
            Event::Down { channel, conn, end } => {
                if conn == self.net[channel].conn {
                    self.goes_down(channel, end);
                }
            }
            Event::Gone { host, life } => self.is_gone(host, life),
            Event::Beats => self.beats(),
            Event::Dial { channel } => self.dial(channel),
            Event::Straggler { host, guest, request } => self.witness_hears(None, host, guest, request),
            Event::LateLease { host, of, request } => self.witness_hears_of_lease(None, host, of, request),
            Event::LeaseWritten { life, of } => self.lease_written(life, of),
            Event::RunsOut { host } => self.runs_out(host),
            Event::Resets { host } => self.resets(host),
            Event::Step { host, guest, id } => self.step(host, guest, id),
            Event::Asks { guest } => self.client_asks(guest),
            Event::CopySteps { host, guest, id } => self.copy_steps(host, guest, id),
            Event::Sets { host, life, slot } if life == self.hosts[host].life => self.sets(host, slot),
            Event::Settles { host, guest, id } => self.settles(host, guest, id),
            Event::Captures { host, life, slot } if life == self.hosts[host].life => {
                self.captures(host, slot)
            }
            Event::Encodes { host, life, slot } if life == self.hosts[host].life => self.encodes(host, slot),
            Event::Works { host, life, slot } if life == self.hosts[host].life => self.works(host, slot),
            Event::Finds { host, life } if life == self.hosts[host].life => self.finds(host),
            Event::Captures { .. }
            | Event::Encodes { .. }
            | Event::Works { .. }
            | Event::Sets { .. }
            | Event::Finds { .. } => {}
            Event::PersistEnds { life, ticket } => self.persist_ends(life, ticket),
            Event::Strikes(fault) => self.strikes(fault),
            Event::StallEnds { channel } => self.stall_ends(channel),
            Event::TakesOverAlone { host, guest } => self.turn(host, Item::Wish(guest, Wish::ForceTakeover)),
            Event::RedirectIsBack { guest } => self.redirect_is_back(guest),
            Event::BreachIsSeen { host, guest } => self.breach_is_seen(host, guest),
            Event::SlownessEnds { channel } => self.net[channel].slowness = Span(0),
            Event::Restarts { node } => self.restarts(node),
            Event::OperatorLooks => self.operator_looks(),
        }
    }

    /// Injects a fault now.
    pub fn inject(&mut self, fault: Fault) {
        self.agenda.add(self.now, Event::Strikes(fault));
    }

    /// A session has entered a state: faults that were aimed at it strike, once.
    pub(super) fn moment(&mut self, moment: Moment) {
        if !self.moments.contains(&moment) {
            self.moments.push(moment);
        }
        let (strikes, waits) =
            std::mem::take(&mut self.aimed).into_iter().partition(|it| it.moment == moment);
        self.aimed = waits;
        for aimed in strikes {
            self.agenda.add(self.now + aimed.after, Event::Strikes(aimed.fault));
        }
    }

    pub(super) fn state_fact(&mut self, guest: GuestId, fact: &Fact) {
        if let Some(trace) = &mut self.trace {
            trace.fact(self.now, guest, fact);
        }
        if let Err(violation) = self.judges[guest].see(self.now, fact) {
            self.violation.get_or_insert(violation);
        }
    }

    /// Adds a line about a node to the trace.
    pub(super) fn note(&mut self, node: usize, what: impl FnOnce() -> String) {
        if let Some(trace) = &mut self.trace {
            let role = self.hosts.get(node).map_or("witness".to_owned(), trace::role);
            trace.line(self.now, node, &role, &what());
        }
    }

    /// The trace, if one was asked for.
    pub fn take_trace(&mut self) -> Option<trace::Trace> {
        self.trace.take()
    }
}

/// The node that handles an event, which waits while that node hangs.
fn node_of(event: &Event) -> Option<usize> {
    match event {
        Event::Arrives { channel, end, .. }
        | Event::Up { channel, end, .. }
        | Event::Down { channel, end, .. } => Some(ENDS[*channel][*end]),
        Event::Step { host, .. }
        | Event::Settles { host, .. }
        | Event::Captures { host, .. }
        | Event::Encodes { host, .. }
        | Event::Works { host, .. }
        | Event::Sets { host, .. }
        | Event::CopySteps { host, .. }
        | Event::BreachIsSeen { host, .. }
        | Event::Gone { host, .. }
        | Event::Finds { host, .. } => Some(*host),
        Event::Straggler { .. }
        | Event::LateLease { .. }
        | Event::LeaseWritten { .. }
        | Event::PersistEnds { .. } => Some(WITNESS),
        Event::Dial { .. }
        | Event::RunsOut { .. }
        | Event::Resets { .. }
        | Event::Beats
        | Event::Asks { .. }
        | Event::Strikes(_)
        | Event::StallEnds { .. }
        | Event::SlownessEnds { .. }
        | Event::RedirectIsBack { .. }
        | Event::TakesOverAlone { .. }
        | Event::Restarts { .. }
        | Event::OperatorLooks => None,
    }
}
