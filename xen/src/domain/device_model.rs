//! QEMU of an HVM guest: stopped with the guest, saved with each checkpoint, continued before the guest.
//!
//! ```text
//!   guest   runs ──────────────────────────┤ suspended ├──────────────────────────────────────┤ runs
//!   QEMU    runs ──────────────────────────────────────────┤ stopped ├───────────┤ runs
//!   us      take_hold                               stop   drain, copy, save     go_on
//!           connect, hand over an empty file                   └ read the file      └ close
//! ```
//!
//! QEMU is stopped only while the guest is suspended. Whoever finds a running guest therefore need not check its QEMU,
//! and whoever resumes a suspended guest (a restarted engine) continues QEMU as well. Connecting takes long, and so
//! happens while the guest still runs. libxl's socket serves one client at a time; it is free again when the guest
//! runs.
//!
//! QEMU writes its state into an anonymous file of ours, which is passed as a descriptor. No path is shared, so it does
//! not matter whether QEMU runs as another user or in a chroot, and nothing remains if either process is killed. QEMU
//! closes its descriptor when the connection ends.
//!
//! There is no EMULATOR_XENSTORE_DATA record: a QEMU built for Xen 4.11 or later keeps nothing in xenstore that must be
//! saved.
//!
//! Not here: the content of the record, which only libxl reads.

use crate::DomId;
use crate::qmp::{Qmp, QmpError, socket_of};
use nix::sys::memfd::{MFdFlags, memfd_create};
use serde_json::{Value, json};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use understudy_checkpoint::domain::DomainError;
use understudy_checkpoint::room;
use understudy_checkpoint::stream::libxl::{EmulatorHeader, Record};
use understudy_checkpoint::stream::limits::EMULATOR_CONTEXT_BYTES_MAX;

/// Whether `domain` has a QEMU. An error means that this is not known.
pub(super) fn is_there(domain: DomId) -> io::Result<bool> {
    socket_of(domain).try_exists()
}

/// Continues the QEMU of `domain` if it is stopped, as `xl unpause` does for a guest that was restored.
pub fn continue_device_model(domain: DomId) -> Result<(), QmpError> {
    Qmp::connect(&socket_of(domain))?.execute("cont", Value::Null).map(|_| ())
}

/// The QEMU of one guest.
pub(super) struct DeviceModel {
    socket: PathBuf,
    /// `Some` during a pause.
    held: Option<Held>,
    /// The anonymous file that QEMU saves to.
    file: File,
    state: Vec<u8>,
}

/// A connection, and QEMU's name for our file.
struct Held {
    qmp: Qmp,
    file_name: String,
}

impl DeviceModel {
    /// The QEMU of `domain`. Does not connect yet.
    pub(super) fn of(domain: DomId) -> Result<Self, DomainError> {
        Self::at(socket_of(domain)).map_err(failed)
    }

    fn at(socket: PathBuf) -> Result<Self, QmpError> {
        let file = memfd_create("understudy-device-model", MFdFlags::MFD_CLOEXEC).map_err(io::Error::from)?;
        Ok(Self { socket, held: None, file: File::from(file), state: Vec::new() })
    }

    /// Makes QEMU report the frames that it writes to Xen from now on. Repeating this changes nothing.
    ///
    /// Reporting is never switched off. QEMU 7.2 crashes when it is told to stop while it does not report; it cannot be
    /// asked whether it does, and a stock `xl migrate` may have stopped it meanwhile. Reporting to a Xen without a log
    /// costs one hypercall.
    pub(super) fn report_writes(&self) -> Result<(), DomainError> {
        let mut qmp = Qmp::connect(&self.socket).map_err(failed)?;
        qmp.execute("xen-set-global-dirty-log", json!({ "enable": true })).map_err(failed)?;
        Ok(())
    }

    /// Connects, before a pause.
    pub(super) fn take_hold(&mut self) -> Result<(), DomainError> {
        // Of a pause that came to nothing. While it is open, the next would wait for it.
        self.held = None;
        self.held = Some(self.hold().map_err(failed)?);
        Ok(())
    }

    fn hold(&self) -> Result<Held, QmpError> {
        let mut qmp = Qmp::connect(&self.socket)?;
        self.file.set_len(0)?;
        // QEMU takes a file for writing only if it can do nothing else; opened anew, it begins at the start.
        let path = format!("/proc/self/fd/{}", self.file.as_raw_fd());
        let for_qemu = File::options().write(true).open(path)?;
        let set = qmp.execute_with("add-fd", json!({}), for_qemu.as_fd())?;
        let Some(id) = set["fdset-id"].as_u64() else {
            return Err(QmpError::Protocol(format!("{set} when add-fd was asked")));
        };
        Ok(Held { qmp, file_name: format!("/dev/fdset/{id}") })
    }

    /// Disconnects without continuing QEMU, because it was not stopped.
    pub(super) fn let_go(&mut self) {
        self.held = None;
    }

