//! Frames that wait for numbers, in the order in which they came: bounded, and their buffers used again.

use super::Full;
use crate::packet::{Card, Flow, Offload, Side};
use std::collections::VecDeque;
use understudy_checkpoint::time::Time;

/// A frame that waited, with the numbers that it is to have.
#[derive(Debug)]
pub struct Waited {
    /// Who sent it: the world's is for the copy, the copy's is for the comparer (or, after a takeover, for the world).
    pub side: Side,
    /// The guest's card.
    pub card: Card,
    /// What is left to do.
    pub offload: Offload,
    /// From the destination's address on. [`recycle`](super::Rewriter::recycle) takes the buffer back.
    pub bytes: Vec<u8>,
}

#[derive(Debug)]
pub(super) struct Held {
    pub(super) flow: Flow,
    pub(super) since: Time,
    pub(super) frame: Waited,
}

#[derive(Debug)]
pub(super) struct Waiting {
    held: VecDeque<Held>,
    spare: Vec<Vec<u8>>,
    /// Of frames that wait, and of those that were let go and not fetched.
    bytes: usize,
    frames: usize,
    frames_max: usize,
    bytes_max: usize,
}

/// A buffer that grew beyond a frame of Ethernet is not kept.
const SPARE_BYTES_MAX: usize = 2048;

impl Waiting {
    pub(super) fn new(frames_max: usize, bytes_max: usize) -> Self {
        Self { held: VecDeque::new(), spare: Vec::new(), bytes: 0, frames: 0, frames_max, bytes_max }
    }

    pub(super) fn oldest(&self) -> Option<(Time, Flow)> {
        self.held.front().map(|held| (held.since, held.flow))
    }

    pub(super) fn push(
        &mut self,
        flow: Flow,
        since: Time,
        side: Side,
        offload: Offload,
        frame: &[u8],
    ) -> Result<(), Full> {
        if self.frames >= self.frames_max || self.bytes + frame.len() > self.bytes_max {
            return Err(Full::Waiting);
        }
        let mut bytes = self.spare.pop().unwrap_or_default();
        bytes.try_reserve_exact(frame.len()).map_err(|_| Full::Waiting)?;
        bytes.extend_from_slice(frame);
        (self.frames, self.bytes) = (self.frames + 1, self.bytes + bytes.len());
        self.held.push_back(Held { flow, since, frame: Waited { side, card: flow.card, offload, bytes } });
        Ok(())
    }

    /// How many wait.
    pub(super) fn count(&self) -> usize {
        self.held.len()
    }

    /// Takes out the oldest; [`put_back`](Self::put_back) makes it the newest.
    pub(super) fn take(&mut self) -> Option<Held> {
        self.held.pop_front()
    }

    pub(super) fn put_back(&mut self, held: Held) {
        self.held.push_back(held);
    }

    /// A frame that was let go is fetched.
    pub(super) fn fetched(&mut self, frame: &Waited) {
        (self.frames, self.bytes) = (self.frames - 1, self.bytes - frame.bytes.len());
    }

    pub(super) fn recycle(&mut self, mut buffer: Vec<u8>) {
        if buffer.capacity() <= SPARE_BYTES_MAX && self.spare.len() < self.frames_max {
            buffer.clear();
            self.spare.push(buffer);
        }
    }

    /// Forgets all frames.
    pub(super) fn clear(&mut self) {
        while let Some(held) = self.held.pop_front() {
            self.recycle(held.frame.bytes);
        }
        (self.frames, self.bytes) = (0, 0);
    }
}
