//! Devices of the kernel's nbd: made, given another socket after their server died, ended.
//!
//! A device of a server that died keeps its guest's requests, for a week. Whoever finds it by its name gives it another
//! socket; the requests then come again. A device that is ended lets them fail: only for one that nobody uses.
//!
//! Not here: dm above it, and devices of dead engines.

use crate::nbd::control::{self, Answer, BadAnswer, Connect};
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, send, setsockopt,
    socket, sockopt,
};
use nix::sys::time::TimeVal;
use std::os::fd::{AsRawFd, OwnedFd};
use thiserror::Error;

/// Longest wait for an answer. A kernel that connects a device waits for its queue to stand still.
const ANSWER_S_MAX: i64 = 20;

/// The kernel did not do it.
#[derive(Debug, Error)]
pub enum ControlError {
    /// It has no nbd.
    #[error("the kernel has no nbd; load the module nbd with max_part=0")]
    Missing,
    /// It refused.
    #[error("the kernel refused to {what} a network block device: {}", errno.desc())]
    Refused {
        /// What was asked for.
        what: &'static str,
        /// The kernel's reason.
        errno: Errno,
    },
    /// The socket failed.
    #[error("the netlink socket failed; it needs CAP_SYS_ADMIN and memory: {0}")]
    Socket(#[from] Errno),
    /// What it said is nothing.
    #[error(transparent)]
    Malformed(#[from] BadAnswer),
    /// It acknowledged, and did not say which device.
    #[error(
        "the kernel made a network block device and did not say which; please report the kernel's version"
    )]
    Unnamed,
}

/// A way to the kernel's nbd.
#[derive(Debug)]
pub struct Control {
    socket: OwnedFd,
    family: u16,
    sequence: u32,
}

impl Control {
    /// Finds the kernel's nbd.
    pub fn open() -> Result<Self, ControlError> {
        let flags = SockFlag::SOCK_CLOEXEC;
        let socket = socket(AddressFamily::Netlink, SockType::Raw, flags, SockProtocol::NetlinkGeneric)?;
        bind(socket.as_raw_fd(), &NetlinkAddr::new(0, 0))?;
        setsockopt(&socket, sockopt::ReceiveTimeout, &TimeVal::new(ANSWER_S_MAX, 0))?;
        let mut control = Self { socket, family: 0, sequence: 0 };
        let asked = control.call("find", control::ask_family);
        let found = match asked {
            Err(ControlError::Refused { errno: Errno::ENOENT, .. }) => return Err(ControlError::Missing),
            answers => answers?,
        };
        let family = found
            .iter()
            .find_map(|answer| if let Answer::Family(family) = answer { Some(*family) } else { None });
        control.family = family.ok_or(ControlError::Missing)?;
        Ok(control)
    }

    /// Makes a device, and says which one. The kernel has its own hold on the socket from then on.
    pub fn connect(&mut self, device: &Connect) -> Result<u32, ControlError> {
        let family = self.family;
        let answers = self.call("connect", |sequence| control::connect(family, sequence, device))?;
        let made = answers
            .iter()
            .find_map(|answer| if let Answer::Device(index) = answer { Some(*index) } else { None });
        made.or(device.index).ok_or(ControlError::Unnamed)
    }

    /// Gives a device whose socket is dead another one.
    pub fn reconnect(&mut self, device: &Connect) -> Result<(), ControlError> {
        let family = self.family;
        self.call("reconnect", |sequence| control::reconnect(family, sequence, device)).map(drop)
    }

    /// Ends a device; what waits in it fails.
    pub fn disconnect(&mut self, index: u32) -> Result<(), ControlError> {
        let family = self.family;
        self.call("disconnect", |sequence| control::disconnect(family, sequence, index)).map(drop)
    }

    /// Asks, and gives what was answered before the acknowledgement.
    fn call(
        &mut self,
        what: &'static str,
        request: impl FnOnce(u32) -> Vec<u8>,
    ) -> Result<Vec<Answer>, ControlError> {
        self.sequence = self.sequence.wrapping_add(1);
        send(self.socket.as_raw_fd(), &request(self.sequence), MsgFlags::empty())?;
        let mut said = Vec::new();
        let mut datagram = vec![0; 32 << 10];
        loop {
            let count = recv(self.socket.as_raw_fd(), &mut datagram, MsgFlags::empty())?;
            for answer in control::answers(&datagram[..count])? {
                match answer {
                    Answer::Done { sequence } if sequence == self.sequence => return Ok(said),
                    Answer::Refused { sequence, errno } if sequence == self.sequence => {
                        return Err(ControlError::Refused { what, errno: Errno::from_raw(errno) });
                    }
                    // Of a request that nobody waited for any more.
                    Answer::Done { .. } | Answer::Refused { .. } => {}
                    Answer::Family(_) | Answer::Device(_) => said.push(answer),
                }
            }
        }
    }
}