    /// Stops QEMU. From here on neither its state nor the guest's memory changes through it.
    pub(super) fn stop(&mut self) -> Result<(), DomainError> {
        self.held()?.qmp.execute("stop", Value::Null).map_err(failed)?;
        Ok(())
    }

    /// Appends the record of QEMU's state. Only while it is stopped.
    pub(super) fn save(&mut self, out: &mut Vec<u8>) -> Result<(), DomainError> {
        let held = self.held()?;
        // Not live: the guest goes on here, so disks stay open.
        let arguments = json!({ "filename": held.file_name, "live": false });
        held.qmp.execute("xen-save-devices-state", arguments).map_err(failed)?;
        self.read().map_err(|error| failed(error.into()))?;
        Record::EmulatorContext { emulator: EmulatorHeader::qemu(), blob: &self.state }.write(out);
        Ok(())
    }

    fn read(&mut self) -> io::Result<()> {
        let bytes = self.file.metadata()?.len();
        if bytes == 0 || bytes > EMULATOR_CONTEXT_BYTES_MAX as u64 {
            return Err(io::Error::other(format!("{bytes} bytes of state, which cannot be")));
        }
        self.state.clear();
        room::lengthen(&mut self.state, bytes as usize, 0)?;
        self.file.read_exact_at(&mut self.state, 0)
    }

    /// Continues QEMU and disconnects.
    pub(super) fn go_on(&mut self) -> Result<(), DomainError> {
        if let Some(Held { mut qmp, .. }) = self.held.take()
            && qmp.execute("cont", Value::Null).is_ok()
        {
            return Ok(());
        }
        // Not held, or the connection was of no use any more.
        Qmp::connect(&self.socket).and_then(|mut qmp| qmp.execute("cont", Value::Null)).map_err(failed)?;
        Ok(())
    }

    fn held(&mut self) -> Result<&mut Held, DomainError> {
        self.held.as_mut().ok_or_else(|| DomainError::Failed("QEMU is asked outside of a pause".into()))
    }
}

fn failed(error: QmpError) -> DomainError {
    DomainError::Failed(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::qmp::real::{Qemu, status};
    use understudy_checkpoint::stream::libxl::kind;

    /// The state in the record that was just saved.
    fn pause(model: &mut DeviceModel) -> Vec<u8> {
        let mut out = Vec::new();
        model.take_hold().unwrap();
        model.stop().unwrap();
        model.save(&mut out).unwrap();
        model.go_on().unwrap();
        out
    }

    #[test]
    fn each_pause_has_a_whole_record_and_a_qemu_that_runs_afterwards() {
        let Some(qemu) = Qemu::start() else { return };
        drop(qemu.connect());
        let mut model = DeviceModel::at(qemu.path()).unwrap();
        model.report_writes().unwrap();
        model.report_writes().unwrap();
        let records: Vec<Vec<u8>> = (0..5).map(|_| pause(&mut model)).collect();
        for record in &records {
            // Type, length, emulator 2 with index 0; then what QEMU wrote from its beginning on.
            assert_eq!(record[..4], kind::EMULATOR_CONTEXT.to_le_bytes());
            assert_eq!((record.len() % 8, record.len()), (0, records[0].len()));
            assert_eq!(record[8..20], *b"\x02\0\0\0\0\0\0\0QEVM");
        }
        let mut qmp = qemu.connect();
        assert_eq!(status(&mut qmp), "running");
        let left = qmp.execute("query-fdsets", Value::Null).unwrap();
        assert_eq!(left, json!([]), "files of pauses that are over");
    }

    #[test]
    fn a_qemu_that_a_dead_engine_stopped_is_continued_by_the_next() {
        let Some(qemu) = Qemu::start() else { return };
        drop(qemu.connect());
        let mut dead = DeviceModel::at(qemu.path()).unwrap();
        dead.take_hold().unwrap();
        dead.stop().unwrap();
        drop(dead);
        assert_eq!(status(&mut qemu.connect()), "paused");
        DeviceModel::at(qemu.path()).unwrap().go_on().unwrap();
        assert_eq!(status(&mut qemu.connect()), "running");
    }

    #[test]
    fn a_pause_that_came_to_nothing_leaves_the_monitor_to_others_and_nothing_in_the_next() {
        let Some(qemu) = Qemu::start() else { return };
        drop(qemu.connect());
        let mut model = DeviceModel::at(qemu.path()).unwrap();
        model.take_hold().unwrap();
        model.let_go();
        assert_eq!(status(&mut qemu.connect()), "running");
        assert!(model.save(&mut Vec::new()).is_err(), "it is not held");
        model.take_hold().unwrap();
        let record = pause(&mut model);
        assert_eq!(record[16..20], *b"QEVM");
    }

    #[test]
    fn without_qemu_a_pause_fails_before_the_guest_is_asked() {
        let mut model = DeviceModel::at("/nowhere/qmp".into()).unwrap();
        assert!(model.take_hold().unwrap_err().to_string().contains("device model run"));
        assert!(model.go_on().is_err());
    }
}
