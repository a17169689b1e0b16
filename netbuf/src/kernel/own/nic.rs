//! One interface's own queue: from the tap into the [`EpochQueue`], and from there back.
//!
//! ```text
//!   tap ─read─► │ limit: bytes held + bytes leaving │ EpochQueue │ ─take─► tap ─write─► as received by the vif
//!    └ ring: frames nobody has read yet; the kernel counts what it drops
//! ```
//!
//! Never blocks, and frames leave in the order they came. A write takes its frame all the way through the
//! host's network, so nothing waits behind it.

use super::tap::{READ_BYTES_MAX, Tap};
use crate::kernel::KernelError;
use crate::kernel::commit::{KernelStats, Start};
use crate::kernel::netlink::{Connection, link};
use crate::kernel::redirect::Device;
use crate::{EpochQueue, Limits, Push};
use std::sync::Arc;
use understudy_checkpoint::Epoch;

/// What a turn of work left.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Turn {
    /// Nothing to do until a frame arrives or is released.
    Idle,
    /// There is more; take another turn.
    Busy,
}

/// An interface under output commit.
#[derive(Debug)]
pub(super) struct Nic {
    vif: Device,
    tap_device: Device,
    tap: Arc<Tap>,
    queue: EpochQueue,
    bytes_max: usize,
    /// Bytes released and not sent yet: the queue's own limit leaves them out.
    leaving_bytes: usize,
    buffer: Box<[u8]>,
    pressure: bool,
    passing: bool,
    fenced: bool,
    failed: bool,
    dropped_here: u64,
    dropped_refused: u64,
}

impl Nic {
    pub(super) fn new(
        vif: Device,
        tap_device: Device,
        tap: Tap,
        open: Epoch,
        limits: Limits,
        start: Start,
    ) -> Self {
        let queue = match start {
            Start::Passing => EpochQueue::new(open, limits),
            Start::Holding => EpochQueue::holding(open, limits),
        };
        Self {
            vif,
            tap_device,
            tap: Arc::new(tap),
            queue,
            bytes_max: limits.bytes_max,
            leaving_bytes: 0,
            buffer: vec![0; READ_BYTES_MAX].into(),
            pressure: false,
            passing: start == Start::Passing,
            fenced: false,
            failed: false,
            dropped_here: 0,
            dropped_refused: 0,
        }
    }

    pub(super) fn vif(&self) -> &Device {
        &self.vif
    }

    pub(super) fn tap(&self) -> Arc<Tap> {
        Arc::clone(&self.tap)
    }

    /// Reads up to `frames_max` frames and sends up to as many. An error is final.
    pub(super) fn turn(&mut self, frames_max: usize) -> Result<Turn, KernelError> {
        if self.failed {
            return Err(self.gone());
        }
        let work = self.read_some(frames_max).and_then(|more| Ok((more, self.send_some(frames_max)?)));
        if work.is_err() {
            self.failed = true;
        }
        let (more_to_read, more_to_send) = work?;
        Ok(if more_to_read || more_to_send { Turn::Busy } else { Turn::Idle })
    }

    /// Reads up to `frames_max` frames; whether there may be more.
    fn read_some(&mut self, frames_max: usize) -> Result<bool, KernelError> {
        for _ in 0..frames_max {
            let Some(bytes) = self.tap.read(&mut self.buffer)? else { return Ok(false) };
            self.push(bytes);
        }
        Ok(true)
    }

    fn push(&mut self, bytes: usize) {
        let held = self.queue.stats().held_bytes;
        if held + self.leaving_bytes + bytes > self.bytes_max && !self.fenced {
            self.dropped_here += 1;
            self.pressure = true;
            return;
        }
        match self.queue.push(&self.buffer[..bytes]) {
            Push::Passing => self.leaving_bytes += bytes,
            Push::Held => (),
            Push::HeldNearLimit | Push::Dropped => self.pressure = true,
        }
    }

    /// Sends up to `frames_max` frames that may leave; whether there are more.
    fn send_some(&mut self, frames_max: usize) -> Result<bool, KernelError> {
        for _ in 0..frames_max {
            let Some(frame) = self.queue.take() else { return Ok(false) };
            self.leaving_bytes -= frame.len();
            self.dropped_refused += u64::from(!self.tap.write(&frame)?);
        }
        Ok(self.queue.has_leaving())
    }

    /// Takes in what the guest sent before it was suspended, as far as it is there, and closes `epoch`. What
    /// the kernel hands over later counts as the next epoch's: held longer, never shorter.
    pub(super) fn cut(&mut self, epoch: Epoch, frames_max: usize) -> Result<(), KernelError> {
        let read = if self.failed { Err(self.gone()) } else { self.read_some(frames_max) };
        self.failed |= read.is_err();
        self.queue.cut(epoch);
        self.passing = false;
        read.map(drop)
    }

    /// As [`EpochQueue::release`].
    pub(super) fn release(&mut self, through: Epoch) {
        self.let_out(|queue| queue.release(through));
    }

    /// As [`EpochQueue::pass`].
    pub(super) fn pass(&mut self) {
        self.let_out(EpochQueue::pass);
        self.passing = !self.fenced;
    }

    fn let_out(&mut self, call: impl FnOnce(&mut EpochQueue)) {
        let held_before = self.queue.stats().held_bytes;
        call(&mut self.queue);
        self.leaving_bytes += held_before - self.queue.stats().held_bytes;
    }

    /// As [`EpochQueue::fence`].
    pub(super) fn fence(&mut self) {
        self.fenced = true;
        self.passing = false;
        self.queue.fence();
        self.leaving_bytes = 0;
    }

    /// Whether everything may leave: then nothing is lost or leaked without this.
    pub(super) fn is_passing(&self) -> bool {
        self.passing
    }

    pub(super) fn has_failed(&self) -> bool {
        self.failed
    }

    pub(super) fn take_pressure(&mut self) -> bool {
        std::mem::take(&mut self.pressure)
    }

    /// Adds this interface's counters.
    pub(super) fn add_stats(&self, connection: &mut Connection, sum: &mut KernelStats) {
        let stats = self.queue.stats();
        sum.queue.held_bytes += stats.held_bytes;
        sum.queue.held_frames += stats.held_frames;
        sum.queue.released_frames += stats.released_frames;
        sum.queue.dropped_at_limit += stats.dropped_at_limit + self.dropped_here;
        sum.queue.dropped_fenced += stats.dropped_fenced;
        sum.dropped_refused += self.dropped_refused;
        // A tap that is gone counts nothing any more.
        let asked = connection.ask(link::get_by_index(self.tap_device.index, self.tap.name()), link::decode);
        sum.dropped_unread += asked.ok().and_then(|links| links.first().map(|it| it.tx_dropped)).unwrap_or(0);
    }

    fn gone(&self) -> KernelError {
        KernelError::Gone { name: self.tap.name().into() }
    }
}
