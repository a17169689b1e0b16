//! A7: without a witness a host lets out what is not acked only by a person's wish there, or if no other host was ever
//! activated for the guest; and nobody takes over but by a person's wish. A primary that has never heard of a copy lets
//! its guest go on as before: whoever starts one from a copy that is complete and unacknowledged has both.

use super::super::HostId;
use super::super::facts::Fact;
use super::{Invariant, Verdict};
use std::collections::{BTreeMap, BTreeSet};
use understudy_checkpoint::{Epoch, Generation};

#[derive(Debug, Default)]
pub(super) struct Alone {
    acked: BTreeMap<Generation, Epoch>,
    /// The generation begun last, and whether its primary has heard of a copy.
    begun: Generation,
    followed: bool,
    /// Generations that were taken over from without their primary's having heard of a copy.
    unaware: BTreeSet<Generation>,
    /// The host that was activated last.
    activated: Option<HostId>,
    /// A person has wished since then that the guest moves.
    move_wished: bool,
    /// A person has said since then that this host may.
    allowed: [bool; 2],
    /// Where the generation begun last runs.
    begun_on: Option<HostId>,
    /// Generations that a person let go where they run, and that have had no copy since. A person who then also takes over on
    /// the other host has two guests; neither host can hear of it in time.
    let_go: BTreeSet<Generation>,
}

impl Alone {
    pub(super) fn see(&mut self, fact: &Fact) -> Verdict {
        match fact {
            Fact::AckSent { generation, epoch, .. } => {
                let newest = self.acked.entry(*generation).or_default();
                *newest = (*newest).max(*epoch);
                self.let_go.remove(generation);
            }
            Fact::Followed { generation } => self.followed |= *generation == self.begun,
            Fact::Began { host, generation } | Fact::Adopted { host, generation } => {
                self.begins(*host, *generation);
            }
            Fact::MoveWished => self.move_wished = true,
            Fact::Activated { host, .. } if !self.move_wished && !self.allowed[*host] => {
                return Err((Invariant::Alone, format!("host {host} took over, and no person wished it")));
            }
            Fact::Activated { host, generation, .. } => {
                if !self.followed {
                    self.unaware.insert(self.begun);
                }
                self.begins(*host, *generation);
                self.move_wished = false;
                self.activated = Some(*host);
                self.allowed = [false; 2];
            }
            // The other host has none of it any more, and says so.
            Fact::Crashed { host, took_guest: true } if self.activated == Some(*host) => {
                self.activated = None
            }
            Fact::Person { host, moves } => {
                self.allowed[*host] = true;
                if !moves && self.begun_on == Some(*host) {
                    self.let_go.insert(self.begun);
                }
            }
            Fact::Left(frame) => {
                let acked = self.acked.get(&frame.generation).is_some_and(|newest| frame.epoch <= *newest);
                let other = self.activated.is_some_and(|host| host != frame.host);
                let knows = !self.unaware.contains(&frame.generation);
                let is_let_go = self.let_go.contains(&frame.generation);
                if other && knows && !acked && !is_let_go && !self.allowed[frame.host] {
                    return Err((Invariant::Alone, format!("{frame:?} left; the other host was activated")));
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn begins(&mut self, host: HostId, generation: Generation) {
        (self.begun, self.begun_on, self.followed) = (generation, Some(host), false);
    }
}
