//! Sans-IO sessions: who may run a guest, what is captured when, what may leave.
//!
//! One [`Primary`](primary) or [`Secondary`](secondary) session per guest and host, one [`Witness`](witness)
//! for all. Each is a pure state machine: `handle(now, input, &mut outputs)`, `next_timeout()`,
//! `handle_timeout(now, &mut outputs)`. The driver performs the outputs in order; the simulator in `tests/`
//! does so in virtual time. A new session's first timeout is due at once; the driver then tells it `LinkUp` and
//! `WitnessUp` if those connections already stand. Nothing in here reads a clock, opens a socket, starts a thread or draws a number.
//!
//! ```text
//!             ToSecondary ─────────────────────────────►
//!   Primary                                               Secondary
//!      │      ◄───────────────────────────── ToPrimary       │
//!      └── WitnessRequest ──► Witness ◄── WitnessRequest ────┘
//! ```
//!
//! A `LinkDown` is followed by nothing of the old connection: neither messages nor page data, and what was
//! captured before it is not sent over a later link.
//!
//! The crate is `no_std`, so that the compiler vouches for the sentence about clocks and sockets.
//!
//! Page data does not pass through the sessions: the driver's workers carry it over the link between
//! `EpochBegin` and the epoch's end, and tell the sessions when an epoch is whole.

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

mod liveness;
pub mod message;
pub mod primary;
mod register;
pub mod secondary;
pub mod time;
pub mod witness;

pub use primary::Primary;
pub use secondary::Secondary;
pub use witness::Witness;

pub use message::{
    Copy, Decline, NodeName, Record, RequestId, Standing, ToPrimary, ToSecondary, WitnessOutcome,
    WitnessReply, WitnessRequest,
};
pub use time::{Span, Time};
pub use understudy_checkpoint::EpochKind;
