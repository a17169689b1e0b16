//! `Protected` is a statement about now (S2). While hosts, link and witness have been well for some time, a guest may
//! only be called protected if its newest commit is younger than `slow_max`, and a guest that is said to run must run.

use super::super::facts::HostView;
use super::super::settings::Settings;
use super::{Invariant, Verdict};
use understudy_session::{Span, Time};

/// How long all must have been well before anything is required: what was slow may have to be sent again.
const WELL: Span = Span::from_ms(300);
/// How long it may take until a guest that should run does run.
const STILL: Span = Span::from_ms(150);
/// The time for capture, link, ack and interval of a commit that is not late.
const SLACK: Span = Span::from_ms(60);

pub(super) fn look(now: Time, views: &[HostView; 2]) -> Verdict {
    for (host, view) in views.iter().enumerate() {
        if let Some(still) = view.still_since.filter(|since| *since + STILL < now) {
            let us = still.0 / 1000;
            return Err((Invariant::Progress, format!("host {host}'s guest stands still since {us} us")));
        }
        let (Some(committed_at), Some(since)) = (view.protected, view.well_since) else { continue };
        let due_from = committed_at.unwrap_or_default().max(since + WELL);
        let slow = Settings::SLOW_MAX.max(Span(2 * view.period.0));
        if due_from + slow + SLACK < now {
            let us = committed_at.unwrap_or_default().0 / 1000;
            let what = format!("host {host} says protected, and its last commit was at {us} us");
            return Err((Invariant::Progress, what));
        }
    }
    Ok(())
}
