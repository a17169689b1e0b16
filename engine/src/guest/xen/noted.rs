//! Writes the generation label of a domain, in a separate thread, and repeats that until xenstore has it.
//!
//! ```text
//!   loop ── mark(g) ──► thread ── xenstore ──► written = g ──wakes─► loop: what waited for the mark leaves
//!                          └── xenstored hangs, refuses ── 3 s ──┘
//! ```
//!
//! The loop does not wait for it. Whatever must not happen before the label is written waits separately
//! (`node/primary/gate.rs`).

use crate::guest::panic_words;
use crate::guest::waker::LoopWaker;
use parking_lot::Mutex;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Weak};
use std::thread::{Builder, sleep};
use std::time::Duration;
use understudy_checkpoint::Generation;
use understudy_xen::xenstore::StoreError;

/// The pause after a failed attempt.
const RETRY: Duration = Duration::from_secs(3);

/// Writes a generation; the error is for the log.
type Write = dyn Fn(Generation) -> Result<(), StoreError> + Send + Sync;

struct Inside {
    wanted: Generation,
    written: Generation,
    is_writing: bool,
}

struct Shared {
    guest: String,
    inside: Mutex<Inside>,
    write: Box<Write>,
    waker: LoopWaker,
    retry: Duration,
}

/// The generation label of one domain.
pub(in crate::guest) struct Noted(Arc<Shared>);

impl std::fmt::Debug for Noted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Noted")
    }
}

impl Noted {
    /// Nothing is written yet. `waker` wakes the loop when something is.
    pub(in crate::guest) fn new(
        guest: &str,
        write: impl Fn(Generation) -> Result<(), StoreError> + Send + Sync + 'static,
        waker: LoopWaker,
    ) -> Self {
        Self::retrying(guest, write, waker, RETRY)
    }

    fn retrying(
        guest: &str,
        write: impl Fn(Generation) -> Result<(), StoreError> + Send + Sync + 'static,
        waker: LoopWaker,
        retry: Duration,
    ) -> Self {
        let none = Generation(0);
        let inside = Mutex::new(Inside { wanted: none, written: none, is_writing: false });
        Self(Arc::new(Shared { guest: guest.to_owned(), inside, write: Box::new(write), waker, retry }))
    }

    /// Begins to write `generation`, unless it is written or being written.
    pub(in crate::guest) fn write(&self, generation: Generation) {
        let mut inside = self.0.inside.lock();
        inside.wanted = inside.wanted.max(generation);
        if inside.is_writing || inside.written >= inside.wanted {
            return;
        }
        let shared = Arc::downgrade(&self.0);
        match Builder::new().name("mark".into()).spawn(move || write_until_done(&shared)) {
            Ok(_) => inside.is_writing = true,
            Err(error) => {
                tracing::error!(guest = self.0.guest, %error, "The guest is not marked yet: no thread can be had");
            }
        }
    }

    /// Whether `generation`, or a later one, is written.
    pub(in crate::guest) fn is_written(&self, generation: Generation) -> bool {
        self.0.inside.lock().written >= generation
    }
}

/// Ends as well when nobody is left who asked for it.
fn write_until_done(shared: &Weak<Shared>) {
    let mut is_said = false;
    while let Some(shared) = shared.upgrade() {
        let generation = {
            let mut inside = shared.inside.lock();
            if inside.written >= inside.wanted {
                inside.is_writing = false;
                return;
            }
            inside.wanted
        };
        // Without this thread the guest's output would wait for its mark for ever.
        let written = catch_unwind(AssertUnwindSafe(|| (shared.write)(generation)));
        let failed = match written {
            Ok(written) => written.err().map(|error| error.to_string()),
            Err(panic) => Some(panic_words(&*panic)),
        };
        match failed {
            None => {
                shared.inside.lock().written = generation;
                shared.waker.wake();
            }
            Some(error) => {
                if !std::mem::replace(&mut is_said, true) {
                    let guest = &shared.guest;
                    tracing::error!(
                        guest, %generation, error,
                        "The guest is not marked with its generation, so a restarted engine would not know it again; \
                         tried again until it is"
                    );
                }
                let retry = shared.retry;
                drop(shared);
                sleep(retry);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crossbeam::channel::bounded;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::time::Instant;

    fn until(what: &str, is_so: impl Fn() -> bool) {
        let begun = Instant::now();
        while !is_so() {
            assert!(begun.elapsed() < Duration::from_secs(20), "{what}: never");
            sleep(Duration::from_millis(1));
        }
    }

    #[test]
    fn a_mark_is_written_again_until_xenstore_has_it() {
        let refusals = AtomicU32::new(20);
        let write =
            move |_| match refusals.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1)) {
                Ok(10) => panic!("as the test says"),
                Ok(_) => Err(StoreError::Closed),
                Err(_) => Ok(()),
            };
        let noted = Noted::retrying("web", write, LoopWaker::silent(), Duration::from_millis(1));
        noted.write(Generation(3));
        until("the mark", || noted.is_written(Generation(3)));
        assert!(!noted.is_written(Generation(4)));
    }

    #[test]
    fn a_xenstore_that_hangs_holds_up_nobody_and_what_is_wanted_meanwhile_follows() {
        let (go_on, may_go_on) = bounded::<()>(0);
        let write = move |_| {
            let _ = may_go_on.recv();
            Ok(())
        };
        let noted = Noted::new("web", write, LoopWaker::silent());
        noted.write(Generation(3));
        noted.write(Generation(4));
        assert!(!noted.is_written(Generation(3)), "it hangs");
        drop(go_on);
        until("the newer mark", || noted.is_written(Generation(4)));
    }
}
