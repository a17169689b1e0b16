//! I7: nothing grows beyond its limit, nothing is dropped without a trace, and no session asks for the same timeout
//! again and again.

use super::super::facts::HostView;
use super::{Invariant, Verdict};

/// How many timeouts one moment may have: each of a session's timers once, and what follows from them.
const TIMEOUTS_IN_A_ROW_MAX: usize = 8;

pub(super) fn look(views: &[HostView; 2]) -> Verdict {
    for (host, view) in views.iter().enumerate() {
        let limits = [
            ("epochs in flight", view.in_flight),
            ("pieces of work waiting", view.work),
            ("bytes of epochs not committed", view.buffered_bytes),
            ("bytes of output held", view.held_bytes),
            ("frames of input kept for a copy", view.input_frames),
            ("frames of a copy kept", view.sent_frames),
            ("timeouts in a row", (view.timeouts_in_a_row, TIMEOUTS_IN_A_ROW_MAX)),
        ];
        for (what, (is, max)) in limits {
            if is > max {
                return Err((Invariant::Bounds, format!("host {host}: {is} {what}, at most {max}")));
            }
        }
        if view.dropped_frames > 0 {
            return Err((Invariant::Bounds, format!("host {host}: {} frames dropped", view.dropped_frames)));
        }
    }
    Ok(())
}
