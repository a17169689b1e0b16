//! What a guest that runs here hears, for a copy of it on another host: kept until the loop sends it, with what the guest had
//! taken in at each cut.
//!
//! ```text
//!   network ── hear ─┬─► the guest's card ── taken ─► the guest
//!                    └─► batches ── take ─► loop ─► link
//!   capture ── cut(N) ─► how much was taken then: what came later is in no image of N
//! ```
//!
//! A frame's number is its place in the order in which the guest takes frames from its card.
//!
//! Not here: whether anybody wants to know (the session), and what a copy makes of it ([`Traffic`](super::Traffic)).

use crate::guest::participant::{Health, Participant, ParticipantError};
use crate::guest::waker::LoopWaker;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::Arc;
use understudy_checkpoint::Epoch;
use understudy_colo::rewriter::Carried;
use understudy_link::PacketList;

/// The most epochs that are not acked: as many as may be in flight, and some whose captures failed.
const CUTS_MAX: usize = 512;

/// Bound of what waits for the loop's next iteration.
const WAITING_BYTES_MAX: usize = 4 << 20;

/// Returns the number of the next frame that the guest takes from its card; exact while the guest is suspended.
type Taken = Box<dyn Fn() -> u64 + Send + Sync>;

/// Connections whose numbers are rewritten on this host.
type Rewritten = Box<dyn Fn() -> Vec<Carried> + Send + Sync>;

/// The input of one guest.
pub struct Heard {
    inside: Mutex<Inside>,
    taken: Taken,
    rewritten: Rewritten,
    waker: LoopWaker,
}

#[derive(Debug, Default)]
struct Inside {
    listens: bool,
    batches: VecDeque<Batch>,
    bytes: usize,
    /// The cuts of epochs that are not acked.
    cuts: VecDeque<Cut>,
    /// Frames that were dropped for lack of room.
    lost: u64,
}

/// What a copy needs to know of an epoch's image and cannot see in it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Cut {
    epoch: Epoch,
    /// The first frame that the image does not contain.
    pub next: u64,
    /// Connections whose sequence numbers in the image differ from those that clients know.
    pub carried: Vec<Carried>,
}

/// Consecutive frames.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Batch {
    /// The number of the first frame.
    pub first: u64,
    /// How many there are.
    pub count: u64,
    pub list: PacketList,
}

impl std::fmt::Debug for Heard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Heard").field(&*self.inside.lock()).finish()
    }
}

impl Heard {
    /// The input of a guest. `taken` counts the frames that the guest took from its card; `waker` wakes the loop.
    pub fn new(taken: impl Fn() -> u64 + Send + Sync + 'static, waker: LoopWaker) -> Arc<Self> {
        Self::rewriting(taken, Vec::new, waker)
    }

    /// The same for a guest whose connections are rewritten on this host; `rewritten` lists them.
    pub fn rewriting(
        taken: impl Fn() -> u64 + Send + Sync + 'static,
        rewritten: impl Fn() -> Vec<Carried> + Send + Sync + 'static,
        waker: LoopWaker,
    ) -> Arc<Self> {
        let (taken, rewritten) = (Box::new(taken), Box::new(rewritten));
        Arc::new(Self { inside: Mutex::default(), taken, rewritten, waker })
    }

    /// Takes a frame for the guest, on the loop. `deliver` hands the frame to the guest's card and returns its number if the card accepts it.
    pub fn hear(&self, frame: &[u8], deliver: impl FnOnce(&[u8]) -> Option<u64>) {
        let mut inside = self.inside.lock();
        if let Some(number) = deliver(frame)
            && inside.listens
        {
            inside.keep(number, frame);
        }
    }

    /// The same on another thread.
    pub fn hear_elsewhere(&self, frame: &[u8], deliver: impl FnOnce(&[u8]) -> Option<u64>) {
        self.hear(frame, deliver);
        if !self.inside.lock().batches.is_empty() {
            self.waker.wake();
        }
    }

    /// Sets whether input is kept from here on.
    pub fn listen(&self, listens: bool) {
        let mut inside = self.inside.lock();
        inside.listens = listens;
        inside.batches.clear();
        inside.bytes = 0;
    }

    /// Takes the input that was not fetched yet.
    pub fn take(&self) -> Option<Batch> {
        let mut inside = self.inside.lock();
        let batch = inside.batches.pop_front()?;
        inside.bytes -= batch.list.len_bytes();
        Some(batch)
    }

