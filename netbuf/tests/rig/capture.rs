//! Captures: every frame at an interface with the kernel's time stamp, and test frames that carry their epoch and
//! number.
//!
//! ```text
//!   | Ethernet, any type | … | "USDYTEST" | epoch u64 | sequence u64 | filling |
//! ```

use super::{GUEST_MAC, OUTSIDE_MAC, Place};
use nix::cmsg_space;
use nix::errno::Errno;
use nix::ifaddrs::getifaddrs;
use nix::sys::socket::{
    AddressFamily, ControlMessageOwned, LinkAddr, MsgFlags, SockFlag, SockProtocol, SockType, bind, recvmsg,
    send, setsockopt, socket, sockopt,
};
use nix::sys::time::{TimeSpec, TimeVal, TimeValLike};
use std::io::IoSliceMut;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;
use understudy_checkpoint::Epoch;

const FRAME_BYTES: usize = 160;
const MAGIC: &[u8; 8] = b"USDYTEST";
/// `sll_pkttype` of what the interface itself sends.
const PACKET_OUTGOING: u8 = 4;

/// What kind of frame carries a test's words.
#[derive(Clone, Copy, PartialEq, Eq, Debug, PartialOrd, Ord)]
pub(crate) enum Protocol {
    Udp4,
    Udp6,
    Icmp4,
    Arp,
    /// Two tags: a capture shows the inner one only if the outer one has arrived too.
    Vlan,
    /// A type nobody knows.
    Other,
}

pub(crate) const PROTOCOLS: [Protocol; 6] =
    [Protocol::Udp4, Protocol::Udp6, Protocol::Icmp4, Protocol::Arp, Protocol::Vlan, Protocol::Other];

impl Protocol {
    fn head(self) -> Vec<u8> {
        match self {
            Self::Udp4 => [&[0x08, 0x00][..], &ipv4(17), &[0x10, 0, 0x10, 0, 0, 126, 0, 0]].concat(),
            Self::Icmp4 => [&[0x08, 0x00][..], &ipv4(1), &[8, 0, 0, 0, 0, 1, 0, 1]].concat(),
            Self::Udp6 => {
                let from = [0xfd, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2];
                let to = [0xfd, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
                let ip = [0x86, 0xdd, 0x60, 0, 0, 0, 0, 106, 17, 64];
                [&ip[..], &from, &to, &[0x10, 0, 0x10, 0, 0, 106, 0, 0]].concat()
            }
            Self::Arp => {
                let mut arp = vec![0x08, 0x06, 0, 1, 8, 0, 6, 4, 0, 1];
                arp.extend_from_slice(&GUEST_MAC);
                arp.extend_from_slice(&[10, 9, 0, 2, 0, 0, 0, 0, 0, 0, 10, 9, 0, 77]);
                arp
            }
            Self::Vlan => vec![0x81, 0x00, 0, 5, 0x81, 0x00, 0, 6, 0x88, 0xb5],
            Self::Other => vec![0x88, 0xb6],
        }
    }

    /// By what a capture shows: the outer tag is beside the frame then, not in it.
    fn of(frame: &[u8]) -> Option<Self> {
        Some(match (frame.get(12..14)?, frame.get(23)?) {
            ([0x08, 0x00], 17) => Self::Udp4,
            ([0x08, 0x00], 1) => Self::Icmp4,
            ([0x86, 0xdd], _) => Self::Udp6,
            ([0x08, 0x06], _) => Self::Arp,
            ([0x81, 0x00], _) if frame[14..18] == [0, 6, 0x88, 0xb5] => Self::Vlan,
            ([0x88, 0xb6], _) => Self::Other,
            _ => return None,
        })
    }
}

/// The head of a packet that fills a frame of [`FRAME_BYTES`]; bridges check it.
fn ipv4(protocol: u8) -> [u8; 20] {
    let mut head = [0x45, 0, 0, 146, 0, 0, 0, 0, 64, protocol, 0, 0, 10, 9, 0, 2, 10, 9, 0, 1];
    let words = head.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1]));
    let sum: u32 = words.sum();
    let checksum = !((sum & 0xffff) + (sum >> 16)) as u16;
    head[10..12].copy_from_slice(&checksum.to_be_bytes());
    head
}

/// A frame from the guest to the outside (ARP: to everyone).
pub(crate) fn frame(protocol: Protocol, epoch: Epoch, sequence: u64) -> Vec<u8> {
    let to = if protocol == Protocol::Arp { [0xff; 6] } else { OUTSIDE_MAC };
    let mut bytes = [&to[..], &GUEST_MAC, &protocol.head(), MAGIC].concat();
    bytes.extend_from_slice(&epoch.0.to_le_bytes());
    bytes.extend_from_slice(&sequence.to_le_bytes());
    bytes.resize(FRAME_BYTES, 0xee);
    bytes
}

