//! Faults, as they strike, and their end.

use super::HostId;
use super::cluster::Cluster;
use super::events::Event;
use super::facts::Fact;
use super::faults::Fault;
use super::host::Role;
use super::network::{ENDS, LINK, NODES, WITNESS};
use understudy::session::{Span, Time, primary, secondary};

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
            Fault::Damage => self.at_the_primary(|host| host.damage = true),
            Fault::TooLarge => self.at_the_primary(|host| host.too_large = true),
            Fault::CaptureFails => self.at_the_primary(|host| host.capture_fails = true),
            Fault::GuestEnds => (0..2).for_each(|host| self.guest_ends(host)),
            Fault::PersistFails => self.witness.persist_fails = true,
            Fault::Wish(wish) => {
                for host in 0..2 {
                    self.primary_input(host, primary::Input::Operator(wish));
                }
            }
            Fault::ForceTakeover { host } => self.secondary_input(host, secondary::Input::ForceTakeover),
        }
    }

    /// Seen at once, unless a capture is under way, which then fails.
    fn guest_ends(&mut self, at: HostId) {
        if let Role::Primary(host) = &mut self.hosts[at].role
            && host.guest.take().is_some()
            && host.capture.is_none()
        {
            self.primary_input(at, primary::Input::GuestGone);
        }
    }

    fn at_the_primary(&mut self, harm: impl Fn(&mut super::host::Host)) {
        let runs = |host: &&mut super::host::Host| host.runs().is_some();
        self.hosts.iter_mut().filter(runs).for_each(harm);
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
            self.begin_role(node, Role::Down);
            self.state_fact(&Fact::Crashed { host: node });
        }
        if let Some(span) = back_after {
            self.agenda.add(self.now + span, Event::Restarts { node });
        }
    }

    pub(super) fn restarts(&mut self, node: usize) {
        if !std::mem::take(&mut self.nodes[node].down) {
            return;
        }
        self.note(NODES, || format!("node {node} restarts"));
        if node == WITNESS {
            self.witness_restarts();
        } else {
            self.become_secondary(node);
        }
        for channel in self.channels_of(node) {
            self.dial_later(channel);
        }
    }

    pub(super) fn stall_ends(&mut self, channel: usize) {
        self.net[channel].stalled = [false, false];
        let parked = std::mem::take(&mut self.net[channel].parked);
        for (node, wires) in ENDS[channel].iter().zip(parked) {
            for wire in wires {
                self.send(channel, *node, wire, Span(0));
            }
        }
    }

    /// Nothing new goes wrong any more. What is dead for good stays dead; hangs under way run out.
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
            (host.commit_fails, host.capture_fails, host.damage, host.too_large) =
                (false, false, false, false);
        }
        self.witness.persist_fails = false;
    }

    /// When the last hang ends.
    pub fn hangs_end(&self) -> Time {
        self.nodes.iter().map(|node| node.hangs_until).max().unwrap_or_default()
    }

    /// Whether a host is down.
    pub fn is_down(&self, node: usize) -> bool {
        self.nodes[node].down
    }

    /// When a frame last left.
    pub fn left_at(&self) -> Time {
        self.left_at
    }
}
