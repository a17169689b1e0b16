//! The incremental decoder: bytes in as they arrive, frames out as they become complete.
//!
//! ```text
//!   buffer   │ handed out │ whole and partial frames │ free │
//!            0          start                      end     capacity ≤ header + longest body
//! ```
//!
//! The buffer grows only as bytes arrive: a false length costs its sender as many bytes as it costs us.

use super::decode::decode;
use super::header::{HEADER_BYTES, Header};
use super::{BODY_BYTES_MAX, Frame, LinkError, SMALL_BODY_BYTES_MAX};
use alloc::vec::Vec;
use understudy_checkpoint::{OutOfMemory, room};

/// The buffer's first size, and the least that it grows by.
const GROWTH_BYTES: usize = 16 << 10;

/// Splits a peer's bytes into frames.
#[derive(Debug)]
pub struct Decoder {
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    body_bytes_max: usize,
    sequence: u32,
}

impl Default for Decoder {
    fn default() -> Self {
        Self::new()
    }
}

impl Decoder {
    /// A decoder at the beginning of a connection: it takes small frames only, until
    /// [`allow_long_frames`](Self::allow_long_frames).
    pub fn new() -> Self {
        Self { buffer: Vec::new(), start: 0, end: 0, body_bytes_max: SMALL_BODY_BYTES_MAX, sequence: 0 }
    }

    /// Allows bodies up to [`BODY_BYTES_MAX`], once the hello is done.
    pub fn allow_long_frames(&mut self) {
        self.body_bytes_max = BODY_BYTES_MAX;
    }

    /// Free memory to read into; never empty. Frames handed out before become invalid. Call it only after
    /// [`next_frame`](Self::next_frame) has returned no frame.
    pub fn space(&mut self) -> Result<&mut [u8], OutOfMemory> {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        }
        if self.end == self.buffer.len() && self.start > 0 {
            self.buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        if self.end == self.buffer.len() {
            let doubled = (2 * self.buffer.len()).max(GROWTH_BYTES);
            // Whole frames are taken out before more is read, so a partial frame always leaves room here.
            let capacity = doubled.min(HEADER_BYTES + self.body_bytes_max.max(GROWTH_BYTES));
            room::lengthen_exact(&mut self.buffer, capacity, 0)?;
        }
        assert!(self.end < self.buffer.len(), "a whole frame was left in the buffer");
        Ok(&mut self.buffer[self.end..])
    }

    /// `count` bytes were read into [`space`](Self::space).
    pub fn filled(&mut self, count: usize) {
        self.end += count;
        assert!(self.end <= self.buffer.len(), "more bytes than there was space");
    }

    /// The next whole frame. After an error the connection must be closed: what follows has no meaning.
    pub fn next_frame(&mut self) -> Result<Option<Frame<'_>>, LinkError> {
        let unread = &self.buffer[self.start..self.end];
        let Some(header_bytes) = unread.first_chunk::<HEADER_BYTES>() else {
            return Ok(None);
        };
        let header = Header::read(header_bytes).map_err(|stranger| match self.sequence {
            0 => stranger,
            after => LinkError::OutOfStep { after },
        })?;
        if header.body_bytes > self.body_bytes_max {
            let (bytes, limit) = (header.body_bytes, self.body_bytes_max);
            return Err(LinkError::FrameTooLong { bytes, limit });
        }
        let Some(body) = unread[HEADER_BYTES..].get(..header.body_bytes) else {
            return Ok(None);
        };
        if !header.holds(header_bytes, body) {
            return Err(LinkError::Damaged);
        }
        if header.sequence != self.sequence {
            return Err(LinkError::OutOfSequence { expected: self.sequence, found: header.sequence });
        }
        self.sequence = self.sequence.wrapping_add(1);
        self.start += HEADER_BYTES + header.body_bytes;
        decode(header.kind, header.guest, body).map(Some)
    }

    /// Bytes that arrived and are not handed out.
    pub fn pending_bytes(&self) -> usize {
        self.end - self.start
    }

    /// Memory of the buffer, in bytes.
    pub fn memory_bytes(&self) -> usize {
        self.buffer.capacity()
    }
}
