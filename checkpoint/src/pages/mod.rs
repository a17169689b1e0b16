//! Which pages are dirty, and how they are made small.
//!
//! * [`DirtyBitmap`] which frames
//! * [`Encoder`] the primary's side: staged pages to [`Batches`]; owns the shadow
//! * the receiving side is [`epoch::Receiver`](crate::epoch::Receiver)

mod batch;
mod bitmap;
mod body;
mod copy;
mod decoder;
mod delta;
mod digest;
mod encoder;
mod shadow;
mod stats;
mod streaming;
mod varint;
mod zero;

pub use batch::{BATCH_BYTES_MAX, Batches};
pub use bitmap::DirtyBitmap;
pub use copy::{copy_into, copy_into_by};
pub use decoder::BatchError;
pub(crate) use decoder::{Content, Decoder, Entries};
pub(crate) use digest::Digest;
pub use digest::EpochSummary;
pub use encoder::{Encoder, EncoderConfig};
pub use stats::EncodeStats;
pub use zero::is_zero;
