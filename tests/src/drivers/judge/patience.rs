//! A secondary that has lost its primary gives the link its grace before it asks for the guest, unless the primary's process has
//! ended since it was heard, or a person has said so. A cut between two healthy hosts would move guests otherwise. While it hears that
//! process on another network the grace begins anew, within a bound.

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
    /// When each host last heard the other one's engine without a link.
    heard_at: [Option<Time>; 2],
    /// Since when nothing was acked, the link of each host having been lost.
    lone_since: [Option<Time>; 2],
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
            Fact::Lone { host } => {
                self.alone_since[*host] = Some(at);
                self.lone_since[*host].get_or_insert(at);
            }
            Fact::AckSent { .. } => self.lone_since = [None; 2],
            Fact::Heard { host } => self.heard_at[*host] = Some(at),
            Fact::Crashed { host, .. } => {
                (self.died_at[*host], self.alone_since[*host]) = (Some(at), None);
                self.is_dead[*host] = true;
            }
            Fact::EngineBegan { host } => self.is_dead[*host] = false,
            Fact::MoveWished | Fact::Person { moves: true, .. } => self.is_ordered = true,
            Fact::TakesOver { host } => {
                let verdict = self.takes_over(*host, at);
                self.heard_at[*host] = None;
                return verdict;
            }
            Fact::Activated { .. } => self.is_ordered = false,
            _ => {}
        }
        Ok(())
    }

    fn takes_over(&self, host: HostId, at: Time) -> Verdict {
        let Some(since) = self.alone_since[host].filter(|_| !self.is_ordered) else { return Ok(()) };
        let (other, grace) = (1 - host, Settings::TAKEOVER_GRACE);
        let has_died = self.died_at[other].is_some_and(|died_at| died_at >= self.stands_since[host]);
        let may_be_kept = self.lone_since[host].is_some_and(|since| at < since + Settings::FLAP_MAX);
        let is_heard = self.heard_at[host].is_some_and(|heard_at| at < heard_at + grace);
        if self.is_dead[other] || has_died || since + grace <= at && !(may_be_kept && is_heard) {
            return Ok(());
        }
        let us = (at - since).0 / 1000;
        Err((
            Invariant::Patience,
            format!(
                "host {host} asks for the guest {us} us after a loss, and the other lives (heard: {is_heard})"
            ),
        ))
    }
}
