//! I1: a frame leaves only if its epoch is acked in its generation, or if the witness's disk says that no copy
//! of that generation may be activated.

use super::super::facts::Fact;
use super::{Invariant, Verdict};
use std::collections::BTreeMap;
use understudy::session::{Copy, Record};
use understudy_checkpoint::{Epoch, Generation};

#[derive(Debug, Default)]
pub(super) struct OutputCommit {
    acked: BTreeMap<Generation, Epoch>,
    record: Option<Record>,
}

impl OutputCommit {
    pub(super) fn see(&mut self, fact: &Fact) -> Verdict {
        match fact {
            Fact::AckSent { generation, epoch } => {
                let newest = self.acked.entry(*generation).or_default();
                *newest = (*newest).max(*epoch);
            }
            Fact::Recorded(record) => self.record = Some(record.clone()),
            Fact::Left(frame) => {
                let acked = self.acked.get(&frame.generation).is_some_and(|newest| frame.epoch <= *newest);
                let stale = self.record.as_ref().is_some_and(|record| {
                    record.generation == frame.generation && record.copy == Copy::Stale
                });
                if !acked && !stale {
                    let record = &self.record;
                    return Err((Invariant::OutputCommit, format!("{frame:?} left without ack; {record:?}")));
                }
            }
            _ => {}
        }
        Ok(())
    }
}
