//! The headers of a TCP flow's newest frame, kept to write an acknowledgement that neither guest sends.
//!
//! ```text
//!   kept     Ethernet, VLAN tags, IP      time stamps
//!   written  the same, new length         the same        ports, numbers, window, checksums
//! ```
//!
//! Not here: when one is asked for (`acknowledge`).

use super::output::Acknowledge;
use crate::checksum::{put_ip_length, put_tcp_checksum};
use crate::packet::{Flags, Flow, Options, Segment, Timestamps};

/// Ethernet with two VLAN tags, and IPv6 without more headers.
const HEAD_MAX: usize = 14 + 8 + 40;
const TCP_BYTES: u16 = 20;
const STAMPS_BYTES: u16 = 12;

/// What stands before TCP in a flow's frames, and the newest time stamps.
#[derive(Clone, Copy)]
#[repr(C)]
pub(super) struct Head {
    ip_at: u8,
    count: u8,
    bytes: [u8; HEAD_MAX],
    stamps: Option<Timestamps>,
}

impl Head {
    /// That of the next frame. Of one after the other, what stands before TCP is the same but for Ethernet's addresses, if the way
    /// to the other end has changed, and for numbers that say nothing to it.
    #[inline]
    pub(super) fn renew(
        head: &mut Option<Self>,
        flow: impl FnOnce() -> Flow,
        segment: &Segment<'_>,
        stamps: Option<Timestamps>,
        frame: &[u8],
    ) {
        match head {
            Some(head)
                if usize::from(head.count) == segment.at && frame.get(..12) == Some(&head.bytes[..12]) =>
            {
                head.stamps = stamps;
            }
            _ => *head = Self::of(&flow(), segment, stamps, frame),
        }
    }

    /// `None`: IP's header has options or extensions, whose meaning for another packet is not known.
    #[inline]
    fn of(flow: &Flow, segment: &Segment<'_>, stamps: Option<Timestamps>, frame: &[u8]) -> Option<Self> {
        let ip_at = 14 + 4 * flow.vlan.iter().flatten().count();
        let ip_bytes = if frame.get(ip_at)? >> 4 == 4 { 20 } else { 40 };
        let mut bytes = [0; HEAD_MAX];
        bytes.get_mut(..segment.at)?.copy_from_slice(frame.get(..segment.at)?);
        let head = Self { bytes, ip_at: ip_at as u8, count: segment.at as u8, stamps };
        (segment.at == ip_at + ip_bytes).then_some(head)
    }

    /// Writes a frame with all its checksums.
    pub(super) fn write(&self, what: &Acknowledge, frame: &mut Vec<u8>) {
        let (ip_at, tcp_at) = (usize::from(self.ip_at), usize::from(self.count));
        frame.clear();
        frame.extend_from_slice(&self.bytes[..tcp_at]);
        let tcp_bytes = TCP_BYTES + if self.stamps.is_some() { STAMPS_BYTES } else { 0 };
        frame.extend(what.flow.guest_port.to_be_bytes());
        frame.extend(what.flow.world_port.to_be_bytes());
        frame.extend(what.sequence.to_be_bytes());
        frame.extend(what.ack.to_be_bytes());
        frame.extend([(tcp_bytes / 4) as u8 * 16, Flags::ACK]);
        frame.extend(what.window.to_be_bytes());
        frame.extend([0; 4]);
        if let Some(Timestamps { value, echo }) = self.stamps {
            frame.extend([Options::NOTHING, Options::NOTHING, Options::TIMESTAMPS, 10]);
            frame.extend(value.to_be_bytes());
            frame.extend(echo.to_be_bytes());
        }
        put_ip_length(frame, ip_at);
        put_tcp_checksum(frame, ip_at, tcp_at);
    }
}
