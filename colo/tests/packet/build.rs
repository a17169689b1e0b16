//! Frames by hand, where `etherparse` builds none that are as odd.

use crate::support::*;
use understudy_colo::packet::{Frame, Offload, Packet, Side};

pub(crate) const TCP: u8 = 6;
pub(crate) const UDP: u8 = 17;

pub(crate) fn with(offload: Offload, bytes: &[u8]) -> Packet<'_> {
    Packet::parse(Frame { card: CARD, offload, bytes }, Side::World)
}

pub(crate) fn parse(bytes: &[u8]) -> Packet<'_> {
    with(WHOLE, bytes)
}

pub(crate) fn ethernet(ether_type: u16, body: &[u8]) -> Vec<u8> {
    [&[2; 12][..], &ether_type.to_be_bytes(), body].concat()
}

pub(crate) fn ipv4(protocol: u8, options: &[u8], fragment: u16, body: &[u8]) -> Vec<u8> {
    let total = ((20 + options.len() + body.len()) as u16).to_be_bytes();
    let [high, low] = fragment.to_be_bytes();
    let words = 0x45 + options.len() as u8 / 4;
    let head = [words, 0, total[0], total[1], 9, 9, high, low, 64, protocol, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];
    ethernet(0x0800, &[&head[..], options, body].concat())
}

/// Extension headers: each its number and what follows its two first bytes.
pub(crate) fn ipv6(extensions: &[(u8, Vec<u8>)], last: u8, body: &[u8]) -> Vec<u8> {
    let mut chain = Vec::new();
    for (index, (kind, rest)) in extensions.iter().enumerate() {
        let next = extensions.get(index + 1).map_or(last, |(kind, _)| *kind);
        let units = if *kind == 44 { 0 } else { ((rest.len() + 2) / 8 - 1) as u8 };
        chain.extend([next, units]);
        chain.extend(rest);
    }
    let first = extensions.first().map_or(last, |(kind, _)| *kind);
    let bytes = ((chain.len() + body.len()) as u16).to_be_bytes();
    let head = [&[0x60, 1, 2, 3, bytes[0], bytes[1], first, 64][..], &[1; 16], &[2; 16]].concat();
    ethernet(0x86dd, &[head, chain, body.to_vec()].concat())
}

pub(crate) fn tcp_bytes(payload: &[u8]) -> Vec<u8> {
    [&[0xc3, 0x50, 0, 80, 0, 0, 0, 1, 0, 0, 0, 2, 0x50, 0x10, 1, 0, 0, 0, 0, 0], payload].concat()
}

pub(crate) fn udp_bytes(payload: &[u8]) -> Vec<u8> {
    let bytes = (payload.len() as u16 + 8).to_be_bytes();
    [&[0xc3, 0x50, 0, 53, bytes[0], bytes[1], 0xaa, 0xbb], payload].concat()
}
