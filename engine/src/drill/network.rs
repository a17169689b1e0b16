//! Addresses on the drill's network. They follow from numbers, so that a frame reveals its guest, its client and its
//! request.
//!
//! ```text
//!   guest g   02:75:64:01:hi:lo   10.77.0.0/16 + 256 + g       client c   02:75:64:02:hi:lo   10.78.0.0/16 + 256 + c
//! ```

use super::history::ClientId;
use std::net::Ipv4Addr;
use understudy_lab::Mac;
use understudy_lab::memcached;
use understudy_lab::wire::{Body, Frame, source_of};

const GUEST_PREFIX: [u8; 4] = [0x02, 0x75, 0x64, 0x01];
const CLIENT_PREFIX: [u8; 4] = [0x02, 0x75, 0x64, 0x02];
/// Skips the network's own address and what looks like it.
const FIRST_HOST: u32 = 256;
/// Port that every client sends from; kept for the whole drill.
pub const CLIENT_PORT: u16 = 40_000;

/// An Ethernet and an IPv4 address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Address {
    /// Ethernet.
    pub mac: Mac,
    /// IPv4.
    pub ip: Ipv4Addr,
}

/// Address of a guest of this drill.
pub fn guest_address(number: u16) -> Address {
    let ip = u32::from(Ipv4Addr::new(10, 77, 0, 0)) + FIRST_HOST + u32::from(number);
    Address { mac: numbered(GUEST_PREFIX, number), ip: ip.into() }
}

/// Address of a client of this drill.
pub fn client_address(client: ClientId) -> Address {
    let ip = u32::from(Ipv4Addr::new(10, 78, 0, 0)) + FIRST_HOST + u32::from(client.0);
    Address { mac: numbered(CLIENT_PREFIX, client.0), ip: ip.into() }
}

/// Name of a guest of this drill.
pub fn guest_name(number: u16) -> String {
    format!("g{}", number + 1)
}

/// Which guest sent this frame, if one did.
pub fn sending_guest(frame: &[u8]) -> Option<u16> {
    number_of(GUEST_PREFIX, source_of(frame)?)
}

/// Which request of which client this frame answers, if it is an answer of the key-value service.
pub fn answered_request(frame: &[u8]) -> Option<(ClientId, u16)> {
    let frame = Frame::parse(frame)?;
    let Body::Udp(_, udp) = frame.body else { return None };
    let client = number_of(CLIENT_PREFIX, frame.dst).map(ClientId)?;
    let (request, _) = memcached::split(udp.payload)?.ok()?;
    (udp.src_port == memcached::PORT && udp.dst_port == CLIENT_PORT).then_some((client, request))
}

fn numbered(prefix: [u8; 4], number: u16) -> Mac {
    let [high, low] = number.to_be_bytes();
    let [a, b, c, d] = prefix;
    Mac([a, b, c, d, high, low])
}

fn number_of(prefix: [u8; 4], mac: Mac) -> Option<u16> {
    let rest = mac.0.strip_prefix(&prefix)?;
    Some(u16::from_be_bytes(rest.try_into().ok()?))
}
