//! libxl as the toolstack of a source: it suspends and resumes the guest at the helper's request.

use super::channel::{Channel, ChannelError};
use crate::DomId;
use crate::domain::Toolstack;
use understudy_checkpoint::domain::DomainError;

/// libxl, reached through its channel.
pub struct Libxl {
    /// The channel, for other messages.
    pub channel: Channel,
    domain: DomId,
}

impl Libxl {
    /// A toolstack that asks libxl about `domain`.
    pub fn new(channel: Channel, domain: DomId) -> Self {
        Self { channel, domain }
    }
}

pub(super) fn failed(error: ChannelError) -> DomainError {
    DomainError::Failed(error.to_string())
}

impl Toolstack for Libxl {
    fn suspend(&mut self) -> Result<(), DomainError> {
        self.channel.suspend().map_err(failed)
    }

    fn resume(&mut self) -> Result<(), DomainError> {
        self.channel.postcopy().map_err(failed)
    }

    fn save_device_model(&mut self, _out: &mut Vec<u8>) -> Result<(), DomainError> {
        // It writes the device model's records itself, after ours.
        Ok(())
    }

    fn log_device_model(&mut self, on: bool) -> Result<(), DomainError> {
        self.channel.switch_qemu_logdirty(self.domain.0.into(), on).map_err(failed)
    }
}
