//! S7, S8: of two hosts that can reach each other, at most one runs the guest, whatever the witness knows or has lost.

use super::super::facts::HostView;
use super::{Invariant, Verdict};
use understudy_session::{Span, Time};

/// How long two hosts may take to settle it.
const SETTLED: Span = Span::from_ms(500);

#[derive(Debug, Default)]
pub(super) struct Meeting {
    both_since: Option<Time>,
}

impl Meeting {
    pub(super) fn look(&mut self, now: Time, views: &[HostView; 2]) -> Verdict {
        let runs = |view: &HostView| view.is_primary && view.runs.is_some_and(|generation| generation.0 > 0);
        let both = views.iter().all(runs);
        self.both_since = self.both_since.or(Some(now)).filter(|_| both);
        if let (Some(since), Some(well)) = (self.both_since, views[0].well_since)
            && since.max(well) + SETTLED < now
        {
            let generations = [views[0].runs, views[1].runs];
            return Err((Invariant::Meeting, format!("both hosts run the guest: {generations:?}")));
        }
        Ok(())
    }
}
