//! S3: an epoch that is acked could be activated at that moment.

use super::super::facts::Fact;
use super::{Invariant, Verdict};

pub(super) fn see(fact: &Fact) -> Verdict {
    match fact {
        Fact::AckSent { epoch, could_start: false, .. } => Err((
            Invariant::Readiness,
            format!("epoch {epoch} was acked, and nothing could be started from it"),
        )),
        _ => Ok(()),
    }
}
