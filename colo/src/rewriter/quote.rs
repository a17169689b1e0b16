//! ICMP errors that quote a segment of a connection: what is quoted has the numbers that its sender knows.
//!
//! ```text
//!   world → copy   quotes what the guest sent:   sequence number += shift, TSval += shift of the clock
//!   copy → world   quotes what the world sent:   ack, SACK −= shift, TSecr −= shift of the clock
//! ```
//!
//! Without it a copy would not believe a router that its packets are too big (RFC 5927, section 4), and an error that both guests send
//! would differ. Of a header that is cut off, what is there is rewritten.

use super::Shift;
use crate::checksum::{Header, amend};
use crate::packet::{Flags, Offload, Options, Quote, Side};

/// A TCP header without and with all options.
const FIXED_BYTES: usize = 20;
const HEADER_BYTES_MAX: usize = 60;
const SEQUENCE: usize = 4;
const ACK: usize = 8;
const LENGTH: usize = 12;
const FLAGS: usize = 13;
const ICMP_CHECKSUM: usize = 2;

/// Rewrites what `side` quotes.
pub(super) fn rewrite(frame: &mut [u8], quote: &Quote, side: Side, shift: Shift) {
    let tcp = &mut frame[quote.tcp_at..quote.end];
    let count = tcp.len().min(HEADER_BYTES_MAX);
    let mut before = [0; HEADER_BYTES_MAX];
    before[..count].copy_from_slice(&tcp[..count]);
    let header_bytes = tcp.get(LENGTH).map_or(usize::MAX, |byte| usize::from(byte >> 4) * 4);
    match tcp.get_mut(..header_bytes).filter(|header| header.len() >= FIXED_BYTES) {
        Some(header) => whole(Header::new(header, Offload::default()), before[FLAGS], side, shift),
        None => cut_off(tcp, side, shift),
    }
    let (icmp, tcp) = frame[quote.icmp_at..].split_at_mut(quote.tcp_at - quote.icmp_at);
    let field = &mut icmp[ICMP_CHECKSUM..ICMP_CHECKSUM + 2];
    let old = u16::from_be_bytes([field[0], field[1]]);
    let new = amend(old, quote.tcp_at - quote.icmp_at, &before[..count], &tcp[..count]);
    field.copy_from_slice(&new.to_be_bytes());
}

fn whole(mut header: Header<'_>, flags: u8, side: Side, shift: Shift) {
    let has_ack = flags & Flags::ACK != 0;
    let (is_own, back) = (side == Side::World, shift.sequence.wrapping_neg());
    if is_own {
        header.add_to_sequence(shift.sequence);
    } else if has_ack {
        header.add_to_ack(back);
    }
    let mut from = 0;
    while let Some((kind, value)) = header.next_option(from) {
        from = value.end;
        match kind {
            Options::TIMESTAMPS if value.len() == 8 && is_own => {
                header.map_u32(value.start, |stamp| stamp.wrapping_add(shift.timestamp));
            }
            Options::TIMESTAMPS if value.len() == 8 && has_ack => {
                let echo = |echo: u32| if echo == 0 { 0 } else { echo.wrapping_sub(shift.timestamp) };
                header.map_u32(value.start + 4, echo);
            }
            Options::SELECTIVE_ACK if !is_own => {
                for edge in value.step_by(4).take_while(|edge| edge + 4 <= from) {
                    header.map_u32(edge, |edge| edge.wrapping_add(back));
                }
            }
            _ => {}
        }
    }
    header.finish();
}

fn cut_off(tcp: &mut [u8], side: Side, shift: Shift) {
    let (at, add) = match side {
        Side::World => (SEQUENCE, shift.sequence),
        // Flags may be cut off; a segment without an ack is a SYN or a reset.
        Side::Guest => (ACK, shift.sequence.wrapping_neg()),
    };
    if let Some(field) = tcp.get_mut(at..).and_then(|rest| rest.first_chunk_mut()) {
        *field = u32::from_be_bytes(*field).wrapping_add(add).to_be_bytes();
    }
}
