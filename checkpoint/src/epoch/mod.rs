//! A checkpoint's pages at rest: staged on the primary, buffered and committed on the secondary.

mod buffer;
mod checks;
#[cfg(test)]
mod histories;
mod image;
mod intake;
mod receiver;
#[cfg(test)]
mod refusals;
mod staging;
mod store;

pub use image::Image;
pub use receiver::{Limits, ReceiveError, Receiver};
pub use staging::Staging;
