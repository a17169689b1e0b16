//! The 24 bytes before every body, and the seal that holds them together. The same in every version.
//!
//! ```text
//!    0        2        4                 8                12                16                      24
//!    ┌────────┬────────┬─────────────────┬─────────────────┬─────────────────┬───────────────────────┐
//!    │ "uS"   │ kind   │ guest           │ body length     │ sequence        │ seal                  │ body …
//!    └────────┴────────┴─────────────────┴─────────────────┴─────────────────┴───────────────────────┘
//!    all little-endian
//!
//!    seal = XXH3-64( bytes 0..16, seed = XXH3-64(body) )
//! ```
//!
//! The body is hashed where it is made; its frame is numbered and sealed where it is sent, by hashing sixteen
//! bytes. So encoders work in parallel while a connection still numbers its frames without a gap.

use super::LinkError;
use alloc::vec::Vec;
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

/// Bytes of a header.
pub const HEADER_BYTES: usize = 24;

/// The first bytes of each frame, by which a peer of another protocol is recognised at once.
const MAGIC: [u8; 2] = *b"uS";

/// A header whose magic was checked and whose seal was not.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Header {
    pub(super) kind: u16,
    pub(super) guest: u32,
    pub(super) body_bytes: usize,
    pub(super) sequence: u32,
    seal: u64,
}

impl Header {
    /// Reads a header.
    pub(super) fn read(bytes: &[u8; HEADER_BYTES]) -> Result<Self, LinkError> {
        if bytes[..2] != MAGIC {
            return Err(LinkError::NotALink);
        }
        Ok(Self {
            kind: u16::from_le_bytes([bytes[2], bytes[3]]),
            guest: u32_at(bytes, 4),
            body_bytes: u32_at(bytes, 8) as usize,
            sequence: u32_at(bytes, 12),
            seal: u64::from(u32_at(bytes, 16)) | u64::from(u32_at(bytes, 20)) << 32,
        })
    }

    /// Whether the seal matches header and body.
    pub(super) fn holds(&self, header: &[u8; HEADER_BYTES], body: &[u8]) -> bool {
        self.seal == seal_of(header, xxh3_64(body))
    }
}

/// Appends an unsealed header for a body that is not written yet; [`close`] completes it.
pub(super) fn open(out: &mut Vec<u8>, kind: u16, guest: u32) {
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&kind.to_le_bytes());
    out.extend_from_slice(&guest.to_le_bytes());
    out.extend_from_slice(&[0; 16]);
}

/// Enters length and hash of the body into the header at the beginning of `frame`.
pub(super) fn close(frame: &mut [u8]) {
    let (header, body) = frame.split_at_mut(HEADER_BYTES);
    let body_bytes = u32::try_from(body.len()).expect("encoders keep bodies below the limit");
    header[8..12].copy_from_slice(&body_bytes.to_le_bytes());
    header[16..24].copy_from_slice(&xxh3_64(body).to_le_bytes());
}

/// Numbers and seals a complete frame. Call it once: the seal replaces the body's hash.
pub(super) fn seal(frame: &mut [u8], sequence: u32) {
    let header: &mut [u8; HEADER_BYTES] =
        frame.first_chunk_mut().expect("a closed frame begins with a header");
    header[12..16].copy_from_slice(&sequence.to_le_bytes());
    let body_hash = u64::from(u32_at(header, 16)) | u64::from(u32_at(header, 20)) << 32;
    let seal = seal_of(header, body_hash);
    header[16..24].copy_from_slice(&seal.to_le_bytes());
}

fn seal_of(header: &[u8; HEADER_BYTES], body_hash: u64) -> u64 {
    xxh3_64_with_seed(&header[..16], body_hash)
}

fn u32_at(bytes: &[u8; HEADER_BYTES], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}
