//! Whose a frame is: the guest's, the world's, or of somebody else on the same wire.
//!
//! The guest is told (`--guest`), or inferred when one address alone answers connections in both captures.

use super::capture::Captured;
use core::net::{IpAddr, Ipv6Addr};
use std::collections::BTreeMap;
use std::fmt;
use understudy_colo::packet::{Content, Flags, Packet, Protocol, Side};
use understudy_colo::{Card, Frame};

/// With more answering addresses than this, nothing is inferred.
const ANSWERING_MAX: usize = 256;

const ARP: u16 = 0x0806;

/// A cooked capture names a frame's sender and not its receiver.
const UNKNOWN: [u8; 6] = [0; 6];

/// How the guest's frames are recognised.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Guest {
    /// By the Ethernet address that they come from.
    Mac([u8; 6]),
    /// By the IP address that they come from.
    Ip(Ipv6Addr),
}

/// The owner of a frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Sender {
    Guest,
    World,
    /// Neither from the guest nor to it.
    Stranger,
}

/// Why the guest could not be identified.
#[derive(thiserror::Error, PartialEq, Eq, Debug)]
pub(super) enum GuestError {
    #[error(
        "nobody in both captures answers a TCP connection, so which of them is the guest is not known: give its MAC or IP address with --guest"
    )]
    NobodyAnswers,
    #[error("several addresses answer TCP connections ({0}): say which is the guest's with --guest")]
    Several(String),
    #[error("more than 256 addresses answer TCP connections: say which is the guest's with --guest")]
    TooMany,
}

impl Guest {
    pub(super) fn sender(self, frame: &[u8]) -> Sender {
        match self {
            Self::Mac(guest) => {
                let Some((to, from)) = ethernet_addresses(frame) else { return Sender::Stranger };
                let is_for_many = to[0] & 1 == 1;
                match () {
                    () if from == guest => Sender::Guest,
                    () if to == guest || to == UNKNOWN || is_for_many => Sender::World,
                    () => Sender::Stranger,
                }
            }
            Self::Ip(guest) => {
                let Some((from, to)) = ip_addresses(frame) else { return Sender::Stranger };
                match () {
                    () if from == guest => Sender::Guest,
                    () if to == guest || is_for_many(to) => Sender::World,
                    () => Sender::Stranger,
                }
            }
        }
    }
}

impl fmt::Display for Guest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mac([a, b, c, d, e, g]) => write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}"),
            Self::Ip(address) => plain(*address).fmt(f),
        }
    }
}

/// The text is no address.
#[derive(thiserror::Error, Clone, Copy, PartialEq, Eq, Debug)]
#[error("neither a MAC nor an IP address")]
pub(super) struct NoAddress;

/// Parses `--guest`.
pub(super) fn parse(text: &str) -> Result<Guest, NoAddress> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(Guest::Ip(mapped(address)));
    }
    let mut mac = [0; 6];
    let mut parts = text.split(':');
    for byte in &mut mac {
        let part = parts.next().filter(|part| (1..=2).contains(&part.len()) && !part.starts_with('+'));
        *byte = part.and_then(|part| u8::from_str_radix(part, 16).ok()).ok_or(NoAddress)?;
    }
    parts.next().is_none().then_some(Guest::Mac(mac)).ok_or(NoAddress)
}

/// Finds the addresses that answer connections.
#[derive(Default, Debug)]
pub(super) struct Inference {
    /// By IP address: the Ethernet address of the answers; `None`: of several, or the capture has none.
    answering: BTreeMap<Ipv6Addr, Option<[u8; 6]>>,
}

impl Inference {
    pub(super) fn look_at(&mut self, frame: &Captured) {
        let whole = Frame { card: Card(0), offload: Default::default(), bytes: &frame.bytes };
        let packet = Packet::parse(whole, Side::Guest);
        let Content::Tcp(segment) = packet.content else { return };
        if !(segment.flags.has(Flags::SYN) && segment.flags.has(Flags::ACK)) {
            return;
        }
        let mac = ethernet_addresses(&frame.bytes).map(|(_, from)| from).filter(|from| *from != UNKNOWN);
        if self.answering.len() <= ANSWERING_MAX {
            let known = self.answering.entry(packet.flow.guest).or_insert(mac);
            if *known != mac {
                *known = None;
            }
        }
    }

