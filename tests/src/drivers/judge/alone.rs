//! A7: without a witness a host lets unacked output out only on a person's order there, or if the guest was never
//! activated on another host; and a host takes over only on a person's order. A primary that does not know of any copy
//! lets its guest go on. So a person who starts the guest from a complete but unacknowledged copy gets two guests.

use super::super::HostId;
use super::super::facts::Fact;
use super::{Invariant, Verdict};
use std::collections::{BTreeMap, BTreeSet, HashSet};
use understudy_checkpoint::{Epoch, Generation};

#[derive(Debug, Default)]
pub(super) struct Alone {
    acked: BTreeMap<Generation, Epoch>,
    /// What copies have told: generation, epoch after the base, and what the frame says.
    told: HashSet<(Generation, Epoch, u64, u64)>,
    /// The generation begun last, and whether its primary knows of a copy.
    begun: Generation,
    followed: bool,
    /// Generations that ended by a takeover without their primary knowing of a copy.
    unaware: BTreeSet<Generation>,
    /// The host on which the guest was activated last.
    activated: Option<HostId>,
    /// Whether a person has since ordered the guest to move.
    move_wished: bool,
    /// The host that a person has since allowed to let output out.
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
            Fact::Told { generation, base, frame } => {
                _ = self.told.insert((*generation, base.next(), frame.counter, frame.says));
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
            // The other host has no copy any more, and has said so.
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
                let twin = (frame.generation, frame.epoch, frame.counter, frame.says);
                let acked = acked || self.told.contains(&twin);
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
