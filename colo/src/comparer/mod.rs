//! Both guests' frames in; out comes which of the primary's may leave, and where the two differ.
//!
//! ```text
//!   primary(id, frame, epoch) ─┐                          ┌─ Release(id), ReleaseAs(id, patch), Acknowledge(numbers)
//!   copy(frame, base) ─────────┤   flows ─ streams        ├─ Handshake(its numbers)
//!   cut, released, live, stop ─┤         └ datagrams      ├─ Diverged(flow, why)
//!   handle_timeout(now) ───────┘                          └─ next_timeout(), used_through()
//! ```
//!
//! The frames' bytes stay with the queue that holds output until its epoch is acked; of a frame that waits, what is
//! compared of it is kept here. A frame that no [`Output`] names leaves by the ack of its epoch.
//!
//! # What a driver does
//!
//! * `primary`, `copy`, `cut`, `released`, `live`, `stop` say what happened, in the order in which it happened. `now` never
//!   goes back.
//! * [`Comparer::poll_output`] says what to do about it, until it is `None`; after each call, and in order.
//! * [`Comparer::next_timeout`] says when [`Comparer::handle_timeout`] is due. One that comes late is only late.
//! * [`Comparer::used_through`] says which of the copy's frames its host need not keep any more.
//! * One comparer is for one generation: the next one begins with none of its flows.
//!
//! # Which base matches which epoch
//!
//! ```text
//!   epoch        n        │       n+1         │      n+2
//!   guest   ──────────────┼───────────────────┼────────────────
//!                      cut(n)              cut(n+1)
//!   copy                      live(n): frames of n+1 match         live(n+1): frames of n+2 match
//! ```
//!
//! A frame of n+2 that matched a copy of n would be in nobody's state once n+1 is acked: that copy is dead then, and image
//! n+1 is older than the frame.

mod acknowledge;
mod core;
mod datagrams;
mod head;
mod leaving;
mod limits;
mod mutant;
mod output;
mod patience;
mod store;
mod streams;
mod table;
mod tcp;
mod timeouts;
mod use_up;
mod uses;
mod waiting;

pub use crate::serial::Number;
pub use limits::Limits;
#[cfg(feature = "mutants")]
pub use mutant::Mutant;
pub use output::{Acknowledge, Divergence, FrameId, Full, Output, Stats, WAIT_BUCKETS, Why};
pub use uses::CopyNumber;

use self::core::Core;
use self::datagrams::print;
use self::streams::Sent;
use self::table::{Kind, Table};
use self::tcp::Stretch;
use self::waiting::{Age, Said};
use crate::packet::{Content, Datagram, Frame, Options, Packet, Segment, Side};
use mutant::{Mutant as Wrong, Rules};
use understudy_checkpoint::Epoch;
use understudy_checkpoint::time::Time;

/// Compares the output of a guest with that of its copy.
pub struct Comparer {
    table: Table,
    core: Core,
    /// Flows that are looked at again; kept for its memory.
    flows: Vec<u32>,
}

impl Comparer {
    /// Nothing is known and no copy is live. `seed` is a number that nobody outside can guess: senders who know where
    /// their flows lie in the table can make it slow.
    pub fn new(limits: Limits, seed: u64) -> Self {
        Self::with_rules(limits, seed, Rules::default())
    }

    /// A comparer that is wrong on purpose.
    #[cfg(feature = "mutants")]
    pub fn mutant(limits: Limits, seed: u64, mutant: Mutant) -> Self {
        Self::with_rules(limits, seed, Rules::without(mutant))
    }

    fn with_rules(limits: Limits, seed: u64, rules: Rules) -> Self {
        Self { table: Table::new(limits.flows_max, seed), core: Core::new(limits, rules), flows: Vec::new() }
    }

    /// The copy's host keeps so many of the copy's frames: no more wait here either.
    pub fn limit_frames(&mut self, frames_max: usize) {
        self.core.pool.limit(frames_max);
    }