/// A packet socket that sends on an interface of the calling thread's namespace.
pub(crate) fn sender(interface: &str) -> OwnedFd {
    let socket = socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_CLOEXEC, None).unwrap();
    let mut addresses = getifaddrs().unwrap().filter(|it| it.interface_name == interface);
    let address = addresses.find_map(|it| it.address?.as_link_addr().copied()).unwrap();
    bind(socket.as_raw_fd(), &address).unwrap();
    // Frames that are held count against the socket they came from, as no real guest's do.
    setsockopt(&socket, sockopt::SndBufForce, &(512 << 20)).unwrap();
    socket
}

/// Sends one frame. A veth says when the processor at hand has too many waiting, and drops it: then it is sent
/// again.
pub(crate) fn transmit(socket: &OwnedFd, frame: &[u8]) {
    loop {
        match send(socket.as_raw_fd(), frame, MsgFlags::empty()) {
            Err(Errno::ENOBUFS) => std::thread::sleep(Duration::from_millis(1)),
            sent => return assert_eq!(sent, Ok(frame.len())),
        }
    }
}

/// CLOCK_REALTIME, the clock of the kernel's time stamps.
pub(crate) fn now_ns() -> i128 {
    let now = nix::time::clock_gettime(nix::time::ClockId::CLOCK_REALTIME).unwrap();
    in_ns(now)
}

fn in_ns(time: TimeSpec) -> i128 {
    i128::from(time.tv_sec()) * 1_000_000_000 + i128::from(time.tv_nsec())
}

/// A frame that was seen.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Seen {
    pub(crate) at_ns: i128,
    pub(crate) from_guest: bool,
    pub(crate) ether_type: [u8; 2],
    pub(crate) bytes: usize,
    /// Protocol, epoch and sequence of a test's own frame.
    pub(crate) told: Option<(Protocol, Epoch, u64)>,
}

/// A running capture of everything that a place receives.
pub(crate) struct Capture {
    stop: Arc<AtomicBool>,
    reader: JoinHandle<Vec<Seen>>,
}

impl Capture {
    pub(crate) fn start(place: &Place) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&stop);
        let socket = place.run(listener);
        Self { stop, reader: std::thread::spawn(move || read_until(&socket, &told)) }
    }

    /// What was seen, once nothing has arrived for a while.
    pub(crate) fn finish(self) -> Vec<Seen> {
        self.stop.store(true, Ordering::Release);
        self.reader.join().unwrap()
    }
}

/// How long nothing must arrive for a capture to be over.
const QUIET_MS: i64 = 400;

fn listener() -> OwnedFd {
    let protocol = SockProtocol::EthAll;
    let socket = socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_CLOEXEC, protocol).unwrap();
    setsockopt(&socket, sockopt::ReceiveTimestampns, &true).unwrap();
    setsockopt(&socket, sockopt::RcvBufForce, &(256 << 20)).unwrap();
    setsockopt(&socket, sockopt::ReceiveTimeout, &TimeVal::milliseconds(QUIET_MS)).unwrap();
    socket
}

fn read_until(socket: &OwnedFd, stop: &AtomicBool) -> Vec<Seen> {
    let mut seen = Vec::new();
    let mut buffer = vec![0; 70_000];
    let mut space = cmsg_space!(TimeSpec);
    loop {
        let mut into = [IoSliceMut::new(&mut buffer)];
        let got =
            match recvmsg::<LinkAddr>(socket.as_raw_fd(), &mut into, Some(&mut space), MsgFlags::empty()) {
                Ok(got) => got,
                Err(_) if stop.load(Ordering::Acquire) => return seen,
                Err(_) => continue,
            };
        if got.address.is_some_and(|from| from.pkttype() == PACKET_OUTGOING) {
            continue;
        }
        let time = got.cmsgs().unwrap().find_map(|message| match message {
            ControlMessageOwned::ScmTimestampns(time) => Some(in_ns(time)),
            _ => None,
        });
        let (at_ns, bytes) = (time.expect("the kernel stamps every frame"), got.bytes);
        seen.push(Seen {
            at_ns,
            bytes,
            from_guest: buffer[6..12] == GUEST_MAC,
            ether_type: [buffer[12], buffer[13]],
            told: told(&buffer[..bytes.min(200)]),
        });
    }
}

fn told(frame: &[u8]) -> Option<(Protocol, Epoch, u64)> {
    let at = frame.windows(8).position(|window| window == MAGIC)? + 8;
    let number = |at: usize| Some(u64::from_le_bytes(frame.get(at..at + 8)?.try_into().ok()?));
    Some((Protocol::of(frame)?, Epoch(number(at)?), number(at + 8)?))
}

/// Long enough for what would leak to have leaked.
pub(crate) fn let_pass() {
    std::thread::sleep(Duration::from_millis(60));
}
