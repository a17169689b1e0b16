//! A part of a frame that still waits: some of its payload, as a segment of its own.
//!
//! ```text
//!   guest   ─── 1 ════════════════ 1449     waits: the copy has sent no more than 700, and sends that again, since nobody has
//!   copy    ─── 1 ══════ 700                acknowledged it; it may have no room for more under way
//!   leaves  ─── 1 ══════ 700
//! ```
//!
//! The frame leaves later, whole: a receiver trims what it has.
//!
//! Not here: when a part may leave (the comparer).

use crate::checksum::{put_ip_length, put_tcp_checksum};
use crate::packet::{Content, Flags, Frame, Packet, Side};
use crate::patch::{NotTcp, Patch};

/// Some of a segment's payload.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Part {
    /// Where it begins in the payload.
    pub from: u32,
    /// How many bytes.
    pub bytes: u32,
    /// What is changed in it.
    pub patch: Patch,
}

impl Part {
    /// Writes it into `out`, which nothing is left to do for. Of a super-frame's, it is one segment at most.
    pub fn cut(&self, frame: Frame<'_>, out: &mut Vec<u8>) -> Result<(), NotTcp> {
        let Packet { flow, content: Content::Tcp(segment) } = Packet::parse(frame, Side::Guest) else {
            return Err(NotTcp);
        };
        let bytes = match frame.offload.segment_bytes {
            0 => self.bytes,
            most => self.bytes.min(most.into()),
        };
        let from = self.from as usize;
        let payload = segment.payload.get(from..from + bytes as usize).ok_or(NotTcp)?;
        let (ip_at, tcp_at) = (14 + 4 * flow.vlan.iter().flatten().count(), segment.at);
        out.clear();
        out.extend_from_slice(&frame.bytes[..segment.header().end]);
        out.extend_from_slice(payload);
        let sequence = segment.sequence.wrapping_add(self.from);
        out[tcp_at + 4..tcp_at + 8].copy_from_slice(&sequence.to_be_bytes());
        out[tcp_at + 13] &= !Flags::FIN;
        put_ip_length(out, ip_at);
        put_tcp_checksum(out, ip_at, tcp_at);
        self.patch.apply(out, Default::default())
    }
}
