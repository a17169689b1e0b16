//! The link: one connection between two engines (or an engine and the witness), drawn byte by byte in
//! `docs/LINK.md`.
//!
//! * [`transport`] which connections are allowed at all
//! * [`frame`] what may be said; [`encode()`] and [`Decoder`] turn it into bytes and back

mod body;
mod decode;
mod decoder;
mod encode;
mod error;
pub mod frame;
mod header;
mod kind;
#[cfg(test)]
mod tests;
pub mod transport;

pub use body::TEXT_BYTES_MAX;
pub use decoder::Decoder;
pub use encode::{Encoded, encode, encode_into};
pub use error::LinkError;
pub use frame::{
    BODY_BYTES_MAX, Frame, GuestId, Hello, HelloAnswer, Identity, RefuseReason, SMALL_BODY_BYTES_MAX,
    STATE_BYTES_MAX, Service, VERSIONS, common_version,
};
pub use header::HEADER_BYTES;
pub use transport::{Transport, TransportError};
