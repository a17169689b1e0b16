//! [`Uplink`]: the client of the switch's socket, for an engine or a station.
//!
//! Only [`Uplink::wait`] blocks. An event loop polls the descriptor for reading, calls [`Uplink::next_frame`] until
//! there is none, and calls [`Uplink::flush`] after writing and whenever the descriptor is writable again.

use crate::framing::{Filled, FrameReader, FrameWriter, FramingError};
use crate::switch::PORT_NAME_BYTES_MAX;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// Why an uplink does not work any more.
#[derive(thiserror::Error, Debug)]
pub enum UplinkError {
    /// The name is too long or empty.
    #[error("\"{0}\" cannot name a port of the switch; use 1 to {PORT_NAME_BYTES_MAX} bytes")]
    Name(String),
    /// The socket failed, or nobody listens there.
    #[error("The switch cannot be reached; is the drill that runs it still there? {0}")]
    Io(#[from] io::Error),
    /// The switch closed the connection.
    #[error("The switch closed the connection")]
    Closed,
    /// The other side is not a switch.
    #[error(transparent)]
    Framing(#[from] FramingError),
}

/// A port of the switch, seen from outside.
#[derive(Debug)]
pub struct Uplink {
    stream: UnixStream,
    reader: FrameReader,
    writer: FrameWriter,
    dropped: u64,
    /// All that had arrived was read, and the socket was not said to be readable since.
    is_drained: bool,
    /// The switch has closed its end: what is left is read up to that.
    is_ending: bool,
}

impl Uplink {
    /// Connects to the switch at `path` under `name`.
    pub fn connect(path: &Path, name: &str) -> Result<Self, UplinkError> {
        if !(1..=PORT_NAME_BYTES_MAX).contains(&name.len()) {
            return Err(UplinkError::Name(name.into()));
        }
        let stream = UnixStream::connect(path)?;
        stream.set_nonblocking(true)?;
        let (reader, writer) = (FrameReader::new(), FrameWriter::default());
        let mut uplink = Self { stream, reader, writer, dropped: 0, is_drained: false, is_ending: false };
        uplink.write_frame(name.as_bytes());
        uplink.flush()?;
        Ok(uplink)
    }

    /// The next frame that has arrived; `None` if there is none.
    pub fn next_frame(&mut self) -> Result<Option<&[u8]>, UplinkError> {
        while self.reader.next_length()?.is_none() {
            if std::mem::take(&mut self.is_drained) && !self.is_ending {
                return Ok(None);
            }
            match self.reader.fill(&mut self.stream)? {
                Filled::Some => (),
                Filled::Last => self.is_drained = true,
                Filled::WouldBlock => return Ok(None),
                Filled::End => return Err(UplinkError::Closed),
            }
        }
        Ok(self.reader.take()?)
    }

    /// For a loop that hears once of each change: the socket can be read, or has ended.
    pub fn is_readable(&mut self, has_ended: bool) {
        self.is_drained = false;
        self.is_ending |= has_ended;
    }

    /// Queues a frame; `false` if it was dropped, and counted, because the queue is full.
    pub fn write_frame(&mut self, frame: &[u8]) -> bool {
        let queued = self.writer.push(frame);
        self.dropped += u64::from(!queued);
        queued
    }

    /// Sends what the socket accepts; `true` if nothing is left.
    pub fn flush(&mut self) -> Result<bool, UplinkError> {
        self.writer.flush(&mut self.stream)?;
        Ok(self.writer.is_empty())
    }

    /// Waits until something arrives, the connection ends, or `timeout` has passed.
    pub fn wait(&self, timeout: Duration) -> Result<(), UplinkError> {
        // Rounded up: a wait of less than a millisecond must not become a busy loop.
        let millis = timeout.as_nanos().div_ceil(1_000_000);
        let timeout = PollTimeout::try_from(millis).unwrap_or(PollTimeout::MAX);
        match poll(&mut [PollFd::new(self.as_fd(), PollFlags::POLLIN)], timeout) {
            Ok(_) | Err(nix::Error::EINTR) => Ok(()),
            Err(error) => Err(UplinkError::Io(error.into())),
        }
    }

    /// Frames that were dropped because the queue was full.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }
}

impl AsFd for Uplink {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}
