//! Numbers of the requests about leases that a node sends to the witness.

use understudy_session::RequestId;

/// How many numbers are used.
#[derive(Default, Debug)]
pub(super) struct RequestIds(u64);

impl RequestIds {
    /// Uses up the next number.
    pub(super) fn take(&mut self) -> RequestId {
        self.0 += 1;
        RequestId(self.0)
    }

    /// The number that the next request will have. Replies with a smaller one answer earlier requests, and do not count.
    pub(super) fn next(&self) -> RequestId {
        RequestId(self.0 + 1)
    }
}
