//! [`Qmp`]: a connection to QEMU's monitor. Each command is answered, or given up, in bounded time.
//!
//! The descriptor never blocks, not even when it connects: if the listener's queue is full, connecting is tried again.

use super::QmpError;
use super::message::{self, MESSAGE_BYTES_MAX, Message};
use crate::ready::wait_ready;
use nix::errno::Errno;
use nix::poll::PollFlags;
use nix::sys::socket::{
    AddressFamily, ControlMessage, MsgFlags, SockFlag, SockType, UnixAddr, connect, sendmsg, socket,
};
use serde_json::{Value, json};
use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Longest wait for an answer. libxl waits as long; it is long enough for another program to finish its command and
/// leave the monitor.
const ANSWER_MAX: Duration = Duration::from_secs(10);

/// Time between two attempts to connect to a listener whose queue is full.
const CONNECT_RETRY: Duration = Duration::from_millis(1);

/// Bytes read at once: more than any answer we ask for has.
const READ_BYTES: usize = 4096;

/// Most events before an answer. QEMU sends two or three.
const EVENTS_MAX: usize = 1000;

/// A connection. QEMU serves no other program on this socket until the connection is dropped.
#[derive(Debug)]
pub struct Qmp {
    socket: UnixStream,
    incoming: Vec<u8>,
    pub(super) answer_max: Duration,
    last_id: u64,
}

impl Qmp {
    /// Connects to QEMU's monitor at `path` and negotiates capabilities. Waits, in bounded time, until other programs
    /// have left the monitor.
    pub fn connect(path: &Path) -> Result<Self, QmpError> {
        Self::connect_within(path, ANSWER_MAX)
    }

    pub(super) fn connect_within(path: &Path, answer_max: Duration) -> Result<Self, QmpError> {
        let deadline = Instant::now() + answer_max;
        let socket = open(path, deadline)
            .map_err(|source| QmpError::Unreachable { path: path.to_owned(), source })?
            .ok_or_else(|| late("connect", answer_max))?;
        let mut qmp = Self { socket, incoming: Vec::with_capacity(READ_BYTES), answer_max, last_id: 0 };
        match qmp.receive("connect", deadline)? {
            Message::Greeting => {}
            other => return Err(QmpError::Protocol(format!("{other} instead of a greeting"))),
        }
        qmp.execute("qmp_capabilities", Value::Null)?;
        Ok(qmp)
    }

    /// Executes a command, with `arguments` unless they are null. Returns QEMU's answer.
    pub fn execute(&mut self, command: &str, arguments: Value) -> Result<Value, QmpError> {
        self.ask(command, arguments, None)
    }

    /// [`execute`](Self::execute), with a file descriptor that accompanies the command.
    pub fn execute_with(
        &mut self,
        command: &str,
        arguments: Value,
        file: BorrowedFd<'_>,
    ) -> Result<Value, QmpError> {
        self.ask(command, arguments, Some(file))
    }

    fn ask(
        &mut self,
        command: &str,
        arguments: Value,
        file: Option<BorrowedFd<'_>>,
    ) -> Result<Value, QmpError> {
        let deadline = Instant::now() + self.answer_max;
        self.last_id += 1;
        let mut request = json!({ "execute": command, "id": self.last_id });
        if !arguments.is_null() {
            request["arguments"] = arguments;
        }
        self.send(command, format!("{request}\r\n").as_bytes(), file, deadline)?;
        for _ in 0..EVENTS_MAX {
            match self.receive(command, deadline)? {
                Message::Event(_) => {}
                Message::Return { id, value } if id == self.last_id => return Ok(value),
                Message::Error { id, class, description } if id.is_none_or(|id| id == self.last_id) => {
                    return Err(QmpError::Refused { command: command.into(), class, description });
                }
                other => return Err(QmpError::Protocol(format!("{other} when {command} was asked"))),
            }
        }
        Err(QmpError::Protocol(format!("more than {EVENTS_MAX} events before it answered {command}")))
    }

    fn send(
        &mut self,
        command: &str,
        mut bytes: &[u8],
        mut file: Option<BorrowedFd<'_>>,
        deadline: Instant,
    ) -> Result<(), QmpError> {
        while !bytes.is_empty() {
            match send_some(&mut self.socket, bytes, file) {
                Ok(count) => {
                    // It goes with the first byte.
                    file = None;
                    bytes = &bytes[count..];
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    if !wait_ready(&self.socket, PollFlags::POLLOUT, Some(deadline))? {
                        return Err(late(command, self.answer_max));
                    }
                }
                Err(error) if is_end(&error) => return Err(QmpError::Closed { command: command.into() }),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn receive(&mut self, command: &str, deadline: Instant) -> Result<Message, QmpError> {
        loop {
            if let Some(message) = message::take(&mut self.incoming)? {
                return Ok(message);
            }
            if !wait_ready(&self.socket, PollFlags::POLLIN, Some(deadline))? {
                return Err(late(command, self.answer_max));
            }
            self.read_some(command)?;
            debug_assert!(self.incoming.len() <= MESSAGE_BYTES_MAX + READ_BYTES);
        }
    }

    fn read_some(&mut self, command: &str) -> Result<(), QmpError> {
        let mut bytes = [0; READ_BYTES];
        match self.socket.read(&mut bytes) {
            Ok(0) => Err(QmpError::Closed { command: command.into() }),
            Ok(count) => {
                self.incoming.extend_from_slice(&bytes[..count]);
                Ok(())
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => Ok(()),
            Err(error) if is_end(&error) => Err(QmpError::Closed { command: command.into() }),
            Err(error) => Err(error.into()),
        }
    }
}

fn late(command: &str, within: Duration) -> QmpError {
    QmpError::Timeout { command: command.into(), within_ms: within.as_millis() as u64 }
}

fn is_end(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset)
}

/// Connects a non-blocking socket; `None` if the listener's queue was full until `deadline`.
fn open(path: &Path, deadline: Instant) -> io::Result<Option<UnixStream>> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket = socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
    let address = UnixAddr::new(path)?;
    loop {
        match connect(socket.as_raw_fd(), &address) {
            Ok(()) => return Ok(Some(UnixStream::from(socket))),
            Err(Errno::EAGAIN) if Instant::now() < deadline => sleep(CONNECT_RETRY),
            Err(Errno::EAGAIN) => return Ok(None),
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}

fn send_some(socket: &mut UnixStream, bytes: &[u8], file: Option<BorrowedFd<'_>>) -> io::Result<usize> {
    let Some(file) = file else { return socket.write(bytes) };
    let files = [file.as_raw_fd()];
    let with = [ControlMessage::ScmRights(&files)];
    let sent = sendmsg::<()>(socket.as_raw_fd(), &[IoSlice::new(bytes)], &with, MsgFlags::MSG_NOSIGNAL, None);
    sent.map_err(io::Error::from)
}
