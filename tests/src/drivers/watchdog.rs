//! Xen's watchdog of a host, as an engine has it. Not here: the host's end (`resets`).

use super::mutant::Mutant;
use super::yard::SharedYard;
use std::num::NonZeroU32;
use understudy::guest::HostError;
use understudy::guest::watchdog::Watchdog;

/// The timer, as an engine has it.
#[derive(Debug)]
pub(super) struct SimWatchdog(pub(super) SharedYard);

impl Watchdog for SimWatchdog {
    fn set(&mut self, seconds: NonZeroU32) -> Result<(), HostError> {
        let mut yard = self.0.get();
        if yard.mutant != Some(Mutant::WatchdogUnset) {
            yard.timer.said = Some(Some(seconds));
        }
        Ok(())
    }

    fn disarm(&mut self) -> Result<(), HostError> {
        self.0.get().timer.said = Some(None);
        Ok(())
    }
}
