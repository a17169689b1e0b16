//! The pause: the only time in which the guest is suspended. Each part is timed.
//!
//! ```text
//!   guest runs │ suspend │ drain │ copy to staging │ state │ device model │ cut participants │ resume │ guest runs
//! ```
//!
//! Nothing else belongs here: no allocation, logging, encoding or sending. There is one exception: if more pages are
//! dirty than staging holds, staging is emptied through the pipeline while the guest waits (`overflows` counts it),
//! because a page may be late but must not be lost.

use super::failure::Failure;
use super::pool::Pieces;
use crate::guest::figures::{Asked, PauseTimes};
use crate::guest::participant::Participants;
use std::time::{Duration, Instant, SystemTime};
use understudy_checkpoint::domain::{Calls, DomainState, Source};
use understudy_checkpoint::pages::DirtyBitmap;
use understudy_checkpoint::{Epoch, Pfn};

/// What one pause works with.
pub(in crate::guest) struct Pause<'a> {
    pub(in crate::guest) source: &'a mut dyn Source,
    /// The bitmap to drain into and copy from. Frames that it contains already are copied as well.
    pub(in crate::guest) pending: &'a mut DirtyBitmap,
    /// Receives the pages.
    pub(in crate::guest) pieces: &'a mut Pieces,
    /// Receives the state.
    pub(in crate::guest) state: &'a mut DomainState,
    /// All are cut at the end of the pause.
    pub(in crate::guest) participants: &'a Participants,
    pub(in crate::guest) copiers: usize,
    /// How long the guest may stay suspended until the encoder makes room.
    pub(in crate::guest) wait_max: Duration,
}

impl Pause<'_> {
    /// Runs the pause. After an error the guest continues (unless it is gone), its output is not cut, and every drained
    /// frame is still pending.
    pub(in crate::guest) fn run(&mut self, epoch: Epoch, stay_paused: bool) -> Result<PauseTimes, Failure> {
        self.run_parts(epoch, stay_paused).inspect_err(|failure| {
            // What comes of the failure depends on it, so it is what is told; the capture thread tries again.
            if let (Err(error), false) = (self.source.resume(), failure.guest_gone()) {
                tracing::error!(%error, "The guest stands still: it cannot be resumed after a checkpoint that failed");
            }
        })
    }

    fn run_parts(&mut self, epoch: Epoch, stay_paused: bool) -> Result<PauseTimes, Failure> {
        let mut watch = Watch { at: Instant::now(), calls: self.source.calls(), parts: 0 };
        let mut times = PauseTimes::default();
        self.source.suspend()?;
        times.suspend = watch.lap(self.source, &mut times.asked);
        self.source.drain_dirty(self.pending)?;
        // What was copied ahead of the pause and written since.
        times.again_pages = self.pieces.leave_out(self.pending);
        times.drain = watch.lap(self.source, &mut times.asked);
        times.overflows = self.copy(epoch)?;
        times.copy = watch.lap(self.source, &mut times.asked);
        self.source.capture_state(self.state)?;
        times.state = watch.lap(self.source, &mut times.asked);
        self.source.capture_device_model(self.state)?;
        times.device_model = watch.lap(self.source, &mut times.asked);
        self.participants.cut(epoch)?;
        times.cut = watch.lap(self.source, &mut times.asked);
        times.cut_at = Some(SystemTime::now());
        if !stay_paused {
            self.source.resume()?;
        }
        times.resume = watch.lap(self.source, &mut times.asked);
        Ok(times)
    }

    fn copy(&mut self, epoch: Epoch) -> Result<u32, Failure> {
        let overflows_before = self.pieces.overflows();
        self.pieces.wait_until(Some(Instant::now() + self.wait_max));
        let copied = self.copy_pending(epoch);
        self.pieces.wait_until(None);
        copied?;
        Ok(self.pieces.overflows() - overflows_before)
    }

    fn copy_pending(&mut self, epoch: Epoch) -> Result<(), Failure> {
        let mut next = self.pending.runs(Pfn(0)).next().map(|run| Pfn(run.start));
        while let Some(from) = next {
            let staging = self.pieces.with_room(epoch)?;
            next = self.source.copy_pages(self.pending, from, staging, self.copiers)?;
        }
        Ok(())
    }
}

/// Measures laps: how long, and what was asked.
struct Watch {
    at: Instant,
    calls: Calls,
    /// Parts measured.
    parts: usize,
}

impl Watch {
    fn lap(&mut self, source: &dyn Source, asked: &mut Asked) -> Duration {
        let (at, calls) = (Instant::now(), source.calls());
        asked.add(self.parts, calls.since(self.calls));
        let took = at.duration_since(self.at);
        *self = Self { at, calls, parts: self.parts + 1 };
        took
    }
}
