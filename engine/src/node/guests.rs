//! All guests of the node, each in its role, and the changes from one role to the other.
//!
//! ```text
//!   started here ─► Primary ── Fence ──► (gone) ── the peer offers it ──► Secondary
//!                      ▲                                                      │
//!                      └───────────────── Activated ──────────────────────────┘
//! ```

use super::arrived::{Arrived, GuestName};
use super::offers::{OfferKey, OwnOffer, PeerOffer};
use super::primary::{Over, PrimaryGuest};
use super::secondary::{Activation, Parts, SecondaryGuest};
use super::tally::Tally;
use super::wires::Wires;
use crate::config::{DomainConfig, NodeConfig};
use crate::control::status::Takeover;
use crate::guest::{
    Activated, BoxedSource, Held, HeldOutput, Host, Machine, OutputMaker, Past, ProtectorConfig, Report,
    Reporter, RuntimeId, Stuck, Workers,
};
use crate::link::{EncodeError, GUEST_PAGES_MAX, HoldReason, HoldRefusal, check_offer};
use crate::memory;
use crate::metrics::Metrics;
use crate::session::primary::{self, Origin, Primary};
use crate::session::secondary::{self, Secondary};
use crate::session::{NodeName, Span, Time, ToSecondary, WitnessReply};
use crossbeam::channel::Sender;
use std::collections::BTreeMap;
use std::sync::Arc;
use understudy_checkpoint::domain::{Description, DomainError};
use understudy_checkpoint::{Generation, epoch};

