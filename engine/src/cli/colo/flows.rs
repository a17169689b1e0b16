//! What is known of each flow: what became of its frames, and where it diverged. Bounded.
//!
//! A full table forgets flows of which nothing waits and that did not diverge; they stay in the sums.

use super::capture::Nanoseconds;
use super::report::{Fates, FlowReport};
use std::collections::{BTreeSet, HashMap};
use understudy_colo::Flow;
use understudy_colo::comparer::{FrameId, Why};

/// The most flows that are tracked at a time.
const FLOWS_MAX: usize = 65_536;

/// Flows that are listed.
const LISTED_MAX: usize = 1000;

/// Whether a flow's frames are compared.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Standing {
    Compared,
    /// The guests' output differs; in a live pair the rest would be compared after a checkpoint.
    Diverged(Why),
    /// A capture has cut one of its frames short, so that what follows has no counterpart.
    Cut,
}

/// A flow.
#[derive(Clone, Debug)]
pub(super) struct Record {
    pub(super) standing: Standing,
    pub(super) fates: Fates,
    /// The primary's frames that wait.
    pub(super) waiting: BTreeSet<FrameId>,
    pub(super) longest_wait: Nanoseconds,
    /// The number of the first byte of the guest's stream that the primary's capture has.
    pub(super) first_byte: Option<u32>,
    /// When the secondary's guest sent last.
    pub(super) secondary_at: Nanoseconds,
    /// Where it stands among the others.
    order: u64,
}

/// All flows.
#[derive(Default)]
pub(super) struct Flows {
    records: HashMap<Flow, Record>,
    forgotten: Fates,
    count: u64,
}

impl Flows {
    pub(super) fn known(&mut self, flow: &Flow) -> Option<&mut Record> {
        self.records.get_mut(flow)
    }

    /// The record of a flow; `None`: something waits of too many others.
    pub(super) fn enter(&mut self, flow: &Flow) -> Option<&mut Record> {
        if !self.records.contains_key(flow) {
            self.make_room()?;
            let record = Record {
                standing: Standing::Compared,
                fates: Fates::default(),
                waiting: BTreeSet::new(),
                longest_wait: 0,
                first_byte: None,
                secondary_at: Nanoseconds::MIN,
                order: self.count,
            };
            self.count += 1;
            self.records.insert(*flow, record);
        }
        self.records.get_mut(flow)
    }

    fn make_room(&mut self) -> Option<()> {
        if self.records.len() >= FLOWS_MAX {
            let forgotten = &mut self.forgotten;
            self.records.retain(|_, record| {
                let is_kept = !record.waiting.is_empty() || record.standing != Standing::Compared;
                if !is_kept {
                    forgotten.add(&record.fates);
                }
                is_kept
            });
        }
        (self.records.len() < FLOWS_MAX).then_some(())
    }

    /// The number of flows.
    pub(super) fn count(&self) -> u64 {
        self.count
    }

    /// The outcome of all frames.
    pub(super) fn all(&self) -> Fates {
        let mut all = self.forgotten;
        self.records.values().for_each(|record| all.add(&record.fates));
        all
    }

    /// The flows to list, those that diverged first, and the number of flows that are left out.
    pub(super) fn reports(&self) -> (Vec<FlowReport>, u64) {
        // Output that only the secondary sent is reported as a divergence.
        let mut known: Vec<_> = self.records.iter().filter(|(_, record)| record.fates.frames > 0).collect();
        known.sort_by_key(|(_, record)| (!matches!(record.standing, Standing::Diverged(_)), record.order));
        let listed = known.iter().take(LISTED_MAX).map(|(flow, record)| FlowReport {
            flow: flow.to_string(),
            fates: record.fates,
            longest_wait_ms: record.longest_wait as f64 / 1e6,
            diverged: match record.standing {
                Standing::Diverged(why) => Some(kind(why)),
                Standing::Compared | Standing::Cut => None,
            },
        });
        let listed: Vec<_> = listed.collect();
        let unlisted = self.count - listed.len() as u64;
        (listed, unlisted)
    }
}

/// The name of a kind of divergence, in reports.
pub(super) fn kind(why: Why) -> &'static str {
    match why {
        Why::Payload { .. } => "payload",
        Why::End { .. } => "end",
        Why::Reset { .. } => "reset",
        Why::Handshake { .. } => "handshake",
        Why::Urgent { .. } => "urgent",
        Why::Timeout => "timeout",
        Why::Silent => "silent",
        Why::Full(_) => "full",
    }
}

/// Where in the stream, if the kind has a place.
pub(super) fn place_of(why: Why) -> Option<u32> {
    match why {
        Why::Payload { at }
        | Why::End { at }
        | Why::Reset { at }
        | Why::Handshake { at }
        | Why::Urgent { at } => Some(at.0),
        Why::Timeout | Why::Silent | Why::Full(_) => None,
    }
}
