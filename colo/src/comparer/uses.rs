//! Which of the copy's frames are used up, so that the copy's host may forget them. What is left there at a takeover is sent.
//!
//! ```text
//!   the copy's frames    … 16 │ 17            18         19           20 │ 21 …
//!                  used up ───┘ data: its     compared   acknowledges    └── next
//!                               counterpart              more than the
//!                               waits                    world was told
//! ```
//!
//! A frame of the copy is used up once every byte of it has left in frames of the primary's guest, and its acknowledgement as
//! well, unless a later frame of the copy says more. What is told of it is exact or late, never early:
//!
//! * Frames of the primary's guest leave in the order in which they were sent. What waits of them when a frame of the copy has
//!   been compared may contain its bytes; what comes later does not.
//! * Of a flow that differs, nothing is used up until the next base: nobody else's bytes left.
//! * Numbers are to come one by one. From a gap on, and from a frame on that has no room here, nothing is used up until the next
//!   base.
//!
//! Not counted: windows. A frame that said no more than that there is more room is used up.
//!
//! Not here: looking whether a frame is used up (`use_up`).

use super::Number;
use std::collections::VecDeque;

/// A frame of the copy, by its place in what the copy sent since it was set to its base; the first is 0.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct CopyNumber(pub u64);

/// It waits for its counterpart.
pub(super) const WAITS: u64 = u64::MAX;

/// A frame of the copy that may not be used up.
pub(super) struct Use {
    pub(super) flow: u32,
    /// Whose place in the table that was.
    pub(super) tenant: u64,
    /// Frames of the primary's guest up to this order may contain its bytes.
    pub(super) through: u64,
    pub(super) ack: Option<CopyAck>,
}

/// What a frame of the copy acknowledges.
#[derive(Clone, Copy)]
pub(super) struct CopyAck {
    pub(super) ack: Number,
    /// Of which of the flow's connections.
    pub(super) connection: u32,
}

/// Those of the live base, in order.
pub(super) struct Uses {
    frames: VecDeque<Use>,
    /// The number of the first of them.
    first: u64,
    frames_max: usize,
    is_broken: bool,
}

impl Uses {
    pub(super) fn new(frames_max: usize) -> Self {
        Self { frames: VecDeque::new(), first: 0, frames_max, is_broken: false }
    }

    pub(super) fn limit(&mut self, frames_max: usize) {
        self.frames_max = self.frames_max.min(frames_max);
    }

    /// Another base is live, or none.
    pub(super) fn clear(&mut self) {
        self.frames.clear();
        (self.first, self.is_broken) = (0, false);
    }

    pub(super) fn next(&self) -> CopyNumber {
        CopyNumber(self.first + self.frames.len() as u64)
    }

    /// A frame that has no place is never used up, nor are those after it.
    pub(super) fn break_off(&mut self) {
        self.is_broken = true;
    }

    /// A frame of the copy is about to be compared.
    #[inline]
    pub(super) fn begin(&mut self, number: CopyNumber, flow: u32, tenant: u64) {
        self.is_broken |= number != self.next()
            || self.frames.len() >= self.frames_max
            || self.frames.try_reserve(1).is_err();
        if !self.is_broken {
            self.frames.push_back(Use { flow, tenant, through: 0, ack: None });
        }
    }

    #[inline]
    fn get(&mut self, number: u64) -> Option<&mut Use> {
        self.frames.get_mut(usize::try_from(number.checked_sub(self.first)?).ok()?)
    }

    /// It was compared, or kept for that. `order` is that of the newest frame of the primary's guest.
    #[inline]
    pub(super) fn end(&mut self, number: CopyNumber, order: u64, ack: Option<CopyAck>) {
        if let Some(one) = self.get(number.0) {
            one.through = one.through.max(order);
            one.ack = ack;
        }
    }

    #[inline]
    pub(super) fn waits(&mut self, number: u64) {
        self.get(number).into_iter().for_each(|one| one.through = WAITS);
    }

    /// It waits no more.
    #[inline]
    pub(super) fn compared(&mut self, number: u64, order: u64) {
        self.get(number).into_iter().for_each(|one| one.through = order);
    }

    /// The oldest frame that may not be used up.
    #[inline]
    pub(super) fn oldest(&self) -> Option<&Use> {
        self.frames.front()
    }

    /// The oldest frame is used up.
    #[inline]
    pub(super) fn advance(&mut self) {
        self.frames.pop_front();
        self.first += 1;
    }

    /// Up to which number all are used up.
    pub(super) fn through(&self) -> Option<CopyNumber> {
        self.first.checked_sub(1).map(CopyNumber)
    }
}
