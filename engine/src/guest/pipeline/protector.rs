//! [`Protector`]: the loop's handle to a guest that runs here. Starts its threads, orders captures, passes on acks.

use super::ahead::Ahead;
use super::capture::{Acked, Capturer};
use super::encode::EncodeThread;
use super::job::Job;
use super::order::{CaptureOrder, Order};
use super::pool::{Abort, EmptyPieces, Pieces};
use super::scrub::Scrub;
use super::unacked_dirty::UnackedDirty;
use super::unmarked::{Found, Unmarked};
use crate::guest::participant::Participants;
use crate::guest::report::Reporter;
use crate::guest::thread;
use crossbeam::channel::{Receiver, Sender, bounded};
use std::io;
use std::thread::{JoinHandle, sleep};
use std::time::{Duration, Instant};
use understudy_checkpoint::domain::{DomainState, LogTells, Source};
use understudy_checkpoint::pages::{Batches, Encoder, EncoderConfig};
use understudy_checkpoint::{Epoch, OutOfMemory, PAGE_SIZE};

/// Most orders that wait. The session has one capture in progress, and pauses or resumes a guest now and then.
const ORDERS_MAX: usize = 64;

/// Pieces of staging, so that one is encoded while another is filled.
const PIECES: u64 = 4;

/// State buffers that circulate between the two threads: one being filled, one being sent.
const STATES: usize = 2;

/// Limits of a guest's threads.
#[derive(Clone, Copy, Debug)]
pub struct ProtectorConfig {
    /// Bytes of staging: what one pause can copy without waiting for the encoder.
    pub staging_bytes: u64,
    /// Bytes of the encoder's shadow.
    pub shadow_bytes: u64,
    /// Threads that copy pages in a pause.
    pub copiers: usize,
    /// Unacked epochs that the session allows.
    pub in_flight_max: u32,
    /// How long the guest may stay suspended because the link is full.
    pub pause_wait_max: Duration,
}

/// What the two threads work with.
pub(in crate::guest) struct Parts {
    pub(in crate::guest) capturer: Capturer,
    pub(in crate::guest) encoder: EncodeThread,
    pub(in crate::guest) jobs: Receiver<Job>,
    pub(in crate::guest) pieces: EmptyPieces,
    pub(in crate::guest) abort: Abort,
    pub(in crate::guest) acked: Acked,
}

impl Parts {
    pub(in crate::guest) fn make(
        source: Box<dyn Source>,
        page_count: u64,
        config: ProtectorConfig,
        participants: Participants,
        reporter: &Reporter,
    ) -> Result<Self, OutOfMemory> {
        let (to_encoder, jobs) = bounded(2 * PIECES as usize + 4);
        let (to_pool, empty) = bounded(PIECES as usize);
        let (to_states, states) = bounded(STATES);
        let (abort, acked) = (Abort::default(), Acked::default());
        for _ in 0..STATES {
            let _ = to_states.send(DomainState::default());
        }
        let piece_pages =
            config.staging_bytes.div_ceil(PAGE_SIZE as u64).min(page_count).div_ceil(PIECES).max(1);
        let pieces = EmptyPieces::new(to_pool.clone(), PIECES, piece_pages as usize);
        let (tells, found) = (source.log_tells(), Found::default());
        let encoder = Encoder::new(EncoderConfig { shadow_bytes_max: config.shadow_bytes as usize });
        let capturer = Capturer {
            source,
            unacked: UnackedDirty::new(page_count, config.in_flight_max as usize)?,
            participants,
            pieces: Pieces::new(empty, to_encoder.clone(), abort.clone()),
            states,
            jobs: to_encoder,
            abort: abort.clone(),
            acked: acked.clone(),
            reporter: reporter.clone(),
            copiers: config.copiers,
            pause_wait_max: config.pause_wait_max,
            staging_pages: PIECES * piece_pages,
            ahead: Ahead::new(page_count, PIECES * piece_pages)?,
            scrub: Scrub::new(page_count)?,
            unmarked: Unmarked::new(tells, found.clone()),
            last: None,
            stays_paused: true,
            is_unsettled: false,
        };
        let encoder = EncodeThread {
            encoder: match tells {
                LogTells::GuestWrites { .. } => encoder.with_contents(),
                LogTells::Everything | LogTells::Nothing => encoder,
            },
            found,
            batches: Batches::new(),
            empty: to_pool,
            states: to_states,
            reporter: reporter.clone(),
            staging_bytes: PIECES * piece_pages * PAGE_SIZE as u64,
        };
        Ok(Self { capturer, encoder, jobs, pieces, abort, acked })
    }
}

/// A handle to a guest that runs here. Dropping it ends the threads, which drop the source.
#[derive(Debug)]
pub struct Protector {
    orders: Sender<Order>,
    abort: Abort,
    acked: Acked,
    capturer: JoinHandle<()>,
}

/// The capture thread does not accept orders any more.
#[derive(thiserror::Error, Clone, Copy, PartialEq, Eq, Debug)]
#[error("The guest's capture thread does not answer")]
pub struct Stuck;

impl Protector {
    /// Starts the threads of a guest of `page_count` frames.
    pub fn start(
        source: Box<dyn Source>,
        page_count: u64,
        config: ProtectorConfig,
        participants: Participants,
        reporter: &Reporter,
    ) -> io::Result<Self> {
        let parts = Parts::make(source, page_count, config, participants, reporter)?;
        let Parts { capturer, encoder, jobs, pieces, abort, acked } = parts;
        let (orders, inbox) = bounded(ORDERS_MAX);
        thread::spawn("encode", reporter.clone(), move || encoder.run(&jobs))?;
        let capturer = thread::spawn("capture", reporter.clone(), move || capturer.run(&inbox, pieces))?;
        Ok(Self { orders, abort, acked, capturer })
    }

    /// Orders a checkpoint.
    pub fn capture(&self, order: CaptureOrder) -> Result<(), Stuck> {
        self.order(Order::Capture(order))
    }

    /// Gives up the capture of `epoch` if it is in progress. It is still answered.
    pub fn abort(&self, epoch: Epoch) {
        self.abort.give_up(epoch);
    }

    /// Passes on that epochs up to `through` are acked.
    pub fn acked(&self, through: Epoch) {
        self.acked.set(through);
    }

    /// Resumes a guest that a capture left suspended.
    pub fn resume(&self) -> Result<(), Stuck> {
        self.order(Order::Resume)
    }

    /// Ends a suspend that an earlier engine may have begun, because the guest would stay suspended.
    pub fn settle(&self) -> Result<(), Stuck> {
        self.order(Order::Settle)
    }

    /// Leaves the guest alone until the next full sync: its writes are not logged, and other tools may suspend it.
    pub fn leave_alone(&self) -> Result<(), Stuck> {
        self.order(Order::LeaveAlone)
    }

    /// Ends the threads and waits, at most `within_max`, until the source is dropped: its settings in the hypervisor
    /// must not outlive the process.
    pub fn finish(self, within_max: Duration) {
        let Self { orders, capturer, .. } = self;
        drop(orders);
        let begun = Instant::now();
        while !capturer.is_finished() && begun.elapsed() < within_max {
            sleep(Duration::from_millis(1));
        }
    }

    fn order(&self, order: Order) -> Result<(), Stuck> {
        self.orders.try_send(order).map_err(|_| Stuck)
    }
}
