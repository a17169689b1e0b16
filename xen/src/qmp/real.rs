//! A real QEMU without a machine, for tests, if one is installed; Debian's `qemu-system-x86` is enough.

use super::{Qmp, QmpError};
use serde_json::Value;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// A generous timeout for slow machines.
const LONG: Duration = Duration::from_secs(60);

/// A QEMU without a machine. Dropping it ends the process.
pub(crate) struct Qemu {
    directory: tempfile::TempDir,
    child: Child,
}

impl Qemu {
    /// `None` if no QEMU is installed.
    pub(crate) fn start() -> Option<Self> {
        let directory = tempfile::tempdir().unwrap();
        let socket = format!("unix:{}/qmp,server=on,wait=off", directory.path().display());
        let child = Command::new("qemu-system-x86_64")
            .args(["-M", "none", "-accel", "tcg", "-nodefaults", "-display", "none", "-qmp", &socket])
            .stdin(Stdio::null())
            .spawn();
        let Ok(child) = child else {
            eprintln!("skipped: no qemu-system-x86_64 here");
            return None;
        };
        let qemu = Self { directory, child };
        let begun = Instant::now();
        while !qemu.path().exists() && begun.elapsed() < LONG {
            sleep(Duration::from_millis(5));
        }
        Some(qemu)
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.directory.path().join("qmp")
    }

    pub(crate) fn connect(&self) -> Qmp {
        let begun = Instant::now();
        loop {
            match Qmp::connect_within(&self.path(), LONG) {
                // Bound already and not yet listening.
                Err(QmpError::Unreachable { .. }) if begun.elapsed() < LONG => {
                    sleep(Duration::from_millis(5))
                }
                result => return result.unwrap(),
            }
        }
    }
}

impl Drop for Qemu {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// QEMU's run state.
pub(crate) fn status(qmp: &mut Qmp) -> String {
    qmp.execute("query-status", Value::Null).unwrap()["status"].as_str().unwrap().to_owned()
}
