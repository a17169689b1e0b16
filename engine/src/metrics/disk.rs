//! A guest's disk: what the other host's lacks, and whether the one here can be used. There are no series for guests without a
//! disk.

use super::maker::Maker;
use prometheus::IntGaugeVec;

/// The families.
#[derive(Clone, Debug)]
pub(super) struct DiskFamilies {
    behind: IntGaugeVec,
    failed: IntGaugeVec,
}

impl DiskFamilies {
    pub(super) fn new(make: &Maker) -> Self {
        let guest = &["guest"][..];
        Self {
            behind: make.gauges(
                "disk_behind_bytes",
                "What the other host's disk lacks at most, in whole pieces of 64 KiB; where the guest runs.",
                guest,
            ),
            failed: make.gauges(
                "disk_failed",
                "Whether the guest's disk on this host cannot be used as it should.",
                guest,
            ),
        }
    }
}

/// The series of one guest.
#[derive(Debug)]
pub(super) struct DiskMeter {
    families: DiskFamilies,
    guest: String,
}

impl DiskMeter {
    pub(super) fn new(families: &DiskFamilies, guest: &str) -> Self {
        Self { families: families.clone(), guest: guest.to_owned() }
    }

    pub(super) fn set(&self, behind_bytes: Option<u64>, has_failed: bool) {
        let guest = &[self.guest.as_str()];
        if let Some(bytes) = behind_bytes {
            self.families.behind.with_label_values(guest).set(bytes.cast_signed());
        }
        self.families.failed.with_label_values(guest).set(has_failed.into());
    }
}

impl Drop for DiskMeter {
    /// Of a guest without a disk there are none.
    fn drop(&mut self) {
        let guest = &[self.guest.as_str()];
        let _ = self.families.behind.remove_label_values(guest);
        let _ = self.families.failed.remove_label_values(guest);
    }
}
