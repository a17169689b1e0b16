//! Logs what happened to output, and when, to compare with a capture of the network. Off unless the log filter has
//! `understudy::output=debug`.
//!
//! ```text
//!   waits guest=web answers=2 at_ns=…  the loop has heard that so many answers are held
//!   begun guest=web epoch=7 at_ns=…    the capture of epoch 7 is ordered; its pages may be copied ahead before the pause
//!   cut guest=web epoch=7 at_ns=…      what is sent from then on needs the ack of an epoch after 7
//!   runs guest=web epoch=7 at_ns=…     the loop has heard that the pause is over
//!   sent guest=web epoch=7 at_ns=…     all of epoch 7 is with the link
//!   acked guest=web epoch=7 at_ns=…    from then on the output of epochs up to 7 may leave
//!   passing guest=web at_ns=…          from then on everything may leave, until the next cut
//! ```
//!
//! Times are `CLOCK_REALTIME` in nanoseconds, as the kernel's time stamps of frames are: a cut's is taken right after it, an
//! ack's and a pass's right before anything leaves. What becomes of an answer on its way is summed up by
//! `tests/rig/latency --timeline`.

use std::time::{SystemTime, UNIX_EPOCH};
use understudy_checkpoint::Epoch;

pub(super) fn waits(guest: &str, answers: u32) {
    tracing::debug!(target: "understudy::output", guest, answers, at_ns = now_ns(), "waits");
}

pub(super) fn begun(guest: &str, epoch: Epoch) {
    tracing::debug!(target: "understudy::output", guest, %epoch, at_ns = now_ns(), "begun");
}

pub(super) fn runs(guest: &str, epoch: Epoch) {
    tracing::debug!(target: "understudy::output", guest, %epoch, at_ns = now_ns(), "runs");
}

pub(super) fn sent(guest: &str, epoch: Epoch) {
    tracing::debug!(target: "understudy::output", guest, %epoch, at_ns = now_ns(), "sent");
}

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
