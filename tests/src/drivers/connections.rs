//! Connections, as the cluster makes, uses and loses them.

use super::HostId;
use super::cluster::Cluster;
use super::events::Event;
use super::facts::Fact;
use super::host::Item;
use super::network::{ENDS, LINK, WITNESS, Wire, witness_channel};
use super::settings::Settings;
use understudy::node::Glance;
use understudy_session::Span;
use understudy_session::secondary::State;

/// How often a lost connection is dialled.
const DIAL_EVERY: Span = Span::from_ms(8);
/// After how long an end notices that the other end of a connection is dead, if nobody tells it.
const KEEPALIVE: Span = Span::from_ms(100);
/// How late a witness that lingers may hear a request or be heard: long after its sender has asked again.
const LATE_MAX_US: u64 = 150_000;

impl Cluster {
    /// The end of a channel at which `node` is.
    fn end_of(channel: usize, node: usize) -> usize {
        usize::from(ENDS[channel][1] == node)
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
        let Some(wire) = self.not_late(channel, end, wire) else { return };
        let line = &mut self.net[channel];
        let at = line.arrival(end, self.now, transfer, &mut self.rng);
        let conn = line.conn;
        if line.lost_after[1 - end].is_some_and(|lost_after| at > lost_after) {
            return self.lost(channel, end, wire);
        }
        self.agenda.add(at, Event::Arrives { channel, conn, end: 1 - end, wire });
    }

    /// What a witness that lingers is told, or tells, in time. The rest arrives at some other time: a request whose answer gets
    /// lost, or an answer that another has overtaken.
    fn not_late(&mut self, channel: usize, sender: usize, wire: Wire) -> Option<Wire> {
        if self.now >= self.witness.lingers_until || self.rng.chance(30) {
            return Some(wire);
        }
        let at = self.now + self.rng.span_us(500, LATE_MAX_US);
        match wire {
            Wire::Request(guest, request) => {
                self.agenda.add(at, Event::Straggler { host: ENDS[channel][sender], guest, request });
            }
            Wire::LeaseRequest(of, request) => {
                self.agenda.add(at, Event::LateLease { host: ENDS[channel][sender], of, request });
            }
            Wire::Reply(..) | Wire::LeaseReply(..) => {
                let conn = self.net[channel].conn;
                self.agenda.add(at, Event::Arrives { channel, conn, end: 1 - sender, wire });
            }
            wire => return Some(wire),
        }
        None
    }

    /// What was lost with its connection; a request may have reached the witness's buffers all the same.
    fn lost(&mut self, channel: usize, sender: usize, wire: Wire) {
        let host = ENDS[channel][sender];
        let late = match wire {
            Wire::Request(guest, request) => Event::Straggler { host, guest, request },
            Wire::LeaseRequest(of, request) => Event::LateLease { host, of, request },
            _ => return,
        };
        if self.rng.chance(50) {
            let at = self.now + self.rng.span_us(100, 90_000);
            self.agenda.add(at, late);
        }
    }

    pub(super) fn arrives(&mut self, channel: usize, conn: u64, end: usize, wire: Wire) {
        let line = &self.net[channel];
        let lost = line.lost_after[end].is_some_and(|lost_after| self.now > lost_after);
        if conn != line.conn || !line.up[end] || lost {
            return self.lost(channel, 1 - end, wire);
        }
        let node = ENDS[channel][end];
        match wire {
            Wire::Request(guest, request) => {
                self.witness_hears(Some((channel, conn)), ENDS[channel][0], guest, request);
            }
            Wire::Fin => self.goes_down(channel, end),
            Wire::Frame(bytes) => self.turn(node, Item::Frame(bytes)),
            Wire::Reply(guest, reply) => self.told(node, guest, reply),
            Wire::LeaseRequest(of, request) => {
                self.witness_hears_of_lease(Some((channel, conn)), ENDS[channel][0], of, request);
            }
            Wire::LeaseReply(of, reply) => self.told_of_lease(node, of, reply),
        }
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
            self.turn(node, Item::LinkDown);
        } else if node != WITNESS {
            self.turn(node, Item::WitnessDown);
        }
        self.dial_later(channel);
    }

    /// A host that has lost its link to a process that has died is told so by the kernel there, if it can be reached and nobody
    /// was started meanwhile.
    pub(super) fn is_gone(&mut self, host: HostId, life: u64) {
        let other = 1 - host;
        let line = &self.net[LINK];
        let is_refused = self.nodes[other].down && self.hosts[other].life == life && line.is_clear();
        let is_lost = !line.up[usize::from(ENDS[LINK][1] == host)] && !self.nodes[host].down;
        if is_refused && is_lost {
            self.turn(host, Item::PeerGone);
        }
    }

    /// An engine without a link hears the engine that it had the link with, on a network that no fault reaches.
    pub(super) fn beats(&mut self) {
        self.agenda.add(self.now + Settings::BEAT_EVERY, Event::Beats);
        for host in 0..2 {
            let other = 1 - host;
            let is_there = |node: usize| !self.nodes[node].down && self.nodes[node].hangs_until <= self.now;
            let is_linked = self.net[LINK].up[Self::end_of(LINK, host)];
            let is_it = self.hosts[host].linked == Some(self.hosts[other].life);
            if !is_linked && is_it && is_there(host) && is_there(other) {
                for guest in 0..self.settings.guests {
                    if let Some(Glance::Secondary { state: State::Alone, .. }) =
                        self.hosts[host].glance(guest)
                    {
                        self.state_fact(guest, &Fact::Heard { host });
                    }
                }
                self.turn(host, Item::PeerAlive);
            }
        }
    }

    pub(super) fn dial_later(&mut self, channel: usize) {
        if !std::mem::replace(&mut self.net[channel].dialing, true) {
            let at = self.now + DIAL_EVERY + self.rng.span_us(0, 1_000);
            self.agenda.add(at, Event::Dial { channel });
        }
    }

    /// Both ends must live and answer, and at least one of them must miss a connection.
    pub(super) fn dial(&mut self, channel: usize) {
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

    pub(super) fn comes_up(&mut self, channel: usize, conn: u64, end: usize) {
        let node = ENDS[channel][end];
        let lost = self.net[channel].lost_after[end].is_some();
        if conn != self.net[channel].conn || self.nodes[node].down || lost {
            return;
        }
        self.net[channel].up[end] = true;
        if channel == LINK {
            self.hosts[node].linked = Some(self.hosts[1 - node].life);
            self.turn(node, Item::LinkUp);
        } else if node != WITNESS {
            self.turn(node, Item::WitnessUp);
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

    /// The channels of a node that are in use.
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
