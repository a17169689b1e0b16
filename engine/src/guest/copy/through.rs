//! A guest that was a copy: its input goes through its rewriter, since its connections have other numbers than clients
//! know. All else is as with any guest.

use super::{Heard, Traffic};
use crate::guest::machine::{BoxedSource, HostError, Machine};
use std::sync::Arc;
use understudy_checkpoint::Generation;

/// A guest that was a copy.
#[derive(Debug)]
pub struct Through {
    machine: Arc<dyn Machine>,
    traffic: Arc<Traffic>,
    heard: Arc<Heard>,
}

impl Through {
    /// Wraps `machine`: its input goes through `traffic`, and `heard` records the input as clients send it.
    pub fn new(machine: Arc<dyn Machine>, traffic: Arc<Traffic>, heard: Arc<Heard>) -> Self {
        Self { machine, traffic, heard }
    }
}

impl Machine for Through {
    fn pause(&self) {
        self.machine.pause();
    }
    fn unpause(&self) {
        self.machine.unpause();
    }
    fn outlives_us(&self) -> bool {
        self.machine.outlives_us()
    }
    fn stop(&self) {
        self.machine.stop();
    }
    fn leave(&self) {
        self.machine.leave();
    }
    fn has_ended(&self) -> bool {
        self.machine.has_ended()
    }
    fn mark(&self, generation: Generation) {
        self.machine.mark(generation);
    }
    fn is_marked(&self, generation: Generation) -> bool {
        self.machine.is_marked(generation)
    }
    fn has_settled(&self) -> bool {
        self.machine.has_settled()
    }
    fn take_renewed(&self) -> Option<Vec<u8>> {
        self.machine.take_renewed()
    }
    fn reopen(&self) -> Option<Result<BoxedSource, HostError>> {
        self.machine.reopen()
    }
    fn trouble(&self) -> Option<String> {
        self.machine.trouble()
    }
    fn deliver(&self, frame: &[u8]) {
        self.heard.hear(frame, |frame| self.traffic.deliver(frame));
    }
    fn notify(&self) {
        self.traffic.notify();
    }
    fn heard(&self) -> Option<Arc<Heard>> {
        Some(self.heard.clone())
    }
}
