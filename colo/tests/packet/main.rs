//! Frames as bytes, and what is made of them.

mod agreement;
mod build;
mod cases;
#[path = "../support/mod.rs"]
mod support;
