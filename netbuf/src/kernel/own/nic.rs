//! The queue of one interface: moves frames from the tap into the [`EpochQueue`], and released ones back.
//!
//! ```text
//!   tap ─read─► │ limit: bytes held + bytes leaving │ EpochQueue │ ─take─► tap ─write─► as received by the vif
//!    │ └───── reader's lock ─────┘       state's lock          └──────── writer's lock ───────┘
//!    └ ring: frames nobody has read yet; the kernel counts what it drops
//! ```
//!
//! A write takes its frame all the way through the host's network, and so ten times as long as a read. Reading and
//! writing therefore have separate locks: a cut, which happens in the guest's pause, waits for some reads and for no
//! write. Frames leave in the order of their arrival, because one thread at a time reads and one writes.

use crate::kernel::KernelError;
use crate::kernel::commit::{KernelStats, Start};
use crate::kernel::redirect::Device;
use crate::kernel::tap::Tap;
use crate::{EpochQueue, Limits, Push, Waiting};
use parking_lot::{Mutex, MutexGuard, RwLock};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use understudy_checkpoint::Epoch;

/// Frames moved under one hold of the reader's or writer's lock.
const TURN_FRAMES: usize = 64;
/// Frames that a cut reads at most before it closes the epoch.
const CUT_FRAMES_MAX: usize = 256;

/// Whether a turn of reading or sending left work.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Turn {
    /// Nothing to do until a frame arrives or is released.
    Idle,
    /// There is more; take another turn.
    Busy,
}

/// An interface under output commit. Locks are taken in the order reader, writer, state.
#[derive(Debug)]
pub(super) struct Nic {
    /// The interface, by the name it had when it was attached.
    name: String,
    parts: RwLock<Arc<Parts>>,
    /// A buffer for one frame.
    reader: Mutex<Box<[u8]>>,
    writer: Mutex<()>,
    state: Mutex<State>,
    /// Frames that earlier taps of this interface dropped unread, and those that the present one dropped.
    dropped_before: AtomicU64,
    dropped_unread: AtomicU64,
}

/// The kernel objects behind an interface. They are replaced when the host has removed the tap.
#[derive(Debug)]
pub(super) struct Parts {
    pub(super) vif: Device,
    pub(super) tap_device: Device,
    pub(super) tap: Tap,
    /// The tap has failed, for good.
    failed: AtomicBool,
}

impl Parts {
    pub(super) fn new(vif: Device, tap_device: Device, tap: Tap) -> Self {
        Self { vif, tap_device, tap, failed: AtomicBool::new(false) }
    }

    pub(super) fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Acquire)
    }

    fn noting_failure<T>(&self, call: impl FnOnce(&Tap) -> Result<T, KernelError>) -> Result<T, KernelError> {
        self.check()?;
        let result = call(&self.tap);
        if result.is_err() {
            self.failed.store(true, Ordering::Release);
        }
        result
    }

    fn check(&self) -> Result<(), KernelError> {
        let gone = || KernelError::Gone { name: self.tap.name().into() };
        if self.has_failed() { Err(gone()) } else { Ok(()) }
    }
}

#[derive(Debug)]
struct State {
    queue: EpochQueue,
    bytes_max: usize,
    /// Bytes released but not sent yet, which the queue's own limit does not count.
    leaving_bytes: usize,
    passing: bool,
    fenced: bool,
    pressure: bool,
    dropped_here: u64,
    dropped_refused: u64,
}

