//! How many bytes are on their way to the peer: of epochs that are encoded and not acked.
//!
//! Not here: how many epochs may be ([`understudy_session::primary`]).

use std::collections::VecDeque;
use understudy_checkpoint::Epoch;

/// Epochs, oldest first, and their bytes on the link.
#[derive(Debug, Default)]
pub(in crate::node) struct Unacked(VecDeque<(Epoch, u64)>);

impl Unacked {
    /// An epoch is encoded. Its ack may have been faster.
    pub(super) fn push(&mut self, epoch: Epoch, bytes: u64) {
        self.0.push_back((epoch, bytes));
    }

    /// What is left once `acked` is acked and `in_flight` epochs are captured and not acked. None is in flight after a link
    /// ended, either: what was on it is sent anew, as another epoch.
    pub(super) fn bytes(&mut self, acked: Option<Epoch>, in_flight: usize) -> u64 {
        self.0.retain(|(epoch, _)| Some(*epoch) > acked);
        if in_flight == 0 {
            self.0.clear();
        }
        // One that is captured may not be encoded yet; more than are in flight went with a link.
        self.0.drain(..self.0.len().saturating_sub(in_flight));
        self.0.iter().map(|(_, bytes)| bytes).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_acked_or_went_with_a_link_is_not_under_way() {
        let mut unacked = Unacked::default();
        unacked.push(Epoch(1), 10);
        unacked.push(Epoch(2), 20);
        unacked.push(Epoch(3), 40);
        assert_eq!(unacked.bytes(None, 3), 70);
        assert_eq!(unacked.bytes(Some(Epoch(1)), 3), 60, "the fourth is captured, and not encoded yet");
        unacked.push(Epoch(4), 80);
        assert_eq!(unacked.bytes(Some(Epoch(1)), 1), 80, "a resync is all that is in flight");
        assert_eq!(unacked.bytes(Some(Epoch(1)), 0), 0);
        unacked.push(Epoch(5), 5);
        assert_eq!(unacked.bytes(Some(Epoch(5)), 1), 0, "its ack was faster than its report");
    }
}
