//! All guests of the node, each in its role, and the changes from one role to the other.
//!
//! ```text
//!   started here ─► Primary ── Fence ──► (gone) ── the peer offers it ──► Secondary
//!                      ▲                                                      │
//!                      └───────────────── Activated ──────────────────────────┘
//! ```

use super::arrived::{Arrived, GuestName};
use super::beginning::unexpected;
use super::offers::{OfferKey, PeerOffer};
use super::primary::{Over, PrimaryGuest};
use super::secondary::SecondaryGuest;
use super::wires::Wires;
use crate::config::NodeConfig;
use crate::guest::{Host, OutputMaker, ProtectorConfig, Report, Reporter, RuntimeId, Workers};
use crate::memory;
use crate::metrics::Metrics;
use crossbeam::channel::Sender;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use understudy_link::{HoldReason, HoldRefusal};
use understudy_session::primary::SlowPolicy;
use understudy_session::{NodeName, Time, ToSecondary, WitnessReply, primary, secondary};

pub(super) enum Guest {
    Primary(Box<PrimaryGuest>),
    Secondary(Box<SecondaryGuest>),
}

/// The guests.
pub struct Guests {
    pub(super) config: NodeConfig,
    pub(super) metrics: Metrics,
    pub(super) host: Arc<dyn Host>,
    pub(super) workers: Arc<dyn Workers>,
    reports: Sender<(RuntimeId, Report)>,
    pub(super) outputs: OutputMaker,
    pub(super) guests: BTreeMap<GuestName, Guest>,
    runtimes: u64,
    /// What peers said they run, on their present links.
    pub(super) offers: BTreeMap<OfferKey, PeerOffer>,
    /// Guests that may run here: whether they do was not seen yet.
    unseen: BTreeSet<GuestName>,
    /// What says how much memory can still be had; a simulated host's is its own.
    pub(super) available_bytes: fn() -> Option<u64>,
    /// Threads that copy pages in a pause. Counting processors reads files: not in each turn of the loop.
    copiers: usize,
}

impl Guests {
    /// No guest yet; `workers` do what takes time for those to come, and say so to `reports`.
    pub fn new(
        config: NodeConfig,
        metrics: Metrics,
        host: Arc<dyn Host>,
        workers: Arc<dyn Workers>,
        reports: Sender<(RuntimeId, Report)>,
        outputs: OutputMaker,
    ) -> Self {
        Self {
            config,
            metrics,
            host,
            workers,
            reports,
            outputs,
            guests: BTreeMap::new(),
            runtimes: 0,
            offers: BTreeMap::new(),
            unseen: BTreeSet::new(),
            available_bytes: memory::available_bytes,
            copiers: std::thread::available_parallelism().map_or(1, usize::from),
        }
    }

    /// Asks `available_bytes` for the memory of this host, where the kernel is not to be asked.
    pub fn set_available_bytes(&mut self, available_bytes: fn() -> Option<u64>) {
        self.available_bytes = available_bytes;
    }

    /// The peer of a guest that is run or held here.
    pub(super) fn peer_of(&self, name: &str) -> Option<&NodeName> {
        match self.guests.get(name)? {
            Guest::Primary(guest) if guest.has_ended() => None,
            Guest::Primary(guest) => Some(&guest.peer),
            Guest::Secondary(guest) => Some(&guest.peer),
        }
    }

    /// Whether a guest of this name need not be looked for: it is run here, or something of it is held. Of one that a peer
    /// only offers, nothing is, and one that runs here is to be found.
    pub(super) fn sees_to(&self, name: &str) -> bool {
        match self.guests.get(name) {
            None => false,
            Some(Guest::Primary(guest)) => !guest.has_ended(),
            Some(Guest::Secondary(held)) => !held.holds_nothing(),
        }
    }

    /// A guest that is looked for from now on. Without a witness nobody else can say whether it runs here: until that was
    /// seen, no peer is told that nothing of it is held (`docs/DESIGN.md#s4`).
    pub(super) fn look_for(&mut self, name: &str) {
        if self.config.witness.is_none() && !self.guests.contains_key(name) {
            self.unseen.insert(name.into());
        }
    }

    /// It was seen whether a guest runs here: what a peer offered is answered.
    pub(super) fn looked_for(&mut self, name: &str, wires: &mut dyn Wires) {
        if self.unseen.remove(name) {
            self.reconsider(&name.into(), wires);
        }
    }

    /// Whether a guest may run here without anybody having seen it.
    pub(super) fn may_run_unseen(&self, name: &str) -> bool {
        self.unseen.contains(name)
    }

    pub(super) fn runtime(&mut self) -> (RuntimeId, Reporter) {
        self.runtimes += 1;
        let runtime = RuntimeId(self.runtimes);
        (runtime, Reporter::new(runtime, self.reports.clone(), self.outputs.bell.clone()))
    }

