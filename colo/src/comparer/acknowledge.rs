//! An acknowledgement that neither guest sends: where the last frame that left had to say less than the guest, and the copy has
//! received the rest since. Without it, a client that waits for an acknowledgement or for room would wait for the guest's next
//! frame.
//!
//! ```text
//!   guest  data, ack 9000 ─► leaves with 5000 ═══╗                    ╔══► bare, ack 9000
//!   copy   data, ack 5000 ─────────► ════════════╝ ── bare, 9000 ─────╝    as both said
//! ```
//!
//! * It is asked for only when nothing of the flow waits that would tell the same, and says something new each time: a greater
//!   ack, or half of the guest's room. So it is never a duplicate, of which three make a client send again.
//! * It has the headers and time stamps of the guest's newest frame, all of which left before.
//! * After a new base, what is untold is told with the copy's first frame of the flow.

use super::core::Core;
use super::output::{Acknowledge, Output};
use super::table::{Kind, Slot};
use super::waiting::Queue;
use crate::checksum::{put_ip_length, put_tcp_checksum};
use crate::packet::{Flags, Flow, Options, Segment, Timestamps};

/// Ethernet with two VLAN tags, and IPv6 without more headers.
const HEAD_MAX: usize = 14 + 8 + 40;
const TCP_BYTES: u16 = 20;
const STAMPS_BYTES: u16 = 12;

/// What stands before TCP in a flow's frames, and the newest time stamps.
#[derive(Clone, Copy)]
pub(super) struct Head {
    bytes: [u8; HEAD_MAX],
    ip_at: u8,
    count: u8,
    stamps: Option<Timestamps>,
}

impl Head {
    /// That of the next frame. Of one after the other, what stands before TCP is the same but for Ethernet's addresses, if the way
    /// to the other end has changed, and for numbers that say nothing to it.
    #[inline]
    pub(super) fn renew(
        head: &mut Option<Self>,
        flow: &Flow,
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
            _ => *head = Self::of(flow, segment, stamps, frame),
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

/// Asks for an acknowledgement if there is something to say that nobody else says.
#[inline]
pub(super) fn ask(core: &mut Core, slot: &mut Slot) {
    let Slot { kind: Kind::Tcp(stream), queues, lost: None, head: Some(_), flow, .. } = slot else { return };
    let waits = [Queue::Data, Queue::Acks].into_iter().any(|queue| queues[queue as usize].count > 0);
    if waits {
        return;
    }
    if let Some((sequence, ack, window)) = stream.tell_rest(core.pool.order()) {
        core.stats.acknowledged += 1;
        let what = Acknowledge { flow: *flow, sequence: sequence.0, ack: ack.0, window };
        core.outputs.push_back(Output::Acknowledge(what));
    }
}
