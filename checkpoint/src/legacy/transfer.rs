//! A conversion from something that can be read to something that can be written.
//!
//! ```text
//!   input ──► buffer (an item, 1 MiB at a time) ──► Converter ──► output
//!     └───────────────── pages: Channel::pass ──────────────────────►
//! ```
//!
//! It reads what the stream has and not a byte more, and writes all it has before it waits for more.

use super::convert::{Action, Converter};
use super::fault::Fault;
use super::options::{Options, Report};
use crate::read_through_signals;
use crate::room::lengthen;
use std::io::{self, Read, Write};

/// The buffer grows by this at most, for bytes that arrive: a hostile length costs nothing.
const GROW_BYTES: usize = 1 << 20;

/// Pages go by so many bytes.
const PASS_BYTES: usize = 256 << 10;

/// Why there is no result, or none that is whole.
#[derive(thiserror::Error, Debug)]
pub enum ConvertError {
    /// The input could not be read.
    #[error("The input cannot be read: {0}")]
    Read(#[source] io::Error),
    /// The output could not be written.
    #[error("The result cannot be written: {0}")]
    Write(#[source] io::Error),
    /// The stream is no legacy stream, is broken, or is not to be converted.
    #[error(transparent)]
    Fault(#[from] Fault),
}

/// Which of the two sides failed.
#[derive(Debug)]
pub enum Side {
    /// The input.
    Read(io::Error),
    /// The output.
    Write(io::Error),
}

impl From<Side> for ConvertError {
    fn from(side: Side) -> Self {
        match side {
            Side::Read(error) => Self::Read(error),
            Side::Write(error) => Self::Write(error),
        }
    }
}

/// An input and an output.
pub trait Channel {
    /// Reads into `buffer`: at least one byte, unless the input has ended.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize>;

    /// Writes all of `bytes`.
    fn write(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// Moves `bytes` from the input to the output, or fewer; none only if the input has ended.
    fn pass(&mut self, bytes: u64) -> Result<u64, Side>;
}

/// A channel between any two.
#[derive(Debug)]
pub struct Copying<R, W> {
    input: R,
    output: W,
    buffer: Vec<u8>,
}

impl<R: Read, W: Write> Copying<R, W> {
    /// A channel from `input` to `output`.
    pub fn new(input: R, output: W) -> Self {
        Self { input, output, buffer: Vec::new() }
    }
}

impl<R: Read, W: Write> Channel for Copying<R, W> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        read_through_signals(&mut self.input, buffer)
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.output.write_all(bytes)
    }

    fn pass(&mut self, bytes: u64) -> Result<u64, Side> {
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.resize(PASS_BYTES, 0);
        let wanted = bytes.min(PASS_BYTES as u64) as usize;
        let read = self.read(&mut buffer[..wanted]).map_err(Side::Read)?;
        self.output.write_all(&buffer[..read]).map_err(Side::Write)?;
        self.buffer = buffer;
        Ok(read as u64)
    }
}

/// Converts the stream that `channel` gives.
pub fn convert(channel: &mut impl Channel, options: Options) -> Result<Report, ConvertError> {
    let mut converter = Converter::new(options);
    let mut input = Input::default();
    flush(channel, &mut converter)?;
    loop {
        match converter.next(input.have())? {
            Action::Took(bytes) => input.take(bytes),
            Action::Need(bytes) => {
                flush(channel, &mut converter)?;
                if !input.fill(channel, bytes)? {
                    converter.end(input.have())?;
                }
            }
            Action::UntilEnd => {
                flush(channel, &mut converter)?;
                let more = input.have().len() + 1;
                if !input.fill(channel, more)? {
                    converter.end(input.have())?;
                }
            }
            Action::Pass(bytes) => {
                flush(channel, &mut converter)?;
                let have = &input.have()[..input.have().len().min(bytes as usize)];
                let moved = if have.is_empty() {
                    channel.pass(bytes)?
                } else {
                    channel.write(have).map_err(ConvertError::Write)?;
                    have.len() as u64
                };
                if moved == 0 {
                    converter.end(&[])?;
                }
                input.take((moved as usize).min(input.have().len()));
                converter.passed(moved);
            }
            Action::Done => {
                flush(channel, &mut converter)?;
                return Ok(converter.report().expect("it is done"));
            }
        }
    }
}

fn flush(channel: &mut impl Channel, converter: &mut Converter) -> Result<(), ConvertError> {
    let output = converter.output();
    if !output.is_empty() {
        channel.write(output).map_err(ConvertError::Write)?;
        output.clear();
    }
    Ok(())
}

/// Bytes that were read and not taken.
#[derive(Default)]
struct Input {
    buffer: Vec<u8>,
    start: usize,
    end: usize,
}

impl Input {
    fn have(&self) -> &[u8] {
        &self.buffer[self.start..self.end]
    }

    fn take(&mut self, bytes: usize) {
        self.start += bytes;
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        }
    }

    /// Reads until there are `needed` bytes. `false` if the input ends before.
    fn fill(&mut self, channel: &mut impl Channel, needed: usize) -> Result<bool, ConvertError> {
        self.buffer.copy_within(self.start..self.end, 0);
        (self.start, self.end) = (0, self.end - self.start);
        while self.end < needed {
            let room = needed.min(self.end + GROW_BYTES);
            lengthen(&mut self.buffer, room, 0).map_err(|error| ConvertError::Read(error.into()))?;
            let read = channel.read(&mut self.buffer[self.end..room]).map_err(ConvertError::Read)?;
            if read == 0 {
                return Ok(false);
            }
            self.end += read;
        }
        Ok(true)
    }
}
