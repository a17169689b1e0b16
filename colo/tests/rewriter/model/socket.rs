//! One end of a TCP connection: strict about what it is sent, since what Linux drops silently is a fault here.

use crate::support::*;
use std::collections::BTreeMap;
use understudy_colo::packet::{Segment, Side};

const RESEND_MS: u64 = 200;

#[derive(Clone, Debug)]
pub(crate) struct Socket {
    pub(crate) side: Side,
    pub(crate) port: u16,
    initial: u32,
    /// The peer's SYN.
    peer: Option<u32>,
    /// The peer has acked the SYN.
    is_open: bool,
    pub(crate) output: Vec<u8>,
    pub(crate) is_closing: bool,
    sent: usize,
    /// The most that was ever sent.
    sent_max: usize,
    acked: usize,
    pub(crate) input: Vec<u8>,
    early: BTreeMap<usize, Vec<u8>>,
    peer_end: Option<usize>,
    resend_at: u64,
    segment_max: usize,
    stamp_offset: u32,
    stamps: Option<(u32, u32)>,
    stamp_seen: u32,
    /// The connection began in another guest, whose clock was another.
    pub(crate) is_inherited: bool,
    pub(crate) faults: Vec<String>,
    pub(crate) is_ack_due: bool,
}

fn from(base: u32, number: u32) -> i64 {
    i64::from(number.wrapping_sub(base) as i32)
}

impl Socket {
    pub(crate) fn new(side: Side, port: u16, draw: &mut impl FnMut() -> u32) -> Self {
        Self {
            side,
            port,
            initial: draw(),
            peer: None,
            is_open: false,
            output: Vec::new(),
            is_closing: false,
            sent: 0,
            sent_max: 0,
            acked: 0,
            input: Vec::new(),
            early: BTreeMap::new(),
            peer_end: None,
            resend_at: 0,
            segment_max: 100 + draw() as usize % 200,
            stamp_offset: draw(),
            stamps: None,
            stamp_seen: 0,
            is_inherited: false,
            faults: Vec::new(),
            is_ack_due: false,
        }
    }

    /// All that the peer sends has arrived.
    pub(crate) fn is_input_whole(&self) -> bool {
        self.peer_end == Some(self.input.len())
    }

    pub(crate) fn is_done(&self) -> bool {
        self.is_input_whole() && self.is_closing && self.acked == self.output.len() + 1
    }

    fn fault(&mut self, what: String) {
        self.faults.push(format!("{:?} {}: {what}", self.side, self.port));
    }

    fn build(&mut self, clock: u32, flags: u8, at: usize, payload: &[u8]) -> Tcp {
        let stamp = clock.wrapping_add(self.stamp_offset);
        self.stamps = Some((self.stamps.map_or(stamp, |(first, _)| first), stamp));
        let sequence = if flags & SYN != 0 {
            self.initial
        } else {
            self.initial.wrapping_add(1).wrapping_add(at as u32)
        };
        let (flags, ack) = match self.peer {
            Some(peer) => {
                let end = usize::from(self.is_input_whole()) + self.input.len() + 1;
                (flags | ACK, peer.wrapping_add(end as u32))
            }
            None => (flags, 0),
        };
        let mut options = stamps(stamp, if self.peer.is_some() { self.stamp_seen } else { 0 });
        if let (Some(peer), Some((begin, bytes))) = (self.peer, self.early.first_key_value()) {
            let left = peer.wrapping_add(1 + *begin as u32);
            options.extend(sacks(&[(left, left.wrapping_add(bytes.len() as u32))]));
        }
        let empty =
            if self.side == Side::World { world(flags, sequence, ack) } else { guest(flags, sequence, ack) };
        empty.port(self.port).options(&options).payload(payload)
    }

    /// What it sends at this time.
    pub(crate) fn poll(&mut self, now: u64, clock: u32) -> Vec<Tcp> {
        let mut segments = Vec::new();
        if !self.is_open {
            if now >= self.resend_at {
                self.resend_at = now + RESEND_MS;
                segments.push(self.build(clock, SYN, 0, &[]));
            }
            return segments;
        }
        let end = self.output.len() + usize::from(self.is_closing);
        if self.acked < self.sent && now >= self.resend_at {
            self.sent = self.acked;
        }
        while self.sent < end {
            self.resend_at = now + RESEND_MS;
            let to = (self.sent + self.segment_max).min(self.output.len());
            let payload = self.output[self.sent..to].to_vec();
            let flags = if to == self.output.len() && self.is_closing { FIN } else { 0 };
            segments.push(self.build(clock, flags, self.sent, &payload));
            self.sent = to + usize::from(flags != 0);
            self.sent_max = self.sent_max.max(self.sent);
        }
        if std::mem::take(&mut self.is_ack_due) && segments.is_empty() {
            segments.push(self.build(clock, 0, self.sent, &[]));
        }
        segments
    }

    pub(crate) fn receive(&mut self, segment: &Segment<'_>) {
        if segment.flags.has(RST) {
            return self.fault("reset".into());
        }
        let (stamps, _) = segment.options.timestamps().unwrap();
        if segment.flags.has(ACK) && !self.takes_ack(segment, stamps.echo) {
            return;
        }
        let Some(peer) = self.peer else {
            if segment.flags.has(SYN) {
                (self.peer, self.stamp_seen) = (Some(segment.sequence), stamps.value);
                self.is_ack_due = segment.flags.has(ACK);
                self.resend_at = 0;
            }
            return;
        };
        self.is_ack_due = true;
        if segment.flags.has(SYN) {
            if segment.sequence != peer {
                self.fault("another SYN".into());
            }
            self.resend_at = if self.is_open { self.resend_at } else { 0 };
            return;
        }
        if from(self.stamp_seen, stamps.value) < 0 {
            return;
        }
        let at = from(peer.wrapping_add(1), segment.sequence);
        if at < 0 || at > self.input.len() as i64 + 100_000 {
            return self.fault(format!("sequence number {at} where {} is next", self.input.len()));
        }
        let at = at as usize;
        if at <= self.input.len() {
            self.stamp_seen = stamps.value;
        }
        if segment.flags.has(FIN) {
            self.peer_end = Some(at + segment.payload.len());
        }
        if !segment.payload.is_empty() {
            self.early.insert(at, segment.payload.to_vec());
        }
        while let Some(first) = self.early.first_entry().filter(|first| *first.key() <= self.input.len()) {
            let (at, bytes) = first.remove_entry();
            self.input.extend(bytes.get(self.input.len() - at..).unwrap_or_default());
        }
    }

    fn takes_ack(&mut self, segment: &Segment<'_>, echo: u32) -> bool {
        let sent = self.sent_max;
        let at = from(self.initial.wrapping_add(1), segment.ack);
        if at < 0 || at > sent as i64 {
            self.fault(format!("ack {at} of {sent} bytes"));
            return false;
        }
        let (first, last) = self.stamps.unwrap_or_default();
        if !self.is_inherited && (from(first, echo) < 0 || from(last, echo) > 0) {
            self.fault(format!("echo {echo} of {first} to {last}"));
            return false;
        }
        for (left, right) in segment.options.selective_acks() {
            let block = [left, right].map(|edge| from(self.initial.wrapping_add(1), edge));
            if block[0] < 0 || block[1] > sent as i64 || block[0] >= block[1] {
                self.fault(format!("SACK {block:?} of {sent} bytes"));
            }
        }
        self.is_open = true;
        let at = at as usize;
        self.acked = self.acked.max(at);
        self.sent = self.sent.max(at);
        true
    }
}
