//! The guest of the simulator: eight words of memory, a counter that never goes back, and frames that tell
//! where they were made. What a capture copies and what an image holds is this and nothing else.

use super::HostId;
use understudy::session::EpochKind;
use understudy_checkpoint::{Epoch, Generation};

/// Words of guest memory.
pub const WORDS: usize = 8;

/// The whole state of a guest. The counter stands for its vCPU, the words for its pages.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct State {
    /// Steps the guest has made since it was first started.
    pub counter: u64,
    /// Each step writes one word.
    pub words: [u64; WORDS],
}

/// A running (or halted) guest with its dirty log.
#[derive(Clone, Debug)]
pub struct Guest {
    /// What it is now.
    pub state: State,
    /// Words written since the last capture, one bit each.
    pub dirty: u8,
}

impl Guest {
    /// A guest that was just started.
    pub fn new() -> Self {
        Self::continuing(State { counter: 0, words: [0; WORDS] })
    }

    /// A guest that goes on from `state`.
    pub fn continuing(state: State) -> Self {
        Self { state, dirty: 0 }
    }

    /// One step: `chance` is what differs between two runs from the same state.
    pub fn step(&mut self, chance: u64) {
        self.state.counter += 1;
        let word = (chance % WORDS as u64) as usize;
        self.state.words[word] = self.state.counter ^ (chance << 20);
        self.dirty |= 1 << word;
    }
}

impl Default for Guest {
    fn default() -> Self {
        Self::new()
    }
}

/// What goes over the link between an epoch's begin and its end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Payload {
    /// Of the epoch.
    pub generation: Generation,
    /// The epoch.
    pub epoch: Epoch,
    /// Seed or delta.
    pub kind: EpochKind,
    /// The state at the epoch's end; only the words in `mask` are carried.
    pub state: State,
    /// Words carried.
    pub mask: u8,
    /// It arrives with a wrong checksum.
    pub damaged: bool,
    /// It exceeds the receiver's buffer.
    pub too_large: bool,
}

impl Payload {
    /// Applies the words carried, and the counter.
    pub fn apply(&self, state: &mut State) {
        for word in 0..WORDS {
            if self.mask & (1 << word) != 0 {
                state.words[word] = self.state.words[word];
            }
        }
        state.counter = self.state.counter;
    }
}

/// An Ethernet frame of the guest, with what the outside world must not need to know: where it came from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Frame {
    /// Host it left from.
    pub host: HostId,
    /// Generation it was made in.
    pub generation: Generation,
    /// Epoch that was open when it was made.
    pub epoch: Epoch,
    /// The guest's counter when it was made: whoever sees the frame knows that the guest came this far.
    pub counter: u64,
}

impl Frame {
    /// The frame as the queue holds it.
    pub fn to_bytes(self) -> [u8; 25] {
        let mut bytes = [0; 25];
        bytes[0] = self.host as u8;
        bytes[1..9].copy_from_slice(&self.generation.0.to_le_bytes());
        bytes[9..17].copy_from_slice(&self.epoch.0.to_le_bytes());
        bytes[17..25].copy_from_slice(&self.counter.to_le_bytes());
        bytes
    }

    /// The frame that `bytes` are.
    pub fn from_bytes(bytes: &[u8]) -> Self {
        let word =
            |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("frames have 25 bytes"));
        Self {
            host: usize::from(bytes[0]),
            generation: Generation(word(1)),
            epoch: Epoch(word(9)),
            counter: word(17),
        }
    }
}
