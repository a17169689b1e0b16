//! The cluster in virtual time: two hosts, a witness, the channels between them, and the loop that moves from
//! one event to the next. Everything in it follows from the seed.

use super::events::{Agenda, Event};
use super::facts::Fact;
use super::faults::{Aimed, Fault, Moment};
use super::host::{Host, Role, Settings};
use super::judge::{Invariant, Judges, Violation};
use super::mutant::Mutant;
use super::network::{Channel, ENDS, LINK, NODES, WITNESS, Wire, witness_channel};
use super::rng::Rng;
use super::witness_node::WitnessNode;
use super::{HostId, Options, trace};
use understudy::session::{Decline, Span, Time, ToPrimary, ToSecondary, primary, secondary};
use understudy_checkpoint::Generation;

/// How often a lost connection is dialled.
const DIAL_EVERY: Span = Span::from_ms(8);
/// After how long an end notices that the other end of a connection is dead, if nobody tells it.
const KEEPALIVE: Span = Span::from_ms(100);

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Node {
    pub(super) down: bool,
    /// It handles nothing before this.
    pub(super) hangs_until: Time,
    /// After a hang, timers come before what has arrived meanwhile.
    pub(super) timers_first: bool,
}

/// Everything there is.
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
    pub(super) judges: Judges,
    pub(super) violation: Option<Violation>,
    pub(super) events_handled: u64,
    /// When a frame last left.
    pub(super) left_at: Time,
    /// Faults are over: crashed nodes that are to come back do so, and nothing new goes wrong.
    pub(super) healed: bool,
    /// Faults that wait for their moment.
    pub(super) aimed: Vec<Aimed>,
    /// Moments there have been.
    pub(super) moments: Vec<Moment>,
    trace: Option<trace::Trace>,
}

impl Cluster {
    /// Two hosts and a witness at time 0; the guest is started on the first.
    pub fn new(rng: Rng, settings: Settings, options: Options) -> Self {
        let mut cluster = Self {
            now: Time(0),
            rng,
            agenda: Agenda::default(),
            net: Default::default(),
            nodes: Default::default(),
            hosts: [Host::down(), Host::down()],
            witness: WitnessNode::new(),
            settings,
            mutant: options.mutant,
            judges: Judges::only(options.alone),
            violation: None,
            events_handled: 0,
            left_at: Time(0),
            healed: false,
            aimed: Vec::new(),
            moments: Vec::new(),
            trace: options.traced.then(trace::Trace::default),
        };
        cluster.start_here(0);
        cluster.become_secondary(1);
        for channel in 0..ENDS.len() {
            if channel == LINK || cluster.settings.has_witness {
                cluster.dial_later(channel);
            }
        }
        cluster.agenda.add(Time(0) + Span::from_ms(40), Event::OperatorLooks);
        cluster
    }

    /// Handles events up to `until`, or to a violation, or to the number of events given.
    pub fn run(&mut self, until: Time, events_max: u64) {
        while self.violation.is_none() && self.events_handled < events_max {
            let Some(at) = self.next_at().filter(|at| *at <= until) else {
                self.now = self.now.max(until);
                return;
            };
            if at > self.now {
                self.now = at;
                self.hosts.iter_mut().for_each(|host| host.timeouts_in_a_row = 0);
            }
            self.handle_next(at);
            self.events_handled += 1;
            let in_flight_max = self.settings.in_flight_max as usize;
            let views = [self.hosts[0].view(in_flight_max), self.hosts[1].view(in_flight_max)];
            if let Err(violation) = self.judges.after_event(self.now, &views) {
                self.violation.get_or_insert(violation);
            }
        }
    }

    fn next_at(&self) -> Option<Time> {
        let timers = (0..2).filter_map(|host| self.timeout_at(host));
        timers.chain(self.agenda.next_at()).min()
    }

