//! The migration v2 record stream and the checkpoint itself.
//!
//! Pure: nothing here knows of sockets, hypervisors or clocks. Bytes come in as slices and leave in
//! buffers that the caller owns.
//!
//! * [`domain`] the two traits everything hangs on: a guest that can be checkpointed, a guest being rebuilt
//! * [`stream`] Xen's record stream: xl header, libxl stream v2, libxc stream v2 and v3
//! * [`pages`] dirty bitmap, page encodings, shadow
//! * [`epoch`] staging on the primary; buffer and committed image on the secondary
//! * [`time`] points and lengths of time, as whoever has a clock tells them

// They panic where nobody reads, and wait for who reads slowly.
#![deny(clippy::print_stdout, clippy::print_stderr)]
#![deny(unsafe_code)]

mod bitmap;
pub mod domain;
pub mod epoch;
pub mod pages;
pub mod room;
mod staging;
pub mod stream;
pub mod time;
mod words;

pub use room::OutOfMemory;
pub use words::{Epoch, EpochKind, Generation, PAGE_SIZE, Page, PageEntry, PageType, Pfn};
