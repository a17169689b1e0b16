//! A connection to the kernel's rtnetlink, with the few messages that output commit needs.
//!
//! ```text
//!   [ request 1 | request 2 | … ]  ──one send──►  kernel, under one lock
//!   [ ack 1 ] [ ack 2 ] …          ◄────────────  one for each, in order, errors with words
//! ```
//!
//! Every request asks for an acknowledgement. Stock Remus asks for none, and so never learns that a release was
//! refused. The messages are pure; each family has its file: [`link`], [`qdisc`], [`filter`].

pub(crate) mod events;
#[cfg(test)]
pub(crate) mod faults;
pub(crate) mod filter;
pub(crate) mod link;
pub(crate) mod qdisc;
pub(crate) mod wire;

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, getsockname, recvmsg,
    sendto, setsockopt, socket, sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike};
use std::io::IoSliceMut;
use std::os::fd::{AsRawFd, OwnedFd};
pub use wire::WireError;
use wire::{ACK, DONE, ERROR, Message, Request};

/// For the fuzzer: decodes a datagram as every kind of answer.
#[cfg(fuzzing)]
pub fn read_all(datagram: &[u8]) {
    for message in wire::messages(datagram) {
        let Ok(message) = message else { return };
        let _ = wire::verdict(&message);
        let _ = (link::decode(message.body), qdisc::decode(message.body), filter::decode(message.body));
        let _ = events::read(&message);
    }
}

/// For tests: delay of every answer in milliseconds, as if somebody held the lock of the network configuration.
#[cfg(feature = "late-answers")]
pub static ANSWERS_LATE_MS: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);

/// Longest wait for an answer, in milliseconds. The kernel answers within microseconds unless somebody holds the lock
/// of the network configuration, as the removal of many devices does.
const ANSWER_MS_MAX: i64 = if cfg!(test) { 200 } else { 5_000 };
/// Bytes of one datagram of answers. The kernel fills dumps up to 32 KiB.
const DATAGRAM_BYTES_MAX: usize = 64 << 10;
/// Bytes of one batch of requests: well below the socket's send buffer.
const BATCH_BYTES_MAX: usize = 64 << 10;

