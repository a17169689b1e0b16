//! A secondary that has lost its primary gives the link its grace before it asks for the guest, unless the primary's process has
//! ended since it was heard, or a person has said so. A cut between two healthy hosts would move guests otherwise.

use super::super::HostId;
use super::super::facts::Fact;
use super::super::settings::Settings;
use super::{Invariant, Verdict};
use understudy_session::Time;

#[derive(Debug, Default)]
pub(super) struct Patience {
    /// Since when each host holds a whole copy and hears its primary, and since when it does so no more.
    stands_since: [Time; 2],
    alone_since: [Option<Time>; 2],
    /// When an engine of each host last died.
    died_at: [Option<Time>; 2],
    /// Whether it has not been started again: what it sent before may make the other stand afterwards.
    is_dead: [bool; 2],
    /// A person has ordered a takeover or a switchover.
    is_ordered: bool,
}

impl Patience {
    pub(super) fn see(&mut self, at: Time, fact: &Fact) -> Verdict {
        match fact {
            Fact::Stands { host } => (self.stands_since[*host], self.alone_since[*host]) = (at, None),
            Fact::Lone { host } => self.alone_since[*host] = Some(at),
            Fact::Crashed { host, .. } => {
                (self.died_at[*host], self.alone_since[*host]) = (Some(at), None);
                self.is_dead[*host] = true;
            }
            Fact::EngineBegan { host } => self.is_dead[*host] = false,
            Fact::MoveWished | Fact::Person { moves: true, .. } => self.is_ordered = true,
            Fact::TakesOver { host } => return self.takes_over(*host, at),
            Fact::Activated { .. } => self.is_ordered = false,
            _ => {}
        }
        Ok(())
    }

    fn takes_over(&self, host: HostId, at: Time) -> Verdict {
        let Some(since) = self.alone_since[host].filter(|_| !self.is_ordered) else { return Ok(()) };
        let other = 1 - host;
        let has_died = self.died_at[other].is_some_and(|died_at| died_at >= self.stands_since[host]);
        if self.is_dead[other] || has_died || since + Settings::TAKEOVER_GRACE <= at {
            return Ok(());
        }
        let us = (at - since).0 / 1000;
        Err((
            Invariant::Patience,
            format!("host {host} asks for the guest {us} us after a loss, and the other lives"),
        ))
    }
}
