//! [`Leases`]: what the witness has of hosts. Not here: who asks for it (`lease_turn`).

use std::collections::BTreeMap;
use understudy_session::NodeName;
use understudy_session::lease::{Arbiter, Lease};

/// What the witness has of hosts.
#[derive(Debug, Default)]
pub(super) struct Leases {
    pub(super) arbiter: Arbiter,
    pub(super) disk: BTreeMap<NodeName, Lease>,
    pub(super) writing: BTreeMap<NodeName, Lease>,
}

impl Leases {
    /// Memory is gone. Each write that was under way has reached the disk or not.
    pub(super) fn crash(&mut self, mut reaches_disk: impl FnMut() -> bool) {
        let under_way = std::mem::take(&mut self.writing).into_iter();
        self.disk.extend(under_way.filter(|_| reaches_disk()));
        self.arbiter = Arbiter::default();
    }

    pub(super) fn restart(&mut self) {
        self.writing.clear();
        self.arbiter = Arbiter::new(self.disk.clone());
    }
}