    /// The link to a peer is up.
    pub fn link_up(&mut self, peer: &NodeName, wires: &mut dyn Wires) {
        self.metrics.set_link(&peer.0, true);
        for guest in self.guests.values_mut() {
            match guest {
                Guest::Primary(guest) if guest.peer == *peer => guest.attach(wires),
                Guest::Secondary(guest) if guest.peer == *peer => guest.attach(wires),
                _ => {}
            }
        }
    }

    /// The link to a peer has ended.
    pub fn link_down(&mut self, peer: &NodeName, wires: &mut dyn Wires) {
        self.metrics.set_link(&peer.0, false);
        for guest in self.guests.values_mut() {
            match guest {
                Guest::Primary(guest) if guest.peer == *peer => guest.detach(wires),
                Guest::Secondary(guest) if guest.peer == *peer => guest.detach(wires),
                _ => {}
            }
        }
        self.peer_went(peer);
    }

    /// A frame about a guest.
    pub fn arrived(&mut self, peer: NodeName, name: GuestName, what: Arrived, wires: &mut dyn Wires) {
        if let Arrived::Offer(generation, description) = what {
            return self.offered(&name, peer, generation, *description, wires);
        }
        if let Arrived::ToSecondary(message) = &what {
            self.make_way(&name, &peer, message, wires);
        }
        match (self.guests.get_mut(&name), what) {
            (Some(Guest::Primary(guest)), Arrived::ToPrimary(message)) if guest.peer == peer => {
                guest.handle(primary::Input::Message(message), wires);
            }
            (Some(Guest::Primary(guest)), Arrived::Declined(refusal)) if guest.peer == peer => {
                guest.declined(refusal, wires);
            }
            (Some(Guest::Primary(guest)), Arrived::Ready) if guest.peer == peer => guest.attach(wires),
            (Some(Guest::Primary(guest)), Arrived::ToSecondary(message)) => {
                guest.handle(primary::Input::Rival { generation: generation_of(&message) }, wires);
            }
            (Some(Guest::Secondary(guest)), what) if guest.peer == peer => guest.arrived(what, wires),
            _ => {}
        }
    }

    /// The witness can be asked.
    pub fn witness_up(&mut self, wires: &mut dyn Wires) {
        self.metrics.set_witness(true);
        for guest in self.guests.values_mut() {
            match guest {
                Guest::Primary(guest) => guest.handle(primary::Input::WitnessUp, wires),
                Guest::Secondary(guest) => guest.handle(secondary::Input::WitnessUp, wires),
            }
        }
    }

    /// The witness cannot be asked any more.
    pub fn witness_down(&mut self, wires: &mut dyn Wires) {
        self.metrics.set_witness(false);
        for guest in self.guests.values_mut() {
            match guest {
                Guest::Primary(guest) => guest.handle(primary::Input::WitnessDown, wires),
                Guest::Secondary(guest) => guest.handle(secondary::Input::WitnessDown, wires),
            }
        }
    }

    /// The witness's answer about a guest.
    pub fn witness_reply(&mut self, name: &str, reply: WitnessReply, wires: &mut dyn Wires) {
        match self.guests.get_mut(name) {
            Some(Guest::Primary(guest)) => guest.handle(primary::Input::Witness(reply), wires),
            Some(Guest::Secondary(guest)) => guest.handle(secondary::Input::Witness(reply), wires),
            None => {}
        }
    }

    /// A worker's report. One of a runtime that is gone means nothing.
    pub fn report(&mut self, runtime: RuntimeId, report: Report, wires: &mut dyn Wires) {
        let found = self.guests.iter_mut().find(|(_, guest)| match guest {
            Guest::Primary(guest) => guest.runtime == runtime,
            Guest::Secondary(guest) => guest.runtime == runtime,
        });
        match (found, report) {
            (Some((name, Guest::Secondary(_))), Report::Activated { guest }) => {
                let name = name.clone();
                self.activated(&name, guest, wires);
            }
            (Some((_, Guest::Primary(guest))), report) => guest.report(report, wires),
            (Some((_, Guest::Secondary(guest))), report) => guest.report(report, wires),
            (None, Report::Activated { guest }) => {
                unexpected("that is known no more", &guest.machine, &guest.output);
            }
            (None, _) => {}
        }
    }

    /// Runs timers that are due, goes through inboxes, and ends what is over.
    pub fn run(&mut self, wires: &mut dyn Wires) {
        self.hear_full_links(wires);
        for guest in self.guests.values_mut() {
            match guest {
                Guest::Primary(guest) => guest.run_timers(wires),
                Guest::Secondary(guest) => {
                    guest.run_timers(wires);
                    guest.pump(wires);
                }
            }
        }
        self.mend_what_broke(wires);
        self.end_what_is_over(wires);
        self.look_at_offers(wires);
        self.forget_empty();
        self.hold_back_links(wires);
    }

