//! Texts for records and outcomes, for the log and the metrics.

use understudy_session::{Copy, WitnessOutcome};

pub(super) fn copy_words(copy: &Copy) -> String {
    match copy {
        Copy::Stale => "stale".into(),
        Copy::Fresh { holder } => format!("fresh at {holder}"),
    }
}

pub(super) fn outcome_label(outcome: WitnessOutcome) -> &'static str {
    match outcome {
        WitnessOutcome::Told => "told",
        WitnessOutcome::Swapped => "swapped",
        WitnessOutcome::Conflict => "conflict",
        WitnessOutcome::Illegal => "illegal",
    }
}
