//! All guests of the node, each with the driver of its role, and the changes from one role to the other.
//!
//! ```text
//!   started here ─► Primary ── Fence ──► (gone) ── the peer offers it ──► Secondary
//!                      ▲                                                      │
//!                      └───────────────── RunningGuest ──────────────────────────┘
//! ```

use super::context::Context;
use super::driver::{GuestDriver, WitnessWord};
use super::fencing::Fencing;
use super::glance::Glance;
use super::inbound::{GuestName, Inbound};
use super::new_primary::unexpected;
use super::peer_offer::{OfferKey, PeerOffer};
use super::sync_rate::SyncRate;
use crate::config::NodeConfig;
use crate::guest::{
    BoxedSource, CopyRoom, Host, OutputMaker, ProtectorConfig, Report, Reporter, RuntimeId, Workers,
};
use crate::memory;
use crate::metrics::Metrics;
use crossbeam::channel::Sender;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use understudy_checkpoint::Generation;
use understudy_session::primary::SlowPolicy;
use understudy_session::{NodeName, Time, WitnessReply};

/// The guests.
pub struct Guests {
    pub(super) config: NodeConfig,
    pub(super) metrics: Metrics,
    pub(super) host: Arc<dyn Host>,
    pub(super) workers: Arc<dyn Workers>,
    reports: Sender<(RuntimeId, Report)>,
    pub(super) outputs: OutputMaker,
    pub(super) guests: BTreeMap<GuestName, Box<dyn GuestDriver>>,
    runtimes: u64,
    /// What peers have offered on their present links.
    pub(super) offers: BTreeMap<OfferKey, PeerOffer>,
    /// In which generation a peer was heard to run a guest that was forgotten here.
    pub(super) heard: BTreeMap<GuestName, Generation>,
    /// Guests that may run here, for which no look has shown yet whether they do.
    pub(super) unseen: BTreeSet<GuestName>,
    /// No copy is taken that is not held already.
    pub(super) in_maintenance: bool,
    /// Tells how much memory is available; a simulated host has its own.
    pub(super) available_bytes: fn() -> Option<u64>,
    /// The memory that live copies here may use, besides images.
    pub(super) copy_room: CopyRoom,
    /// What the full syncs of all guests share, if they are limited.
    pub(super) sync_rate: Option<SyncRate>,
    /// How many threads copy pages in a pause. It is kept because counting processors reads files.
    copiers: usize,
    /// This host's lease, and those of hosts that are gone.
    pub(super) fencing: Fencing,
}

impl fmt::Debug for Guests {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.guests.keys().map(|name| (name, self.glance(name)))).finish()
    }
}

impl Guests {
    /// No guests yet. `workers` will do for them what takes time, and answer by `reports`.
    pub fn new(
        config: NodeConfig,
        metrics: Metrics,
        host: Arc<dyn Host>,
        workers: Arc<dyn Workers>,
        reports: Sender<(RuntimeId, Report)>,
        outputs: OutputMaker,
    ) -> Self {
        let terms = config.timing.fence;
        let fencing = Fencing::new(config.node.clone(), terms, host.clone(), config.state.clone());
        let copy_room = CopyRoom::new(config.limits.image_bytes_max);
        let sync_rate = config.limits.full_sync_bytes_per_s.map(SyncRate::new);
        Self {
            copy_room,
            sync_rate,
            config,
            metrics,
            host,
            workers,
            reports,
            outputs,
            guests: BTreeMap::new(),
            runtimes: 0,
            offers: BTreeMap::new(),
            heard: BTreeMap::new(),
            unseen: BTreeSet::new(),
            in_maintenance: false,
            available_bytes: memory::available_bytes,
            fencing,
            copiers: std::thread::available_parallelism().map_or(1, usize::from),
        }
    }

    /// Uses `available_bytes` instead of asking the kernel for this host's memory.
    pub fn set_available_bytes(&mut self, available_bytes: fn() -> Option<u64>) {
        self.available_bytes = available_bytes;
        self.copy_room.ask(available_bytes);
    }

    /// A guest's state; `None` if it is neither run nor held here.
    pub fn glance(&self, name: &str) -> Option<Glance> {
        Some(self.guests.get(name)?.glance())
    }

