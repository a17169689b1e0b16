//! A lab guest as the engine handles it while it runs here.

use crate::guest::copy::Heard;
use crate::guest::disks::LocalDisk;
use crate::guest::machine::{BoxedSource, HostError, Machine};
use crate::guest::participant::DiskParticipant;
use std::sync::Arc;
use understudy_checkpoint::Generation;
use understudy_lab::LabGuest;

/// A lab guest, the record of its input, and its disk.
#[derive(Debug)]
pub(super) struct LabMachine {
    pub(super) guest: LabGuest,
    pub(super) heard: Arc<Heard>,
    pub(super) disk: Option<Arc<LocalDisk>>,
}

impl Machine for LabMachine {
    fn reopen(&self) -> Option<Result<BoxedSource, HostError>> {
        Some(Ok(BoxedSource(Box::new(self.guest.source()))))
    }
    fn pause(&self) {
        self.guest.pause();
    }
    fn unpause(&self) {
        self.guest.unpause();
    }
    fn stop(&self) {
        self.guest.stop();
    }
    fn outlives_us(&self) -> bool {
        false
    }
    fn leave(&self) {
        // The guest lives in this process.
        self.guest.stop();
    }
    fn has_ended(&self) -> bool {
        self.guest.has_ended()
    }
    fn mark(&self, _generation: Generation) {
        // The guest ends with this process, so nobody will look for a mark.
    }
    fn is_marked(&self, _generation: Generation) -> bool {
        true
    }
    fn has_settled(&self) -> bool {
        true
    }

    fn take_renewed(&self) -> Option<Vec<u8>> {
        // A lab guest's devices never change.
        None
    }
    fn deliver(&self, frame: &[u8]) {
        // A full ring drops the frame, as a network card does.
        self.heard.hear(frame, |frame| self.guest.push(frame));
    }
    fn notify(&self) {
        self.guest.notify();
    }
    fn disk(&self) -> Option<Arc<dyn DiskParticipant>> {
        self.disk.clone().map(|disk| disk as Arc<dyn DiskParticipant>)
    }
    fn heard(&self) -> Option<Arc<Heard>> {
        Some(self.heard.clone())
    }
}
