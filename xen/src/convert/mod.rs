//! A replacement for Xen's `convert-legacy-stream`, which libxl runs before it restores a stream of Xen before 4.6.
//!
//! ```text
//!   xl restore FILE ─► libxl ── fork, exec ─► $LIBXL_CONVERT_HELPER --in N --out M --width 64 --guest hvm --format libxl
//!                        ▲                       N: the file, behind xl's header      M: a pipe
//!                        └──── a stream of today ──────────────────────────────────────────┘
//! ```
//!
//! libxl's `--width` is its own word size, not the sender's: 64 says nothing, and only 32 is taken as a person's word.
//! libxl dies if it has not read the first 24 bytes before the conversion fails, so these are written before the input is
//! looked at.
//!
//! * [`Order`] its arguments, and what they ask for
//! * [`Descriptors`] a conversion between two open files, pipes or sockets
//!
//! Not here: the conversion itself ([`understudy_checkpoint::legacy`]), and `understudy stream convert`.

mod descriptors;
mod order;

pub use descriptors::{Descriptors, may_look_on};
pub use order::{ABOUT, Order, Refusal};
