//! `Protected` is a statement about now (S2): where hosts, link and witness have been well for a while, it is only said
//! with a commit that is younger than the time at which an epoch is slow, and a guest that is said to run does run.

use super::super::facts::HostView;
use super::super::settings::Settings;
use super::{Invariant, Verdict};
use understudy_session::{Span, Time};

/// All has been well for this long before anything is asked for: what was slow may have to be sent again.
const WELL: Span = Span::from_ms(300);
/// A guest that is to run runs within this.
const STILL: Span = Span::from_ms(150);
/// Capture, link, ack and the interval of a commit that is in time.
const SLACK: Span = Span::from_ms(60);

pub(super) fn look(now: Time, views: &[HostView; 2]) -> Verdict {
    for (host, view) in views.iter().enumerate() {
        if let Some(still) = view.still_since.filter(|since| *since + STILL < now) {
            let us = still.0 / 1000;
            return Err((Invariant::Progress, format!("host {host}'s guest stands still since {us} us")));
        }
        let (Some(committed_at), Some(since)) = (view.protected, view.well_since) else { continue };
        let due_from = committed_at.unwrap_or_default().max(since + WELL);
        if due_from + Settings::SLOW_MAX + SLACK < now {
            let us = committed_at.unwrap_or_default().0 / 1000;
            let what = format!("host {host} says protected, and its last commit was at {us} us");
            return Err((Invariant::Progress, what));
        }
    }
    Ok(())
}
