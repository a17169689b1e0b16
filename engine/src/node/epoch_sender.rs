//! Hands epochs from an encode thread to a connection that belongs to the loop.
//!
//! ```text
//!   encode thread ─► EpochSender ─ whole epochs or 64 KiB ─► SendQueue (bounded) ─► loop ─► lane of the connection
//!                                                            full: waits here
//!                                  of a full sync: waits for its turn there as well, until output waits for it
//! ```

use super::sync_rate::SyncRate;
use crate::guest::{LoopWaker, Outlet, OutletClosed, Passed};
use parking_lot::{Condvar, Mutex};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};
use understudy_checkpoint::epoch::{EpochEnd, EpochHead, EpochPart, WritesEnd};
use understudy_link::{Encoded, Frame, GuestFrame, GuestId, STATE_BYTES_MAX, encode};
use understudy_session::ToSecondary;

/// Above this a queue is full. The connection's lane behind it holds enough to keep a link busy.
const QUEUE_BYTES_MAX: usize = 1 << 20;

/// Frames are handed over in lots of this many bytes, or at the end of an epoch, so that a small epoch wakes the loop
/// only once.
const LOT_BYTES: usize = 64 << 10;

/// Frames of one guest that wait for the loop.
#[derive(Clone, Debug)]
pub struct SendQueue(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    queue: Mutex<Queue>,
    room: Condvar,
    waker: LoopWaker,
}

#[derive(Debug, Default)]
struct Queue {
    frames: VecDeque<Encoded>,
    bytes: usize,
    closed: bool,
    /// How often epochs were given up: epochs begun before that are dropped.
    round: u64,
}

impl SendQueue {
    /// An empty queue; `waker` wakes the loop when the queue has something.
    pub fn new(waker: LoopWaker) -> Self {
        Self(Arc::new(Shared { queue: Mutex::default(), room: Condvar::new(), waker }))
    }

    /// The next frame.
    pub fn pop(&self) -> Option<Encoded> {
        let mut queue = self.0.queue.lock();
        let frame = queue.frames.pop_front()?;
        queue.bytes -= frame.len_bytes();
        if queue.bytes < QUEUE_BYTES_MAX {
            self.0.room.notify_one();
        }
        Some(frame)
    }

    /// The connection has ended: nothing more is accepted, and waiting threads go on.
    pub fn close(&self) {
        let mut queue = self.0.queue.lock();
        queue.closed = true;
        queue.frames.clear();
        queue.bytes = 0;
        self.0.room.notify_all();
    }

    /// Nobody needs the epochs begun so far: the rest of them is dropped, and a waiting thread goes on. Otherwise a
    /// slow link would keep the encode thread, and behind it the guest's capture thread, waiting.
    pub fn give_up(&self) {
        let mut queue = self.0.queue.lock();
        queue.round += 1;
        queue.frames.clear();
        queue.bytes = 0;
        self.0.room.notify_all();
    }

    fn round(&self) -> u64 {
        self.0.queue.lock().round
    }

    /// Waits until `at`, or until the epoch is given up.
    fn wait_until(&self, round: u64, at: Instant) {
        let mut queue = self.0.queue.lock();
        while !queue.closed && queue.round == round && Instant::now() < at {
            self.0.room.wait_until(&mut queue, at);
        }
    }

    /// Hands over one lot of an epoch; waits while the queue is full.
    fn push(&self, round: u64, lot: &mut Vec<Encoded>) -> Result<(), OutletClosed> {
        let mut queue = self.0.queue.lock();
        while !queue.closed && queue.round == round && queue.bytes >= QUEUE_BYTES_MAX {
            self.0.room.wait(&mut queue);
        }
        if queue.closed || queue.round != round {
            lot.clear();
            return Err(OutletClosed);
        }
        queue.bytes += lot.iter().map(Encoded::len_bytes).sum::<usize>();
        queue.frames.extend(lot.drain(..));
        drop(queue);
        self.0.waker.wake();
        Ok(())
    }
}

