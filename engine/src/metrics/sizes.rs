//! How much of a guest is where: memory that protecting it takes, and what is under way to the other host. All of it is read
//! when it is asked for, and gone with the guest's meter.
//!
//! ```text
//!   primary:    staging ─► shadow ─► in flight (encoded, not acked) ──► inbox (not decoded) ─► image    :secondary
//! ```

use super::maker::Maker;
use prometheus::{Gauge, GaugeVec, IntGauge, IntGaugeVec};

/// The families.
#[derive(Clone, Debug)]
pub(super) struct SizeFamilies {
    image: IntGaugeVec,
    shadow: IntGaugeVec,
    staging: IntGaugeVec,
    epochs_in_flight: IntGaugeVec,
    in_flight: IntGaugeVec,
    inbox: IntGaugeVec,
    full_sync: GaugeVec,
}

impl SizeFamilies {
    pub(super) fn new(make: &Maker) -> Self {
        let guest = &["guest"][..];
        Self {
            image: make.gauges(
                "image_bytes",
                "Memory of the guest whose copy is held here; 0 without one.",
                guest,
            ),
            shadow: make.gauges(
                "shadow_bytes",
                "Memory of the shadow, against which changes of pages are found.",
                guest,
            ),
            staging: make.gauges(
                "staging_bytes",
                "Memory of staging, which takes up what changed in a pause.",
                guest,
            ),
            epochs_in_flight: make.gauges(
                "epochs_in_flight",
                "Epochs that are captured and not acked.",
                guest,
            ),
            in_flight: make.gauges(
                "in_flight_bytes",
                "Bytes of epochs that are encoded and not acked.",
                guest,
            ),
            inbox: make.gauges(
                "inbox_bytes",
                "Bytes of epochs that have arrived and wait to be decoded.",
                guest,
            ),
            full_sync: make.float_gauges(
                "full_sync_ratio",
                "How much of a full sync is encoded, of 1; 1 as well while what changed meanwhile is copied again. None without one.",
                guest,
            ),
        }
    }
}

/// The series of one guest.
#[derive(Debug)]
pub(super) struct SizeMeter {
    families: SizeFamilies,
    guest: String,
    image: IntGauge,
    shadow: IntGauge,
    staging: IntGauge,
    epochs_in_flight: IntGauge,
    in_flight: IntGauge,
    inbox: IntGauge,
    /// Created when a full sync begins.
    full_sync: Option<Gauge>,
}

impl SizeMeter {
    pub(super) fn new(families: &SizeFamilies, guest: &str) -> Self {
        let labels = &[guest];
        Self {
            image: families.image.with_label_values(labels),
            shadow: families.shadow.with_label_values(labels),
            staging: families.staging.with_label_values(labels),
            epochs_in_flight: families.epochs_in_flight.with_label_values(labels),
            in_flight: families.in_flight.with_label_values(labels),
            inbox: families.inbox.with_label_values(labels),
            full_sync: None,
            guest: guest.to_owned(),
            families: families.clone(),
        }
    }

    pub(super) fn encoder(&self, shadow: u64, staging: u64) {
        self.shadow.set(shadow.cast_signed());
        self.staging.set(staging.cast_signed());
    }

    pub(super) fn in_flight(&self, epochs: usize, bytes: u64) {
        self.epochs_in_flight.set(epochs as i64);
        self.in_flight.set(bytes.cast_signed());
    }

    pub(super) fn held(&self, image: u64, inbox: u64) {
        self.image.set(image.cast_signed());
        self.inbox.set(inbox.cast_signed());
    }

    /// Sets the share of a full sync that is done; `None` without a full sync.
    pub(super) fn full_sync(&mut self, share: Option<f64>) {
        let (families, guest) = (&self.families, &self.guest);
        match share {
            Some(share) => self
                .full_sync
                .get_or_insert_with(|| families.full_sync.with_label_values(&[guest]))
                .set(share.clamp(0.0, 1.0)),
            None if self.full_sync.take().is_some() => {
                let _ = families.full_sync.remove_label_values(&[guest]);
            }
            None => {}
        }
    }
}

impl Drop for SizeMeter {
    fn drop(&mut self) {
        self.full_sync(None);
        let (families, guest) = (&self.families, &[self.guest.as_str()]);
        for family in [
            &families.image,
            &families.shadow,
            &families.staging,
            &families.epochs_in_flight,
            &families.in_flight,
            &families.inbox,
        ] {
            let _ = family.remove_label_values(guest);
        }
    }
}
