//! Which pages are dirty, and how they are made small.

mod bitmap;

pub use bitmap::DirtyBitmap;
