//! To what a frame belongs: the same for both directions, and for both guests.

use core::fmt;
use core::net::{IpAddr, Ipv6Addr};

/// One of a guest's cards, by its place in the guest's configuration.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Card(pub u16);

/// Who sent a frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Side {
    /// The guest, or its copy.
    Guest,
    /// Whoever speaks with the guest.
    World,
}

/// An IP address; IPv4 mapped into IPv6 (RFC 4291, section 2.5.5.2).
pub type Address = Ipv6Addr;

/// What the ports and the content belong to.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Protocol {
    /// IP's protocol number.
    Ip(u8),
    /// Fragments of IP's protocol number.
    Fragment(u8),
    /// Not IP: Ethernet's type.
    Ethernet(u16),
}

/// To what a frame belongs.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Flow {
    /// The guest's card.
    pub card: Card,
    /// VLAN identifiers, the outermost first.
    pub vlan: [Option<u16>; 2],
    /// What kind of flow.
    pub protocol: Protocol,
    /// The guest's address; unspecified where it is not IP.
    pub guest: Address,
    /// The other's address.
    pub world: Address,
    /// The guest's port; 0 where there are none.
    pub guest_port: u16,
    /// The other's port.
    pub world_port: u16,
}

impl Flow {
    /// The flow of frames that are not IP.
    pub(super) fn of_link(card: Card, vlan: [Option<u16>; 2], ether_type: u16) -> Self {
        let none = Ipv6Addr::UNSPECIFIED;
        let protocol = Protocol::Ethernet(ether_type);
        Self { card, vlan, protocol, guest: none, world: none, guest_port: 0, world_port: 0 }
    }
}

fn plain(address: Address) -> IpAddr {
    address.to_ipv4_mapped().map_or(IpAddr::V6(address), IpAddr::V4)
}

impl fmt::Display for Flow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "card {}", self.card.0)?;
        for id in self.vlan.iter().flatten() {
            write!(f, " vlan {id}")?;
        }
        match self.protocol {
            Protocol::Ethernet(ether_type) => return write!(f, " ethertype {ether_type:#06x}"),
            Protocol::Ip(1) => write!(f, " icmp")?,
            Protocol::Ip(6) => write!(f, " tcp")?,
            Protocol::Ip(17) => write!(f, " udp")?,
            Protocol::Ip(58) => write!(f, " icmpv6")?,
            Protocol::Ip(number) => write!(f, " ip protocol {number}")?,
            Protocol::Fragment(number) => write!(f, " fragments of ip protocol {number}")?,
        }
        match (plain(self.guest), plain(self.world)) {
            (guest, world) if self.guest_port == 0 && self.world_port == 0 => {
                write!(f, " {guest} to {world}")
            }
            (IpAddr::V4(guest), IpAddr::V4(world)) => {
                write!(f, " {guest}:{} to {world}:{}", self.guest_port, self.world_port)
            }
            (guest, world) => write!(f, " [{guest}]:{} to [{world}]:{}", self.guest_port, self.world_port),
        }
    }
}
