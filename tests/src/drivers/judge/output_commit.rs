//! I1: a frame leaves only if its epoch is acked in its generation, or if the witness's disk says that no copy
//! of that generation may be activated, or if a copy of the epoch before, in that generation, has told that it sent the same.
//!
//! A generation that was stale when a person gave the guest to another host stays stale: its copy cannot be activated
//! any more, and its primary lets output out until it learns of that person's order, which the witness believes
//! (`docs/SESSIONS.md`, "What is not covered"). A host that has learnt of it must not run the older guest: the judge of
//! authority checks that.

use super::super::facts::{Breach, Fact};
use super::super::frame::Frame;
use super::{Invariant, Verdict};
use std::collections::{BTreeMap, BTreeSet, HashSet};
use understudy_checkpoint::{Epoch, Generation};
use understudy_session::{Copy, Record};

/// How many frames may leave past the engine before the guest must be paused.
const LEAKS_MAX: u64 = 8;

#[derive(Debug, Default)]
pub(super) struct OutputCommit {
    acked: BTreeMap<Generation, Epoch>,
    /// What copies have told: generation, epoch after the base, and what the frame says.
    told: HashSet<(Generation, Epoch, u64, u64)>,
    record: Option<Record>,
    /// Generations whose copies were stale when a person gave the guest to another host.
    stale_for_good: BTreeSet<Generation>,
    /// Frames that have left past the engine in the present breach, without being allowed to.
    leaked: (Breach, u64),
}

impl OutputCommit {
    pub(super) fn see(&mut self, fact: &Fact) -> Verdict {
        match fact {
            Fact::AckSent { generation, epoch, .. } => {
                let newest = self.acked.entry(*generation).or_default();
                *newest = (*newest).max(*epoch);
            }
            Fact::Told { generation, base, frame } => {
                _ = self.told.insert((*generation, base.next(), frame.counter, frame.says));
            }
            Fact::Recorded(record) => {
                // Nobody takes over from a stale copy, and its owner may start the guest anew.
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
            // Nobody can hold frames before the engine notices the breach. An engine that has just begun has not
            // noticed it, and with a stale copy nothing had to be held.
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

    fn has_twin(&self, frame: &Frame) -> bool {
        self.told.contains(&(frame.generation, frame.epoch, frame.counter, frame.says))
    }

    fn may_leave(&self, frame: &Frame) -> bool {
        let acked = self.acked.get(&frame.generation).is_some_and(|newest| frame.epoch <= *newest);
        let stale = self
            .record
            .as_ref()
            .is_some_and(|record| record.generation == frame.generation && record.copy == Copy::Stale);
        acked || stale || self.has_twin(frame) || self.stale_for_good.contains(&frame.generation)
    }
}
