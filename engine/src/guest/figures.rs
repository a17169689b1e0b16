//! The cost of a checkpoint: the guest's pause, and the epoch's size on the link.

use std::fmt;
use std::time::{Duration, SystemTime};
use understudy_checkpoint::domain::Calls;
use understudy_checkpoint::pages::EncodeStats;

/// The time of each part of one pause.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct PauseTimes {
    /// Until no vCPU ran.
    pub suspend: Duration,
    /// Reading and clearing the dirty log.
    pub drain: Duration,
    /// Copying dirty pages to staging, and waiting for staging if it overflowed.
    pub copy: Duration,
    /// Capturing the hypervisor's state of the guest.
    pub state: Duration,
    /// Capturing the device model's state; next to nothing without a device model.
    pub device_model: Duration,
    /// Cutting the participants of the epoch, such as output.
    pub cut: Duration,
    /// Until the guest ran again.
    pub resume: Duration,
    /// Pages copied ahead of the pause, while the guest ran.
    pub ahead_pages: u32,
    /// Those of them that the guest wrote meanwhile, so that the pause copied them again.
    pub again_pages: u32,
    /// What was asked of the host.
    pub asked: Asked,
    /// How often staging was full, so that the guest waited for the encoder.
    pub overflows: u32,
    /// The time when everything had been cut; `None` without a pause.
    pub cut_at: Option<SystemTime>,
}

/// What a pause asked of the host, for a profile.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Asked {
    /// Hypercalls of each part, in order.
    pub hypercalls: [u16; 7],
    /// Requests to xenstored.
    pub store_requests: u16,
    /// Waits for an event of the guest's.
    pub waits: u16,
}

impl Asked {
    /// Adds what a part asked.
    pub(in crate::guest) fn add(&mut self, part: usize, calls: Calls) {
        let few = |count: u64| u16::try_from(count).unwrap_or(u16::MAX);
        self.hypercalls[part] = few(calls.hypercalls);
        self.store_requests = self.store_requests.saturating_add(few(calls.store_requests));
        self.waits = self.waits.saturating_add(few(calls.waits));
    }
}

impl PauseTimes {
    /// The whole pause.
    pub fn total(&self) -> Duration {
        self.parts().iter().sum()
    }

    /// The parts, in order.
    pub fn parts(&self) -> [Duration; 7] {
        [self.suspend, self.drain, self.copy, self.state, self.device_model, self.cut, self.resume]
    }
}

impl fmt::Display for PauseTimes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [suspend, drain, copy, state, device_model, cut, resume] =
            self.parts().map(|part| part.as_millis());
        write!(
            f,
            "{} ms: suspend {suspend}, drain {drain}, copy {copy} (staging overflowed {} times; {} pages were copied ahead, \
             {} of them again), state {state}, device model {device_model}, cut {cut}, resume {resume}",
            self.total().as_millis(),
            self.overflows,
            self.ahead_pages,
            self.again_pages
        )
    }
}

/// One epoch on the link.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Encoded {
    /// Pages by encoding, and bytes.
    pub stats: EncodeStats,
    /// Unchanged pages that were sent to be compared.
    pub checked_pages: u64,
    /// Pages that changed without a mark, and are sent again.
    pub unmarked_pages: u64,
    /// Bytes on the link, including all framing.
    pub link_bytes: u64,
    /// Time spent encoding, without waits for the link.
    pub busy: Duration,
    /// Memory of the shadow at its end.
    pub shadow_bytes: u64,
    /// Memory of staging.
    pub staging_bytes: u64,
}
