//! Frames that wait, of both guests. Each is in two lists: one of its flow, and one by age, over all flows.
//!
//! ```text
//!   flow A   data   f1 ─ f4          of the primary's guest: what must be matched, in the order in which it was sent
//!            acks   f2               of the primary's guest: bare acknowledgements
//!            ahead  c1               of the copy: what the primary's guest has not sent yet
//!            staged                  of the copy: what cannot be placed yet
//!   by age   frames f1 ─ f3 ─ f4     acks f2     copies c1 ─ c2        the oldest first: what waits for too long
//! ```

use super::output::{FrameId, Full};
use super::store::{Blob, Store};
use super::tcp::Stretch;
use super::uses::Uses;
use understudy_checkpoint::Epoch;
use understudy_checkpoint::time::Time;

/// An index of `Pool::entries`.
pub(super) type Index = u32;
const NONE: Index = u32::MAX;

/// A list of a flow.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Queue {
    Data,
    Acks,
    Ahead,
    Staged,
}

/// A list by age.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Age {
    Frames,
    Acks,
    Copies,
}

impl Queue {
    pub(super) const fn age(self) -> Age {
        match self {
            Self::Data => Age::Frames,
            Self::Acks => Age::Acks,
            Self::Ahead | Self::Staged => Age::Copies,
        }
    }
}

/// What a waiting frame says.
#[derive(Clone, Copy, Debug)]
pub(super) enum Said {
    Segment(Stretch),
    /// `print` differs if the bytes do, mostly.
    Datagram {
        head: [u8; 4],
        print: u64,
    },
}

/// A frame that waits. Of the copy's frames `id` is their number, and `epoch` says nothing.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    near: Links,
    by_age: Links,
    pub(super) flow: u32,
    pub(super) queue: Queue,
    /// A reset for which the other guest's was found.
    pub(super) is_paired: bool,
    pub(super) blob: Blob,
    pub(super) said: Said,
    pub(super) id: FrameId,
    pub(super) epoch: Epoch,
    pub(super) since: Time,
    /// Grows with each frame.
    pub(super) order: u64,
}

