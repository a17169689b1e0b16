//! [`Told`]: what a disk's worker tells everybody who asks, without being asked itself.

use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Shared by the worker and its handle.
#[derive(Clone, Debug, Default)]
pub(super) struct Told(Arc<Facts>);

#[derive(Debug)]
struct Facts {
    left_bytes: AtomicU64,
    behind_bytes: AtomicU64,
    fault: Mutex<Option<String>>,
}

/// Of bytes that nobody knows.
const UNKNOWN: u64 = u64::MAX;

impl Default for Facts {
    fn default() -> Self {
        Self { left_bytes: UNKNOWN.into(), behind_bytes: 0.into(), fault: Mutex::default() }
    }
}

impl Told {
    pub(super) fn left_bytes(&self) -> Option<u64> {
        Some(self.0.left_bytes.load(Ordering::Relaxed)).filter(|bytes| *bytes != UNKNOWN)
    }

    pub(super) fn set_left(&self, bytes: Option<u64>) {
        self.0.left_bytes.store(bytes.unwrap_or(UNKNOWN), Ordering::Relaxed);
    }

    pub(super) fn behind_bytes(&self) -> u64 {
        self.0.behind_bytes.load(Ordering::Relaxed)
    }

    pub(super) fn set_behind(&self, bytes: u64) {
        self.0.behind_bytes.store(bytes, Ordering::Relaxed);
    }

    pub(super) fn fault(&self) -> Option<String> {
        self.0.fault.lock().clone()
    }

    /// The first one stays: it says what is wrong.
    pub(super) fn set_fault(&self, fault: &impl ToString) {
        self.0.fault.lock().get_or_insert_with(|| fault.to_string());
    }
}