    /// When a host's session has something to do; not while the host hangs, and never in the past.
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
                match &self.hosts[host].role {
                    Role::Primary(_) => self.primary_timeout(host),
                    Role::Secondary(_) => self.secondary_timeout(host),
                    Role::Down => {}
                }
                return;
            }
        }
        let Some((at, order, event)) = self.agenda.pop() else { return };
        let node = node_of(&event);
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
            Event::Dial { channel } => self.dial(channel),
            Event::Straggler { host, request } => self.witness_hears(None, host, request),
            Event::Step { host, life } if life == self.hosts[host].life => self.step(host),
            Event::CaptureEnds { host, life, epoch, conn } if life == self.hosts[host].life => {
                self.capture_ends(host, epoch, conn);
            }
            Event::CommitEnds { host, life, epoch } if life == self.hosts[host].life => {
                self.commit_ends(host, epoch);
            }
            Event::Step { .. } | Event::CaptureEnds { .. } | Event::CommitEnds { .. } => {}
            Event::PersistEnds { life, ticket } => self.persist_ends(life, ticket),
            Event::Strikes(fault) => self.strikes(fault),
            Event::StallEnds { channel } => self.stall_ends(channel),
            Event::SlownessEnds { channel } => self.net[channel].slowness = Span(0),
            Event::Restarts { node } => self.restarts(node),
            Event::OperatorLooks => self.operator_looks(),
        }
    }

    /// Lets something go wrong now.
    pub fn inject(&mut self, fault: Fault) {
        self.agenda.add(self.now, Event::Strikes(fault));
    }

    /// A session has entered a state: what was aimed at that strikes, once.
    pub(super) fn moment(&mut self, moment: Moment) {
        if !self.moments.contains(&moment) {
            self.moments.push(moment);
        }
        if let Some(index) = self.aimed.iter().position(|aimed| aimed.moment == moment) {
            let aimed = self.aimed.swap_remove(index);
            self.agenda.add(self.now + aimed.after, Event::Strikes(aimed.fault));
        }
    }

    // ---- connections ----

    /// The end of a channel at which `node` is.
    fn end_of(channel: usize, node: usize) -> usize {
        usize::from(ENDS[channel][1] == node)
    }

    /// Whether `node` believes that its connection on this channel stands.
    pub(super) fn end_is_up(&self, channel: usize, node: usize) -> bool {
        self.net[channel].up[Self::end_of(channel, node)]
    }

    /// Sends on a connection; nothing happens if there is none. `transfer` is the time the bytes take.
    pub(super) fn send(&mut self, channel: usize, node: usize, wire: Wire, transfer: Span) {
        let end = Self::end_of(channel, node);
        let line = &mut self.net[channel];
        if !line.up[end] && !matches!(wire, Wire::Fin) {
            return;
        }
        if line.stalled[end] {
            line.parked[end].push_back(wire);
            return;
        }
        let at = line.arrival(end, self.now, transfer, &mut self.rng);
        let conn = line.conn;
        if line.lost_after[1 - end].is_some_and(|lost_after| at > lost_after) {
            return self.lost(channel, end, wire);
        }
        self.agenda.add(at, Event::Arrives { channel, conn, end: 1 - end, wire });
    }

    /// What was lost with its connection; a request may have reached the witness's buffers all the same.
    fn lost(&mut self, channel: usize, sender: usize, wire: Wire) {
        if let Wire::Request(request) = wire
            && self.rng.chance(50)
        {
            let at = self.now + self.rng.span_us(100, 90_000);
            self.agenda.add(at, Event::Straggler { host: ENDS[channel][sender], request });
        }
    }

    fn arrives(&mut self, channel: usize, conn: u64, end: usize, wire: Wire) {
        let line = &self.net[channel];
        let lost = line.lost_after[end].is_some_and(|lost_after| self.now > lost_after);
        if conn != line.conn || !line.up[end] || lost {
            return self.lost(channel, 1 - end, wire);
        }
        let node = ENDS[channel][end];
        match wire {
            Wire::Request(request) => {
                self.witness_hears(Some((channel, conn)), ENDS[channel][0], request);
            }
            Wire::Fin if channel != LINK => self.goes_down(channel, end),
            wire if channel == LINK && self.is_kept_waiting(node, &wire) => {}
            wire => self.hear(node, wire),
        }
    }

    /// A host takes in what has arrived.
    pub(super) fn hear(&mut self, node: HostId, wire: Wire) {
        match wire {
            Wire::Fin => self.goes_down(LINK, Self::end_of(LINK, node)),
            Wire::ToSecondary(message) => self.deliver_to_secondary(node, message),
            Wire::ToPrimary(message) => self.deliver_to_primary(node, message),
            Wire::Half(payload) => self.half_arrives(node, &payload),
            Wire::Rest(payload) => self.rest_arrives(node, payload),
            Wire::Reply(reply) => {
                let told = reply.record.as_ref().map(|record| record.generation);
                match &self.hosts[node].role {
                    Role::Primary(_) => self.primary_is_told(node, reply),
                    Role::Secondary(_) => self.secondary_input(node, secondary::Input::Witness(reply)),
                    Role::Down => {}
                }
                if let Some(generation) = told {
                    self.learn(node, generation);
                }
            }
            Wire::Request(_) => unreachable!("only the witness gets requests"),
        }
    }

    fn deliver_to_secondary(&mut self, node: HostId, message: ToSecondary) {
        let generation = match &message {
            ToSecondary::Offer { generation, .. }
            | ToSecondary::EpochBegin { generation, .. }
            | ToSecondary::Heartbeat { generation }
            | ToSecondary::Switchover { generation, .. }
            | ToSecondary::Farewell { generation } => *generation,
        };
        match &self.hosts[node].role {
            Role::Secondary(_) => self.secondary_input(node, secondary::Input::Message(message)),
            Role::Primary(_) => self.primary_input(node, primary::Input::Rival { generation }),
            Role::Down => {}
        }
        self.learn(node, generation);
    }

    fn deliver_to_primary(&mut self, node: HostId, message: ToPrimary) {
        let told = match &message {
            ToPrimary::Heartbeat { generation }
            | ToPrimary::Declined { why: Decline::Fenced { generation }, .. } => *generation,
            _ => Generation(0),
        };
        if let Role::Primary(_) = &self.hosts[node].role {
            self.primary_input(node, primary::Input::Message(message));
        }
        self.learn(node, told);
    }

    /// A node closes a connection; the other end learns of it after what was sent before.
    pub(super) fn close(&mut self, channel: usize, node: usize) {
        let end = Self::end_of(channel, node);
        if !self.net[channel].up[end] {
            return;
        }
        self.send(channel, node, Wire::Fin, Span(0));
        self.goes_down(channel, end);
    }

    /// One end takes its connection for ended.
    pub(super) fn goes_down(&mut self, channel: usize, end: usize) {
        if !std::mem::take(&mut self.net[channel].up[end]) {
            return;
        }
        let node = ENDS[channel][end];
        if channel == LINK {
            match &self.hosts[node].role {
                Role::Primary(_) => self.primary_input(node, primary::Input::LinkDown),
                Role::Secondary(_) => self.secondary_loses_link(node),
                Role::Down => {}
            }
        } else if node != WITNESS {
            match &self.hosts[node].role {
                Role::Primary(_) => self.primary_input(node, primary::Input::WitnessDown),
                Role::Secondary(_) => self.secondary_input(node, secondary::Input::WitnessDown),
                Role::Down => {}
            }
        }
        self.dial_later(channel);
    }

    pub(super) fn dial_later(&mut self, channel: usize) {
        if !std::mem::replace(&mut self.net[channel].dialing, true) {
            let at = self.now + DIAL_EVERY + self.rng.span_us(0, 1_000);
            self.agenda.add(at, Event::Dial { channel });
        }
    }

    /// Both ends must live and answer, and at least one of them must miss a connection.
    fn dial(&mut self, channel: usize) {
        self.net[channel].dialing = false;
        if self.net[channel].up == [true, true] {
            return;
        }
        let answers = |node: &usize| !self.nodes[*node].down && self.nodes[*node].hangs_until <= self.now;
        if !self.net[channel].is_clear() || !ENDS[channel].iter().all(answers) {
            return self.dial_later(channel);
        }
        // An end that still holds the connection before learns that it is gone.
        for end in 0..2 {
            self.goes_down(channel, end);
        }
        self.net[channel].renew(self.now);
        let conn = self.net[channel].conn;
        let at = self.now + self.rng.span_us(100, 1_000);
        for end in 0..2 {
            self.agenda.add(at, Event::Up { channel, conn, end });
        }
        // The handshake itself may be cut short: then somebody has to dial again.
        self.dial_later(channel);
    }

    fn comes_up(&mut self, channel: usize, conn: u64, end: usize) {
        let node = ENDS[channel][end];
        let lost = self.net[channel].lost_after[end].is_some();
        if conn != self.net[channel].conn || self.nodes[node].down || lost {
            return;
        }
        self.net[channel].up[end] = true;
        match (channel, &self.hosts.get(node).map(|host| &host.role)) {
            (LINK, Some(Role::Primary(_))) => self.primary_input(node, primary::Input::LinkUp),
            (LINK, Some(Role::Secondary(_))) => self.secondary_input(node, secondary::Input::LinkUp),
            (_, Some(Role::Primary(_))) => self.primary_input(node, primary::Input::WitnessUp),
            (_, Some(Role::Secondary(_))) => self.secondary_input(node, secondary::Input::WitnessUp),
            _ => {}
        }
    }

    /// The connection of a channel breaks: what is under way is lost from some moment on, and each end that
    /// lives learns of it, soon or by its keepalive.
    pub(super) fn break_connection(&mut self, channel: usize, silent: bool) {
        let conn = self.net[channel].conn;
        for end in 0..2 {
            let lost_after = self.now + self.rng.span_us(0, 600);
            self.net[channel].lost_after[end] = Some(lost_after);
            let told = if silent { self.now + KEEPALIVE } else { lost_after + self.rng.span_us(1, 2_000) };
            self.agenda.add(told, Event::Down { channel, conn, end });
        }
    }

    // ---- roles ----

    pub(super) fn begin_role(&mut self, at: HostId, role: Role) {
        self.hosts[at].life += 1;
        self.hosts[at].role = role;
    }

    /// Whoever runs guests starts one anew if it is gone for good: its owner is here without it, and nobody
    /// may take it over.
    fn operator_looks(&mut self) {
        let next = self.now + Span::from_ms(40);
        self.agenda.add(next, Event::OperatorLooks);
        let witness_answers = self.settings.has_witness && !self.nodes[WITNESS].down;
        if witness_answers && let Some(host) = self.witness.deserted_by(&self.hosts) {
            self.start_here(host);
        }
    }

    // ---- what others see ----

    pub(super) fn state_fact(&mut self, fact: &Fact) {
        if let Some(trace) = &mut self.trace {
            trace.fact(self.now, fact);
        }
        if let Err(violation) = self.judges.see(self.now, fact) {
            self.violation.get_or_insert(violation);
        }
    }

    pub(super) fn fail(&mut self, invariant: Invariant, what: String) {
        if self.judges.hears(invariant) {
            self.violation.get_or_insert(Violation { invariant, at: self.now, what });
        }
    }

    /// One line of the trace about a node.
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

    /// Whether this node's channels need a connection at all.
    pub(super) fn channels_of(&self, node: usize) -> impl Iterator<Item = usize> + use<> {
        let has_witness = self.settings.has_witness;
        (0..ENDS.len())
            .filter(move |channel| ENDS[*channel].contains(&node) && (*channel == LINK || has_witness))
    }

    /// The channel of a host to the witness, for replies.
    pub(super) fn replies_to(&self, channel: usize, conn: u64) -> bool {
        self.net[channel].conn == conn && channel != LINK && witness_channel(ENDS[channel][0]) == channel
    }
}

/// The node that an event is for: it waits while that node hangs.
fn node_of(event: &Event) -> Option<usize> {
    match event {
        Event::Arrives { channel, end, .. }
        | Event::Up { channel, end, .. }
        | Event::Down { channel, end, .. } => Some(ENDS[*channel][*end]),
        Event::Step { host, .. } | Event::CaptureEnds { host, .. } | Event::CommitEnds { host, .. } => {
            Some(*host)
        }
        Event::Straggler { .. } | Event::PersistEnds { .. } => Some(WITNESS),
        Event::Dial { .. }
        | Event::Strikes(_)
        | Event::StallEnds { .. }
        | Event::SlownessEnds { .. }
        | Event::Restarts { .. }
        | Event::OperatorLooks => None,
    }
}
