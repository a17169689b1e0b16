//! The migration v2 record stream, and checkpoints: their encoding, staging and committed images.
//!
//! This crate is pure: it knows no sockets, hypervisors or clocks. Bytes come in as slices and leave in buffers that
//! the caller owns.
//!
//! * [`domain`] the traits between the engine and a guest: [`Source`](domain::Source), [`Sink`](domain::Sink),
//!   [`LiveCopy`](domain::LiveCopy)
//! * [`legacy`] streams of Xen before 4.6, and their conversion
//! * [`stream`] Xen's record stream: xl header, libxl stream v2, libxc stream v2 and v3
//! * [`pages`] dirty bitmap, page encodings, shadow
//! * [`epoch`] staging on the primary; buffer and committed image on the secondary
//! * [`time`] points and spans of time, passed in by the caller

// They panic where nobody reads, and wait for who reads slowly.
#![deny(clippy::print_stdout, clippy::print_stderr)]
#![deny(unsafe_code)]

mod bitmap;
pub mod domain;
pub mod epoch;
pub mod legacy;
pub mod pages;
pub mod room;
mod rules;
mod signals;
mod staging;
pub mod stream;
pub mod time;
mod words;

pub use room::OutOfMemory;
pub use signals::read_through_signals;
pub use words::{Epoch, EpochKind, Generation, PAGE_SIZE, Page, PageEntry, PageType, Pfn};