impl Nic {
    pub(super) fn new(parts: Parts, open: Epoch, limits: Limits, start: Start) -> Self {
        let queue = match start {
            Start::Passing => EpochQueue::new(open, limits),
            Start::Holding => EpochQueue::holding(open, limits),
        };
        let queue = queue.behind(Tap::HEADER_BYTES);
        let state = State {
            queue,
            bytes_max: limits.bytes_max,
            leaving_bytes: 0,
            passing: start == Start::Passing,
            fenced: false,
            pressure: false,
            dropped_here: 0,
            dropped_refused: 0,
        };
        Self {
            name: parts.vif.name.clone(),
            parts: RwLock::new(Arc::new(parts)),
            reader: Mutex::new(vec![0; Tap::READ_BYTES_MAX].into()),
            writer: Mutex::new(()),
            state: Mutex::new(state),
            dropped_before: AtomicU64::new(0),
            dropped_unread: AtomicU64::new(0),
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn parts(&self) -> Arc<Parts> {
        Arc::clone(&self.parts.read())
    }

    /// Continues with another tap. Held frames stay held.
    pub(super) fn replace(&self, parts: Parts) {
        *self.parts.write() = Arc::new(parts);
        let lost = self.dropped_unread.swap(0, Ordering::AcqRel);
        self.dropped_before.fetch_add(lost, Ordering::AcqRel);
    }

    /// Records the kernel's count of frames that the tap dropped because nobody read them in time.
    pub(super) fn set_dropped_unread(&self, frames: u64) {
        self.dropped_unread.store(frames, Ordering::Release);
    }

    /// Reads some frames. An error is final.
    pub(super) fn receive(&self) -> Result<Turn, KernelError> {
        let mut reader = self.reader.lock();
        let more = self.read(&mut reader, TURN_FRAMES)?;
        // Fair, or this thread would have the lock again before a cut that waits for it wakes up.
        MutexGuard::unlock_fair(reader);
        Ok(if more { Turn::Busy } else { Turn::Idle })
    }

    /// Reads up to `frames_max` frames. Returns whether there may be more.
    fn read(&self, buffer: &mut [u8], frames_max: usize) -> Result<bool, KernelError> {
        let parts = self.parts();
        for _ in 0..frames_max {
            let Some(bytes) = parts.noting_failure(|tap| tap.read(buffer))? else { return Ok(false) };
            self.state.lock().push(&buffer[..bytes]);
        }
        Ok(true)
    }

    /// Whether frames wait to be sent.
    pub(super) fn has_leaving(&self) -> bool {
        self.state.lock().queue.has_leaving()
    }

    /// Sends some of the released frames. An error is final. A fence waits for at most one frame.
    pub(super) fn send(&self) -> Result<Turn, KernelError> {
        let parts = self.parts();
        let mut writer = self.writer.lock();
        parts.check()?;
        for _ in 0..TURN_FRAMES {
            let Some(frame) = self.state.lock().take() else { return Ok(Turn::Idle) };
            if !parts.noting_failure(|tap| tap.write(&frame))? {
                self.state.lock().dropped_refused += 1;
            }
            MutexGuard::bump(&mut writer);
        }
        MutexGuard::unlock_fair(writer);
        Ok(if self.has_leaving() { Turn::Busy } else { Turn::Idle })
    }

    /// Fails if the tap has failed.
    pub(super) fn check(&self) -> Result<(), KernelError> {
        self.parts.read().check()
    }

    /// Reads what the guest sent before it was suspended, as far as it has arrived, and closes `epoch`. Frames that the
    /// kernel delivers later belong to the next epoch: they are held longer, never shorter.
    pub(super) fn cut(&self, epoch: Epoch) -> Result<(), KernelError> {
        let mut reader = self.reader.lock();
        let read = self.read(&mut reader, CUT_FRAMES_MAX);
        let mut state = self.state.lock();
        state.queue.cut(epoch);
        state.passing = false;
        read.map(drop)
    }

    /// [`EpochQueue::release`].
    pub(super) fn release(&self, through: Epoch) {
        self.state.lock().let_out(|queue| queue.release(through));
    }

    /// [`EpochQueue::pass`].
    pub(super) fn pass(&self) {
        let mut state = self.state.lock();
        state.let_out(EpochQueue::pass);
        state.passing = !state.fenced;
    }

    /// [`EpochQueue::fence`]. When this returns, no frame is being sent any more.
    pub(super) fn fence(&self) {
        let _nobody_writes = self.writer.lock();
        self.state.lock().fence();
    }

    /// [`EpochQueue::revive`].
    pub(super) fn revive(&self) {
        let mut state = self.state.lock();
        state.queue.revive();
        state.fenced = false;
    }

    /// Whether everything may leave.
    pub(super) fn is_passing(&self) -> bool {
        self.state.lock().passing
    }

    /// Takes a frame of the host's own as if the guest sent it now.
    pub(super) fn push(&self, frame: &[u8]) {
        // No part of it is left to the hardware.
        let mut with_header = vec![0; Tap::HEADER_BYTES];
        with_header.extend_from_slice(frame);
        self.state.lock().push(&with_header);
    }

    /// Assigns everything held to epoch `open`.
    pub(super) fn reopen(&self, open: Epoch) {
        self.state.lock().queue.reopen(open);
    }

    /// What [`take_pressure`](Self::take_pressure) would return.
    pub(super) fn is_pressed(&self) -> bool {
        self.state.lock().pressure
    }

    pub(super) fn take_pressure(&self) -> bool {
        std::mem::take(&mut self.state.lock().pressure)
    }

    /// [`EpochQueue::has_news`].
    pub(super) fn has_news(&self) -> bool {
        self.state.lock().queue.has_news()
    }

    /// [`EpochQueue::waiting`].
    pub(super) fn waiting(&self) -> Waiting {
        self.state.lock().queue.waiting()
    }

    /// [`EpochQueue::tell_at`].
    pub(super) fn tell_at(&self, answers: Option<u32>) {
        self.state.lock().queue.tell_at(answers);
    }

    /// Adds this interface's counters to `sum`.
    pub(super) fn add_stats(&self, sum: &mut KernelStats) {
        let state = self.state.lock();
        let stats = state.queue.stats();
        sum.queue.held_bytes += stats.held_bytes;
        sum.queue.held_frames += stats.held_frames;
        sum.queue.released_frames += stats.released_frames;
        sum.queue.acked_frames += stats.acked_frames;
        sum.queue.matched_frames += stats.matched_frames;
        sum.queue.dropped_at_limit += stats.dropped_at_limit + state.dropped_here;
        sum.queue.dropped_fenced += stats.dropped_fenced;
        sum.dropped_refused += state.dropped_refused;
        let unread = [&self.dropped_before, &self.dropped_unread];
        sum.dropped_unread += unread.map(|it| it.load(Ordering::Acquire)).iter().sum::<u64>();
    }
}

impl State {
    fn push(&mut self, frame: &[u8]) {
        let bytes = self.queue.stats().held_bytes + self.leaving_bytes + frame.len();
        if bytes > self.bytes_max && !self.fenced {
            self.dropped_here += 1;
            self.pressure = true;
            return;
        }
        match self.queue.push(frame) {
            Push::Passing => self.leaving_bytes += frame.len(),
            Push::Held => (),
            Push::HeldNearLimit | Push::Dropped => self.pressure = true,
        }
    }

    fn take(&mut self) -> Option<Vec<u8>> {
        let frame = self.queue.take()?;
        self.leaving_bytes -= frame.len();
        Some(frame)
    }

    fn let_out(&mut self, call: impl FnOnce(&mut EpochQueue)) {
        let held_before = self.queue.stats().held_bytes;
        call(&mut self.queue);
        self.leaving_bytes += held_before - self.queue.stats().held_bytes;
    }

    fn fence(&mut self) {
        self.queue.fence();
        self.leaving_bytes = 0;
        self.passing = false;
        self.fenced = true;
    }
}
