//! Faults, as they strike, and their end. Captures that fail for ever do so for ever.

use super::cluster::Cluster;
use super::events::Event;
use super::facts::Fact;
use super::faults::{Amnesia, Fault};
use super::harm::Trouble;
use super::host::Item;
use super::network::{ENDS, LINK, NODES, WITNESS};
use super::{GuestId, HostId};
use understudy::control::Wish;
use understudy_session::{Span, Time};

/// When the other host is refused a new link to a process that has died: as soon as it has dialled again.
const REFUSED_AFTER: Span = Span::from_ms(10);

impl Cluster {
    pub(super) fn strikes(&mut self, fault: Fault) {
        if self.healed {
            return;
        }
        self.note(NODES, || format!("{fault:?}"));
        match fault {
            Fault::Reset { channel } => self.break_connection(channel, false),
            Fault::Stall { channel, ends, lasts } => {
                self.net[channel].stalled = ends;
                self.agenda.add(self.now + lasts, Event::StallEnds { channel });
            }
            Fault::Slow { by, lasts } => {
                self.net[LINK].slowness = by;
                self.agenda.add(self.now + lasts, Event::SlownessEnds { channel: LINK });
            }
            Fault::Crash { node, silent, back_after } => self.crash(node, silent, back_after),
            Fault::Hang { node, lasts } => {
                let until = self.now + lasts;
                self.nodes[node].hangs_until = self.nodes[node].hangs_until.max(until);
                self.nodes[node].timers_first = self.rng.chance(50);
            }
            Fault::CommitFails { host } => self.hosts[host].commit_fails = true,
            Fault::Harms { host, harm } => self.hosts[host].harm = Some(harm),
            Fault::CapturesFail { guest, trouble } => self.captures_fail(guest, trouble),
            Fault::ThreadDies { guest, thread } => (0..2).for_each(|at| self.thread_dies(at, guest, thread)),
            Fault::ActivationSlow { host } => self.hosts[host].activation_slow = true,
            Fault::DiesActivating { host } => self.hosts[host].yard.get().dies_activating = true,
            Fault::StandingSuffers { host, guest, fate } => {
                if let Some(stand) = &self.hosts[host].yard.get().standing[guest] {
                    stand.suffers(fate);
                }
            }
            Fault::LogOff { guest } => self.at_domains(guest, super::guest::Domain::stops_logging),
            Fault::BitsStolen { guest } => self.bits_are_lost(guest, None),
            Fault::BitsLost { guest, writes } => self.bits_are_lost(guest, Some(writes)),
            Fault::RedirectLost { guest, lasts } => {
                self.at_domains(guest, |domain| {
                    domain.is_loose = true;
                    domain.breaches += 1;
                });
                self.agenda.add(self.now + lasts, Event::RedirectIsBack { guest });
            }
            Fault::ReceiverHangs { host, guest, lasts } => {
                let until = lasts.map_or(Time(u64::MAX / 2), |span| self.now + span);
                let hangs = &mut self.hosts[host].receives_from[guest];
                *hangs = (*hangs).max(until);
            }
            Fault::WitnessForgets(how) => self.witness_forgets(how),
            Fault::ActivationShort { host } => self.hosts[host].yard.get().activation_is_short = true,
            Fault::ActivationFails { host } => self.hosts[host].yard.get().activation_fails = true,
            Fault::GuestEnds { guest } => self.guest_ends(guest),
            Fault::PersistFails => self.witness.persist_fails = true,
            Fault::WitnessLingers { lasts } => {
                self.witness.lingers_until = self.witness.lingers_until.max(self.now + lasts);
            }
            Fault::CopyCrashes { guest } => self.copy_crashes(guest),
            Fault::Mode { guest, mode } => (0..2).for_each(|at| self.turn(at, Item::Mode(guest, mode))),
            Fault::Wish { guest, wish } => (0..2).for_each(|at| self.wished(at, guest, wish)),
            Fault::ForceTakeover { host, guest } => self.wished(host, guest, Wish::ForceTakeover),
        }
        if !fault.is_wished() {
            (0..self.settings.guests).for_each(|guest| self.state_fact(guest, &Fact::Fault));
        }
    }

    fn at_domains(&self, guest: GuestId, does: impl Fn(&mut super::guest::Domain)) {
        for host in &self.hosts {
            if let Some(domain) = &host.yard.get().domains[guest] {
                does(&mut domain.get());
            }
        }
    }

    /// Where pages that did not change are not compared, nothing can find this out.
    fn bits_are_lost(&mut self, guest: GuestId, writes: Option<u64>) {
        if !self.settings.scrubs {
            return;
        }
        let mut lost = false;
        for host in &self.hosts {
            if let Some(domain) = &host.yard.get().domains[guest] {
                match writes {
                    Some(writes) => domain.get().unlogged_writes = writes,
                    None => lost |= domain.get().loses_dirty_bits(),
                }
            }
        }
        if lost {
            self.state_fact(guest, &Fact::BitsLost);
        }
    }

