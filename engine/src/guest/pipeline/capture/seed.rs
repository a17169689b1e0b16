//! A full sync: disk and memory are copied while the guest runs, and a pause copies the rest.
//!
//! ```text
//!   disk, until little is left ─► dirty log on ─► memory, pass by pass ─► disk, to its end ─► memory once more ─► pause
//!      └ waits: for the other host's word, for the limit of speed             └── the guest wrote too much ──┘
//! ```
//!
//! Who waits is not said here: the capture thread sleeps, the simulator lets other things happen. So what a full sync has
//! come to is a value, [`Seeding`]. Not here: the pause ([`pause`](super::super::pause)).

use super::super::failure::Failure;
use super::super::job::Job;
use super::super::order::CaptureOrder;
use super::{Capturer, Ordered, Progress};
use crate::guest::disks::full_copy::CopyGoal;
use crate::guest::participant::{CopyNext, CopyStep};
use std::sync::Arc;
use std::time::{Duration, Instant};
use understudy_checkpoint::{Epoch, Pfn};
use understudy_disk::record::Tagged;
use understudy_session::EpochKind;

/// Live passes of a full sync at most, each over what was dirtied during the last one. Otherwise a guest that dirties
/// memory faster than the link carries it would never get to its first checkpoint.
const LIVE_PASSES_MAX: u32 = 8;

/// A live pass that leaves at most this many dirty pages is the last: a pause copies them in a fraction of a
/// millisecond.
const LIVE_STOP_PAGES: u64 = 256;

/// A full sync whose disk is not copied yet.
#[derive(Clone, Copy, Debug)]
pub(in crate::guest) struct Seeding {
    pub(super) ordered: Ordered,
    goal: CopyGoal,
}

impl Capturer {
    pub(super) fn begin_seed(&mut self, order: CaptureOrder) -> Result<Progress, Failure> {
        let ordered = Ordered::of(&order);
        // Its cut would fail: a copy for nothing.
        self.participants.check()?;
        if let Some(disk) = self.participants.disk() {
            disk.begin_copy(order.generation, order.epoch)?;
        }
        self.last = None;
        self.scrub.forget();
        self.pieces.begin(Job::begin(order, EpochKind::Seed, None));
        self.seed_on(Seeding { ordered, goal: CopyGoal::Near })
    }

    /// Goes on until the next wait, or to the end.
    pub(super) fn seed_on(&mut self, seeding: Seeding) -> Result<Progress, Failure> {
        let Seeding { ordered, goal } = seeding;
        let epoch = ordered.epoch;
        match (self.copy_disk(epoch, goal)?, goal) {
            (CopyNext::Step, _) => return Ok(Progress::Waits(seeding, Duration::ZERO)),
            (CopyNext::Wait(span), _) => return Ok(Progress::Waits(seeding, span)),
            (CopyNext::Done, CopyGoal::Near) => {
                self.begin_log()?;
                self.live_passes(epoch)?;
                let seeding = Seeding { ordered, goal: CopyGoal::Even };
                return Ok(Progress::Waits(seeding, Duration::ZERO));
            }
            (CopyNext::Done, CopyGoal::Even) => {}
        }
        if !self.memory_joins_disk(epoch)? {
            return Ok(Progress::Waits(seeding, Duration::ZERO));
        }
        self.job(Job::Hurry)?;
        self.pause(ordered)
    }

    /// From here on the guest's memory is copied. Its log costs the guest something, so it does not last as long as the copy of a
    /// disk may.
    fn begin_log(&mut self) -> Result<(), Failure> {
        self.unmarked.begin_anew();
        self.source.end_log_dirty()?;
        self.source.begin_log_dirty()?;
        self.unacked.everything();
        Ok(())
    }

    /// A step of sending the guest's disk while the guest runs, as far as `goal`.
    fn copy_disk(&mut self, epoch: Epoch, goal: CopyGoal) -> Result<CopyNext, Failure> {
        let participants = self.participants.clone();
        let Some(disk) = participants.disk() else { return Ok(CopyNext::Done) };
        self.abort.check(epoch)?;
        // The epoch's begin goes first.
        self.pieces.hand_over()?;
        let CopyStep { ready, ask, next } = disk.copy_on(goal)?;
        self.send_writes(ready)?;
        ask.map_or(Ok(()), |ask| self.job(Job::Ask(ask)))?;
        Ok(next)
    }

    /// What was read of the disk and what was recorded behind it is the disk of the cut that follows. Memory that the guest has
    /// dirtied meanwhile is copied once more before the pause; `false` if it wrote more than the record holds meanwhile: both are
    /// done again.
    fn memory_joins_disk(&mut self, epoch: Epoch) -> Result<bool, Failure> {
        let participants = self.participants.clone();
        let Some(disk) = participants.disk() else { return Ok(true) };
        self.source.drain_dirty(self.unacked.pending_mut())?;
        self.live_passes(epoch)?;
        Ok(disk.is_even())
    }

    fn send_writes(&self, batches: Vec<Arc<Tagged>>) -> Result<(), Failure> {
        if batches.is_empty() { Ok(()) } else { self.job(Job::Writes(batches)) }
    }

    /// Copies everything while the guest runs, then what it dirtied meanwhile, until little is left or a pass gains
    /// nothing. Each pass waits for the encoder, so that the pause at the end finds the link nearly idle: from that
    /// pause on, output waits for the ack.
    fn live_passes(&mut self, epoch: Epoch) -> Result<(), Failure> {
        let (mut copied, mut took) = (u64::MAX, Duration::ZERO);
        for _ in 0..LIVE_PASSES_MAX {
            let wanted = self.unacked.pending().count();
            if wanted <= LIVE_STOP_PAGES || wanted > copied / 4 * 3 {
                break;
            }
            copied = wanted;
            let began = Instant::now();
            self.copy_live(epoch)?;
            let waited = self.pieces.wait_until_encoded(epoch)?;
            // In the pause no limit applies.
            took = began.elapsed().saturating_sub(waited);
            self.unacked.pending_mut().clear();
            self.source.drain_dirty(self.unacked.pending_mut())?;
        }
        self.is_worth_a_pause(copied, took)
    }

    /// Fails if the rest would not fit into a pause at the speed of the last live pass. The guest is not suspended to
    /// find that out.
    fn is_worth_a_pause(&self, copied: u64, took: Duration) -> Result<(), Failure> {
        let rest = self.unacked.pending().count().saturating_sub(self.staging_pages);
        let pause = took.as_secs_f64() * rest as f64 / copied as f64;
        if pause > self.pause_wait_max.as_secs_f64() { Err(Failure::TooMuch) } else { Ok(()) }
    }

    fn copy_live(&mut self, epoch: Epoch) -> Result<(), Failure> {
        let mut next = Some(Pfn(0));
        while let Some(from) = next {
            self.abort.check(epoch)?;
            let staging = self.pieces.with_room(epoch)?;
            next = self.source.copy_pages(self.unacked.pending(), from, staging, self.copiers)?;
            self.pieces.hand_over()?;
            let ready = self.participants.disk().map(|disk| disk.take_ready());
            self.send_writes(ready.unwrap_or_default())?;
        }
        Ok(())
    }
}
