//! Dirty pages and their encodings.
//!
//! * [`DirtyBitmap`] marks dirty frames
//! * [`Encoder`] the primary's side: turns staged pages into [`Batches`], and owns the shadow
//! * [`Check`] the content of an unchanged page, for the other side to compare
//! * [`Contents`] hashes of what was last encoded of each frame
//! * the receiving side is [`epoch::Receiver`](crate::epoch::Receiver)

mod batch;
mod body;
mod check;
mod contents;
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

pub use crate::bitmap::DirtyBitmap;
pub use batch::{BATCH_BYTES_MAX, Batches};
pub use check::{
    CHECKED_PAGES_MAX, Check, ContentHash, FORM_CHECKS, FORM_STATE, put_checks, put_state_digest,
};
pub(crate) use check::{StateDigest, stretches};
pub use contents::Contents;
pub use copy::{copy_into, copy_into_by};
pub use decoder::BatchError;
pub(crate) use decoder::{Content, Decoder, Entries};
pub(crate) use delta::{Runs, apply as apply_runs};
pub(crate) use digest::Digest;
pub use digest::EpochSummary;
pub use encoder::{Encoder, EncoderConfig};
pub use stats::EncodeStats;
pub use zero::is_zero;
