//! The witness with its disk: what was fsynced survives a crash, what was on its way there may or may not.
//!
//! Not here: what reaches it (`witness_turn`).

use super::host::Host;
use super::leases::Leases;
use super::names;
use super::{GUESTS, GuestId, HostId};
use std::collections::BTreeMap;
use understudy_session::witness::Witness;
use understudy_session::{Copy, Record, Time};

/// The third node.
#[derive(Debug)]
pub struct WitnessNode {
    pub(super) session: Witness,
    pub(super) disk: [Option<Record>; GUESTS],
    pub(super) writing: BTreeMap<u64, (GuestId, Record)>,
    pub(super) leases: Leases,
    pub(super) life: u64,
    pub(super) persist_fails: bool,
    /// Until when requests and answers come late and out of order.
    pub(super) lingers_until: Time,
    /// Its disk loses what it holds not for sure, at the next crash.
    pub(super) is_not_durable: bool,
    /// Records that were stable once, for the mutant that compares what they say.
    pub(super) past: [Vec<Record>; GUESTS],
}

impl WitnessNode {
    pub(super) fn new() -> Self {
        Self {
            session: Witness::new([]),
            disk: [None, None],
            writing: BTreeMap::new(),
            leases: Leases::default(),
            life: 0,
            persist_fails: false,
            lingers_until: Time(0),
            is_not_durable: false,
            past: Default::default(),
        }
    }

    /// What it tells: after a failed write that may be older than what the disk holds.
    pub fn record(&self, guest: GuestId) -> Option<&Record> {
        self.session.record(names::guest_name(guest))
    }

    /// The host that owns the guest but has lost it, with no copy left that could take over.
    pub(super) fn deserted_by(&self, guest: GuestId, hosts: &[Host; 2]) -> Option<HostId> {
        let owner = match self.record(guest) {
            Some(record) if record.copy == Copy::Stale => record.owner.clone(),
            Some(_) => return None,
            None => names::name(guest),
        };
        // What is left of an image from which no guest could be made helps nobody.
        let is_of_use = |host: &Host| host.image(guest).is_some() && !host.could_not_start_it(guest);
        let has_nothing = |host: &Host| host.engine.is_some() && !is_of_use(host) && !host.has_begun(guest);
        (0..2).find(|at| names::name(*at) == owner && has_nothing(&hosts[*at]))
    }
}
