//! QEMU's monitor protocol (QMP): the part that stops, saves and continues a device model.
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
//! * `message` decodes messages, one line each
//! * `client` [`Qmp`]: a connection, with commands in bounded time
//!
//! **One client at a time.** libxl starts QEMU with a socket of `server=on,wait=off`: a second client gets no greeting
//! until the first leaves. libxl connects for one command, leaves, and gives up after ten seconds, so our connections
//! must be short as well: no longer than a pause.
//!
//! Source: QEMU's `docs/interop/qmp-spec`; for libxl's part, its `libxl_qmp.c` and `libxl_dm.c`.
//!
//! Not here: which commands are sent to a device model, and when.

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

/// The path at which the QEMU of `domain` listens for libxl (`libxl__domain_device_model…`, with the default
/// `--with-rundir`).
pub fn socket_of(domain: DomId) -> PathBuf {
    PathBuf::from(format!("/var/run/xen/qmp-libxl-{domain}"))
}

/// Why QEMU did not execute a command.
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
    /// There was no answer in time. The connection cannot be used further.
    #[error(
        "QEMU did not answer {command} within {within_ms} ms: it hangs, or another program keeps its monitor to itself \
         (`ss -xp | grep qmp-libxl`)"
    )]
    Timeout {
        /// The command; `connect` if QEMU had not even greeted.
        command: String,
        /// How long we waited.
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
        /// The class of the error, from QEMU.
        class: String,
        /// QEMU's description of the error.
        description: String,
    },
    /// The connection failed, or the file that accompanies a command.
    #[error("The connection to QEMU failed: {0}")]
    Io(#[from] io::Error),
    /// QEMU sent something that is not QMP. The connection cannot be used further.
    #[error("QEMU's monitor said {0}; please report this with the version of QEMU")]
    Protocol(String),
}
