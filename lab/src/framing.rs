//! Frames on a byte stream, each preceded by its length, as the switch and its uplinks exchange them.
//!
//! ```text
//!   | length u32, little-endian | frame |     1 ≤ length ≤ FRAME_BYTES_MAX
//! ```
//!
//! Both buffers are bounded. A frame that does not fit the writer is dropped and counted, as in a switch's queue.

use crate::wire::FRAME_BYTES_MAX;
use std::io::{self, Read, Write};

const LENGTH_BYTES: usize = 4;
/// Bytes of one read: many small frames, or any single one.
const READ_BYTES: usize = 64 << 10;
/// Most bytes that wait to be written: some milliseconds of a busy port.
const WRITE_BYTES_MAX: usize = 1 << 20;

const _: () = assert!(READ_BYTES >= 2 * (LENGTH_BYTES + FRAME_BYTES_MAX));

/// No frame has this length: the other side does not speak this protocol.
#[derive(thiserror::Error, Clone, Copy, PartialEq, Eq, Debug)]
#[error(
    "A frame of {0} bytes was announced, the limit is {FRAME_BYTES_MAX}; the other side is no switch or uplink of this lab"
)]
pub struct FramingError(pub u32);

/// The result of a read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Filled {
    /// Bytes, and there may be more.
    Some,
    /// Bytes, and all that there were, unless the other side has closed its end.
    Last,
    /// Nothing now.
    WouldBlock,
    /// The end of the stream.
    End,
}

/// Splits a byte stream into frames.
#[derive(Debug)]
pub(crate) struct FrameReader {
    buffer: Box<[u8]>,
    start: usize,
    end: usize,
}

impl FrameReader {
    pub(crate) fn new() -> Self {
        Self { buffer: vec![0; READ_BYTES].into_boxed_slice(), start: 0, end: 0 }
    }

    /// Reads once from `from`. Call it when [`next_length`](Self::next_length) has no complete frame.
    pub(crate) fn fill(&mut self, from: &mut impl Read) -> io::Result<Filled> {
        self.buffer.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
        loop {
            let room = self.buffer.len() - self.end;
            return match from.read(&mut self.buffer[self.end..]) {
                Ok(0) => Ok(Filled::End),
                Ok(bytes) => {
                    self.end += bytes;
                    Ok(if bytes < room { Filled::Last } else { Filled::Some })
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(Filled::WouldBlock),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => Err(error),
            };
        }
    }

    /// The length of the next frame, if it is complete.
    pub(crate) fn next_length(&self) -> Result<Option<usize>, FramingError> {
        let unread = &self.buffer[self.start..self.end];
        let Some(length) = unread.first_chunk::<LENGTH_BYTES>() else { return Ok(None) };
        let announced = u32::from_le_bytes(*length);
        let length = announced as usize;
        if !(1..=FRAME_BYTES_MAX).contains(&length) {
            return Err(FramingError(announced));
        }
        Ok((unread.len() >= LENGTH_BYTES + length).then_some(length))
    }

    /// The next frame, if it is complete.
    pub(crate) fn take(&mut self) -> Result<Option<&[u8]>, FramingError> {
        let Some(length) = self.next_length()? else { return Ok(None) };
        let frame_at = self.start + LENGTH_BYTES;
        self.start = frame_at + length;
        Ok(Some(&self.buffer[frame_at..self.start]))
    }
}

/// Queues frames for a byte stream.
#[derive(Debug, Default)]
pub(crate) struct FrameWriter {
    buffer: Vec<u8>,
    start: usize,
}

impl FrameWriter {
    /// Queues a frame; `false` if it was dropped, for lack of room or because no frame has this length.
    pub(crate) fn push(&mut self, frame: &[u8]) -> bool {
        let waiting = self.buffer.len() - self.start;
        let fits = waiting + LENGTH_BYTES + frame.len() <= WRITE_BYTES_MAX;
        if !fits || !(1..=FRAME_BYTES_MAX).contains(&frame.len()) {
            return false;
        }
        if self.start > WRITE_BYTES_MAX / 2 {
            self.buffer.drain(..self.start);
            self.start = 0;
        }
        self.buffer.extend_from_slice(&(frame.len() as u32).to_le_bytes());
        self.buffer.extend_from_slice(frame);
        true
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.start == self.buffer.len()
    }

    /// Writes as much as `into` accepts.
    pub(crate) fn flush(&mut self, into: &mut impl Write) -> io::Result<()> {
        while !self.is_empty() {
            match into.write(&self.buffer[self.start..]) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(bytes) => self.start += bytes,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => (),
                Err(error) => return Err(error),
            }
        }
        self.buffer.clear();
        self.start = 0;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Returns at most `step` bytes for each read, then would block.
    struct Dripping<'a>(&'a [u8], usize);

    impl Read for Dripping<'_> {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            let bytes = self.1.min(self.0.len()).min(into.len());
            if bytes == 0 {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            into[..bytes].copy_from_slice(&self.0[..bytes]);
            self.0 = &self.0[bytes..];
            Ok(bytes)
        }
    }

    proptest! {
        #[test]
        fn frames_come_out_as_they_went_in_however_the_stream_is_cut(lengths in proptest::collection::vec(1usize..=FRAME_BYTES_MAX, 1..20), step in 1usize..20_000) {
            let frames: Vec<Vec<u8>> = lengths.iter().map(|length| vec![*length as u8; *length]).collect();
            let (mut writer, mut stream) = (FrameWriter::default(), Vec::new());
            for frame in &frames {
                prop_assert!(writer.push(frame));
            }
            writer.flush(&mut stream).unwrap();
            let (mut reader, mut from, mut seen) = (FrameReader::new(), Dripping(&stream, step), Vec::new());
            while matches!(reader.fill(&mut from).unwrap(), Filled::Some | Filled::Last) {
                while let Some(frame) = reader.take().unwrap() {
                    seen.push(frame.to_vec());
                }
            }
            prop_assert_eq!(seen, frames);
        }
    }

    #[test]
    fn a_length_no_frame_has_is_refused_and_a_full_writer_drops() {
        for length in [0, FRAME_BYTES_MAX as u32 + 1, u32::MAX] {
            let mut reader = FrameReader::new();
            reader.fill(&mut &length.to_le_bytes()[..]).unwrap();
            assert_eq!(reader.take().unwrap_err(), FramingError(length));
        }
        let mut writer = FrameWriter::default();
        let pushed = (0..200).filter(|_| writer.push(&[0; FRAME_BYTES_MAX])).count();
        assert_eq!(pushed, WRITE_BYTES_MAX / (FRAME_BYTES_MAX + LENGTH_BYTES));
    }
}
