//! I2 and I5 on hosts: a host that has learnt of a newer generation runs no guest of an older one, no two hosts
//! run a guest of one generation, and nothing leaves from a fenced host.

use super::super::facts::{Fact, HostView};
use super::{Invariant, Verdict};
use understudy_checkpoint::Generation;

#[derive(Debug, Default)]
pub(super) struct Authority {
    learnt: [Generation; 2],
    fenced: [Option<Generation>; 2],
}

impl Authority {
    pub(super) fn see(&mut self, fact: &Fact) -> Verdict {
        match fact {
            Fact::Learnt { host, generation } => {
                self.learnt[*host] = self.learnt[*host].max(*generation);
            }
            Fact::Crashed { host, .. } => {
                self.learnt[*host] = Generation(0);
            }
            Fact::Fenced { host, generation } => self.fenced[*host] = Some(*generation),
            Fact::Left(frame) if self.fenced[frame.host] >= Some(frame.generation) => {
                return Err((Invariant::NoResurrection, format!("{frame:?} left a fenced host")));
            }
            _ => {}
        }
        Ok(())
    }

    pub(super) fn look(&mut self, views: &[HostView; 2]) -> Verdict {
        for (host, view) in views.iter().enumerate() {
            // A guest that is not claimed yet has generation 0, and one that a dead engine left behind reaches nobody;
            // their frames are judged as output.
            let is_run = |generation: &Generation| {
                generation.0 > 0 && (view.is_primary || self.fenced[host] >= Some(*generation))
            };
            if let Some(generation) =
                view.runs.filter(is_run).filter(|generation| *generation < self.learnt[host])
            {
                let newer = self.learnt[host];
                let what = format!("host {host} runs generation {generation}, having learnt of {newer}");
                return Err((Invariant::Authority, what));
            }
        }
        match (views[0].runs, views[1].runs) {
            (Some(one), Some(other)) if one == other && one.0 > 0 => {
                Err((Invariant::Authority, format!("both hosts run a guest of generation {one}")))
            }
            _ => Ok(()),
        }
    }
}