    /// The primary's guest sent a frame, which the output queue holds under `id`.
    pub fn primary(&mut self, now: Time, id: FrameId, frame: Frame<'_>, epoch: Epoch) {
        self.core.now = now;
        self.core.current = self.core.current.max(epoch);
        let packet = Packet::parse(frame, Side::Guest);
        let content = Compared::of(&packet.content, frame.bytes);
        let Some(at) = self.place(&packet, &content, epoch) else { return };
        let (core, slot) = (&mut self.core, self.table.slot(at));
        match content {
            Compared::Stream(segment) => {
                streams::primary(core, slot, at, Sent { id, epoch }, segment, frame.bytes);
                self.table.note_closed(at);
            }
            Compared::Bytes(datagram) => datagrams::primary(core, slot, at, Sent { id, epoch }, datagram),
        }
    }

    /// The copy of `base` sent a frame, the next one. It is in the primary's numbers already.
    pub fn copy(&mut self, now: Time, frame: Frame<'_>, base: Epoch) {
        self.copy_numbered(now, self.core.pool.uses.next(), frame, base);
    }

    /// The same, where some of the copy's frames may not have come here.
    pub fn copy_numbered(&mut self, now: Time, number: CopyNumber, frame: Frame<'_>, base: Epoch) {
        self.core.now = now;
        let Some(live) = self.core.live else {
            self.core.stats.stale += 1;
            return;
        };
        if live.base != base && !self.core.rules.lack(Wrong::AnyBase) {
            self.core.stats.stale += 1;
            return;
        }
        let packet = Packet::parse(frame, Side::Guest);
        let content = Compared::of(&packet.content, frame.bytes);
        let Some(at) = self.place(&packet, &content, base.next()) else {
            return self.core.pool.uses.break_off();
        };
        let (core, slot) = (&mut self.core, self.table.slot(at));
        core.pool.uses.begin(number, at, slot.tenant);
        if slot.lost.is_some() {
            core.stats.unneeded += 1;
            core.patience.comes(now, slot.tenant, content.said(frame.bytes));
            return;
        }
        match content {
            Compared::Stream(segment) => {
                streams::copy(core, slot, at, number, segment, frame.bytes);
                self.table.note_closed(at);
            }
            Compared::Bytes(datagram) => datagrams::copy(core, slot, at, number, datagram),
        }
        use_up::use_up(&mut self.core, &mut self.table);
    }

    /// Up to which number the frames of the live copy are used up: what they say has left in frames of the primary's guest. It
    /// is exact or late, never early. `None`: none of them is.
    pub fn used_through(&mut self) -> Option<CopyNumber> {
        use_up::use_up(&mut self.core, &mut self.table);
        self.core.pool.uses.through()
    }

    fn place(&mut self, packet: &Packet<'_>, content: &Compared<'_, '_>, epoch: Epoch) -> Option<u32> {
        match self.table.place(&packet.flow, matches!(content, Compared::Stream(_))) {
            Ok(at) => {
                self.core.enter(self.table.slot(at));
                Some(at)
            }
            Err(full) => {
                let through = self.core.current.max(epoch);
                self.core.no_flows(Divergence { flow: packet.flow, why: Why::Full(full), through });
                None
            }
        }
    }

    /// Epoch `epoch` was cut: frames from here on are of the next one.
    pub fn cut(&mut self, epoch: Epoch) {
        self.core.current = self.core.current.max(epoch.next());
    }

    /// Epochs up to `through` were acked: their frames leave, and the copy of an earlier base is dead.
    pub fn released(&mut self, through: Epoch) {
        self.core.acked = self.core.acked.max(Some(through));
        if self.core.live.is_some_and(|live| live.base < through) {
            self.stop();
        }
        for age in [Age::Frames, Age::Acks] {
            while let Some(oldest) = self.core.pool.oldest(age) {
                let entry = self.core.pool.entry(oldest);
                if entry.epoch > through {
                    break;
                }
                let (at, stretch) = (entry.flow, entry.stretch());
                let slot = self.table.slot(at);
                self.core.pool.remove(&mut slot.queues, oldest);
                self.core.stats.acked += 1;
                if let Kind::Tcp(stream) = &mut slot.kind {
                    stream.left_by_ack(stretch);
                }
                self.table.note_closed(at);
            }
        }
    }