/// Makes frames of the parts of an epoch.
#[derive(Debug)]
pub(super) struct EpochSender {
    guest: GuestId,
    queue: SendQueue,
    round: u64,
    lot: Vec<Encoded>,
    lot_bytes: usize,
    passed: Passed,
    /// Of a full sync, while no output waits for it.
    rate: Option<SyncRate>,
    waited: Duration,
}

impl EpochSender {
    /// Sends one epoch for `guest`; how much of it has gone is counted in `passed`. A full sync has the node's `rate`.
    pub(super) fn new(guest: GuestId, queue: SendQueue, passed: Passed, rate: Option<SyncRate>) -> Self {
        let round = queue.round();
        Self { guest, queue, round, lot: Vec::new(), lot_bytes: 0, passed, rate, waited: Duration::ZERO }
    }

    /// Hands over the lot, once it is its turn.
    fn hand_over(&mut self) -> Result<(), OutletClosed> {
        let bytes = std::mem::take(&mut self.lot_bytes);
        if let Some(rate) = &self.rate {
            let now = Instant::now();
            self.queue.wait_until(self.round, rate.turn(bytes as u64, now));
            self.waited += now.elapsed();
        }
        self.queue.push(self.round, &mut self.lot)
    }

    fn put(&mut self, frame: &Frame<'_>) -> Result<u64, OutletClosed> {
        let frame = encode(frame).map_err(|error| {
            tracing::error!(%error, "A part of an epoch cannot be sent; the epoch ends here");
            OutletClosed
        })?;
        let bytes = frame.len_bytes();
        self.lot_bytes += bytes;
        self.lot.push(frame);
        Ok(bytes as u64)
    }

    fn put_part(&mut self, part: EpochPart<&[u8]>) -> Result<u64, OutletClosed> {
        let guest = self.guest;
        match part {
            EpochPart::Pages(batch) => self.put(&GuestFrame::PageBatch(batch).of(guest)),
            EpochPart::LibxcState(records) => records
                .chunks(STATE_BYTES_MAX)
                .map(|records| self.put(&GuestFrame::LibxcState(records).of(guest)))
                .sum(),
            EpochPart::LibxlState(records) => records
                .chunks(STATE_BYTES_MAX)
                .map(|records| self.put(&GuestFrame::LibxlState(records).of(guest)))
                .sum(),
            EpochPart::Writes { generation, tag, batch } => {
                self.put(&GuestFrame::DiskWrites { generation, tag, batch }.of(guest))
            }
            EpochPart::WritesEnd(WritesEnd { generation, epoch, summary }) => {
                self.put(&GuestFrame::DiskEnd { generation, epoch, summary }.of(guest))
            }
            EpochPart::Ask { generation, epoch, ask } => {
                self.put(&GuestFrame::DiskAsk { generation, epoch, ask }.of(guest))
            }
            EpochPart::End(EpochEnd { generation, epoch, summary }) => {
                self.put(&GuestFrame::EpochEnd { generation, epoch, summary }.of(guest))
            }
        }
    }
}

impl Outlet for EpochSender {
    fn begin(&mut self, head: EpochHead) -> Result<u64, OutletClosed> {
        let EpochHead { generation, epoch, kind, base } = head;
        let message = ToSecondary::EpochBegin { generation, epoch, kind, base };
        self.put(&GuestFrame::ToSecondary(message).of(self.guest))
    }

    fn send(&mut self, part: EpochPart<&[u8]>) -> Result<u64, OutletClosed> {
        // Nobody adds to what ends an epoch, or waits for an answer.
        let is_last = matches!(part, EpochPart::End(_) | EpochPart::Ask { .. });
        let bytes = self.put_part(part)?;
        if is_last || self.lot_bytes >= LOT_BYTES {
            self.hand_over()?;
        }
        Ok(bytes)
    }

