//! A frame as what is compared of it: the flow that it belongs to, and its content. Parsed once, borrowed, nothing
//! allocated.
//!
//! ```text
//!   virtio-net header │ Ethernet │ VLAN tags │ IPv4 / IPv6 + extension headers │ TCP ──────► Content::Tcp
//!   (offloads)        │          │           │    fragments, AH                │ UDP, ICMP, SCTP, ESP, rest ─┐
//!                     │          │           └ ARP, rest ────────────────────────────────────────► Content::Datagram
//! ```
//!
//! Lengths are those that IP tells, never the frame's: Ethernet pads short frames. A frame that contradicts itself is a
//! datagram of all its bytes: it leaves early only if the copy sent exactly that.
//!
//! Not compared, since they differ between two guests of one state or say nothing of it: Ethernet addresses; IP's
//! identification, TOS, TTL, flow label and checksum; IPv4's options and IPv6's extension headers.
//!
//! Not here: what may be matched. ESP, AH and SCTP are datagrams of their protocol, whose bytes are keyed or counted by each
//! guest on its own.

mod flow;
mod ip;
mod options;
mod quote;
mod segment;

pub use flow::{Address, Card, Flow, Protocol, Side};
pub(crate) use ip::{ICMP, ICMPV6};
pub(crate) use options::next_option;
pub use options::{OneOption, Options, Timestamps};
pub(crate) use quote::Quote;
pub use segment::{Flags, Segment};

/// What the card's header says (virtio-net, `struct virtio_net_hdr`): work that is left to whoever sends it out.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Offload {
    /// The transport checksum holds the pseudo header's sum alone, and is to be completed.
    pub is_checksum_partial: bool,
    /// One frame for many segments of this many bytes of payload; 0: it is one segment.
    pub segment_bytes: u16,
}

/// A frame as a card has it: Ethernet, without its check sequence.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Frame<'a> {
    /// Which of the guest's cards.
    pub card: Card,
    /// What is left to do.
    pub offload: Offload,
    /// From the destination's address on.
    pub bytes: &'a [u8],
}

/// A frame, parsed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Packet<'a> {
    /// To what it belongs.
    pub flow: Flow,
    /// What it says.
    pub content: Content<'a>,
}

/// What a frame says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Content<'a> {
    /// A TCP segment that can be compared as a part of a stream.
    Tcp(Segment<'a>),
    /// What is equal when its bytes are.
    Datagram(Datagram<'a>),
}

/// What is equal when its bytes are; the checksum lies between the two and is left out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Datagram<'a> {
    /// ICMP: type and code. UDP: its length, and the offload's bytes of a segment. A fragment: offset and flags. Others: zero.
    pub head: [u8; 4],
    /// All that follows.
    pub body: &'a [u8],
}

impl<'a> Packet<'a> {
    /// Parses a frame that `side` sent.
    pub fn parse(frame: Frame<'a>, side: Side) -> Self {
        ip::parse(frame, side).unwrap_or_else(|| Self {
            flow: Flow::of_link(frame.card, [None; 2], 0),
            content: Content::Datagram(Datagram { head: [0; 4], body: frame.bytes }),
        })
    }
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}
