//! A segment that an ICMP error quotes (RFC 792; RFC 4443, section 3; how much of it, RFC 1812, section 4.3.2.3).
//!
//! ```text
//!   Ethernet │ IP │ ICMP: type code checksum │ 4 bytes │ IP │ TCP: ports, sequence number … or more │
//!            │    └ what its checksum covers ─────────────────────────────────────────────────────┘
//!            └ of the sender, who quotes what was sent to it
//! ```

use super::ip::{TCP, outer, quoted};
use super::{Flow, Frame, Side};
use core::ops::Range;

/// Where an ICMP error quotes a segment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Quote {
    /// Of the segment.
    pub(crate) flow: Flow,
    /// Where ICMP's header begins in the frame.
    pub(crate) icmp_at: usize,
    /// Where the segment begins.
    pub(crate) tcp_at: usize,
    /// Where it ends, or is cut off: 8 bytes later or more.
    pub(crate) end: usize,
}

/// Errors of ICMP: unreachable, time exceeded, a header that is wrong.
const ERRORS_V4: [u8; 3] = [3, 11, 12];
/// Those of ICMPv6: unreachable, too big, time exceeded, a header that is wrong.
const ERRORS_V6: Range<u8> = 1..5;
const ICMP_BYTES: usize = 8;
/// Ports and sequence number.
const QUOTED_BYTES: usize = 8;

impl Quote {
    /// In a frame that `side` sent.
    pub(crate) fn find(frame: Frame<'_>, side: Side) -> Option<Self> {
        let (vlan, icmp_at, frame_end, is_v4) = outer(frame)?;
        let kind = *frame.bytes.get(icmp_at)?;
        let is_error = if is_v4 { ERRORS_V4.contains(&kind) } else { ERRORS_V6.contains(&kind) };
        let ip = quoted(frame.bytes.get(..frame_end)?, icmp_at + ICMP_BYTES, is_v4).filter(|_| is_error)?;
        if ip.protocol != TCP || ip.end < ip.begin + QUOTED_BYTES {
            return None;
        }
        // What is quoted was sent by the other side.
        let sender = if side == Side::Guest { Side::World } else { Side::Guest };
        let flow = ip.flow(frame, sender, vlan)?;
        Some(Self { flow, icmp_at, tcp_at: ip.begin, end: ip.end })
    }
}
