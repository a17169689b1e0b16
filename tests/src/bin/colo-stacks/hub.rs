//! What lies between the stacks: input goes to both guests, what the primary sends waits until its copy has sent the same.
//!
//! ```text
//!   client ─ skew ─ up ─┬──────────── skew ─ primary     the primary's end: its tap is cut, and what is under way on
//!                       └─ mirror ─┐           │         the mirror is gone; the copy's unreleased output leaves, and
//!   client ─ skew ─ down ──────── pair ────────┘         from there on the copy answers through the rewriter
//!                                  └──────── skew ─ copy
//! ```

use crate::pair::{Out, Pair};
use crate::skew::Skew;
use crate::wire::{Bytes, Wire, is_of_the_start, is_tcp};
use crate::world::Taps;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::collections::BTreeMap;
use std::os::fd::AsFd;
use std::sync::mpsc::{Receiver, TryRecvError};
use std::time::{Duration, Instant};
use understudy_netbuf::kernel::{KernelError, Tap};

/// Frames that are read of one tap before another has its turn.
const TURN: usize = 32;
/// An order is heard after at most this long.
const REST_MAX: Duration = Duration::from_millis(2);

/// What the hub is told.
pub(crate) enum Order {
    /// The primary's end.
    Kill,
}

/// What the hub has seen.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    pub(crate) input: u64,
    pub(crate) primary: u64,
    pub(crate) copy: u64,
    /// Frames of the primary that left.
    pub(crate) released: u64,
    /// Those of them that answer or ask for a MAC address, or are no TCP otherwise.
    pub(crate) neighbours: u64,
    /// Input under way to the copy when the primary ended.
    pub(crate) lost_on_mirror: u64,
    /// Frames of the primary that never left.
    pub(crate) unreleased: u64,
    /// Frames of the copy that left at the takeover.
    pub(crate) sent_at_takeover: u64,
    /// Frames that a kernel refused.
    pub(crate) refused: u64,
    pub(crate) held_max: Duration,
    pub(crate) diverged: BTreeMap<String, u64>,
}

/// The wires and skews of a hub.
pub(crate) struct Between {
    pub(crate) client: Skew,
    pub(crate) primary: Skew,
    pub(crate) copy: Skew,
    pub(crate) up: Wire,
    pub(crate) down: Wire,
    pub(crate) mirror: Wire,
}

/// See the head of this file.
pub(crate) struct Hub {
    client: Tap,
    /// `None`: it has ended.
    primary: Option<Tap>,
    copy: Tap,
    between: Between,
    pair: Pair,
    seen: Seen,
    buffer: Vec<u8>,
}

impl Hub {
    pub(crate) fn new(taps: Taps, between: Between, pair: Pair) -> Self {
        let Taps { client, primary, secondary: copy } = taps;
        let buffer = vec![0; Tap::READ_BYTES_MAX];
        Self { client, primary: Some(primary), copy, between, pair, seen: Seen::default(), buffer }
    }

    /// Until nobody gives orders any more.
    pub(crate) fn run(mut self, orders: &Receiver<Order>) -> Result<Seen, KernelError> {
        loop {
            let now = Instant::now();
            match orders.try_recv() {
                Ok(Order::Kill) => self.kill(now)?,
                Err(TryRecvError::Empty) => {}
                Err(TryRecvError::Disconnected) => return Ok(self.seen),
            }
            let mut is_busy = self.read_client(now)?;
            is_busy |= self.read_primary(now)?;
            is_busy |= self.read_copy(now)?;
            self.deliver(now)?;
            let out = self.pair.handle_timeout(now);
            self.send(now, out)?;
            if !is_busy {
                self.rest(now);
            }
        }
    }

    fn rest(&self, now: Instant) {
        let Between { up, down, mirror, .. } = &self.between;
        let next =
            [up.next(), down.next(), mirror.next(), self.pair.next_timeout()].into_iter().flatten().min();
        let span = next.map_or(REST_MAX, |at| at.saturating_duration_since(now)).min(REST_MAX);
        let taps = [Some(&self.client), self.primary.as_ref(), Some(&self.copy)];
        let mut wanted: Vec<_> =
            taps.iter().flatten().map(|tap| PollFd::new(tap.as_fd(), PollFlags::POLLIN)).collect();
        // A signal, or nothing to read: the loop looks again.
        let _ = poll(&mut wanted, PollTimeout::from(span.as_micros().div_ceil(1000) as u8));
    }