    fn passed(&mut self, pages: u64, link_bytes: u64) {
        self.passed.add(pages, link_bytes);
    }

    fn hurry(&mut self) {
        self.rate = None;
    }

    fn take_waited(&mut self) -> Duration {
        std::mem::take(&mut self.waited)
    }
}

/// The outlet of a guest whose link is down: it accepts nothing.
#[derive(Debug)]
pub(super) struct NoOutlet;

impl Outlet for NoOutlet {
    fn begin(&mut self, _head: EpochHead) -> Result<u64, OutletClosed> {
        Err(OutletClosed)
    }
    fn send(&mut self, _part: EpochPart<&[u8]>) -> Result<u64, OutletClosed> {
        Err(OutletClosed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::num::NonZeroU64;
    use std::thread;
    use understudy_checkpoint::{Epoch, Generation};
    use understudy_session::EpochKind;

    fn outlet(queue: &SendQueue, epoch: u64, rate: Option<SyncRate>) -> EpochSender {
        let mut outlet = EpochSender::new(GuestId::new(1).unwrap(), queue.clone(), Passed::default(), rate);
        let head =
            EpochHead { generation: Generation(1), epoch: Epoch(epoch), kind: EpochKind::Seed, base: None };
        outlet.begin(head).unwrap();
        outlet
    }

    /// Sends pages until they are dropped, which only the queue can cause.
    fn send_until_closed(mut outlet: EpochSender) {
        let batch = vec![0; LOT_BYTES];
        while outlet.send(EpochPart::Pages(&batch)).is_ok() {}
    }

    #[test]
    fn an_epoch_that_is_given_up_is_not_waited_for_and_the_next_one_goes() {
        let queue = SendQueue::new(LoopWaker::silent());
        let old = outlet(&queue, 1, None);
        let waits = thread::spawn(move || send_until_closed(old));
        while queue.0.queue.lock().bytes < QUEUE_BYTES_MAX {
            thread::yield_now();
        }
        queue.give_up();
        waits.join().unwrap();
        assert!(queue.pop().is_none(), "nothing of it is left");

        let mut new = outlet(&queue, 2, None);
        new.send(EpochPart::Pages(&vec![0; LOT_BYTES])).unwrap();
        assert!(queue.pop().is_some() && queue.pop().is_some(), "its begin and its pages");
        queue.close();
        assert!(new.send(EpochPart::Pages(&vec![0; LOT_BYTES])).is_err());
    }

    /// A rate at which no second lot would ever get its turn while this test runs.
    fn never() -> SyncRate {
        SyncRate::new(NonZeroU64::new(1).unwrap())
    }

    #[test]
    fn a_full_sync_that_waits_for_its_turn_holds_up_no_other_epoch_and_ends_when_it_is_given_up() {
        let (queue, others, rate) =
            (SendQueue::new(LoopWaker::silent()), SendQueue::new(LoopWaker::silent()), never());
        let full_sync = outlet(&queue, 1, Some(rate.clone()));
        let waits = thread::spawn(move || send_until_closed(full_sync));
        while queue.pop().is_none() {
            thread::yield_now();
        }
        outlet(&others, 1, None).send(EpochPart::Pages(&vec![0; LOT_BYTES])).unwrap();
        assert!(others.pop().is_some(), "an ordinary epoch of another guest goes at once");
        queue.give_up();
        waits.join().unwrap();
    }

    #[test]
    fn the_pause_at_the_end_of_a_full_sync_waits_for_no_turn() {
        let (queue, rate) = (SendQueue::new(LoopWaker::silent()), never());
        rate.turn(1 << 20, Instant::now());
        let mut full_sync = outlet(&queue, 1, Some(rate));
        full_sync.hurry();
        full_sync.send(EpochPart::Pages(&vec![0; LOT_BYTES])).unwrap();
        assert_eq!(full_sync.take_waited(), Duration::ZERO);
    }
}
