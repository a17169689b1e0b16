//! The numbers of the frames' kinds. 0 is no kind, so that zeroed memory is never a frame. A number is never
//! used again for something else.

pub(super) const HELLO: u16 = 0x01;
pub(super) const HELLO_ANSWER: u16 = 0x02;
pub(super) const REFUSE: u16 = 0x03;
pub(super) const BYE: u16 = 0x04;
pub(super) const PING: u16 = 0x05;
pub(super) const PONG: u16 = 0x06;

pub(super) const GUEST_OFFER: u16 = 0x10;
pub(super) const OFFER: u16 = 0x11;
pub(super) const EPOCH_BEGIN: u16 = 0x12;
pub(super) const PAGE_BATCH: u16 = 0x13;
pub(super) const LIBXC_STATE: u16 = 0x14;
pub(super) const LIBXL_STATE: u16 = 0x15;
pub(super) const EPOCH_END: u16 = 0x16;
pub(super) const PRIMARY_HEARTBEAT: u16 = 0x17;
pub(super) const SWITCHOVER: u16 = 0x18;
pub(super) const FAREWELL: u16 = 0x19;
/// As `GUEST_OFFER`, from version 2 on.
pub(super) const GUEST_OFFER_GENERATION: u16 = 0x1A;

pub(super) const STAND: u16 = 0x20;
pub(super) const ACK: u16 = 0x21;
pub(super) const DECLINED: u16 = 0x22;
pub(super) const SECONDARY_HEARTBEAT: u16 = 0x23;
pub(super) const HOLD_DECLINED: u16 = 0x24;
pub(super) const HOLD_READY: u16 = 0x25;
pub(super) const WINDOW: u16 = 0x26;

pub(super) const WITNESS_READ: u16 = 0x30;
pub(super) const WITNESS_SWAP: u16 = 0x31;
pub(super) const WITNESS_REPLY: u16 = 0x32;
pub(super) const WITNESS_RECLAIM: u16 = 0x33;

/// Whether frames of a known kind are addressed to a guest (rather than to the link itself).
pub(super) fn has_guest(kind: u16) -> bool {
    (GUEST_OFFER..WITNESS_READ).contains(&kind)
}
