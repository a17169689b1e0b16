//! A7: without a witness a host lets out what is not acked only by a person's wish there, or if no other host was ever
//! activated for the guest; and nobody takes over but by a person's wish.

use super::super::HostId;
use super::super::facts::Fact;
use super::{Invariant, Verdict};
use std::collections::BTreeMap;
use understudy_checkpoint::{Epoch, Generation};

#[derive(Debug, Default)]
pub(super) struct Alone {
    acked: BTreeMap<Generation, Epoch>,
    /// The host that was activated last.
    activated: Option<HostId>,
    /// A person has wished since then that the guest moves.
    move_wished: bool,
    /// A person has said since then that this host may.
    allowed: [bool; 2],
}

impl Alone {
    pub(super) fn see(&mut self, fact: &Fact) -> Verdict {
        match fact {
            Fact::AckSent { generation, epoch, .. } => {
                let newest = self.acked.entry(*generation).or_default();
                *newest = (*newest).max(*epoch);
            }
            Fact::MoveWished => self.move_wished = true,
            Fact::Activated { host, .. } if !self.move_wished && !self.allowed[*host] => {
                return Err((Invariant::Alone, format!("host {host} took over, and no person wished it")));
            }
            Fact::Activated { host, .. } => {
                self.move_wished = false;
                self.activated = Some(*host);
                self.allowed = [false; 2];
            }
            Fact::Person { host, .. } => self.allowed[*host] = true,
            Fact::Left(frame) => {
                let acked = self.acked.get(&frame.generation).is_some_and(|newest| frame.epoch <= *newest);
                let other = self.activated.is_some_and(|host| host != frame.host);
                if other && !acked && !self.allowed[frame.host] {
                    return Err((Invariant::Alone, format!("{frame:?} left; the other host was activated")));
                }
            }
            _ => {}
        }
        Ok(())
    }
}
