//! How a guest came to a host, in one line of `status`: the time line of the takeover.
//!
//! ```text
//!   └ taken over 3.2 s ago from epoch 77: noticed, +12.0 ms authority, +12.1 ms whole, +30.0 ms ran, +32.0 ms first frame
//! ```
//!
//! What was whole before the primary was found lost has no time of its own in it.

use crate::config::human::show_us;
use crate::control::status::Takeover;
use std::fmt::Write;

/// The line. `now_ns` is of the node's monotonic clock.
pub(super) fn words(takeover: &Takeover, now_ns: u64) -> String {
    let began_ns = takeover.detected_at_ns;
    let ago = show_us(now_ns.saturating_sub(takeover.activated_at_ns) / 1_000);
    let mut text = format!("taken over {ago} ago from epoch {}: noticed", takeover.from_epoch);
    let mut steps = vec![(takeover.authority_at_ns, "authority"), (takeover.activated_at_ns, "ran")];
    steps.extend(takeover.committed_at_ns.filter(|at| *at > began_ns).map(|at| (at, "whole")));
    steps.extend(takeover.first_frame_at_ns.map(|at| (at, "first frame")));
    steps.sort_by_key(|(at_ns, _)| *at_ns);
    for (at_ns, step) in steps {
        let _ = write!(text, ", +{} {step}", show_us(at_ns.saturating_sub(began_ns) / 1_000));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_step_is_told_with_its_time_after_the_loss_was_noticed() {
        let takeover = Takeover {
            detected_at_ns: 1_000_000_000,
            authority_at_ns: 1_012_000_000,
            committed_at_ns: Some(1_012_100_000),
            activated_at_ns: 1_030_000_000,
            first_frame_at_ns: Some(1_032_000_000),
            from_epoch: 77,
        };
        assert_eq!(
            words(&takeover, 4_230_000_000),
            "taken over 3.2 s ago from epoch 77: noticed, +12.0 ms authority, +12.1 ms whole, +30.0 ms ran, +32.0 ms \
             first frame"
        );
        let before = Takeover { committed_at_ns: Some(999_000_000), first_frame_at_ns: None, ..takeover };
        assert_eq!(
            words(&before, 1_030_000_000),
            "taken over 0 µs ago from epoch 77: noticed, +12.0 ms authority, +30.0 ms ran"
        );
    }
}