    /// Makes the threads of guests anew whose threads have failed.
    fn mend_what_broke(&mut self, wires: &mut dyn Wires) {
        let config = self.protector_config();
        for guest in self.guests.values_mut() {
            let Guest::Primary(guest) = guest else { continue };
            let Some(source) = guest.source_to_mend_with(wires.now()) else { continue };
            self.runtimes += 1;
            let runtime = RuntimeId(self.runtimes);
            let reporter = Reporter::new(runtime, self.reports.clone(), self.outputs.bell.clone());
            let pages = guest.description.page_count;
            match self.workers.protect(source.0, pages, config, guest.output.clone(), &reporter) {
                Ok(protector) => guest.mended(runtime, protector, wires),
                Err(error) => guest.mend_later(&error.to_string(), wires.now()),
            }
        }
    }

    pub(super) fn protector_config(&self) -> ProtectorConfig {
        ProtectorConfig {
            staging_bytes: self.config.limits.staging_bytes,
            shadow_bytes: self.config.limits.shadow_bytes,
            copiers: self.copiers,
            in_flight_max: self.config.limits.in_flight_max,
            // As long as output waits for an ack at most.
            pause_wait_max: match self.config.timing.slow_policy {
                SlowPolicy::Stretch => self.config.timing.slow.max(self.config.timing.hold),
                SlowPolicy::Unprotect => self.config.timing.slow,
            }
            .into(),
        }
    }

    fn end_what_is_over(&mut self, wires: &mut dyn Wires) {
        let over = |guest: &Guest| match guest {
            Guest::Primary(guest) => guest.over.is_some(),
            Guest::Secondary(guest) => guest.broken.is_some() || guest.given_up.is_some(),
        };
        while let Some(name) = self.guests.iter().find(|(_, guest)| over(guest)).map(|(name, _)| name.clone())
        {
            let mut refusal = None;
            match self.guests.remove(&name) {
                Some(Guest::Primary(guest)) => {
                    guest.end();
                    match &guest.over {
                        Some(Over::Broken(why)) => tracing::error!(guest = %name, why, "Ended here"),
                        Some(why) => tracing::warn!(guest = %name, %why, "Ended here"),
                        None => {}
                    }
                }
                Some(Guest::Secondary(guest)) => {
                    tracing::error!(guest = %name, why = guest.broken, "Not held here any more");
                    let broken = |why: String| HoldRefusal::new(HoldReason::Internal, why);
                    refusal = guest.given_up.or(guest.broken.map(broken));
                }
                None => {}
            }
            self.guest_went(&name, refusal, wires);
        }
    }

    /// Links whose guests have enough to do are not read on.
    fn hold_back_links(&self, wires: &mut dyn Wires) {
        wires.hold_back(&|peer| {
            let full = |guest: &Guest| matches!(guest, Guest::Secondary(g) if g.peer == *peer && g.is_full());
            self.guests.values().any(full)
        });
    }

    /// While a link without windows has more than its guests can take in, heartbeats wait among the pages of all of them:
    /// that bytes wait is then the sign of life, of guests of which anything was heard.
    fn hear_full_links(&mut self, wires: &mut dyn Wires) {
        for guest in self.guests.values_mut() {
            if let Guest::Secondary(guest) = guest
                && guest.has_spoken()
                && wires.is_held_back(&guest.peer)
            {
                guest.handle(secondary::Input::SignOfLife, wires);
            }
        }
    }

    /// When a session has something to do.
    pub fn next_timeout(&self) -> Option<Time> {
        let of = |guest: &Guest| match guest {
            Guest::Primary(guest) => guest.next_timeout(),
            Guest::Secondary(guest) => guest.session.next_timeout(),
        };
        self.guests.values().filter_map(of).chain(self.next_look()).min()
    }

    /// Frames that may leave now, of all guests.
    pub fn take_output(&mut self, into: &mut Vec<Vec<u8>>) {
        for guest in self.guests.values() {
            if let Guest::Primary(guest) = guest {
                guest.output.take_into(into);
            }
        }
    }

    /// A frame from the network: to every guest here; each knows what is meant for it.
    pub(super) fn deliver(&self, frame: &[u8]) {
        for guest in self.guests.values() {
            if let Guest::Primary(guest) = guest
                && let Some(machine) = &guest.machine
            {
                machine.deliver(frame);
            }
        }
    }
}

pub(super) fn generation_of(message: &ToSecondary) -> understudy_checkpoint::Generation {
    match message {
        ToSecondary::Offer { generation, .. }
        | ToSecondary::EpochBegin { generation, .. }
        | ToSecondary::Heartbeat { generation }
        | ToSecondary::Switchover { generation, .. }
        | ToSecondary::Farewell { generation } => *generation,
    }
}
