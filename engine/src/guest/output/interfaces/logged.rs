//! Operations on a card whose errors let nothing out: they can only be logged.
//!
//! Not here: errors that fail a cut or end protection.

use std::sync::Arc;
use understudy_netbuf::kernel::{CutOff, KernelError};

/// Lets the output of a cut-off card pass, in a separate thread because the kernel may take its time.
pub(super) fn lift(interface: &str, cut_off: Arc<CutOff>) {
    let name = interface.to_owned();
    let lifting = std::thread::Builder::new().name("let-out".into());
    let work = move || note(&name, "let out", cut_off.lift());
    if let Err(error) = lifting.spawn(work) {
        tracing::error!(interface, %error, "A card stays cut off; set it up by hand (understudy doctor finds it)");
    }
}

/// Logs an error that lets nothing out.
pub(super) fn note(interface: &str, what: &str, result: Result<(), KernelError>) {
    if let Err(error) = result {
        tracing::error!(interface, %error, "The guest's output cannot be {what}");
    }
}
