//! QEMU's monitor protocol (QMP), as far as a device model is stopped, saved and continued by it.
//!
//! ```text
//!   QEMU ──► {"QMP": {"version": …}}                              greeting, once
//!        ◄── {"execute": "qmp_capabilities", "id": 1}
//!        ──► {"return": {}, "id": 1}
//!        ◄── {"execute": "stop", "id": 2}
//!        ──► {"event": "STOP", …}                                 at any time
//!        ──► {"return": {}, "id": 2}  or  {"error": {"class": …, "desc": …}, "id": 2}
//! ```
//!
//! * `message` messages as bytes, a line each
//! * `client` [`Qmp`]: a connection, commands in bounded time
//!
//! **One client at a time.** libxl starts QEMU with a socket of `server=on,wait=off`: whoever connects while another is
//! served waits for its greeting until the other leaves. libxl connects for a command and leaves, and gives up after ten
//! seconds; so a connection must be as short. Hold one no longer than a pause.
//!
//! Source: QEMU's `docs/interop/qmp-spec`; what libxl does of it is in its `libxl_qmp.c` and `libxl_dm.c`.
//!
//! Not here: what is asked of a device model, and when.

mod client;
mod message;
#[cfg(test)]
pub(crate) mod real;
#[cfg(test)]
mod tests;

pub use client::Qmp;
#[cfg(fuzzing)]
pub use message::take_all;

use crate::DomId;
use std::io;
use std::path::PathBuf;

/// Where QEMU of `domain` listens for libxl (`libxl__domain_device_model…`, `--with-rundir` left as it is).
pub fn socket_of(domain: DomId) -> PathBuf {
    PathBuf::from(format!("/var/run/xen/qmp-libxl-{domain}"))
}

/// Why QEMU did not do what was asked.
#[derive(thiserror::Error, Debug)]
#[non_exhaustive]
pub enum QmpError {
    /// Nobody listens at the monitor's socket.
    #[error("QEMU cannot be reached at {} ({source}); does the guest's device model run?", path.display())]
    Unreachable {
        /// Path of the monitor's socket.
        path: PathBuf,
        /// Why connecting failed.
        source: io::Error,
    },
    /// No answer in time. The connection is of no further use.
    #[error(
        "QEMU did not answer {command} within {within_ms} ms: it hangs, or another program keeps its monitor to itself \
         (`ss -xp | grep qmp-libxl`)"
    )]
    Timeout {
        /// What was asked; `connect` while it had not even greeted.
        command: String,
        /// How long was waited.
        within_ms: u64,
    },
    /// QEMU ended, or closed the connection.
    #[error("QEMU closed its monitor before it answered {command}; does the guest's device model still run?")]
    Closed {
        /// Name of the QMP command.
        command: String,
    },
    /// QEMU refused.
    #[error("QEMU refused {command}: {description} ({class})")]
    Refused {
        /// Name of the QMP command.
        command: String,
        /// Which class of error, in QEMU's words.
        class: String,
        /// Why, in QEMU's words.
        description: String,
    },
    /// The connection failed, or the file that goes with it.
    #[error("The connection to QEMU failed: {0}")]
    Io(#[from] io::Error),
    /// QEMU sent something that is not QMP. The connection is of no further use.
    #[error("QEMU's monitor said {0}; please report this with the version of QEMU")]
    Protocol(String),
}
