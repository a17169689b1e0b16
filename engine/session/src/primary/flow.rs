//! The stream of epochs from this primary: their numbers, which of them are in flight or acked, and whether there is
//! room for another. The pacer decides when another is worth its pause. Nothing here knows of authority.
//!
//! ```text
//!    acked        in flight (unacked)         capturing     next
//!  ──── 5 ──┬──── 6 ──── 7 ──── 8 ──────────── 9 ────────── 10 ──►
//!           └ newest epoch whose output is out
//! ```

use super::super::{Span, Time};
use super::Capture;
use super::pacer::{Due, PacedBy, Pacer, Pacing, Waiting};
use alloc::collections::VecDeque;
use understudy_checkpoint::Epoch;

#[derive(Debug)]
struct Flight {
    epoch: Epoch,
    captured_at: Time,
}

/// The capture that was ordered and not answered yet.
#[derive(Debug)]
pub(super) struct Capturing {
    pub(super) epoch: Epoch,
    pub(super) capture: Capture,
    pub(super) stay_paused: bool,
    aborted: bool,
}

#[derive(Debug)]
pub(super) struct Flow {
    pacer: Pacer,
    /// What set the time of the newest checkpoint.
    paced_by: Option<PacedBy>,
    in_flight_max: usize,
    next_epoch: Epoch,
    /// The newest acked epoch since the last full sync: what the copy is known to have.
    acked: Option<Epoch>,
    in_flight: VecDeque<Flight>,
    capturing: Option<Capturing>,
    /// Whether what makes captures still knows every page written since the acked epoch. New threads do not, until a full sync.
    has_account: bool,
    /// The first epoch of the last full sync or resync. Epochs sent before it are lost or void.
    begins: Epoch,
    /// The next capture has to build on this epoch instead of on the capture before it.
    resync: Option<Epoch>,
    /// Captured, and not yet sent as a whole.
    encoding: Option<Epoch>,
    /// Whether held output nears its limit.
    pressed: bool,
    /// Declines since the last ack.
    declines: u32,
    /// Since when output waits for an ack: the last one, or the cut of the first copy.
    held_since: Option<Time>,
    /// When the copy got its first ack.
    copied_at: Option<Time>,
    /// Whether the last capture failed.
    is_failing: bool,
}

impl Flow {
    pub(super) fn new(pacing: Pacing, in_flight_max: u32, next_epoch: Epoch, now: Time) -> Self {
        Self {
            pacer: Pacer::new(pacing, now),
            paced_by: None,
            in_flight_max: in_flight_max.max(1) as usize,
            next_epoch,
            acked: None,
            in_flight: VecDeque::new(),
            capturing: None,
            has_account: false,
            begins: next_epoch,
            resync: None,
            encoding: None,
            pressed: false,
            declines: 0,
            held_since: None,
            copied_at: None,
            is_failing: false,
        }
    }

    pub(super) fn pacer(&self) -> &Pacer {
        &self.pacer
    }

    pub(super) fn set_pacing(&mut self, pacing: Pacing, now: Time) {
        if pacing.interval_max() < self.pacer.pacing().interval_max() {
            self.excuse(now);
        }
        self.pacer.set_pacing(pacing);
    }

    /// A peer that was sent nothing yet is not to blame.
    pub(super) fn excuse(&mut self, now: Time) {
        if self.in_flight.is_empty() {
            self.held_since = self.held_since.map(|at| at.max(now));
        }
    }

    /// The number of the next capture.
    pub(super) fn next_epoch(&self) -> Epoch {
        self.next_epoch
    }

    /// Records that something other than the pacer began the newest checkpoint.
    pub(super) fn was_paced_by(&mut self, by: PacedBy) {
        self.paced_by = Some(by);
    }

    /// What set the time of the newest checkpoint.
    pub(super) fn paced_by(&self) -> Option<PacedBy> {
        self.paced_by
    }

    pub(super) fn output_waits(&mut self, waiting: Waiting, now: Time) {
        self.pacer.waits(waiting, now);
    }

    pub(super) fn acked(&self) -> Option<Epoch> {
        self.acked
    }

