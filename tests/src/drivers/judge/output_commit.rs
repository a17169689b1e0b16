//! I1: a frame leaves only if its epoch is acked in its generation, or if the witness's disk says that no copy
//! of that generation may be activated.

use super::super::facts::Fact;
use super::super::frame::Frame;
use super::{Invariant, Verdict};
use std::collections::BTreeMap;
use understudy_checkpoint::{Epoch, Generation};
use understudy_session::{Copy, Record};

/// Frames that go another way before the guest is paused for it.
const LEAKS_MAX: u64 = 8;

#[derive(Debug, Default)]
pub(super) struct OutputCommit {
    acked: BTreeMap<Generation, Epoch>,
    record: Option<Record>,
}

impl OutputCommit {
    pub(super) fn see(&mut self, fact: &Fact) -> Verdict {
        match fact {
            Fact::AckSent { generation, epoch, .. } => {
                let newest = self.acked.entry(*generation).or_default();
                *newest = (*newest).max(*epoch);
            }
            Fact::Recorded(record) => self.record = Some(record.clone()),
            Fact::Left(frame) if !self.may_leave(frame) => {
                let record = &self.record;
                return Err((Invariant::OutputCommit, format!("{frame:?} left without ack; {record:?}")));
            }
            // Those before the engine hears of it nobody can hold.
            Fact::Leaked { frame, count } if *count > LEAKS_MAX && !self.may_leave(frame) => {
                let what = format!("{frame:?} left another way, as {} did before", count - 1);
                return Err((Invariant::OutputCommit, what));
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
        acked || stale
    }
}