    fn read_client(&mut self, now: Instant) -> Result<bool, KernelError> {
        let frames = read(&self.client, &mut self.buffer)?;
        let is_busy = !frames.is_empty();
        for mut frame in frames {
            self.between.client.outgoing(&mut frame);
            self.between.up.send(now, frame);
        }
        Ok(is_busy)
    }

    fn read_primary(&mut self, now: Instant) -> Result<bool, KernelError> {
        let Some(tap) = &self.primary else { return Ok(false) };
        let frames = read_guest(tap, &mut self.buffer)?;
        let is_busy = !frames.is_empty();
        for mut frame in frames {
            self.seen.primary += 1;
            self.between.primary.outgoing(&mut frame);
            let out = self.pair.primary(now, frame);
            self.send(now, out)?;
        }
        Ok(is_busy)
    }

    fn read_copy(&mut self, now: Instant) -> Result<bool, KernelError> {
        let frames = read_guest(&self.copy, &mut self.buffer)?;
        let is_busy = !frames.is_empty();
        for mut frame in frames {
            self.seen.copy += 1;
            self.between.copy.outgoing(&mut frame);
            let out = self.pair.copy(now, frame);
            self.send(now, out)?;
        }
        Ok(is_busy)
    }

    /// What has arrived at the end of a wire.
    fn deliver(&mut self, now: Instant) -> Result<(), KernelError> {
        while let Some(frame) = self.between.up.arrived(now) {
            self.seen.input += 1;
            let Some(tap) = &self.primary else {
                let out = self.pair.input(now, frame);
                self.send(now, out)?;
                continue;
            };
            self.between.mirror.send(now, frame.clone());
            let mut frame = frame;
            self.between.primary.incoming(&mut frame);
            self.seen.refused += u64::from(!tap.write(&frame)?);
        }
        while let Some(frame) = self.between.mirror.arrived(now) {
            let out = self.pair.input(now, frame);
            self.send(now, out)?;
        }
        while let Some(mut frame) = self.between.down.arrived(now) {
            self.between.client.incoming(&mut frame);
            self.seen.refused += u64::from(!self.client.write(&frame)?);
        }
        Ok(())
    }

    fn send(&mut self, now: Instant, out: Out) -> Result<(), KernelError> {
        for mut frame in out.to_copy {
            self.between.copy.incoming(&mut frame);
            self.seen.refused += u64::from(!self.copy.write(&frame)?);
        }
        for (frame, held) in out.to_world {
            self.seen.released += 1;
            self.seen.neighbours += u64::from(!is_tcp(&frame));
            self.seen.held_max = self.seen.held_max.max(held);
            self.between.down.send(now, frame);
        }
        for why in out.diverged {
            *self.seen.diverged.entry(why).or_default() += 1;
        }
        Ok(())
    }

    fn kill(&mut self, now: Instant) -> Result<(), KernelError> {
        self.primary = None;
        self.seen.lost_on_mirror = self.between.mirror.cut();
        let (unreleased, out) = self.pair.take_over(now);
        self.seen.unreleased = unreleased;
        self.seen.sent_at_takeover = out.to_world.len() as u64;
        self.send(now, out)
    }
}

fn read_guest(tap: &Tap, buffer: &mut [u8]) -> Result<Vec<Bytes>, KernelError> {
    let mut frames = read(tap, buffer)?;
    frames.retain(|frame| !is_of_the_start(frame));
    Ok(frames)
}

/// The frames that wait in a tap, some of them if they are many.
fn read(tap: &Tap, buffer: &mut [u8]) -> Result<Vec<Bytes>, KernelError> {
    let mut frames = Vec::new();
    while frames.len() < TURN {
        match tap.read(buffer)? {
            Some(bytes) => frames.push(buffer[..bytes].to_vec()),
            None => break,
        }
    }
    Ok(frames)
}