impl Entry {
    /// What a segment says; only TCP's flows ask.
    pub(super) fn stretch(&self) -> Stretch {
        match self.said {
            Said::Segment(stretch) => stretch,
            Said::Datagram { .. } => Stretch::default(),
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct Links {
    before: Index,
    after: Index,
}

const UNLINKED: Links = Links { before: NONE, after: NONE };

/// First, last, and how many.
#[derive(Clone, Copy, Debug)]
pub(super) struct List {
    first: Index,
    last: Index,
    pub(super) count: u32,
}

impl Default for List {
    fn default() -> Self {
        Self { first: NONE, last: NONE, count: 0 }
    }
}

fn some(index: Index) -> Option<Index> {
    (index != NONE).then_some(index)
}

/// The lists of a flow, by [`Queue`].
pub(super) type Queues = [List; 4];

/// What is put into a queue.
pub(super) struct New {
    pub(super) flow: u32,
    pub(super) queue: Queue,
    pub(super) said: Said,
    pub(super) id: FrameId,
    pub(super) epoch: Epoch,
    pub(super) since: Time,
}

/// All frames that wait.
pub(super) struct Pool {
    entries: Vec<Entry>,
    free: Index,
    ages: [List; 3],
    store: Store,
    order: u64,
    /// A frame of the primary's guest is being compared, and is put afterwards if it does not leave.
    pub(super) is_guest_arriving: bool,
    frames: usize,
    frames_max: usize,
    flow_frames_max: usize,
    /// What became of the copy's frames.
    pub(super) uses: Uses,
}

impl Pool {
    pub(super) fn new(frames_max: usize, flow_frames_max: usize, bytes_max: usize) -> Self {
        Self {
            entries: Vec::new(),
            free: NONE,
            ages: Default::default(),
            store: Store::new(bytes_max),
            order: 0,
            is_guest_arriving: false,
            frames: 0,
            frames_max,
            flow_frames_max,
            uses: Uses::new(frames_max),
        }
    }

    pub(super) fn frames(&self) -> usize {
        self.frames
    }

    /// No more frames than this wait from here on.
    pub(super) fn limit(&mut self, frames_max: usize) {
        self.frames_max = self.frames_max.min(frames_max);
        self.uses.limit(frames_max);
    }

    pub(super) fn bytes(&self) -> usize {
        self.store.used_bytes()
    }

    /// The order of what came last.
    #[inline]
    pub(super) fn order(&self) -> u64 {
        self.order
    }

    /// A number for what comes next; unlike that of any frame that waits.
    #[inline]
    pub(super) fn next_order(&mut self) -> u64 {
        self.order += 1;
        self.order
    }

    #[inline]
    pub(super) fn first(&self, queues: &Queues, queue: Queue) -> Option<Index> {
        some(queues[queue as usize].first)
    }

    #[inline]
    pub(super) fn last(&self, queues: &Queues, queue: Queue) -> Option<Index> {
        some(queues[queue as usize].last)
    }

    #[inline]
    pub(super) fn oldest(&self, age: Age) -> Option<Index> {
        some(self.ages[age as usize].first)
    }

    /// The next of the same flow and queue.
    #[inline]
    pub(super) fn after(&self, index: Index) -> Option<Index> {
        some(self.entries[index as usize].near.after)
    }

    /// The next by age.
    #[inline]
    pub(super) fn younger(&self, index: Index) -> Option<Index> {
        some(self.entries[index as usize].by_age.after)
    }

    #[inline]
    pub(super) fn entry(&self, index: Index) -> &Entry {
        &self.entries[index as usize]
    }

    #[inline]
    pub(super) fn bytes_of(&self, index: Index) -> &[u8] {
        self.store.get(self.entries[index as usize].blob)
    }

    /// The other guest's reset was found.
    pub(super) fn pair(&mut self, index: Index) {
        self.entries[index as usize].is_paired = true;
    }

    /// The same of the frame that was put last.
    pub(super) fn pair_last(&mut self, queues: &Queues, queue: Queue) {
        if let Some(last) = self.last(queues, queue) {
            self.pair(last);
        }
    }

    /// Puts a frame with `bytes` at the end of a queue.
    #[inline]
    pub(super) fn put(&mut self, queues: &mut Queues, new: New, bytes: &[u8]) -> Result<(), Full> {
        let list = &queues[new.queue as usize];
        if self.frames >= self.frames_max || list.count as usize >= self.flow_frames_max {
            return Err(Full::Frames);
        }
        let index = self.vacant().ok_or(Full::Bytes)?;
        let blob = self.store.put(bytes).ok_or(Full::Bytes)?;
        let New { flow, queue, said, id, epoch, since } = new;
        self.free = self.entries.get(index as usize).map_or(NONE, |entry| entry.near.after);
        let order = self.next_order();
        let entry = Entry {
            near: UNLINKED,
            by_age: UNLINKED,
            flow,
            queue,
            is_paired: false,
            blob,
            said,
            id,
            epoch,
            since,
            order,
        };
        match self.entries.get_mut(index as usize) {
            Some(place) => *place = entry,
            None => self.entries.push(entry),
        }
        self.frames += 1;
        if queue.age() == Age::Copies {
            self.uses.waits(id.0);
        }
        append(&mut self.entries, &mut queues[queue as usize], index, |entry| &mut entry.near);
        append(&mut self.entries, &mut self.ages[queue.age() as usize], index, |entry| &mut entry.by_age);
        Ok(())
    }

    #[inline]
    fn vacant(&mut self) -> Option<Index> {
        if self.free != NONE {
            return Some(self.free);
        }
        self.entries.try_reserve(1).ok()?;
        u32::try_from(self.entries.len()).ok().filter(|index| *index != NONE)
    }

    /// Moves a frame of the copy to the end of another queue of its flow; its age stays.
    pub(super) fn transfer(&mut self, queues: &mut Queues, index: Index, queue: Queue) {
        let from = self.entries[index as usize].queue;
        unlink(&mut self.entries, &mut queues[from as usize], index, |entry| &mut entry.near);
        self.entries[index as usize].queue = queue;
        append(&mut self.entries, &mut queues[queue as usize], index, |entry| &mut entry.near);
    }

    /// Takes a frame out of both lists and forgets its bytes. What it said is looked at before, where it lies: it is large.
    #[inline]
    pub(super) fn remove(&mut self, queues: &mut Queues, index: Index) {
        let Entry { queue, blob, id, .. } = self.entries[index as usize];
        unlink(&mut self.entries, &mut queues[queue as usize], index, |entry| &mut entry.near);
        let age = &mut self.ages[queue.age() as usize];
        unlink(&mut self.entries, age, index, |entry| &mut entry.by_age);
        self.store.free(blob);
        self.entries[index as usize].near.after = self.free;
        self.free = index;
        self.frames -= 1;
        if queue.age() == Age::Copies {
            // What arrives has one of the next two orders, if it does not leave.
            let arriving = if self.is_guest_arriving { 2 } else { 0 };
            self.uses.compared(id.0, self.order + arriving);
        }
    }
}

#[inline]
fn append(entries: &mut [Entry], list: &mut List, index: Index, links: fn(&mut Entry) -> &mut Links) {
    *links(&mut entries[index as usize]) = Links { before: list.last, after: NONE };
    match some(list.last) {
        Some(last) => links(&mut entries[last as usize]).after = index,
        None => list.first = index,
    }
    list.last = index;
    list.count += 1;
}

#[inline]
fn unlink(entries: &mut [Entry], list: &mut List, index: Index, links: fn(&mut Entry) -> &mut Links) {
    let Links { before, after } = *links(&mut entries[index as usize]);
    match some(before) {
        Some(before) => links(&mut entries[before as usize]).after = after,
        None => list.first = after,
    }
    match some(after) {
        Some(after) => links(&mut entries[after as usize]).before = before,
        None => list.last = before,
    }
    list.count -= 1;
}
