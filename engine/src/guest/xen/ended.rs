//! Notices at once that a guest has ended, whoever ended it, even while no checkpoint is made of it.
//!
//! ```text
//!   xenstore @releaseDomain ──► cards thread ──► domain_info: gone, dying, shut down ──► Ended ──wakes─► loop: GuestGone
//! ```
//!
//! A suspended guest has not ended. If Xen does not answer, the guest counts as not ended.

use crate::guest::waker::LoopWaker;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use understudy_xen::{DomId, Xen};

/// Whether a guest has ended.
#[derive(Clone, Debug)]
pub(in crate::guest) struct Ended {
    is_so: Arc<AtomicBool>,
    waker: LoopWaker,
}

impl Ended {
    /// Not ended yet. `waker` wakes the loop when it has.
    pub(in crate::guest) fn not_yet(waker: LoopWaker) -> Self {
        Self { is_so: Arc::default(), waker }
    }

    /// Whether the guest has ended.
    pub(in crate::guest) fn is_so(&self) -> bool {
        self.is_so.load(Ordering::Acquire)
    }

    /// Asks Xen.
    pub(in crate::guest) fn look(&self, xen: &Xen, domain: DomId) {
        let has_ended = match xen.domain_info(domain) {
            Ok(None) => true,
            Ok(Some(info)) => info.is_dying() || (info.is_shutdown() && !info.is_suspended()),
            Err(_) => false,
        };
        if has_ended && !self.is_so.swap(true, Ordering::AcqRel) {
            self.waker.wake();
        }
    }
}