    pub(super) fn newest_captured(&self) -> Option<Epoch> {
        self.in_flight.back().map(|flight| flight.epoch).or(self.acked)
    }

    pub(super) fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    pub(super) fn capturing(&self) -> Option<&Capturing> {
        self.capturing.as_ref()
    }

    /// When the next capture may begin; `None` while one is outstanding or the in-flight limit is reached.
    pub(super) fn due_at(&self) -> Option<Time> {
        (self.capturing.is_none() && self.has_room()).then(|| self.due().at)
    }

    /// With pacing by output, a capture does not begin while the encoder is busy: it would wait for it, and output sent
    /// in the meantime would fall into a later epoch. With pacing by a clock, or when `interval_max` is over, a capture
    /// waits for nothing.
    fn due(&self) -> Due {
        if self.pressed || self.resync.is_some() {
            return Due { at: Time(0), by: PacedBy::Output };
        }
        self.pacer.due(self.encoding.is_some())
    }

    /// Whether a capture is due and only the in-flight limit delays it.
    pub(super) fn is_stretched(&self, now: Time) -> bool {
        self.capturing.is_none() && !self.has_room() && self.due().at <= now
    }

    /// Since when output waits for an ack, whatever link its epoch was sent on.
    pub(super) fn held_at(&self) -> Option<Time> {
        let oldest = self.in_flight.front().map(|flight| flight.captured_at);
        self.held_since.map(|at| oldest.map_or(at, |oldest| oldest.min(at)))
    }

    /// How long the copy has been getting acks.
    pub(super) fn acked_for(&self, now: Time) -> Span {
        self.copied_at.map_or(Span(0), |at| now - at)
    }

    /// Whether the last capture failed.
    pub(super) fn is_failing(&self) -> bool {
        self.is_failing
    }

    /// The outstanding capture will not be answered, and nobody knows any more what the guest wrote since the acked epoch.
    pub(super) fn lose_capture(&mut self) {
        self.has_account = false;
        if let Some(Capturing { capture: Capture::Resync { base }, .. }) = self.capturing.take() {
            self.resync.get_or_insert(base);
        }
    }

    /// Numbers a capture of the whole guest.
    pub(super) fn begin_seed(&mut self) -> Epoch {
        self.forget();
        self.has_account = true;
        self.begins = self.next_epoch;
        self.begin(Capture::Seed, false)
    }

    /// Numbers the next checkpoint, and says what it is: a resync if one is needed.
    pub(super) fn begin_checkpoint(&mut self, stay_paused: bool) -> (Epoch, Capture) {
        let capture = match self.resync.take() {
            Some(base) => {
                self.begins = self.next_epoch;
                self.forget_all_in_flight_but_the_newest(base);
                Capture::Resync { base }
            }
            None => Capture::Delta,
        };
        (self.begin(capture, stay_paused), capture)
    }

    /// Forgets the epochs that a resync from `base` replaces: they were lost with the old link. Only the newest may
    /// have been captured late enough to go over the new link, so its ack may still come.
    fn forget_all_in_flight_but_the_newest(&mut self, base: Epoch) {
        let lost = self.in_flight.len().saturating_sub(1);
        self.in_flight.drain(..lost);
        let kept = self.in_flight.back();
        assert!(
            kept.is_none_or(|kept| kept.epoch > base && kept.epoch < self.next_epoch),
            "epoch {kept:?} is kept in flight, and a resync from {base} begins with {}",
            self.next_epoch
        );
    }

    /// Whether to order the outstanding capture to stop; true only once.
    pub(super) fn abort(&mut self) -> bool {
        self.capturing.as_mut().is_some_and(|capturing| !core::mem::replace(&mut capturing.aborted, true))
    }

    /// The capture of `epoch` is staged and cut. `None` if it was not asked for.
    pub(super) fn captured(&mut self, epoch: Epoch, pause: Span, now: Time) -> Option<Capturing> {
        let capturing = self.answered(epoch)?;
        let newest = self.newest_captured();
        assert!(newest.is_none_or(|newest| newest < epoch), "epoch {epoch} is captured after {newest:?}");
        self.pacer.resumed(Some(pause), now);
        self.encoding = Some(epoch);
        self.in_flight.push_back(Flight { epoch, captured_at: now });
        self.held_since.get_or_insert(now);
        self.is_failing = false;
        Some(capturing)
    }

