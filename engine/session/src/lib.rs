//! Sans-IO sessions: who may run a guest, what is captured when, what may leave.
//!
//! One [`Primary`] or [`Secondary`] session per guest and host, one [`Witness`] for all. Each is a pure state machine:
//! it reads no clock, opens no socket, starts no thread and draws no random number. A driver runs it: the guests of the
//! engine's `node`, and the witness's process; the simulator in `tests/` runs the same drivers in virtual time.
//!
//! ```text
//!             ToSecondary ─────────────────────────────►
//!   Primary                                               Secondary
//!      │      ◄───────────────────────────── ToPrimary       │
//!      └── WitnessRequest ──► Witness ◄── WitnessRequest ────┘
//! ```
//!
//! Page data does not pass through the sessions: the driver's workers carry it over the link between `EpochBegin` and
//! the epoch's end, and tell the sessions when an epoch is complete.
//!
//! # What a driver does
//!
//! Four kinds of calls (a [`Witness`] has no time, and hence the first two alone):
//!
//! * `handle(now, input)` says what happened: one call for each thing, in the order in which it happened.
//! * `poll_output()` says what to do about it, one output at a time, until it is `None`.
//! * `next_timeout()` says when `handle_timeout(now)` is due; it is asked anew after every other call. A timeout that comes
//!   late is only late. The first one of a new [`Primary`] is due at once.
//! * Everything else (`state()`, `generation()`, …) only looks, at any time.
//!
//! What the sessions rely on:
//!
//! 1. **Outputs are performed in their order**, all of them before the next input is told. `Fence` stands before
//!    `PauseGuest`, `Revive` before `PassOutput`, that before `ResumeGuest`, an ack before its `Commit`. If performing
//!    one has a result at once, such as a capture that cannot be ordered, that input is told after the last output.
//! 2. **`now` never goes back**, and is one clock for all inputs of a session.
//! 3. **A new session** is told `LinkUp` and `WitnessUp` if those connections are already up.
//! 4. **`LinkDown` is followed by nothing of the old connection**: neither messages nor page data, and what was captured
//!    before it is not sent over a later link. `CloseLink` is answered by `LinkDown` once the link is closed, or by nothing
//!    if it stays for other guests.
//! 5. **Each order is answered, once**: `Capture` by `Captured` or `CaptureFailed`, also after `AbortCapture` (or by
//!    `CaptureBroke`, which stands for the answer); `Receive` by `Complete` or `Broken` before the next `EpochBegin` is handed
//!    over, or by nothing once what was received is dropped; `Commit` by `Committed` or `CommitFailed`, in order; `Activate` by `ActivationDelayed` or
//!    `ActivationFailed`, unless the guest runs: then the session is dropped for a `Primary` of
//!    [`Origin::TookOver`](primary::Origin::TookOver).
//!    The same holds of a copy that runs: `SetCopy` is answered by `CopySet` or `CopySetFailed`, `HaltCopy` by `CopyHalted` or
//!    `CopyCrashed`, unless `DropCopy` follows. While the session [waits](Secondary::is_halting) for a copy to stand still, no
//!    `EpochBegin` is handed over.
//! 6. **`Send` and `AskWitness` may be lost** with their connection: a session repeats what it needs. Answers of the witness
//!    are welcome however old, since revisions only grow.
//! 7. **A session is over** after `Destroy`, and after an `Activate` that was granted. It says nothing more.
//! 8. **A session that panics is lost**: it has found that an invariant does not hold which keeps a guest from running
//!    twice, or output from outliving its state. None of its remaining outputs is performed, and it gets no more
//!    inputs. The guest is paused and kept, unless its record was stale (`docs/DESIGN.md#s1`); other guests do not
//!    notice.
//!
//! The crate is `no_std`, so the compiler proves that it uses neither clock nor socket.

#![no_std]
#![forbid(unsafe_code)]
#![allow(
    missing_docs,
    reason = "a field that its name and type explain needs no comment; the crate serves the engine alone"
)]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod colo;
pub mod lease;
mod liveness;
pub mod message;
mod outputs;
pub mod primary;
mod register;
pub mod secondary;
pub mod witness;

pub use primary::Primary;
pub use secondary::Secondary;
pub use witness::Witness;

pub use colo::{CopyEnd, Divergence, Mode};
pub use message::{
    Copy, Decline, NodeName, Record, RequestId, Standing, ToPrimary, ToSecondary, WitnessOutcome,
    WitnessReply, WitnessRequest,
};
pub use understudy_checkpoint::EpochKind;
pub use understudy_checkpoint::time::{self, Span, Time};