    pub(super) fn redirect_is_back(&self, guest: GuestId) {
        self.at_domains(guest, |domain| domain.is_loose = false);
    }

    /// What a disk does once it may be trusted again it does not do.
    fn witness_forgets(&mut self, how: Amnesia) {
        if !self.settings.witness_forgets {
            return;
        }
        (0..self.settings.guests).for_each(|guest| self.state_fact(guest, &Fact::WitnessForgot));
        self.witness_is_amnesic(how);
    }

    fn captures_fail(&mut self, guest: GuestId, trouble: Trouble) {
        for host in &self.hosts {
            if let Some(domain) = &host.yard.get().domains[guest] {
                domain.get().trouble = trouble;
            }
        }
    }

    /// Seen in the next turn of its engine.
    fn guest_ends(&mut self, guest: GuestId) {
        let mut ended = false;
        for host in &self.hosts {
            if let Some(domain) = &host.yard.get().domains[guest] {
                let mut domain = domain.get();
                ended |= domain.runs();
                domain.gone |= domain.runs();
            }
        }
        if ended {
            self.state_fact(guest, &Fact::Ended);
        }
    }

    fn crash(&mut self, node: usize, silent: bool, back_after: Option<Span>) {
        if self.nodes[node].down {
            return;
        }
        self.nodes[node].down = true;
        self.nodes[node].hangs_until = self.now;
        for channel in self.channels_of(node) {
            let end = usize::from(ENDS[channel][1] == node);
            self.net[channel].up[end] = false;
            self.break_connection(channel, silent);
        }
        if node == WITNESS {
            self.witness_crashes();
        } else {
            self.hosts[node].boots = silent;
            if silent {
                let mut yard = self.hosts[node].yard.get();
                yard.loses_power();
                if yard.has_disks {
                    yard.machine.loses_power(&mut self.rng);
                }
            }
            self.engine_ends(node);
            if !silent {
                let life = self.hosts[node].life;
                self.agenda.add(self.now + REFUSED_AFTER, Event::Gone { host: 1 - node, life });
            }
        }
        if let Some(span) = back_after {
            self.agenda.add(self.now + span, Event::Restarts { node });
        }
    }

    /// A host loses its power, whether or not it has an engine, and boots.
    pub(super) fn loses_power(&mut self, host: HostId, boots_after: Span) {
        if self.nodes[host].down {
            self.hosts[host].boots = true;
            self.hosts[host].yard.get().loses_power();
            return self.engine_ends(host);
        }
        self.crash(host, true, Some(boots_after));
    }

    pub(super) fn restarts(&mut self, node: usize) {
        if !std::mem::take(&mut self.nodes[node].down) {
            return;
        }
        self.note(NODES, || format!("node {node} restarts"));
        if node == WITNESS {
            self.witness_restarts();
        } else {
            self.start_engine(node);
            self.toolstack_starts(node);
        }
        self.dial_all(node);
    }

    /// A node that has begun anew has no connection.
    pub(super) fn dial_all(&mut self, node: usize) {
        for channel in self.channels_of(node) {
            if node != WITNESS && self.net[channel].up[usize::from(ENDS[channel][1] == node)] {
                self.close(channel, node);
            }
            self.dial_later(channel);
        }
    }

    pub(super) fn stall_ends(&mut self, channel: usize) {
        self.net[channel].stalled = [false, false];
        let parked = std::mem::take(&mut self.net[channel].parked);
        for (node, cx) in ENDS[channel].iter().zip(parked) {
            for wire in cx {
                self.send(channel, *node, wire, Span(0));
            }
        }
    }

    /// Nothing new goes wrong any more, nor does what was to go wrong the next time. What is dead for good stays dead; hangs
    /// under way run out.
    pub fn heal(&mut self) {
        self.healed = true;
        for channel in 0..self.net.len() {
            self.stall_ends(channel);
            self.net[channel].slowness = Span(0);
        }
        if self.nodes[WITNESS].down {
            self.restarts(WITNESS);
        }
        for host in &mut self.hosts {
            (host.commit_fails, host.harm) = (false, None);
            host.activation_slow = false;
            let mut yard = host.yard.get();
            (yard.activation_fails, yard.activation_is_short, yard.dies_activating) = (false, false, false);
        }
        self.witness.persist_fails = false;
        self.witness.lingers_until = self.now;
        for guest in 0..self.settings.guests {
            self.redirect_is_back(guest);
            self.at_domains(guest, super::guest::Domain::is_spared);
        }
    }

    /// When the last hang ends.
    pub fn hangs_end(&self) -> Time {
        self.nodes.iter().map(|node| node.hangs_until).max().unwrap_or_default()
    }

    /// Whether a host is down.
    pub fn is_down(&self, node: usize) -> bool {
        self.nodes[node].down
    }

    /// When a frame of a guest last left.
    pub fn left_at(&self, guest: GuestId) -> Time {
        self.left_at[guest]
    }
}
