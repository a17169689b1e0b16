//! Whether the witness can write its records: probed now and then, observed at each change, logged once, and measured.
//!
//! With a full disk the witness refuses changes and continues. A failed flush ends it; see
//! [`StoreError::is_unreliable`].

use super::Daemon;
use crate::witness::StoreError;
use understudy_session::{Span, Time};

/// How often to probe whether records can be written.
const PROBE_EVERY: Span = Span::from_ms(10_000);

/// What is known about the disk.
#[derive(Debug)]
pub(in crate::witness) struct Health {
    is_good: bool,
    probe_at: Time,
}

impl Health {
    /// Assumed good until a probe fails; the first probe is due at once.
    pub(in crate::witness) fn new() -> Self {
        Self { is_good: true, probe_at: Time(0) }
    }

    /// When the next probe is due.
    pub(in crate::witness) fn probe_at(&self) -> Time {
        self.probe_at
    }
}

impl Daemon {
    /// Probes the disk, so that a full disk is noticed before a takeover needs it.
    pub(in crate::witness) fn probe(&mut self) {
        if self.health.probe_at <= self.now() {
            let found = self.store.probe();
            self.found_health(found);
        }
    }

    /// Logs each change of whether records can be written.
    pub(in crate::witness) fn found_health(&mut self, found: Result<(), StoreError>) {
        self.health.probe_at = self.now() + PROBE_EVERY;
        let is_good = found.is_ok();
        let is_news = std::mem::replace(&mut self.health.is_good, is_good) != is_good;
        self.metrics.set_witness_writable(is_good);
        match found {
            Ok(()) if is_news => tracing::info!("Records can be written again"),
            Ok(()) => {}
            Err(error) => {
                if is_news {
                    tracing::error!(%error, "No record can be written: nothing changes hands until that is put right");
                }
                if error.is_unreliable() {
                    self.broken = Some(error);
                }
            }
        }
    }
}
