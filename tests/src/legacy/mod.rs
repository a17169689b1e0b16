//! Legacy streams for tests: samples, and a sender that writes one of any guest.
//!
//! * [`samples()`] what is in `tests/golden/legacy`, and what each must become
//! * [`Guest`] a guest at rest, read from a stream of today
//! * [`Sender`] writes it as a toolstack of Xen 3.2 to 4.5 would have; [`Compressor`] as Remus did

mod compressor;
mod guest;
mod samples;
mod sender;

pub use compressor::Compressor;
pub use guest::{Guest, Vcpu};
pub use samples::{Sample, samples, sha256, state_digest};
pub use sender::{Sender, Xen, plain};
