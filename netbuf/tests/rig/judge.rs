//! The judge: from a capture on the outside and the log of acks, on one clock, decides whether output commit held.

use super::capture::{Protocol, Seen, now_ns};
use std::collections::BTreeSet;
use understudy_checkpoint::Epoch;

/// Acks with the time just before the release was asked for.
#[derive(Default, Debug)]
pub(crate) struct AckLog(Vec<(i128, Epoch)>);

impl AckLog {
    /// `through` is acked now.
    pub(crate) fn ack(&mut self, through: Epoch) {
        self.0.push((now_ns(), through));
    }

    fn acked_at(&self, epoch: Epoch) -> Option<i128> {
        self.0.iter().find(|(_, through)| *through >= epoch).map(|(at, _)| *at)
    }
}

/// What the judge found.
#[derive(Default, PartialEq, Eq, Debug)]
pub(crate) struct Verdict {
    /// Frames of tests that were seen.
    pub(crate) seen: usize,
    /// Frames that left before their epoch's ack.
    pub(crate) early: usize,
    /// Sequence numbers below `sent` that never came.
    pub(crate) lost: usize,
    /// Frames that came after one sent later.
    pub(crate) reordered: usize,
    /// Frames that came twice.
    pub(crate) twice: usize,
    /// Which protocols came.
    pub(crate) protocols: BTreeSet<Protocol>,
}

impl Verdict {
    pub(crate) fn of(capture: &[Seen], acks: &AckLog, sent: u64) -> Self {
        let mut verdict = Self::default();
        let mut came = BTreeSet::new();
        let mut highest = None;
        for (at_ns, (protocol, epoch, sequence)) in capture.iter().filter_map(|it| Some((it.at_ns, it.told?)))
        {
            verdict.seen += 1;
            verdict.early += usize::from(acks.acked_at(epoch).is_none_or(|acked| at_ns < acked));
            verdict.twice += usize::from(!came.insert(sequence));
            verdict.reordered += usize::from(highest > Some(sequence));
            highest = highest.max(Some(sequence));
            verdict.protocols.insert(protocol);
        }
        verdict.lost = (0..sent).filter(|sequence| !came.contains(sequence)).count();
        verdict
    }

    /// Nothing early, nothing lost, everything once and in order.
    pub(crate) fn is_clean(&self) -> bool {
        self.early + self.lost + self.reordered + self.twice == 0
    }
}
