//! Output of a lab guest: a queue in this process, shared between threads. Only the loop sends its frames, so nothing
//! leaves once the loop has ended.
//!
//! Not here: when a frame may leave ([`EpochQueue`]).

use super::{Compared, Hold, OutputError, OutputStats};
use crate::guest::participant::{Health, Participant, ParticipantError};
use crate::guest::waker::LoopWaker;
use parking_lot::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use understudy_checkpoint::Epoch;
use understudy_netbuf::{EpochQueue, HeldId, Limits, Push, Waiting};

/// Frames that go through this process from a lab guest to the lab's switch.
#[derive(Debug)]
pub(super) struct Frames {
    queue: Mutex<EpochQueue>,
    /// Whether each held frame wakes the loop.
    watched: AtomicBool,
    /// Whether the loop was woken for a frame and has not looked since.
    is_unseen: AtomicBool,
    pressure: AtomicBool,
    /// Whether frames may have bypassed this queue since all output could leave.
    breached: AtomicBool,
    waker: LoopWaker,
}

impl Frames {
    pub(super) fn holding(open: Epoch, limits: Limits, waker: LoopWaker) -> Self {
        let queue = Mutex::new(EpochQueue::holding(open, limits));
        let (watched, is_unseen, pressure, breached) = Default::default();
        Self { queue, watched, is_unseen, pressure, breached, waker }
    }

    fn is_whole(&self) -> Result<(), OutputError> {
        if self.breached.load(Ordering::Acquire) {
            let (interface, why) = ("the lab's card".to_owned(), "frames went another way".to_owned());
            return Err(OutputError::Leaked { interface, why });
        }
        Ok(())
    }
}

impl Participant for Frames {
    fn check(&self) -> Result<(), ParticipantError> {
        Ok(self.is_whole()?)
    }

    fn cut(&self, epoch: Epoch) -> Result<(), ParticipantError> {
        self.queue.lock().cut(epoch);
        self.check()
    }

    fn release(&self, through: Epoch) {
        self.queue.lock().release(through);
    }

    fn pass(&self) {
        self.breached.store(false, Ordering::Release);
        self.queue.lock().pass();
    }

    fn fence(&self) {
        self.queue.lock().fence();
    }

    fn revive(&self) {
        self.queue.lock().revive();
    }

    fn detach(&self) {}

    fn take_health(&self) -> Health {
        let pressure = self.pressure.swap(false, Ordering::AcqRel);
        Health { pressure, leaks: self.leaks(), fault: None }
    }

    fn last_fault(&self) -> Option<String> {
        None
    }
}

impl Hold for Frames {
    fn breach(&self) {
        // While all output may leave, a frame that bypasses the queue is no leak. The next cut begins without one.
        if !self.queue.lock().is_passing() {
            self.breached.store(true, Ordering::Release);
        }
        self.waker.wake();
    }

    fn leaks(&self) -> bool {
        self.breached.load(Ordering::Acquire)
    }

    fn take_into(&self, into: &mut Vec<Vec<u8>>) {
        let mut queue = self.queue.lock();
        into.extend(std::iter::from_fn(|| queue.take()));
    }

    fn take_waiting(&self) -> Option<Waiting> {
        let mut queue = self.queue.lock();
        queue.has_news().then(|| queue.waiting())
    }

    fn tell_at(&self, answers: Option<u32>) {
        self.queue.lock().tell_at(answers);
    }

    fn stats(&self) -> OutputStats {
        let (stats, held_share) = {
            let queue = self.queue.lock();
            (queue.stats(), queue.held_share())
        };
        OutputStats {
            held_bytes: stats.held_bytes as u64,
            held_frames: stats.held_frames as u64,
            held_share,
            dropped_frames: stats.dropped_at_limit,
            hold_faults: 0,
            matched_frames: stats.matched_frames,
            acked_frames: stats.acked_frames,
        }
    }

    fn transmit(&self, frame: &[u8]) {
        let mut queue = self.queue.lock();
        let had_news = queue.has_news();
        let wakes = match queue.push(frame) {
            Push::Passing => true,
            Push::Held | Push::Dropped => !had_news && queue.has_news(),
            Push::HeldNearLimit => !self.pressure.swap(true, Ordering::AcqRel),
        };
        drop(queue);
        let is_watched = self.watched.load(Ordering::Acquire);
        if wakes | (is_watched && !self.is_unseen.swap(true, Ordering::AcqRel)) {
            self.waker.wake();
        }
    }

    fn compared(&self) -> Option<&dyn Compared> {
        Some(self)
    }
}

impl Compared for Frames {
    fn watch(&self, watches: bool) {
        self.watched.store(watches, Ordering::Release);
    }

    fn next_id(&self) -> HeldId {
        self.queue.lock().next_id()
    }

    fn look(&self, from: HeldId, see: &mut dyn FnMut(HeldId, Epoch, &[u8])) -> HeldId {
        // Before the lock: a frame that comes after it wakes the loop again.
        self.is_unseen.store(false, Ordering::Release);
        let queue = self.queue.lock();
        queue.held_from(from).for_each(|(id, epoch, frame)| see(id, epoch, frame));
        queue.next_id()
    }

    fn let_out(&self, id: HeldId, edit: &mut dyn FnMut(&mut [u8])) {
        self.queue.lock().let_out(id, edit);
    }

    fn show(&self, id: HeldId, see: &mut dyn FnMut(&[u8])) {
        let queue = self.queue.lock();
        let held = queue.held_from(id).next().filter(|(first, ..)| *first == id);
        held.into_iter().for_each(|(_, _, frame)| see(frame));
    }

    fn discard(&self, id: HeldId) {
        self.queue.lock().discard(id);
    }

    fn add(&self, frame: Vec<u8>) {
        self.queue.lock().add_leaving(frame);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An unprotected guest cannot leak, and its next full sync holds output from the cut on.
    #[test]
    fn what_goes_another_way_while_everything_may_leave_fails_no_cut() {
        let frames = Frames::holding(Epoch(1), Limits::default(), LoopWaker::silent());
        frames.breach();
        assert!(frames.leaks() && frames.cut(Epoch(1)).is_err());
        frames.pass();
        frames.breach();
        assert!(!frames.leaks());
        frames.cut(Epoch(2)).unwrap();
        frames.breach();
        assert!(frames.cut(Epoch(3)).is_err());
    }
}
