//! A guest's frame. It records where and when it was made, so that a judge can tell from the frame alone.

use super::{GuestId, HostId};
use understudy_checkpoint::{Epoch, Generation};

/// An Ethernet frame of the guest, with its origin, which the outside world need not know.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Frame {
    /// The guest that sent it.
    pub guest: GuestId,
    /// The host that it left from.
    pub host: HostId,
    /// The generation in which it was made.
    pub generation: Generation,
    /// The epoch that was open when it was made.
    pub epoch: Epoch,
    /// The guest's counter when it was made: whoever sees the frame knows that the guest has come this far.
    pub counter: u64,
}

impl Frame {
    /// Encodes the frame as the queue holds it.
    pub fn to_bytes(self) -> [u8; 26] {
        let mut bytes = [0; 26];
        (bytes[0], bytes[25]) = (self.host as u8, self.guest as u8);
        bytes[1..9].copy_from_slice(&self.generation.0.to_le_bytes());
        bytes[9..17].copy_from_slice(&self.epoch.0.to_le_bytes());
        bytes[17..25].copy_from_slice(&self.counter.to_le_bytes());
        bytes
    }

    /// Decodes a frame.
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
