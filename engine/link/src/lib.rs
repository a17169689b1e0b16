//! The link: one connection between two engines (or an engine and the witness), drawn byte by byte in
//! `docs/LINK.md`.
//!
//! * [`frame`] the frames; [`encode()`] and [`Decoder`] turn it into bytes and back
//! * [`Outbox`] what is sent next: bounded, small frames first, fair between guests
//! * [`Handshake`](handshake) who is at the other end, and which of two links between two nodes stays
//! * [`Backoff`] when to try another connection
//!
//! Not here: sockets. The engine's `connection` puts a link on one.

#![no_std]
#![forbid(unsafe_code)]
#![allow(
    missing_docs,
    reason = "a field that its name and type explain needs no comment; the crate serves the engine alone"
)]

extern crate alloc;
#[cfg(test)]
extern crate std;

mod backoff;
mod body;
mod decode;
mod decoder;
#[cfg(test)]
mod documented;
mod encode;
mod error;
pub mod frame;
pub mod handshake;
mod header;
mod hello;
mod kind;
mod lane;
mod link;
mod outbox;
mod packets;
mod refusal;
mod service;
#[cfg(test)]
mod tests;
mod values;
mod version;

pub use backoff::Backoff;
pub use body::TEXT_BYTES_MAX;
pub use decoder::Decoder;
pub use encode::{EncodeError, Encoded, check_offer, encode};
pub use error::LinkError;
pub use frame::{
    BODY_BYTES_MAX, BULLETIN_BYTES_MAX, DISKS_MAX, FACTS_BYTES_MAX, Frame, GUEST_PAGES_MAX, GuestFrame,
    GuestId, LinkFrame, SMALL_BODY_BYTES_MAX, STATE_BYTES_MAX, WINDOW_BYTES, WitnessFrame,
};
pub use header::HEADER_BYTES;
pub use hello::{Hello, HelloAnswer, Identity, common_version};
pub use lane::{Class, Lane};
pub use link::{Event, Link, LinkEnd};
pub use outbox::{Backlog, LANE_BYTES_HARD_MAX, LANE_BYTES_MAX, Outbox};
pub use packets::{NotPacked, PACKET_BYTES_MAX, PACKETS_BYTES_MAX, PacketFrame, PacketList, Packets};
pub use refusal::{HoldReason, HoldRefusal};
pub use service::{RefuseReason, Service};
pub use version::{
    BULLETINS_SINCE, DISKS_SINCE, GUEST_REFUSALS_SINCE, INPUT_TAKEN_SINCE, LEASES_SINCE, SPARES_SINCE,
    VERSIONS,
};
