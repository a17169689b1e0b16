//! Counts what a thread asks of Xen and xenstored, for a profile of a pause.
//!
//! All calls of a checkpoint are made by the thread that takes it; threads that help it only copy memory.

use std::cell::Cell;
use understudy_checkpoint::domain::Calls;

thread_local! {
    static CALLS: Cell<Calls> = const { Cell::new(Calls { hypercalls: 0, store_requests: 0, waits: 0 }) };
}

/// What this thread has asked so far.
pub(crate) fn of_this_thread() -> Calls {
    CALLS.get()
}

/// Counts a hypercall.
pub(crate) fn hypercall() {
    CALLS.set(Calls { hypercalls: CALLS.get().hypercalls + 1, ..CALLS.get() });
}

/// Counts a request to xenstored: a round trip.
pub(crate) fn store_request() {
    CALLS.set(Calls { store_requests: CALLS.get().store_requests + 1, ..CALLS.get() });
}

/// Counts a wait for an event of the guest's.
pub(crate) fn wait() {
    CALLS.set(Calls { waits: CALLS.get().waits + 1, ..CALLS.get() });
}
