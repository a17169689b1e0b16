//! A frame of a guest with a copy leaves before long, whether the copy sends the same or not: by a match, or since a checkpoint was
//! made for it. Judged while the guest is said to be protected, and hosts, link and witness have been well for some time.

use super::super::facts::{Fact, HostView};
use super::super::settings::{MATCH_MAX, Settings};
use super::{Invariant, Verdict};
use std::collections::BTreeMap;
use understudy_checkpoint::Generation;
use understudy_session::{Span, Time};

/// How long all must have been well before anything is required: what was slow may have to be sent again.
const WELL: Span = Span::from_ms(300);
/// The time for the gap between two checkpoints, for a copy to be set, and for capture, link and ack.
const SLACK: Span = Span::from_ms(40);

#[derive(Debug, Default)]
pub(super) struct Promptness {
    generation: Generation,
    /// Frames that were sent and have not left, by their counter, and since when.
    waiting: BTreeMap<u64, Time>,
    protected_since: Option<Time>,
    /// No checkpoint could be made at this time. How soon the copy is given up for that, other judges say.
    held_up_at: Time,
}

impl Promptness {
    pub(super) fn see(&mut self, at: Time, fact: &Fact) {
        match fact {
            Fact::Began { generation, .. }
            | Fact::Adopted { generation, .. }
            | Fact::Activated { generation, .. } => {
                (self.generation, self.protected_since) = (*generation, None);
                self.waiting.clear();
            }
            Fact::Stepped { generation, by_copy: false, step, .. } if *generation == self.generation => {
                self.waiting.extend(step.sent.map(|counter| (counter, at)));
            }
            Fact::Left(frame) | Fact::Leaked { frame, .. } => _ = self.waiting.remove(&frame.counter),
            _ => {}
        }
    }

    pub(super) fn look(&mut self, now: Time, views: &[HostView; 2]) -> Verdict {
        if views.iter().any(|view| view.is_held_up) {
            self.held_up_at = now;
        }
        let protected = views.iter().find(|view| view.is_primary && view.protected.is_some());
        let Some(view) = protected.filter(|view| view.period > Span(0)) else {
            self.protected_since = None;
            return Ok(());
        };
        let protected_since = *self.protected_since.get_or_insert(now);
        let (Some(well), Some((counter, sent))) =
            (view.well_since, self.waiting.iter().min_by_key(|(_, sent)| **sent))
        else {
            return Ok(());
        };
        let since = (*sent).max(protected_since).max(well + WELL).max(self.held_up_at);
        // An ack that is later than this is said to be late.
        let bound = Span(MATCH_MAX.0 + Settings::SLOW_MAX.0 + SLACK.0);
        if since + bound < now {
            let us = sent.0 / 1000;
            return Err((Invariant::Promptness, format!("the frame at {counter} waits since {us} us")));
        }
        Ok(())
    }
}