    /// The guest of both captures, if only one address qualifies.
    pub(super) fn guest(&self, other: &Self) -> Result<Guest, GuestError> {
        if self.answering.len().max(other.answering.len()) > ANSWERING_MAX {
            return Err(GuestError::TooMany);
        }
        let mut both = self.answering.iter().filter(|(address, _)| other.answering.contains_key(*address));
        match (both.next(), both.next()) {
            (None, _) => Err(GuestError::NobodyAnswers),
            (Some((address, mac)), None) => Ok(match (mac, other.answering[address]) {
                (Some(mac), Some(others)) if *mac == others => Guest::Mac(*mac),
                _ => Guest::Ip(*address),
            }),
            (Some(_), Some(_)) => {
                let all = self.answering.keys().filter(|address| other.answering.contains_key(*address));
                let named: Vec<String> = all.take(8).map(|address| plain(*address).to_string()).collect();
                Err(GuestError::Several(named.join(", ")))
            }
        }
    }
}

/// Destination, source.
fn ethernet_addresses(frame: &[u8]) -> Option<([u8; 6], [u8; 6])> {
    let header = frame.first_chunk::<12>()?;
    Some((*header.first_chunk()?, *header[6..].first_chunk()?))
}

/// Source, destination; of ARP those that it speaks of.
fn ip_addresses(frame: &[u8]) -> Option<(Ipv6Addr, Ipv6Addr)> {
    let whole = Frame { card: Card(0), offload: Default::default(), bytes: frame };
    let packet = Packet::parse(whole, Side::Guest);
    match (packet.flow.protocol, packet.content) {
        (Protocol::Ethernet(ARP), Content::Datagram(arp)) => {
            let of = |at: usize| Some(mapped(IpAddr::from(*arp.body.get(at..)?.first_chunk::<4>()?)));
            Some((of(14)?, of(24)?))
        }
        (Protocol::Ethernet(_), _) => None,
        _ => Some((packet.flow.guest, packet.flow.world)),
    }
}

fn is_for_many(address: Ipv6Addr) -> bool {
    match address.to_ipv4_mapped() {
        Some(address) => address.is_multicast() || address.is_broadcast(),
        None => address.is_multicast(),
    }
}

fn mapped(address: IpAddr) -> Ipv6Addr {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped(),
        IpAddr::V6(address) => address,
    }
}

fn plain(address: Ipv6Addr) -> IpAddr {
    address.to_ipv4_mapped().map_or(IpAddr::V6(address), IpAddr::V4)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAC: Guest = Guest::Mac([2, 0, 0, 0, 0, 2]);

    fn frame(to: u8, from: u8) -> Vec<u8> {
        let mac = |last: u8| [if last == 0 { 0 } else { 2 }, 0, 0, 0, 0, last];
        [&mac(to)[..], &mac(from), &[0x88, 0xb5], &[0; 46]].concat()
    }

    #[test]
    fn frames_are_the_guests_the_worlds_or_of_strangers() {
        assert_eq!(MAC.sender(&frame(1, 2)), Sender::Guest);
        assert_eq!(MAC.sender(&frame(2, 1)), Sender::World);
        assert_eq!(MAC.sender(&frame(3, 1)), Sender::Stranger);
        assert_eq!(MAC.sender(&frame(0, 1)), Sender::World, "a cooked capture does not say to whom");
        assert_eq!(MAC.sender(&[[0xff; 6], [2, 0, 0, 0, 0, 1]].concat()), Sender::World);
        assert_eq!(MAC.sender(b"short"), Sender::Stranger);
    }

    #[test]
    fn arp_belongs_to_whom_it_speaks_of() {
        let arp = |sender: u8, target: u8| {
            let mut frame = frame(1, 2);
            frame[12..14].copy_from_slice(&[0x08, 0x06]);
            (frame[18], frame[19]) = (6, 4);
            frame[28..32].copy_from_slice(&[10, 0, 0, sender]);
            frame[38..42].copy_from_slice(&[10, 0, 0, target]);
            frame
        };
        let guest = parse("10.0.0.1").unwrap();
        assert_eq!(guest.sender(&arp(1, 9)), Sender::Guest);
        assert_eq!(guest.sender(&arp(9, 1)), Sender::World);
        assert_eq!(guest.sender(&arp(9, 8)), Sender::Stranger);
    }

    #[test]
    fn addresses_are_read_as_they_are_written() {
        for text in ["52:54:00:00:00:0a", "10.0.0.1", "fd00::7"] {
            assert_eq!(parse(text).unwrap().to_string(), text);
        }
        for wrong in
            ["", "52:54:00", "52:54:00:00:00:00:00", "52:54:00:00:00:+1", "52:54:00:00:00:100", "host"]
        {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
