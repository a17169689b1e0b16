//! The link to the other host, as a session of either role sees it: whether it is up, whether the peer has spoken on
//! it, and how long its silence means nothing.
//!
//! ```text
//!   came_up ──────► up ── the peer speaks ──► up, spoken ── silent_at ──► the peer is lost
//!                    └─ nothing is sent for as long as a heartbeat's period ──► heartbeat_at
//! ```
//!
//! Not here: what a session makes of a loss.

use super::{Span, Time};

/// What is known about the present link.
#[derive(Debug)]
struct Up {
    /// The peer has said something on this link.
    has_spoken: bool,
    heard_at: Time,
    sent_at: Time,
}

/// A link that is down, or up and heard from some time ago.
#[derive(Debug, Default)]
pub(super) struct Liveness(Option<Up>);

impl Liveness {
    /// A new link is up; nothing was heard on it.
    pub(super) fn came_up(&mut self, now: Time) {
        self.0 = Some(Up { has_spoken: false, heard_at: now, sent_at: now });
    }

    /// The link is gone. Returns whether there was one.
    pub(super) fn went_down(&mut self) -> bool {
        self.0.take().is_some()
    }

    pub(super) fn is_up(&self) -> bool {
        self.0.is_some()
    }

    /// Whether the peer has said anything on this link.
    pub(super) fn has_spoken(&self) -> bool {
        self.0.as_ref().is_some_and(|up| up.has_spoken)
    }

    /// The peer gave a sign of life.
    pub(super) fn heard(&mut self, now: Time) {
        if let Some(up) = &mut self.0 {
            up.has_spoken = true;
            up.heard_at = now;
        }
    }

    /// A message went out.
    pub(super) fn sent(&mut self, now: Time) {
        if let Some(up) = &mut self.0 {
            up.sent_at = now;
        }
    }

    /// When silence means that the peer is lost: `silence_max` after its last word, or `unspoken_max` after the link came
    /// up if it has not spoken on it at all (`None`: such a silence means nothing).
    pub(super) fn silent_at(&self, silence_max: Span, unspoken_max: Option<Span>) -> Option<Time> {
        let up = self.0.as_ref()?;
        let max = if up.has_spoken { Some(silence_max) } else { unspoken_max };
        max.map(|max| up.heard_at + max)
    }

    /// When a heartbeat is due.
    pub(super) fn heartbeat_at(&self, heartbeat: Span) -> Option<Time> {
        self.0.as_ref().map(|up| up.sent_at + heartbeat)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SILENCE: Span = Span::from_ms(70);
    const UNSPOKEN: Span = Span::from_ms(500);

    fn ms(ms: u64) -> Time {
        Time(0) + Span::from_ms(ms)
    }

    #[test]
    fn silence_counts_from_the_last_word_and_on_a_link_without_one_from_its_beginning_if_at_all() {
        let mut link = Liveness::default();
        assert_eq!((link.silent_at(SILENCE, Some(UNSPOKEN)), link.heartbeat_at(SILENCE)), (None, None));
        link.came_up(ms(10));
        assert_eq!(link.silent_at(SILENCE, None), None);
        assert_eq!(link.silent_at(SILENCE, Some(UNSPOKEN)), Some(ms(510)));
        link.heard(ms(20));
        assert_eq!(link.silent_at(SILENCE, Some(UNSPOKEN)), Some(ms(90)));
        assert!(link.went_down() && !link.went_down());
        link.came_up(ms(30));
        assert!(!link.has_spoken(), "what was heard on the link before says nothing of this one");
    }

    #[test]
    fn a_heartbeat_is_due_after_what_was_sent_last_and_not_after_what_was_heard() {
        let mut link = Liveness::default();
        link.came_up(ms(0));
        link.sent(ms(30));
        link.heard(ms(40));
        assert_eq!(link.heartbeat_at(Span::from_ms(50)), Some(ms(80)));
    }
}
