//! A guest's frame. It records where and when it was made, so that a judge can tell from the frame alone.
//!
//! ```text
//!   Ethernet │ IPv4 │ UDP │ place, answer │ padding: host, generation, epoch, whether a copy made it
//!                          ◄── compared ──►  nobody looks at it but the judges
//! ```

use super::{GuestId, HostId};
use understudy_checkpoint::{Epoch, Generation};

const HEAD: usize = 14 + 20 + 8;
const SAID: usize = 1 + 8 + 8;
const PADDING: usize = 1 + 8 + 8 + 1;

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
    /// What it says: all that the guest was by then, in short.
    pub says: u64,
    /// A copy made it that was not the guest.
    pub by_copy: bool,
}

impl Frame {
    /// Its length in bytes.
    pub const BYTES: usize = HEAD + SAID + PADDING;

    /// Encodes the frame as the queue holds it.
    pub fn to_bytes(self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        bytes[..HEAD].copy_from_slice(&head(self.guest, SAID));
        let (said, padding) = bytes[HEAD..].split_at_mut(SAID);
        said[0] = self.guest as u8;
        said[1..9].copy_from_slice(&self.counter.to_le_bytes());
        said[9..17].copy_from_slice(&self.says.to_le_bytes());
        (padding[0], padding[17]) = (self.host as u8, u8::from(self.by_copy));
        padding[1..9].copy_from_slice(&self.generation.0.to_le_bytes());
        padding[9..17].copy_from_slice(&self.epoch.0.to_le_bytes());
        bytes
    }

    /// Decodes a frame.
    pub fn from_bytes(bytes: &[u8]) -> Self {
        let (said, padding) = (&bytes[HEAD..HEAD + SAID], &bytes[HEAD + SAID..]);
        Self {
            guest: usize::from(said[0]),
            host: usize::from(padding[0]),
            generation: Generation(word(padding, 1)),
            epoch: Epoch(word(padding, 9)),
            counter: word(said, 1),
            says: word(said, 9),
            by_copy: padding[17] != 0,
        }
    }
}

/// What a client asks a guest: its number.
pub(super) fn request(guest: GuestId, number: u64) -> Vec<u8> {
    let mut bytes = head(guest, 9).to_vec();
    bytes.push(guest as u8);
    bytes.extend_from_slice(&number.to_le_bytes());
    bytes
}

/// The number of a client's request to this guest; `None`: it is not meant for it.
pub(super) fn requested(bytes: &[u8], guest: GuestId) -> Option<u64> {
    (usize::from(*bytes.get(HEAD)?) == guest).then(|| word(bytes, HEAD + 1))
}

fn word(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("a frame is as long as that"))
}

/// Ethernet, IPv4 and UDP, of a datagram of so many bytes.
fn head(guest: GuestId, bytes: usize) -> [u8; HEAD] {
    let mut head = [0; HEAD];
    head[5] = guest as u8;
    head[12..14].copy_from_slice(&[0x08, 0x00]);
    head[14] = 0x45;
    head[16..18].copy_from_slice(&(28 + bytes as u16).to_be_bytes());
    (head[22], head[23]) = (64, 17);
    head[26..30].copy_from_slice(&[10, 0, 0, guest as u8]);
    head[30..34].copy_from_slice(&[10, 0, 1, 1]);
    head[34..38].copy_from_slice(&[0, 7, 0, 7]);
    head[38..40].copy_from_slice(&(8 + bytes as u16).to_be_bytes());
    head
}
