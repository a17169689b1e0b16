//! [`Items`]: reads items from any input, and buffers just enough for the next one.

use super::fault::Fault;
use super::reader::{Ending, Item, Reader, Step};
use crate::read_through_signals;
use crate::room::lengthen;
use std::io::{self, Read};

/// Bytes read at once when the next item is small. A larger item is read to its end and not beyond, so that little is
/// ever moved within the buffer.
const READ_AHEAD_BYTES: usize = 64 << 10;

/// The buffer grows in steps of at least this, and only for bytes that arrive, so a hostile length costs nothing.
const GROW_BYTES: usize = 1 << 20;

/// Why there is no further item.
#[derive(thiserror::Error, Debug)]
pub enum StreamError {
    /// The input could not be read.
    #[error("The input cannot be read: {0}")]
    Io(#[from] std::io::Error),
    /// The stream is malformed.
    #[error(transparent)]
    Fault(#[from] Fault),
}

/// A [`Reader`] with its input and buffer.
#[derive(Debug)]
pub struct Items<R> {
    input: R,
    reader: Reader,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    eof: bool,
}

impl<R: Read> Items<R> {
    /// Reads `input` with `reader`.
    pub fn new(input: R, reader: Reader) -> Self {
        Self { input, reader, buffer: Vec::new(), start: 0, end: 0, eof: false }
    }

    /// The reader, which knows its position.
    pub fn reader(&self) -> &Reader {
        &self.reader
    }

    /// The next item; `None` if the stream has ended properly.
    pub fn next_item(&mut self) -> Result<Option<Item<'_>>, StreamError> {
        loop {
            let have = &self.buffer[self.start..self.end];
            let needed = self.reader.needed(have)?;
            if needed != 0 && needed <= have.len() {
                break;
            }
            if self.reader.is_followed_by(have) {
                return Ok(None);
            }
            if self.eof {
                self.reader.finish(have)?;
                return Ok(None);
            }
            // Even when nothing is needed, what follows the end must be seen.
            self.fill(needed.max(have.len() + 1))?;
        }
        let item = match self.reader.next(&self.buffer[self.start..self.end])? {
            Step::Item(item) => item,
            Step::Need(_) | Step::End => unreachable!("a whole item is in the buffer"),
        };
        self.start += item.bytes.len();
        Ok(Some(item))
    }

    /// How the stream ended, or would have ended if nothing more came.
    pub fn ending(&self) -> Result<Ending, Fault> {
        self.reader.finish(&self.buffer[self.start..self.end])
    }

    /// Whether bytes follow the end of the stream. Only one read is made to see that.
    pub fn is_followed(&self) -> bool {
        self.reader.is_followed_by(&self.buffer[self.start..self.end])
    }

    /// Reads towards a total of `needed` bytes.
    fn fill(&mut self, needed: usize) -> Result<(), StreamError> {
        let target = needed.max(READ_AHEAD_BYTES);
        let have = self.end - self.start;
        if self.start + target > self.buffer.len() && self.start > 0 {
            self.buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, have);
        }
        let room = target.min((self.end * 2).max(self.end + GROW_BYTES));
        if self.buffer.len() < room {
            lengthen(&mut self.buffer, room, 0).map_err(io::Error::from)?;
        }
        let until = self.buffer.len().min(self.start + target);
        let read = read_through_signals(&mut self.input, &mut self.buffer[self.end..until])?;
        self.eof = read == 0;
        self.end += read;
        Ok(())
    }
}
