//! Wrongness on purpose: what a hub does behind the back of comparer and rewriter. Each must make clients or kernels notice.

use crate::skew::{OPTIONS_AT, add};
use crate::wire::{Bytes, view};
use understudy_colo::packet::{Content, Flags, Packet, Side, Timestamps};

const ACK_AT: usize = 8;
/// Further ahead than any window.
const AHEAD: u32 = 1 << 30;

/// The rewriter's work on time stamps is undone.
pub(crate) fn restore_timestamps(frame: &mut Bytes, original: &Bytes, side: Side) {
    let (Some((is, at)), Some((was, _))) = (timestamps(frame, side), timestamps(original, side)) else {
        return;
    };
    add(frame, side, &[(at, was.value.wrapping_sub(is.value)), (at + 4, was.echo.wrapping_sub(is.echo))]);
}

/// Where they are, counted from the segment's first byte.
fn timestamps(frame: &Bytes, side: Side) -> Option<(Timestamps, usize)> {
    let Content::Tcp(segment) = Packet::parse(view(frame), side).content else { return None };
    segment.options.timestamps().map(|(stamps, at)| (stamps, at + OPTIONS_AT))
}

/// A frame of the copy acknowledges all that the world will ever send.
pub(crate) fn acknowledge_all(frame: &mut Bytes) {
    let Content::Tcp(segment) = Packet::parse(view(frame), Side::Guest).content else { return };
    if segment.flags.has(Flags::ACK) && !segment.flags.has(Flags::SYN) {
        add(frame, Side::Guest, &[(ACK_AT, AHEAD)]);
    }
}