    /// The peer of a guest that is run or held here.
    pub(super) fn peer_of(&self, name: &str) -> Option<&NodeName> {
        self.guests.get(name).filter(|guest| !guest.is_vacant()).map(|guest| guest.peer())
    }

    /// Whether a guest of this name need not be looked for: it is run here, or something of it is held. If a peer only
    /// offers the guest, nothing of it is held, and one that runs here must be found.
    pub(super) fn sees_to(&self, name: &str) -> bool {
        self.guests.get(name).is_some_and(|guest| !guest.is_vacant())
    }

    /// A guest is looked for from now on. Without a witness only a look can tell whether it runs here, and until then
    /// no peer is told that nothing of it is held (`docs/DESIGN.md#s4`).
    pub(super) fn look_for(&mut self, name: &str) {
        if self.config.witness.is_none() && !self.guests.contains_key(name) {
            self.unseen.insert(name.into());
        }
    }

    /// A look has shown whether a guest runs here: answers peers' offers of it.
    pub(super) fn looked_for(&mut self, name: &str, cx: &mut dyn Context) {
        if self.unseen.remove(name) {
            self.reconsider(&name.into(), cx);
        }
    }

    pub(super) fn runtime(&mut self) -> (RuntimeId, Reporter) {
        self.runtimes += 1;
        let runtime = RuntimeId(self.runtimes);
        (runtime, Reporter::new(runtime, self.reports.clone(), self.outputs.waker.clone()))
    }

    /// The link to a peer is up.
    pub fn link_up(&mut self, peer: &NodeName, cx: &mut dyn Context) {
        self.metrics.set_link(&peer.0, true);
        self.guests.values_mut().filter(|guest| guest.peer() == peer).for_each(|guest| guest.attach(cx));
    }

    /// The link to a peer has ended.
    pub fn link_down(&mut self, peer: &NodeName, cx: &mut dyn Context) {
        self.metrics.set_link(&peer.0, false);
        self.guests.values_mut().filter(|guest| guest.peer() == peer).for_each(|guest| guest.detach(cx));
        self.peer_went(peer);
    }

    /// After its link has ended: a peer's process is gone.
    pub fn peer_gone(&mut self, peer: &NodeName, cx: &mut dyn Context) {
        self.guests.values_mut().filter(|guest| guest.peer() == peer).for_each(|guest| guest.peer_gone(cx));
    }

    /// There is no link to a peer, and its process answers on another network.
    pub fn peer_alive(&mut self, peer: &NodeName, cx: &mut dyn Context) {
        self.guests.values_mut().filter(|guest| guest.peer() == peer).for_each(|guest| guest.peer_alive(cx));
    }

    /// A frame about a guest.
    pub fn arrived(&mut self, peer: NodeName, name: GuestName, what: Inbound, cx: &mut dyn Context) {
        if let Inbound::Offer(generation, description) = what {
            return self.offered(&name, peer, generation, *description, cx);
        }
        if let Inbound::NeedsFencing = what {
            return self.needs_fencing(&name, &peer, cx);
        }
        if let Inbound::ToSecondary(message) = &what {
            self.primary_spoke(&name, &peer, message);
            self.outrun(&name, &peer, message, cx);
        }
        if let Some(guest) = self.guests.get_mut(&name) {
            guest.hear(&peer, what, cx);
        }
    }

    /// The witness can be asked.
    pub fn witness_up(&mut self, cx: &mut dyn Context) {
        self.metrics.set_witness(true);
        self.guests.values_mut().for_each(|guest| guest.witness(WitnessWord::Up, cx));
    }

    /// The witness cannot be asked any more.
    pub fn witness_down(&mut self, cx: &mut dyn Context) {
        self.metrics.set_witness(false);
        self.guests.values_mut().for_each(|guest| guest.witness(WitnessWord::Down, cx));
    }

    /// The witness's answer about a guest.
    pub fn witness_reply(&mut self, name: &str, reply: WitnessReply, cx: &mut dyn Context) {
        if let Some(guest) = self.guests.get_mut(name) {
            guest.witness(WitnessWord::Reply(reply), cx);
        }
    }

