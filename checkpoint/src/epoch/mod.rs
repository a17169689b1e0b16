//! A checkpoint's pages at rest: staged on the primary, buffered and committed on the secondary.

mod image;
mod staging;

pub use image::Image;
pub use staging::Staging;
