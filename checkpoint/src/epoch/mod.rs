//! A checkpoint's pages in memory: staged on the primary, buffered and committed on the secondary.

mod buffer;
mod checks;
#[cfg(test)]
mod histories;
mod image;
mod intake;
mod kept;
mod part;
mod receiver;
mod refusal;
#[cfg(test)]
mod refusals;
mod store;
mod writes;

pub use crate::staging::Staging;
pub use image::Image;
pub use kept::{KeepLimits, KeptEpochs, NotKept};
pub use part::{EpochEnd, EpochHead, EpochPart, WritesEnd};
pub use receiver::{Limits, Receiver};
pub use refusal::ReceiveError;
pub use writes::WritesSummary;
