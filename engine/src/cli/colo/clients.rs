//! The secondary's clients as the primary's: connections are paired, and addresses, ports and numbers of the secondary's
//! clients become those of the primary's.
//!
//! ```text
//!   primary    10.0.0.9:40001 ─ SYN 1000 ─► guest:80      the first to guest:80
//!   secondary  10.0.0.9:51777 ─ SYN 9000 ─► guest:80      the first, too: port 40001, 8000 less
//! ```
//!
//! A live pair of guests has one client. Guests that were captured one after the other have a client each time, with other
//! ports and numbers; what the guests said to them can be compared all the same. A connection with the same port in both
//! captures is the same; others are paired in the order in which they were opened. Of two captures of one client nothing
//! changes here.
//!
//! Not here: what differs because the guests do (the rewriter). Checksums are left: nothing behind this looks at them.

use super::capture::Captured;
use super::guest::{Guest, Sender};
use core::net::Ipv6Addr;
use std::collections::{HashMap, VecDeque};
use understudy_colo::packet::{Content, Flags, Packet, Protocol, Side};
use understudy_colo::{Card, Flow, Frame};

/// The most connections that are paired; further ones are compared as they are.
const OPENINGS_MAX: usize = 65_536;

const UDP: Protocol = Protocol::Ip(17);

/// The address that connections are opened to.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct Service {
    guest: Ipv6Addr,
    protocol: Protocol,
    port: u16,
}

/// A client's end of a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Client {
    address: Ipv6Addr,
    port: u16,
    /// The number of its SYN; 0 where there is none.
    sequence: u32,
}

/// The connections of the primary's capture, in the order in which they were opened.
#[derive(Default, Debug)]
pub(super) struct Openings {
    by_service: HashMap<Service, VecDeque<Client>>,
    known: HashMap<Flow, u32>,
}

/// The counterpart of the secondary's client in the primary's capture.
#[derive(Clone, Copy, Debug)]
struct Twin {
    client: Client,
    /// The number of the secondary's SYN.
    sequence: u32,
}

/// Changes the secondary's frames.
#[derive(Debug)]
pub(super) struct Clients {
    openings: Openings,
    twins: HashMap<Flow, Twin>,
    /// Connections of which a client was replaced by another one.
    pub(super) replaced: u64,
}

fn parse(frame: &[u8], side: Side) -> Packet<'_> {
    Packet::parse(Frame { card: Card(0), offload: Default::default(), bytes: frame }, side)
}

/// The number with which a frame to the guest opens a connection; of UDP each may.
fn opening(packet: &Packet<'_>) -> Option<u32> {
    match packet.content {
        Content::Tcp(segment) => {
            (segment.flags.has(Flags::SYN) && !segment.flags.has(Flags::ACK)).then_some(segment.sequence)
        }
        Content::Datagram(_) => (packet.flow.protocol == UDP).then_some(0),
    }
}

fn service(flow: &Flow) -> Service {
    Service { guest: flow.guest, protocol: flow.protocol, port: flow.guest_port }
}

impl Openings {
    /// Examines a frame of the primary's capture.
    pub(super) fn look_at(&mut self, frame: &Captured, guest: Guest) {
        if self.known.len() >= OPENINGS_MAX || guest.sender(&frame.bytes) != Sender::World {
            return;
        }
        let packet = parse(&frame.bytes, Side::World);
        let Some(sequence) = opening(&packet) else { return };
        if self.known.insert(packet.flow, sequence) == Some(sequence) {
            return;
        }
        let Flow { world: address, world_port: port, .. } = packet.flow;
        self.by_service.entry(service(&packet.flow)).or_default().push_back(Client {
            address,
            port,
            sequence,
        });
    }

    /// Takes the twin of a client: the connection with the same address and port, or else the first.
    fn take(&mut self, flow: &Flow) -> Option<Client> {
        let all = self.by_service.get_mut(&service(flow))?;
        let same = all.iter().position(|one| (one.address, one.port) == (flow.world, flow.world_port));
        all.remove(same.unwrap_or(0))
    }
}

impl Clients {
    pub(super) fn new(openings: Openings) -> Self {
        Self { openings, twins: HashMap::new(), replaced: 0 }
    }

    /// Changes a frame of the secondary's capture.
    pub(super) fn replace(&mut self, frame: &mut [u8], side: Side) {
        let packet = parse(frame, side);
        let flow = packet.flow;
        let opens = if side == Side::World { opening(&packet) } else { None };
        let is_known = |sequence| self.twins.get(&flow).is_some_and(|twin| twin.sequence == sequence);
        if let Some(sequence) = opens.filter(|sequence| !is_known(*sequence)) {
            self.pair(flow, sequence);
        }
        let Some(twin) = self.twins.get(&flow) else { return };
        let segment_at = match packet.content {
            Content::Tcp(segment) => Some((segment.at, segment.flags.has(Flags::ACK))),
            Content::Datagram(_) => None,
        };
        let ahead = twin.client.sequence.wrapping_sub(twin.sequence);
        let client = twin.client;
        if !set_client(frame, side, client) {
            return;
        }
        match (segment_at, side) {
            (Some((at, _)), Side::World) => add(frame, at + 4, ahead),
            (Some((at, true)), Side::Guest) => add(frame, at + 8, ahead),
            _ => {}
        }
    }

    fn pair(&mut self, flow: Flow, sequence: u32) {
        if self.twins.len() >= OPENINGS_MAX {
            return;
        }
        if let Some(client) = self.openings.take(&flow) {
            let itself = Client { address: flow.world, port: flow.world_port, sequence };
            self.replaced += u64::from(client != itself);
            self.twins.insert(flow, Twin { client, sequence });
        }
    }
}

/// Adds to a number of the segment.
fn add(frame: &mut [u8], at: usize, count: u32) {
    if let Some(number) = frame.get_mut(at..).and_then(|rest| rest.first_chunk_mut::<4>()) {
        *number = u32::from_be_bytes(*number).wrapping_add(count).to_be_bytes();
    }
}

/// Sets the address and port of the client. Returns `false` if they are out of reach in this packet.
fn set_client(frame: &mut [u8], side: Side, client: Client) -> bool {
    let Some((addresses_at, address_bytes, ports_at)) = places(frame) else { return false };
    let is_second = usize::from(side == Side::Guest);
    let address_at = addresses_at + is_second * address_bytes;
    let octets = client.address.octets();
    let port_at = ports_at + 2 * is_second;
    if frame.len() < port_at + 2 {
        return false;
    }
    frame[address_at..address_at + address_bytes].copy_from_slice(&octets[octets.len() - address_bytes..]);
    frame[port_at..port_at + 2].copy_from_slice(&client.port.to_be_bytes());
    true
}

/// Where the addresses begin, how long each is, and where the ports begin.
fn places(frame: &[u8]) -> Option<(usize, usize, usize)> {
    let word = |at: usize| Some(u16::from_be_bytes(*frame.get(at..)?.first_chunk()?));
    let mut at = 12;
    while matches!(word(at)?, 0x8100 | 0x88a8) {
        at += 4;
    }
    match word(at)? {
        0x0800 => Some((at + 14, 4, at + 2 + usize::from(*frame.get(at + 2)? & 0x0f) * 4)),
        // Extension headers between address and ports are left: such a packet keeps its client.
        0x86dd if matches!(frame.get(at + 8)?, 6 | 17) => Some((at + 10, 16, at + 42)),
        _ => None,
    }
}
