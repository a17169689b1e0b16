//! What the guest sends: a frame says where and when it was made, so that whoever sees it can be judged by it.

use super::{GuestId, HostId};
use understudy_checkpoint::{Epoch, Generation};

/// An Ethernet frame of the guest, with what the outside world must not need to know: where it came from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Frame {
    /// Whose.
    pub guest: GuestId,
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
    pub fn to_bytes(self) -> [u8; 26] {
        let mut bytes = [0; 26];
        (bytes[0], bytes[25]) = (self.host as u8, self.guest as u8);
        bytes[1..9].copy_from_slice(&self.generation.0.to_le_bytes());
        bytes[9..17].copy_from_slice(&self.epoch.0.to_le_bytes());
        bytes[17..25].copy_from_slice(&self.counter.to_le_bytes());
        bytes
    }

    /// The frame that `bytes` are.
    pub fn from_bytes(bytes: &[u8]) -> Self {
        let word =
            |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("frames have 26 bytes"));
        Self {
            guest: usize::from(bytes[25]),
            host: usize::from(bytes[0]),
            generation: Generation(word(1)),
            epoch: Epoch(word(9)),
            counter: word(17),
        }
    }
}
