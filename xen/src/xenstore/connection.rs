//! One connection to xenstore: sends and receives whole messages in bounded time.
//!
//! ```text
//!   unix socket ──┐                     ┌─ whole? ─► message
//!                 ├─ bytes ─► incoming ─┤
//!   /dev/xen/xenbus                     └─ not yet ─► poll, until the deadline
//! ```
//!
//! The descriptor never blocks. The device cannot be polled for writing and need not be: it accepts a whole request at
//! once.
//!
//! Not here: matching replies to requests.

use super::StoreError;
use super::wire::{self, MESSAGE_MAX, Message};
use crate::ready::wait_ready;
use nix::poll::PollFlags;
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Instant;

/// The socket or device.
#[derive(Debug)]
enum Stream {
    Socket(UnixStream),
    Device(File),
}

/// A socket or device that is connected to xenstore, with the bytes of an incomplete message.
#[derive(Debug)]
pub(super) struct Connection {
    stream: Stream,
    /// Received bytes that were not taken yet: less than a message, plus what one read added.
    incoming: Vec<u8>,
}

impl Connection {
    /// Connects to a socket or opens a device.
    pub(super) fn open(path: &Path) -> std::io::Result<Self> {
        let stream = if std::fs::metadata(path)?.file_type().is_socket() {
            let socket = UnixStream::connect(path)?;
            socket.set_nonblocking(true)?;
            Stream::Socket(socket)
        } else {
            let mut options = OpenOptions::new();
            Stream::Device(options.read(true).write(true).custom_flags(nix::libc::O_NONBLOCK).open(path)?)
        };
        Ok(Self { stream, incoming: Vec::with_capacity(2 * MESSAGE_MAX) })
    }

    /// Whether this is the kernel's device, which answers some requests itself.
    pub(super) fn is_device(&self) -> bool {
        matches!(self.stream, Stream::Device(_))
    }

    /// Sends a whole message; `false` if that was not possible by `deadline`.
    pub(super) fn send(&mut self, mut message: &[u8], deadline: Instant) -> Result<bool, StoreError> {
        while !message.is_empty() {
            let written = match &mut self.stream {
                Stream::Socket(socket) => socket.write(message),
                Stream::Device(device) => device.write(message),
            };
            match written {
                Ok(0) => return Err(StoreError::Closed),
                Ok(count) => message = &message[count..],
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    if !wait_ready(self, PollFlags::POLLOUT, Some(deadline))? {
                        return Ok(false);
                    }
                }
                Err(error) if error.kind() == ErrorKind::BrokenPipe => return Err(StoreError::Closed),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(true)
    }

    /// The next message; `None` if none was complete by `deadline` (`None`: wait for ever). A message that has already
    /// arrived is returned even after the deadline.
    pub(super) fn receive(&mut self, deadline: Option<Instant>) -> Result<Option<Message>, StoreError> {
        loop {
            if let Some((message, length)) = wire::decode(&self.incoming)? {
                self.incoming.drain(..length);
                return Ok(Some(message));
            }
            if !wait_ready(self, PollFlags::POLLIN, deadline)? {
                return Ok(None);
            }
            self.read_some()?;
        }
    }

    fn read_some(&mut self) -> Result<(), StoreError> {
        let mut bytes = [0; MESSAGE_MAX];
        let read = match &mut self.stream {
            Stream::Socket(socket) => socket.read(&mut bytes),
            Stream::Device(device) => device.read(&mut bytes),
        };
        match read {
            Ok(0) => Err(StoreError::Closed),
            Ok(count) => {
                self.incoming.extend_from_slice(&bytes[..count]);
                Ok(())
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => Ok(()),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => Err(StoreError::Closed),
            Err(error) => Err(error.into()),
        }
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.stream {
            Stream::Socket(socket) => socket.as_fd(),
            Stream::Device(device) => device.as_fd(),
        }
    }
}
