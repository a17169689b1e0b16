//! Frames as guests and their clients send them, built by `etherparse`, and judged by it.

#![allow(dead_code, reason = "each test uses a part")]

use core::net::Ipv6Addr;
use etherparse::{
    IpHeaders, IpNumber, Ipv4Header, Ipv6Header, NetSlice, PacketBuilder, SlicedPacket, TcpHeader,
    TransportSlice,
};
use understudy_colo::packet::{Card, Content, Flags, Flow, Frame, Offload, Packet, Segment, Side};

pub(crate) const CARD: Card = Card(0);
pub(crate) const WHOLE: Offload = Offload { is_checksum_partial: false, segment_bytes: 0 };

pub(crate) const FIN: u8 = Flags::FIN;
pub(crate) const SYN: u8 = Flags::SYN;
pub(crate) const RST: u8 = Flags::RST;
pub(crate) const ACK: u8 = Flags::ACK;

/// A TCP segment that is to be built.
#[derive(Clone, Debug)]
pub(crate) struct Tcp {
    pub(crate) side: Side,
    pub(crate) is_ipv6: bool,
    pub(crate) vlan: Option<u16>,
    pub(crate) world_port: u16,
    pub(crate) flags: u8,
    pub(crate) sequence: u32,
    pub(crate) ack: u32,
    pub(crate) window: u16,
    pub(crate) options: Vec<u8>,
    pub(crate) payload: Vec<u8>,
}

/// What the world sends.
pub(crate) fn world(flags: u8, sequence: u32, ack: u32) -> Tcp {
    Tcp {
        side: Side::World,
        is_ipv6: false,
        vlan: None,
        world_port: 40_000,
        flags,
        sequence,
        ack,
        window: 500,
        options: Vec::new(),
        payload: Vec::new(),
    }
}

/// What a guest sends.
pub(crate) fn guest(flags: u8, sequence: u32, ack: u32) -> Tcp {
    Tcp { side: Side::Guest, ..world(flags, sequence, ack) }
}

pub(crate) fn stamps(value: u32, echo: u32) -> Vec<u8> {
    [&[1, 1, 8, 10][..], &value.to_be_bytes(), &echo.to_be_bytes()].concat()
}

/// The same, where the numbers begin at an odd byte.
pub(crate) fn odd_stamps(value: u32, echo: u32) -> Vec<u8> {
    [&[1, 8, 10][..], &value.to_be_bytes(), &echo.to_be_bytes(), &[0]].concat()
}

pub(crate) fn sacks(blocks: &[(u32, u32)]) -> Vec<u8> {
    let mut options = vec![1, 1, 5, 2 + 8 * blocks.len() as u8];
    for (left, right) in blocks {
        options.extend(left.to_be_bytes());
        options.extend(right.to_be_bytes());
    }
    options
}

impl Tcp {
    pub(crate) fn options(mut self, options: &[u8]) -> Self {
        self.options.extend(options);
        self
    }

    pub(crate) fn payload(mut self, payload: &[u8]) -> Self {
        self.payload = payload.to_vec();
        self
    }

    pub(crate) fn port(mut self, world_port: u16) -> Self {
        self.world_port = world_port;
        self
    }

    pub(crate) fn ipv6(mut self) -> Self {
        self.is_ipv6 = true;
        self
    }

    fn header(&self) -> TcpHeader {
        let (world, guest) = (self.world_port, 80);
        let (source, destination) = if self.side == Side::World { (world, guest) } else { (guest, world) };
        let mut header = TcpHeader::new(source, destination, self.sequence, self.window);
        header.acknowledgment_number = self.ack;
        header.fin = self.flags & FIN != 0;
        header.syn = self.flags & SYN != 0;
        header.rst = self.flags & RST != 0;
        header.ack = self.flags & ACK != 0;
        header.set_options_raw(&self.options).unwrap();
        header
    }

    pub(crate) fn frame(&self) -> Vec<u8> {
        let mut frame = vec![2; 12];
        if let Some(id) = self.vlan {
            frame.extend([0x81, 0, (id >> 8) as u8, id as u8]);
        }
        frame.extend(if self.is_ipv6 { [0x86, 0xdd] } else { [8, 0] });
        let packet = PacketBuilder::ip(self.ip()).tcp_header(self.header());
        packet.write(&mut frame, &self.payload).unwrap();
        frame
    }

    fn ip(&self) -> IpHeaders {
        let (source, destination) = if self.side == Side::Guest { (2, 1) } else { (1, 2) };
        if self.is_ipv6 {
            let address = |last| Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, last).octets();
            let (source, destination) = (address(source), address(destination));
            let header = Ipv6Header { hop_limit: 64, source, destination, ..Default::default() };
            return IpHeaders::Ipv6(header, Default::default());
        }
        let address = |last| [10, 7, 0, last as u8];
        let header = Ipv4Header::new(0, 64, IpNumber::TCP, address(source), address(destination));
        IpHeaders::Ipv4(header.unwrap(), Default::default())
    }
}

/// The flow and the segment of a frame; it panics if it is another thing.
pub(crate) fn parsed(frame: &[u8], side: Side) -> (Flow, Segment<'_>) {
    let packet = Packet::parse(Frame { card: CARD, offload: WHOLE, bytes: frame }, side);
    match packet.content {
        Content::Tcp(segment) => (packet.flow, segment),
        other => panic!("no TCP: {other:?}"),
    }
}

pub(crate) fn segment(frame: &[u8]) -> Segment<'_> {
    parsed(frame, Side::World).1
}

/// Whether its TCP checksum is right, computed over all of it.
pub(crate) fn is_checksum_right(frame: &[u8]) -> bool {
    let sliced = SlicedPacket::from_ethernet(frame).unwrap();
    let Some(TransportSlice::Tcp(tcp)) = sliced.transport else { panic!("no TCP") };
    let header = tcp.to_header();
    let right = match sliced.net {
        Some(NetSlice::Ipv4(ip)) => header.calc_checksum_ipv4(&ip.header().to_header(), tcp.payload()),
        Some(NetSlice::Ipv6(ip)) => header.calc_checksum_ipv6(&ip.header().to_header(), tcp.payload()),
        _ => panic!("no IP"),
    };
    right.unwrap() == header.checksum
}