/// Why a request failed.
#[derive(thiserror::Error, Debug)]
pub enum NetlinkError {
    /// The kernel refused.
    #[error("The kernel refused {what}: {}{}", errno.desc(), in_words(reason.as_ref()))]
    Refused {
        /// What was asked for.
        what: String,
        /// The kernel's error number.
        errno: Errno,
        /// The kernel's own explanation, if it gave one.
        reason: Option<String>,
    },
    /// The socket failed: no permission to open it, or out of memory.
    #[error("The netlink socket failed; it needs CAP_NET_ADMIN and memory: {0}")]
    Socket(#[from] Errno),
    /// The kernel did not answer in time.
    #[error("The kernel did not answer {what} within {ANSWER_MS_MAX} ms; something holds the network lock")]
    NoAnswer {
        /// What was asked for.
        what: String,
    },
    /// The answer is not a netlink message.
    #[error("The kernel's answer cannot be read: {0}; please report the kernel's version")]
    Malformed(#[from] WireError),
}

impl NetlinkError {
    /// Whether this is a refusal with the number `wanted`.
    pub(crate) fn is(&self, wanted: Errno) -> bool {
        matches!(self, Self::Refused { errno, .. } if *errno == wanted)
    }
}

fn in_words(reason: Option<&String>) -> String {
    reason.map(|words| format!(" ({words})")).unwrap_or_default()
}

/// A netlink socket, bound to the network namespace it was opened in.
#[derive(Debug)]
pub struct Connection {
    socket: OwnedFd,
    /// The kernel's number of this socket. Notifications of changes made through it carry the number.
    port: u32,
    sequence: u32,
    datagram: Vec<u8>,
}

impl Connection {
    /// Opens a connection to the kernel.
    pub fn open() -> Result<Self, NetlinkError> {
        let socket = socket(
            AddressFamily::Netlink,
            SockType::Raw,
            SockFlag::SOCK_CLOEXEC,
            SockProtocol::NetlinkRoute,
        )?;
        bind(socket.as_raw_fd(), &NetlinkAddr::new(0, 0))?;
        // Without words the numbers must do: kernels before 4.12 have none.
        let _ = super::sys::netlink_ext_ack(&socket);
        setsockopt(&socket, sockopt::ReceiveTimeout, &TimeVal::milliseconds(ANSWER_MS_MAX))?;
        let port = getsockname::<NetlinkAddr>(socket.as_raw_fd())?.pid();
        Ok(Self { socket, port, sequence: 0, datagram: vec![0; DATAGRAM_BYTES_MAX] })
    }

    /// The port that notifications of this connection's own changes carry.
    pub(crate) fn port(&self) -> u32 {
        self.port
    }

    /// Sends all `requests` at once and returns the kernel's verdict on each, in order. The kernel carries on after a
    /// request that it refuses.
    pub(crate) fn batch(
        &mut self,
        requests: &mut [Request],
    ) -> Result<Vec<Result<(), NetlinkError>>, NetlinkError> {
        let mut verdicts: Vec<Option<Result<(), NetlinkError>>> = Vec::new();
        verdicts.resize_with(requests.len(), || None);
        let mut start = 0;
        while start < requests.len() {
            let sent = self.send_some(&mut requests[start..])?;
            let first = self.sequence.wrapping_sub(sent as u32).wrapping_add(1);
            let mut missing = sent;
            while missing > 0 {
                let what = requests[start].what();
                self.receive(what, |message| {
                    let index = message.sequence.wrapping_sub(first) as usize;
                    if message.kind == ERROR && index < sent && verdicts[start + index].is_none() {
                        let what = requests[start + index].what();
                        verdicts[start + index] = Some(as_result(&message, what)?);
                        missing -= 1;
                    }
                    Ok(())
                })?;
            }
            start += sent;
        }
        Ok(verdicts.into_iter().map(|verdict| verdict.expect("every request was answered")).collect())
    }

    /// Sends all `requests`. Fails with the first refusal that `forgive` rejects.
    pub(crate) fn all(
        &mut self,
        requests: &mut [Request],
        forgive: impl Fn(&NetlinkError) -> bool,
    ) -> Result<(), NetlinkError> {
        let refused = self.batch(requests)?.into_iter().filter_map(Result::err).find(|e| !forgive(e));
        refused.map_or(Ok(()), Err)
    }

    /// Everything that the kernel answers to `request`: one message, or a whole dump.
    pub(crate) fn ask<T>(
        &mut self,
        mut request: Request,
        decode: impl Fn(&[u8]) -> Result<T, WireError>,
    ) -> Result<Vec<T>, NetlinkError> {
        self.send_some(std::slice::from_mut(&mut request))?;
        let sequence = self.sequence;
        let (mut found, mut ended) = (Vec::new(), false);
        while !ended {
            self.receive(request.what(), |message| {
                match message.kind {
                    _ if message.sequence != sequence => (),
                    DONE => ended = true,
                    ERROR => {
                        ended = true;
                        as_result(&message, request.what())??;
                    }
                    _ => found.push(decode(message.body)?),
                }
                Ok(())
            })?;
        }
        Ok(found)
    }

    /// Sends as many of `requests` as fit one datagram, at least one. Returns how many.
    fn send_some(&mut self, requests: &mut [Request]) -> Result<usize, NetlinkError> {
        let mut bytes = Vec::new();
        let mut sent = 0;
        for request in requests {
            let message = request.encode(self.sequence.wrapping_add(1));
            #[cfg(test)]
            let message = &faults::strike(message)[..];
            if sent > 0 && bytes.len() + message.len() > BATCH_BYTES_MAX {
                break;
            }
            bytes.extend_from_slice(message);
            self.sequence = self.sequence.wrapping_add(1);
            sent += 1;
        }
        sendto(self.socket.as_raw_fd(), &bytes, &NetlinkAddr::new(0, 0), MsgFlags::empty())?;
        Ok(sent)
    }

    /// Waits for a datagram and passes its messages to `each`.
    fn receive(
        &mut self,
        what: &str,
        mut each: impl FnMut(Message<'_>) -> Result<(), NetlinkError>,
    ) -> Result<(), NetlinkError> {
        #[cfg(feature = "late-answers")]
        std::thread::sleep(std::time::Duration::from_millis(
            ANSWERS_LATE_MS.load(std::sync::atomic::Ordering::Relaxed),
        ));
        let mut into = [IoSliceMut::new(&mut self.datagram)];
        let received =
            match recvmsg::<NetlinkAddr>(self.socket.as_raw_fd(), &mut into, None, MsgFlags::empty()) {
                Err(Errno::EAGAIN) => return Err(NetlinkError::NoAnswer { what: what.into() }),
                Err(Errno::EINTR) => return Ok(()),
                other => other?,
            };
        let (bytes, flags) = (received.bytes, received.flags);
        // Another process can write to this socket; only the kernel's port is 0.
        if received.address.is_none_or(|sender| sender.pid() != 0) {
            return Ok(());
        }
        if flags.contains(MsgFlags::MSG_TRUNC) {
            return Err(WireError("it is longer than any answer should be").into());
        }
        for message in wire::messages(&self.datagram[..bytes]) {
            each(message?)?;
        }
        Ok(())
    }
}

/// The verdict that an ack carries. The outer error means that the ack could not be read.
fn as_result(message: &Message<'_>, what: &str) -> Result<Result<(), NetlinkError>, WireError> {
    let (errno, reason) = wire::verdict(message)?;
    #[cfg(test)]
    let errno = faults::instead(message.sequence).unwrap_or(errno);
    Ok(if errno == 0 {
        Ok(())
    } else {
        Err(NetlinkError::Refused { what: what.into(), errno: Errno::from_raw(errno), reason })
    })
}

/// Flags of a request that changes something.
const CHANGE: u16 = ACK;
