//! Notifications of changes to interfaces, qdiscs, filters and actions in this network namespace, whoever makes them.
//!
//! ```text
//!   tc, ip, ovs-vswitchd … ──change──► kernel ──RTNLGRP_LINK, RTNLGRP_TC──► this socket's queue ──drain──► judge
//! ```
//!
//! The kernel queues a notification under the same lock as the change itself. Whoever drains the queue has therefore
//! heard of every change that was complete by then. A queue that overflowed says so ([`Event::Lost`]). One change is
//! not notified: attaching a BPF program by a `bpf_link`.
//!
//! Not here: what a change means for held output (`watch`).

use super::filter::{self, Filter};
use super::link::{self, Link};
use super::qdisc::{self, Qdisc};
use super::wire::{self, Message};
use super::{NetlinkError, WireError};
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recvmsg, setsockopt,
    socket, sockopt,
};
use std::io::IoSliceMut;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

/// `RTMGRP_LINK | RTMGRP_TC`.
const GROUPS: u32 = 0x1 | 0x8;
/// Bytes of notifications that may wait to be drained. The kernel charges only what is used.
const QUEUE_BYTES: usize = 4 << 20;
/// Bytes of one notification. An interface with all its attributes takes about 2,000.
const DATAGRAM_BYTES_MAX: usize = 32 << 10;
/// Notifications taken by one drain, because a pause waits for it. More count as lost.
const DRAIN_MAX: usize = 4096;

/// `TCM_IFINDEX_MAGIC_BLOCK`: a filter of a block that several interfaces share.
pub(crate) const SHARED_BLOCK: u32 = u32::MAX;

/// What somebody changed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Event {
    /// An interface was made or changed; its state now.
    Link(Link),
    /// An interface left this namespace.
    LinkGone(Link),
    /// A qdisc was added, changed or removed.
    Qdisc(Qdisc),
    /// A filter was added, changed or removed at this interface ([`SHARED_BLOCK`]: at several), below this parent.
    Filter {
        /// The interface.
        index: u32,
        /// The hook.
        parent: u32,
        /// The filter.
        filter: Filter,
    },
    /// An action that filters may share was changed.
    Action,
    /// The queue overflowed, or cannot be read.
    Lost,
}

/// A socket that receives notifications from the moment it was opened.
#[derive(Debug)]
pub(crate) struct Events {
    socket: OwnedFd,
    datagram: Vec<u8>,
}

impl Events {
    /// Subscribes in the network namespace of the calling thread.
    pub(crate) fn open() -> Result<Self, NetlinkError> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let socket = socket(AddressFamily::Netlink, SockType::Raw, flags, SockProtocol::NetlinkRoute)?;
        // Refused without CAP_NET_ADMIN, without which nothing can be held either.
        setsockopt(&socket, sockopt::RcvBufForce, &QUEUE_BYTES)?;
        bind(socket.as_raw_fd(), &NetlinkAddr::new(0, GROUPS))?;
        Ok(Self { socket, datagram: vec![0; DATAGRAM_BYTES_MAX] })
    }

    /// Passes each notification since the last call to `each`, without waiting. Changes requested by the socket with
    /// the port `own` are left out.
    pub(crate) fn drain(&mut self, own: u32, mut each: impl FnMut(Event)) {
        for _ in 0..DRAIN_MAX {
            match self.receive(own, &mut each) {
                Ok(true) => {}
                Ok(false) => return,
                // The queue ran over; what is in it is still told.
                Err(NetlinkError::Socket(Errno::ENOBUFS)) => each(Event::Lost),
                Err(_) => return each(Event::Lost),
            }
        }
        each(Event::Lost);
    }

    /// Returns whether there was a datagram.
    fn receive(&mut self, own: u32, each: &mut impl FnMut(Event)) -> Result<bool, NetlinkError> {
        let mut into = [IoSliceMut::new(&mut self.datagram)];
        let received =
            match recvmsg::<NetlinkAddr>(self.socket.as_raw_fd(), &mut into, None, MsgFlags::empty()) {
                Err(Errno::EAGAIN) => return Ok(false),
                Err(Errno::EINTR) => return Ok(true),
                other => other?,
            };
        let (bytes, flags) = (received.bytes, received.flags);
        // Another process can write to this socket; only the kernel's port is 0.
        if received.address.is_none_or(|sender| sender.pid() != 0) {
            return Ok(true);
        }
        if flags.contains(MsgFlags::MSG_TRUNC) {
            return Err(WireError("it is longer than any notification should be").into());
        }
        for message in wire::messages(&self.datagram[..bytes]) {
            let message = message?;
            if message.port != own || own == 0 {
                read(&message)?.into_iter().for_each(&mut *each);
            }
        }
        Ok(true)
    }
}

impl AsFd for Events {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Decodes a notification; `None` if it is of another kind.
pub(super) fn read(message: &Message<'_>) -> Result<Option<Event>, WireError> {
    const NEW_LINK: u16 = 16;
    const DELETE_LINK: u16 = 17;
    const NEW_QDISC: u16 = 36;
    const DELETE_QDISC: u16 = 37;
    const NEW_FILTER: u16 = 44;
    const DELETE_FILTER: u16 = 45;
    const NEW_ACTION: u16 = 48;
    const DELETE_ACTION: u16 = 49;
    let body = message.body;
    Ok(Some(match message.kind {
        // Of another family: a bridge's or IPv6's view of an interface.
        NEW_LINK | DELETE_LINK if body.first() != Some(&0) => return Ok(None),
        NEW_LINK => Event::Link(link::decode(body)?),
        DELETE_LINK => Event::LinkGone(link::decode(body)?),
        NEW_QDISC | DELETE_QDISC => Event::Qdisc(qdisc::decode(body)?),
        NEW_FILTER | DELETE_FILTER => {
            let short = WireError("a filter's description is cut short");
            Event::Filter {
                index: wire::u32_at(body, 4).ok_or(short)?,
                parent: wire::u32_at(body, 12).ok_or(short)?,
                filter: filter::decode(body)?,
            }
        }
        NEW_ACTION | DELETE_ACTION => Event::Action,
        // Of a chain that goes, its filters are told first.
        _ => return Ok(None),
    }))
}
