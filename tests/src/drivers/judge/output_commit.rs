//! I1: a frame leaves only if its epoch is acked in its generation, or if the witness's disk says that no copy
//! of that generation may be activated.
//!
//! A generation that was stale when a person gave the guest to another host stays so: its copy cannot be activated any more,
//! and its primary lets output out until it hears of that person's word, which the witness believes (`docs/SESSIONS.md`,
//! "What is not covered"). Whoever has learnt of it runs no guest of before: that is the judge of authority's.

use super::super::facts::{Breach, Fact};
use super::super::frame::Frame;
use super::{Invariant, Verdict};
use std::collections::{BTreeMap, BTreeSet};
use understudy_checkpoint::{Epoch, Generation};
use understudy_session::{Copy, Record};

/// Frames that go another way before the guest is paused for it.
const LEAKS_MAX: u64 = 8;

#[derive(Debug, Default)]
pub(super) struct OutputCommit {
    acked: BTreeMap<Generation, Epoch>,
    record: Option<Record>,
    /// Generations whose copies were stale when a person gave the guest to another host.
    stale_for_good: BTreeSet<Generation>,
    /// Frames that have gone another way through the present breach, and might not.
    leaked: (Breach, u64),
}

impl OutputCommit {
    pub(super) fn see(&mut self, fact: &Fact) -> Verdict {
        match fact {
            Fact::AckSent { generation, epoch, .. } => {
                let newest = self.acked.entry(*generation).or_default();
                *newest = (*newest).max(*epoch);
            }
            Fact::Recorded(record) => {
                // Nobody takes over from a stale copy, and its owner begins anew for itself.
                if let Some(before) = self.record.replace(record.clone())
                    && before.copy == Copy::Stale
                    && before.owner != record.owner
                {
                    self.stale_for_good.insert(before.generation);
                }
            }
            Fact::Left(frame) if !self.may_leave(frame) => {
                let record = &self.record;
                return Err((Invariant::OutputCommit, format!("{frame:?} left without ack; {record:?}")));
            }
            // Those before the engine hears of it nobody can hold. An engine that begins has not heard of it, and where
            // the copy was stale nobody was to do anything.
            Fact::Leaked { frame, breach: Some(breach) } if !self.may_leave(frame) => {
                if self.leaked.0 != *breach {
                    self.leaked = (*breach, 0);
                }
                self.leaked.1 += 1;
                let count = self.leaked.1;
                if count > LEAKS_MAX {
                    let what = format!("{frame:?} left another way, as {} did before", count - 1);
                    return Err((Invariant::OutputCommit, what));
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn may_leave(&self, frame: &Frame) -> bool {
        let acked = self.acked.get(&frame.generation).is_some_and(|newest| frame.epoch <= *newest);
        let stale = self
            .record
            .as_ref()
            .is_some_and(|record| record.generation == frame.generation && record.copy == Copy::Stale);
        acked || stale || self.stale_for_good.contains(&frame.generation)
    }
}