    /// The capture of `epoch` failed. Its number is not used again.
    pub(super) fn capture_failed(&mut self, epoch: Epoch, now: Time) -> Option<Capturing> {
        let capturing = self.answered(epoch)?;
        self.pacer.resumed(None, now);
        self.is_failing = true;
        if let Capture::Resync { base } = capturing.capture {
            self.resync.get_or_insert(base);
        }
        Some(capturing)
    }

    /// `epoch` is encoded and sent as a whole.
    pub(super) fn encoded(&mut self, epoch: Epoch, busy: Span, link_bytes: u64) {
        self.encoding.take_if(|encoding| *encoding <= epoch);
        self.pacer.cost(busy, link_bytes);
    }

    /// The copy holds everything through `epoch`; returns how long that took since its capture. `None` if the
    /// epoch is not in flight: an ack that is old, or of an epoch that was given up.
    pub(super) fn ack(&mut self, epoch: Epoch, now: Time) -> Option<Span> {
        let index = self.in_flight.iter().position(|flight| flight.epoch == epoch)?;
        let flight = self.in_flight.drain(..=index).next_back()?;
        assert!(self.acked < Some(epoch), "an ack of epoch {epoch} after that of {:?}", self.acked);
        self.acked = Some(epoch);
        self.declines = 0;
        self.held_since = Some(now);
        self.copied_at.get_or_insert(now);
        self.encoding.take_if(|encoding| *encoding <= epoch);
        let after = now - flight.captured_at;
        self.pacer.committed(after);
        Some(after)
    }

    /// Whether a checkpoint can be made for a copy that stands at `epoch`.
    pub(super) fn can_build_on(&self, epoch: Epoch) -> bool {
        let is_known = self.acked == Some(epoch) || self.in_flight.iter().any(|flight| flight.epoch == epoch);
        is_known && self.has_account
    }

    /// Whether a checkpoint can say what changed. Otherwise only a full sync is right.
    pub(super) fn has_account(&self) -> bool {
        self.has_account
    }

    /// From here on checkpoints are for a copy that stands at `base`.
    pub(super) fn resync_from(&mut self, base: Epoch) {
        assert_eq!(self.acked, Some(base), "a checkpoint builds on what is acked");
        self.resync = Some(base);
    }

    /// The output queue is nearly full, and a checkpoint would relieve it.
    pub(super) fn press(&mut self) {
        self.pressed = true;
    }

    /// Counts a decline of `epoch`, unless it is old news; returns how many there were since the last ack.
    pub(super) fn decline(&mut self, epoch: Epoch) -> Option<u32> {
        if epoch < self.begins {
            return None;
        }
        self.declines += 1;
        Some(self.declines)
    }

    /// The copy is stale: nothing that was sent counts any more.
    pub(super) fn forget(&mut self) {
        self.acked = None;
        self.in_flight.clear();
        self.encoding = None;
        self.resync = None;
        self.pressed = false;
        self.declines = 0;
        self.held_since = None;
        self.copied_at = None;
        self.is_failing = false;
    }

    fn begin(&mut self, capture: Capture, stay_paused: bool) -> Epoch {
        assert!(self.capturing.is_none(), "a capture begins while {:?} is outstanding", self.capturing);
        let epoch = self.next_epoch;
        self.next_epoch = epoch.next();
        self.paced_by = (capture == Capture::Delta).then(|| self.due().by);
        self.pressed = false;
        self.capturing = Some(Capturing { epoch, capture, stay_paused, aborted: false });
        epoch
    }

    fn answered(&mut self, epoch: Epoch) -> Option<Capturing> {
        self.capturing.take_if(|capturing| capturing.epoch == epoch)
    }

    fn has_room(&self) -> bool {
        let sent = self.in_flight.iter().filter(|flight| flight.epoch >= self.begins).count();
        self.resync.is_some() || sent < self.in_flight_max
    }
}