    /// A worker's report. It is ignored if its runtime is gone.
    pub fn report(&mut self, runtime: RuntimeId, report: Report, cx: &mut dyn Context) {
        let found = self.guests.iter_mut().find(|(_, guest)| guest.runtime() == runtime);
        match (found, report) {
            (Some((name, guest)), report) => {
                guest.report(report, cx);
                let (name, successor) = (name.clone(), guest.successor(cx));
                successor.into_iter().for_each(|successor| self.succeed(&name, successor, cx));
            }
            (None, Report::Activated { guest }) => {
                unexpected("that is known no more", &guest.machine, &guest.output);
            }
            (None, _) => {}
        }
    }

    /// Runs due timers, works through inboxes, and ends drivers that are over.
    pub fn run(&mut self, cx: &mut dyn Context) {
        self.guests.values_mut().for_each(|guest| guest.run(cx));
        self.run_fencing(cx);
        self.mend_what_broke(cx);
        self.end_what_is_over(cx);
        self.look_at_offers(cx);
        self.forget_empty();
        self.hold_back_links(cx);
        self.copy_room.images_take(self.image_bytes());
    }

    /// Replaces failed threads of guests.
    fn mend_what_broke(&mut self, cx: &mut dyn Context) {
        let (config, waker) = (self.protector_config(), self.outputs.waker.clone());
        let Self { guests, runtimes, reports, workers, .. } = self;
        let mut make = |source: BoxedSource, pages, participants| {
            *runtimes += 1;
            let runtime = RuntimeId(*runtimes);
            let reporter = Reporter::new(runtime, reports.clone(), waker.clone());
            Ok((runtime, workers.protect(source.0, pages, config, participants, &reporter)?))
        };
        guests.values_mut().for_each(|guest| guest.mend(&mut make, cx));
    }

    pub(super) fn protector_config(&self) -> ProtectorConfig {
        ProtectorConfig {
            staging_bytes: self.config.limits.staging_bytes,
            shadow_bytes: self.config.limits.shadow_bytes,
            copiers: self.copiers,
            in_flight_max: self.config.limits.in_flight_max,
            // The longest that output waits for an ack.
            pause_wait_max: match self.config.timing.slow_policy {
                SlowPolicy::Stretch => self.config.timing.slow_max.max(self.config.timing.hold_max),
                SlowPolicy::Unprotect => self.config.timing.slow_max,
            }
            .into(),
        }
    }

    fn end_what_is_over(&mut self, cx: &mut dyn Context) {
        let next = |guests: &mut BTreeMap<GuestName, Box<dyn GuestDriver>>| {
            let name = guests.iter().find(|(_, guest)| guest.is_over()).map(|(name, _)| name.clone())?;
            guests.remove_entry(&name)
        };
        while let Some((name, guest)) = next(&mut self.guests) {
            let refusal = guest.end();
            self.guest_went(&name, refusal, cx);
        }
    }

    /// Stops reading links whose guests have enough to do.
    fn hold_back_links(&self, cx: &mut dyn Context) {
        cx.hold_back(&|peer| self.guests.values().any(|guest| guest.peer() == peer && guest.is_full()));
    }

    /// When the first session has something to do.
    pub fn next_timeout(&self) -> Option<Time> {
        self.guests
            .values()
            .filter_map(|guest| guest.next_timeout())
            .chain(self.next_look())
            .chain(self.fencing.next_timeout())
            .min()
    }

    /// The frames of all guests that may leave now, by this host's monotonic clock.
    pub fn take_output(&mut self, into: &mut Vec<Vec<u8>>, now_ns: u64) {
        self.guests.values_mut().for_each(|guest| guest.take_output(into, now_ns));
    }

    /// A frame from the network, offered to every guest here; each takes what is addressed to it. Call [`notify`](Self::notify)
    /// after the last of a batch.
    pub fn deliver(&self, frame: &[u8]) {
        self.guests.values().for_each(|guest| guest.deliver(frame));
    }

    /// Guests hear of what was delivered.
    pub fn notify(&self) {
        self.guests.values().for_each(|guest| guest.notify());
    }
}
