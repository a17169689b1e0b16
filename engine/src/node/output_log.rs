//! Logs what happened to output, and when, to compare with a capture of the network. Off unless the log filter has
//! `understudy::output=debug`.
//!
//! ```text
//!   cut guest=web epoch=7 at_ns=…      what is sent from then on needs the ack of an epoch after 7
//!   acked guest=web epoch=7 at_ns=…    from then on the output of epochs up to 7 may leave
//!   passing guest=web at_ns=…          from then on everything may leave, until the next cut
//! ```
//!
//! Times are `CLOCK_REALTIME` in nanoseconds, as the kernel's time stamps of frames are: a cut's is taken right after it, an
//! ack's and a pass's right before anything leaves.

use std::time::{SystemTime, UNIX_EPOCH};
use understudy_checkpoint::Epoch;

pub(super) fn cut(guest: &str, epoch: Epoch, at: Option<SystemTime>) {
    if let Some(at) = at {
        tracing::debug!(target: "understudy::output", guest, %epoch, at_ns = since_epoch_ns(at), "cut");
    }
}

pub(super) fn acked(guest: &str, epoch: Epoch) {
    tracing::debug!(target: "understudy::output", guest, %epoch, at_ns = now_ns(), "acked");
}

pub(super) fn passing(guest: &str) {
    tracing::debug!(target: "understudy::output", guest, at_ns = now_ns(), "passing");
}

fn now_ns() -> u64 {
    since_epoch_ns(SystemTime::now())
}

fn since_epoch_ns(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos() as u64
}