    /// The copy of `base` runs: frames of the epoch after it may match, also those that wait already. An earlier base, or
    /// one by which something left already, matches nothing: what left is not in a copy that begins again.
    pub fn live(&mut self, now: Time, base: Epoch) {
        self.core.now = now;
        self.stop();
        self.released(base);
        if !self.core.may_live(base) {
            return;
        }
        self.core.begin(base);
        self.look_at_waiting();
    }

    /// The copy does not run any more, or must not be believed.
    pub fn stop(&mut self) {
        self.core.live = None;
        self.core.pool.uses.clear();
        while let Some(oldest) = self.core.pool.oldest(Age::Copies) {
            let at = self.core.pool.entry(oldest).flow;
            self.core.pool.remove(&mut self.table.slot(at).queues, oldest);
        }
    }

    /// What only repeats may leave without a word of the new copy.
    fn look_at_waiting(&mut self) {
        self.flows.clear();
        for age in [Age::Frames, Age::Acks] {
            let mut next = self.core.pool.oldest(age);
            while let Some(at) = next {
                let entry = self.core.pool.entry(at);
                if Some(entry.epoch) != self.core.comparable() {
                    break;
                }
                if self.flows.last() != Some(&entry.flow) {
                    self.flows.push(entry.flow);
                }
                next = self.core.pool.younger(at);
            }
        }
        for at in self.flows.drain(..) {
            let slot = self.table.slot(at);
            self.core.enter(slot);
            if let (Kind::Tcp(stream), None) = (&mut slot.kind, &slot.lost) {
                leaving::settle(&mut self.core, stream, &mut slot.queues);
            }
        }
    }

    /// What to do, one thing at a time.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.core.outputs.pop_front()
    }

    /// Writes the frame that an [`Output::Acknowledge`] asks for into `frame`, whole and with right checksums. It is to be
    /// called before the comparer is told anything else. `false`: nothing is to be sent.
    pub fn write_acknowledgement(&self, what: &Acknowledge, frame: &mut Vec<u8>) -> bool {
        let head = self.table.find_stream(&what.flow).and_then(|slot| slot.head);
        head.inspect(|head| head.write(what, frame)).is_some()
    }

    /// What was counted.
    pub fn stats(&self) -> &Stats {
        &self.core.stats
    }

    /// Frames of both guests that wait.
    pub fn waiting_frames(&self) -> usize {
        self.core.pool.frames()
    }

    /// Bytes in buffers of frames that wait.
    pub fn waiting_bytes(&self) -> usize {
        self.core.pool.bytes()
    }

    /// Flows that are known.
    pub fn flows(&self) -> usize {
        self.table.len()
    }
}

/// How a frame is compared.
enum Compared<'p, 'a> {
    Stream(&'p Segment<'a>),
    Bytes(Datagram<'a>),
}

impl<'p, 'a> Compared<'p, 'a> {
    #[inline]
    fn of(content: &'p Content<'a>, frame: &'a [u8]) -> Self {
        match content {
            // A signature covers numbers that the rewriter would have to change.
            Content::Tcp(segment) if is_signed(segment.options) => {
                let end = segment.header().end + segment.payload.len();
                Self::Bytes(Datagram { head: [0; 4], body: &frame[segment.at..end] })
            }
            Content::Tcp(segment) => Self::Stream(segment),
            Content::Datagram(datagram) => Self::Bytes(*datagram),
        }
    }
}

impl Compared<'_, '_> {
    fn said(&self, frame: &[u8]) -> Said {
        match self {
            Self::Stream(segment) => Said::Segment(Stretch::of(segment, frame).0),
            Self::Bytes(datagram) => Said::Datagram { head: datagram.head, print: print(*datagram) },
        }
    }
}

#[inline]
fn is_signed(options: Options<'_>) -> bool {
    // Nearly every segment has just time stamps, after two fillers.
    let is_plain = options.0.is_empty() || (options.0.len() == 12 && options.0[..4] == [1, 1, 8, 10]);
    !is_plain && options.is_signed()
}