    /// The first packet that an image not yet acked, or one cut later, may lack.
    pub fn first_needed(&self) -> u64 {
        let inside = self.inside.lock();
        inside.cuts.iter().map(|cut| cut.next).chain([(self.taken)()]).min().unwrap_or(0)
    }

    /// The cut of `epoch`, if that epoch was cut and is not acked.
    pub fn cut_of(&self, epoch: Epoch) -> Option<Cut> {
        self.inside.lock().cuts.iter().find(|cut| cut.epoch == epoch).cloned()
    }

    /// The number of frames dropped so far.
    pub fn lost(&self) -> u64 {
        self.inside.lock().lost
    }
}

impl Inside {
    fn keep(&mut self, number: u64, frame: &[u8]) {
        if self.bytes + frame.len() > WAITING_BYTES_MAX {
            self.lost += 1;
            return;
        }
        let before = self.batches.back_mut().filter(|batch| batch.first + batch.count == number);
        let bytes_before = before.as_ref().map_or(0, |batch| batch.list.len_bytes());
        if let Some(batch) = before
            && batch.list.push(frame).is_ok()
        {
            batch.count += 1;
            self.bytes += batch.list.len_bytes() - bytes_before;
            return;
        }
        let mut list = PacketList::default();
        if list.push(frame).is_err() {
            // No card accepts a frame this long.
            self.lost += 1;
            return;
        }
        self.bytes += list.len_bytes();
        self.batches.push_back(Batch { first: number, count: 1, list });
    }
}

impl Participant for Heard {
    fn check(&self) -> Result<(), ParticipantError> {
        Ok(())
    }

    fn cut(&self, epoch: Epoch) -> Result<(), ParticipantError> {
        let mut inside = self.inside.lock();
        let cut = Cut { epoch, next: (self.taken)(), carried: (self.rewritten)() };
        inside.cuts.retain(|cut| cut.epoch < epoch);
        if inside.cuts.len() >= CUTS_MAX {
            inside.cuts.pop_front();
        }
        inside.cuts.push_back(cut);
        Ok(())
    }

    fn release(&self, through: Epoch) {
        self.inside.lock().cuts.retain(|cut| cut.epoch > through);
    }

    fn pass(&self) {}
    fn fence(&self) {}
    fn revive(&self) {}
    fn detach(&self) {}

    fn take_health(&self) -> Health {
        Health::default()
    }

    fn last_fault(&self) -> Option<String> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU64, Ordering};

    fn numbers(heard: &Heard) -> Vec<(u64, u64)> {
        std::iter::from_fn(|| heard.take()).map(|batch| (batch.first, batch.count)).collect()
    }

    #[test]
    fn what_the_card_took_is_kept_with_its_place_and_a_cut_says_what_the_guest_had_taken() {
        let taken = Arc::new(AtomicU64::new(0));
        let of_guest = taken.clone();
        let heard = Heard::new(move || of_guest.load(Ordering::Relaxed), LoopWaker::silent());
        heard.hear(&[0; 20], |_| Some(6));
        assert_eq!(numbers(&heard), [], "nobody wants to know");
        heard.listen(true);
        (7..10).for_each(|number| heard.hear(&[0; 20], |_| Some(number)));
        heard.hear(&[0; 20], |_| None);
        taken.store(8, Ordering::Relaxed);
        heard.cut(Epoch(3)).unwrap();
        heard.hear(&[0; 20], |_| Some(10));
        heard.hear(&[0; 20], |_| Some(12));
        assert_eq!((heard.cut_of(Epoch(3)).unwrap().next, heard.cut_of(Epoch(4))), (8, None));
        assert_eq!(numbers(&heard), [(7, 4), (12, 1)]);
        heard.release(Epoch(3));
        assert_eq!(heard.cut_of(Epoch(3)), None);
    }

    #[test]
    fn what_waits_is_bounded_and_what_has_no_room_leaves_a_gap() {
        let heard = Heard::new(|| 0, LoopWaker::silent());
        heard.listen(true);
        let many = (WAITING_BYTES_MAX / 1500) as u64 + 10;
        (0..many).for_each(|number| heard.hear(&[0; 1500], |_| Some(number)));
        assert!(heard.lost() > 0);
        let kept: u64 = numbers(&heard).iter().map(|(_, count)| count).sum();
        assert_eq!(kept + heard.lost(), many);
        heard.hear(&[0; 1500], |_| Some(many));
        assert_eq!(numbers(&heard), [(many, 1)]);
    }
}
