//! What is done to a card of which an error lets nothing out: nobody can do more about it than read of it.
//!
//! Not here: what fails a cut, or gives protection up.

use std::sync::Arc;
use understudy_netbuf::kernel::{CutOff, KernelError};

/// Lets the output of a card pass that was cut off, in a thread of its own: the kernel may take its time.
pub(super) fn lift(interface: &str, cut_off: Arc<CutOff>) {
    let name = interface.to_owned();
    let lifting = std::thread::Builder::new().name("let-out".into());
    let work = move || note(&name, "let out", cut_off.lift());
    if let Err(error) = lifting.spawn(work) {
        tracing::error!(interface, %error, "A card stays cut off; set it up by hand (understudy doctor finds it)");
    }
}

/// An error of these never lets anything out: it is for the log.
pub(super) fn note(interface: &str, what: &str, result: Result<(), KernelError>) {
    if let Err(error) = result {
        tracing::error!(interface, %error, "What the guest sends cannot be {what}");
    }
}
