//! Starts threads of a guest: named, and with panics reported.

use crate::guest::report::{Report, Reporter};
use std::any::Any;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread::{Builder, JoinHandle};

/// Starts `work` on a new thread. A panic is reported with its message. It drops the thread's ends of all channels,
/// which ends the guest's other threads.
pub(super) fn spawn(
    worker: &'static str,
    reporter: Reporter,
    work: impl FnOnce() + Send + 'static,
) -> io::Result<JoinHandle<()>> {
    Builder::new().name(worker.to_owned()).spawn(move || {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(work)) {
            reporter.tell(Report::Panicked { worker, message: panic_words(&*panic) });
        }
    })
}

/// The message of a panic.
pub(crate) fn panic_words(panic: &(dyn Any + Send)) -> String {
    let literal = panic.downcast_ref::<&str>().map(|words| (*words).to_owned());
    literal.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no message".to_owned())
}