/// Why a guest cannot be taken in.
#[derive(thiserror::Error, Debug)]
pub enum AddError {
    /// There is one of this name.
    #[error("There is already a guest {0} on this node")]
    Exists(String),
    /// Its source does not work.
    #[error(transparent)]
    Source(#[from] DomainError),
    /// It has more frames than engines protect.
    #[error("The guest has {pages} page frames, and at most {GUEST_PAGES_MAX} (256 GiB) can be protected")]
    TooLarge {
        /// Its page frames.
        pages: u64,
    },
    /// Its description is longer than a frame of the link.
    #[error("The guest's configuration and list of frames are too long: {0}")]
    Description(#[from] EncodeError),
    /// Its threads cannot be started.
    #[error("The threads of a guest cannot be started: {0}")]
    Threads(#[from] std::io::Error),
    /// One of them has ended already.
    #[error(transparent)]
    Stuck(#[from] Stuck),
}

pub(super) enum Guest {
    Primary(Box<PrimaryGuest>),
    Secondary(Box<SecondaryGuest>),
}

/// What a new primary is made from.
#[derive(Debug)]
pub struct Beginning {
    /// The guest's name.
    pub name: GuestName,
    /// Who is to hold its copy.
    pub peer: NodeName,
    /// How it is checkpointed.
    pub source: BoxedSource,
    /// It, unless it is a recording.
    pub machine: Option<Arc<dyn Machine>>,
    /// What it sends, held.
    pub output: HeldOutput,
    /// How it comes to run here.
    pub origin: Origin,
    /// The takeover that brought it here.
    pub takeover: Option<Takeover>,
    /// `None`: the node's.
    pub interval: Option<Span>,
    /// Memory that comparing it takes; 0 where Xen logs.
    pub compared_bytes: u64,
}

impl Beginning {
    /// Of a guest that runs here and that nobody took over.
    pub fn of(name: &str, guest: Activated, peer: NodeName) -> Self {
        let Activated { machine, source, output, past, compared_bytes } = guest;
        let origin = match past {
            Some(Past { generation, is_halted }) => Origin::Adopted { generation, is_halted },
            None => Origin::Started,
        };
        Self {
            name: name.into(),
            peer,
            source,
            machine: Some(machine),
            output,
            origin,
            takeover: None,
            interval: None,
            compared_bytes,
        }
    }
}

/// The guests.
pub struct Guests {
    pub(super) config: NodeConfig,
    metrics: Metrics,
    pub(super) host: Arc<dyn Host>,
    workers: Arc<dyn Workers>,
    reports: Sender<(RuntimeId, Report)>,
    pub(super) outputs: OutputMaker,
    pub(super) guests: BTreeMap<GuestName, Guest>,
    runtimes: u64,
    /// What peers said they run, on their present links.
    pub(super) offers: BTreeMap<OfferKey, PeerOffer>,
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
            available_bytes: memory::available_bytes,
            copiers: std::thread::available_parallelism().map_or(1, usize::from),
        }
    }

    /// Asks `available_bytes` for the memory of this host, where the kernel is not to be asked.
    pub fn set_available_bytes(&mut self, available_bytes: fn() -> Option<u64>) {
        self.available_bytes = available_bytes;
    }

    /// Takes in a guest that runs here, to be protected.
    pub fn add(&mut self, beginning: Beginning, wires: &mut dyn Wires) -> Result<(), AddError> {
        if self.guests.contains_key(&beginning.name) {
            return Err(AddError::Exists(beginning.name.to_string()));
        }
        self.begin(beginning, wires)
    }

    /// Takes in a Xen guest that was found running. One of this name that has ended here makes way.
    pub fn found(&mut self, domain: DomainConfig, found: Activated, wires: &mut dyn Wires) {
        let DomainConfig { name, peer, interval, find_changes: _ } = domain;
        // A guest that no engine ran before is nobody else's: if it is not taken in, it keeps its network.
        let loose = found.past.is_none().then(|| found.output.clone());
        let let_go = |output: Option<HeldOutput>| output.into_iter().for_each(HeldOutput::let_go_soon);
        let wished = match self.guests.get(&*name) {
            None => true,
            Some(Guest::Primary(guest)) if guest.has_ended() => guest.session.is_protection_wished(),
            // It is run or held here meanwhile.
            Some(_) => return let_go(loose),
        };
        self.guests.remove(&*name);
        if let Err(error) = self.begin(Beginning { interval, ..Beginning::of(&name, found, peer) }, wires) {
            let_go(loose);
            return tracing::error!(guest = name, %error, "A guest cannot be protected");
        }
        if let (false, Some(Guest::Primary(guest))) = (wished, self.guests.get_mut(&*name)) {
            guest.handle(primary::Input::Operator(primary::Wish::Unprotect), wires);
        }
    }

    /// The peer of a guest that is run or held here.
    pub(super) fn peer_of(&self, name: &str) -> Option<&NodeName> {
        match self.guests.get(name)? {
            Guest::Primary(guest) if guest.has_ended() => None,
            Guest::Primary(guest) => Some(&guest.peer),
            Guest::Secondary(guest) => Some(&guest.peer),
        }
    }

    /// Whether a guest of this name is run or held here.
    pub(super) fn has(&self, name: &str) -> bool {
        self.peer_of(name).is_some()
    }

    fn begin(&mut self, beginning: Beginning, wires: &mut dyn Wires) -> Result<(), AddError> {
        let Beginning { name, peer, mut source, machine, output, origin, takeover, interval, compared_bytes } =
            beginning;
        let description = source.0.describe()?;
        // A guest that an engine ran before goes on whatever its size: it says why it is not protected.
        if matches!(origin, Origin::Started) {
            check_size(&name, &description)?;
        }
        let (runtime, reporter) = self.runtime();
        let config = self.protector_config();
        let marked = match origin {
            Origin::Adopted { generation, .. } => generation,
            Origin::Started | Origin::TookOver { .. } => Generation(0),
        };
        let protector =
            self.workers.protect(source.0, description.page_count, config, output.clone(), &reporter)?;
        if let Origin::Adopted { .. } = origin {
            protector.settle()?;
        }
        let mut timing = self.config.primary_session(peer.clone());
        timing.interval = interval.unwrap_or(timing.interval);
        let session = Primary::new(timing, origin, wires.now());
        let mut meter = self.metrics.guest(&name);
        meter.compares_with(compared_bytes);
        let mut guest = Box::new(PrimaryGuest {
            meter,
            name: name.clone(),
            peer,
            runtime,
            session,
            output,
            machine,
            compared_bytes,
            protector: Some(protector),
            description,
            place: None,
            capturing: None,
            marked,
            tally: Tally::default(),
            encoded: None,
            takeover,
            last_commit: None,
            recording_ended: None,
            offer: OwnOffer::default(),
            broken: None,
            over: None,
        });
        guest.run_timers(wires);
        if wires.is_link_up(&guest.peer) {
            guest.attach(wires);
        }
        if wires.is_witness_up() {
            guest.handle(primary::Input::WitnessUp, wires);
        }
        self.guests.insert(name, Guest::Primary(guest));
        Ok(())
    }

    fn runtime(&mut self) -> (RuntimeId, Reporter) {
        self.runtimes += 1;
        let runtime = RuntimeId(self.runtimes);
        (runtime, Reporter::new(runtime, self.reports.clone(), self.outputs.bell.clone()))
    }

    /// Holds a guest that `peer` says it runs.
    pub(super) fn hold(
        &mut self,
        name: &GuestName,
        peer: &NodeName,
        description: Description,
        wires: &mut dyn Wires,
    ) -> Result<(), HoldRefusal> {
        self.admit(name, &description)?;
        let (runtime, reporter) = self.runtime();
        let limits = epoch::Limits {
            buffer_bytes_max: self.config.limits.epoch_buffer_bytes as usize,
            page_count: description.page_count,
        };
        let held = Held { name: name.to_string(), description: description.clone(), host: self.host.clone() };
        let keeper = self.workers.keep(held, limits, reporter).map_err(|error| {
            HoldRefusal::new(
                HoldReason::Internal,
                format!("a thread for the guest cannot be started: {error}"),
            )
        })?;
        let mut guest = Box::new(SecondaryGuest::new(Parts {
            name: name.clone(),
            peer: peer.clone(),
            runtime,
            session: Secondary::new(self.config.secondary_session(), wires.now()),
            keeper,
            description,
            meter: self.metrics.guest(name),
        }));
        guest.run_timers(wires);
        guest.attach(wires);
        if wires.is_witness_up() {
            guest.handle(secondary::Input::WitnessUp, wires);
        }
        self.guests.insert(name.clone(), Guest::Secondary(guest));
        Ok(())
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
            (None, Report::Activated { guest }) => guest.machine.stop(),
            (None, _) => {}
        }
    }

    /// The guest runs here: its secondary session is over, a primary session goes on.
    fn activated(&mut self, name: &GuestName, guest: Activated, wires: &mut dyn Wires) {
        let Activated { machine, source, output, past: _, compared_bytes } = guest;
        let Some(Guest::Secondary(held)) = self.guests.remove(name) else { return };
        let SecondaryGuest { peer, activation, lost, mut meter, .. } = *held;
        let Some(Activation { record, epoch, authority_at }) = activation else {
            return machine.stop();
        };
        let (detected_at, reason) = lost.unwrap_or((authority_at, "operator"));
        meter.took_over(reason);
        drop(meter);
        let takeover = Takeover {
            detected_at_ns: wires.monotonic_ns(detected_at),
            authority_at_ns: wires.monotonic_ns(authority_at),
            activated_at_ns: wires.monotonic_ns(wires.now()),
            from_epoch: epoch.0,
        };
        tracing::warn!(guest = %name, %epoch, generation = %record.generation, reason, "Took over");
        let begun = self.begin(
            Beginning {
                name: name.clone(),
                peer,
                source,
                machine: Some(machine.clone()),
                output,
                origin: Origin::TookOver { record, next_epoch: epoch.next() },
                takeover: Some(takeover),
                interval: None,
                compared_bytes,
            },
            wires,
        );
        if let Err(error) = begun {
            tracing::error!(guest = %name, %error, "A guest that was taken over cannot go on");
            machine.leave();
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
                Err(error) => {
                    tracing::error!(guest = %guest.name, %error, "The threads of a guest cannot be started")
                }
            }
        }
    }

    fn protector_config(&self) -> ProtectorConfig {
        ProtectorConfig {
            staging_bytes: self.config.limits.staging_bytes,
            shadow_bytes: self.config.limits.shadow_bytes,
            copiers: self.copiers,
            in_flight_max: self.config.limits.in_flight_max,
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

    /// The node ends: nothing of any guest is let out from here on.
    pub fn leave(&mut self) {
        for guest in self.guests.values_mut() {
            if let Guest::Primary(guest) = guest {
                guest.leave();
            }
        }
        for (_, guest) in std::mem::take(&mut self.guests) {
            if let Guest::Secondary(guest) = guest {
                guest.keeper.end();
            }
        }
    }
}

/// Whether a guest fits the link and the engine that is to hold its copy.
pub(super) fn check_size(name: &str, description: &Description) -> Result<(), AddError> {
    if description.page_count > GUEST_PAGES_MAX {
        return Err(AddError::TooLarge { pages: description.page_count });
    }
    Ok(check_offer(name, description)?)
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
