//! How guests come to a node: a guest that runs here is protected, one that runs elsewhere is held, and one that was
//! held is run after a takeover.
//!
//! ```text
//!   added, found ─► begin ─► Primary
//!   offered      ─► hold  ─► Secondary ── RunningGuest ─► begin ─► Primary
//! ```
//!
//! Not here: whether a peer's offer is accepted ([`offers`](super::offers)), and what happens to guests afterwards.

use super::context::Context;
use super::driver::MadeWay;
use super::guests::Guests;
use super::inbound::GuestName;
use super::new_primary::{AddError, NewPrimary, check_size};
use super::primary::{CopyElsewhere, FenceHere, Gate, OwnOffer, PrimaryGuest, Unacked};
use super::replay_stats::ReplayStats;
use super::secondary::{Parts, SecondaryGuest};
use crate::config::XenGuestConfig;
use crate::guest::{
    DiskParticipant, Heard, Held, HeldOutput, Participant, Participants, RunningGuest, Traffic,
};
use std::sync::Arc;
use understudy_checkpoint::domain::Description;
use understudy_checkpoint::{Generation, epoch};
use understudy_link::{HoldReason, HoldRefusal};
use understudy_session::NodeName;
use understudy_session::primary::{self, Origin, Primary};
use understudy_session::secondary::{self, Secondary};

impl Guests {
    /// Adds a guest that runs here, to be protected.
    pub fn add(&mut self, beginning: NewPrimary, cx: &mut dyn Context) -> Result<(), AddError> {
        if self.guests.contains_key(&beginning.name) {
            return Err(AddError::Exists(beginning.name.to_string()));
        }
        let (name, guest) = (beginning.name.clone(), self.begin(beginning, cx)?);
        self.guests.insert(name, guest);
        Ok(())
    }

    /// Adds a Xen guest that was found running. A guest of this name that has ended here makes way.
    pub fn found(&mut self, guest: XenGuestConfig, mut found: RunningGuest, cx: &mut dyn Context) {
        let XenGuestConfig { name, peer, mode, pacing, fence, find_changes: _ } = guest;
        // A guest that no engine ran before belongs to nobody else: if it is not added, it keeps its network.
        let loose = found.past.is_none().then(|| found.output.clone());
        let let_go = |output: Option<HeldOutput>| output.into_iter().for_each(HeldOutput::let_go_soon);
        let newest = self.newest_heard(&name);
        let offered = self.offered_in(&name);
        let made_way = match self.guests.get(&*name) {
            // The witness knows who runs the guest. Without one, what was heard once makes it a person's decision.
            None if self.config.witness.is_none() => Some(MadeWay { is_wished: true, rival: newest }),
            None => Some(MadeWay { is_wished: true, rival: offered }),
            Some(here) => here.make_way(found.past, offered),
        };
        // A guest of this name is run or held here.
        let Some(MadeWay { is_wished, rival }) = made_way else { return let_go(loose) };
        // It stood still already, unless what holds copies here had no time for that.
        found.halt_if_older_than(newest);
        let name: GuestName = name.into();
        self.guests.remove(&name);
        let beginning =
            NewPrimary { pacing: Some(pacing), mode, fence, ..NewPrimary::of(&name, found, peer) };
        let mut guest = match self.begin(beginning, cx) {
            Ok(guest) => guest,
            Err(error) => {
                let_go(loose);
                return tracing::error!(guest = %name, %error, "A guest cannot be protected");
            }
        };
        if !is_wished {
            guest.handle(primary::Input::Operator(primary::Wish::Unprotect), cx);
        }
        if let Some(generation) = rival {
            guest.handle(primary::Input::Rival { generation }, cx);
        }
        self.guests.insert(name.clone(), guest);
        self.reconsider(&name, cx);
    }

    /// Makes the driver of a guest that runs here.
    fn begin(&mut self, beginning: NewPrimary, cx: &mut dyn Context) -> Result<Box<PrimaryGuest>, AddError> {
        let NewPrimary {
            name,
            peer,
            mut source,
            machine,
            output,
            origin,
            takeover,
            pacing,
            mode,
            fence,
            compared_bytes,
        } = beginning;
        let description = source.0.describe()?;
        // A guest that an engine ran before is added whatever its size: its status says why it is not protected.
        let is_new = matches!(origin, Origin::Started);
        if is_new {
            check_size(&name, &description)?;
        }
        let (runtime, reporter) = self.runtime();
        let config = self.protector_config();
        let marked = mark_of(&origin);
        let heard = machine.as_ref().and_then(|machine| machine.heard());
        let can_compare = output.compared().is_some();
        let copy = CopyElsewhere::new(heard.clone(), can_compare, mode, self.config.colo.limits);
        let disk = machine.as_ref().and_then(|machine| machine.disk());
        let participants = participants_of(&output, heard, disk);
        let started =
            self.workers.protect(source.0, description.page_count, config, participants.clone(), &reporter);
        let (protector, broken) = match started.map_err(AddError::from) {
            Ok(protector) => (Some(protector), None),
            // It is added even if its threads cannot be started: they are started once that is possible.
            Err(error) if !is_new && machine.is_some() => (None, Some(error.to_string())),
            Err(error) => return Err(error),
        };
        if let (Origin::Adopted { .. }, Some(protector)) = (&origin, &protector) {
            protector.settle()?;
        }
        let mut timing = self.config.primary_session(peer.clone());
        timing.pacing = pacing.unwrap_or(timing.pacing);
        timing.colo.mode = copy.mode();
        let session = Primary::new(timing, origin, cx.now());
        let mut meter = self.metrics.guest(&name);
        meter.compares_with(compared_bytes);
        let mut guest = Box::new(PrimaryGuest {
            meter,
            unacked: Unacked::default(),
            name,
            peer,
            runtime,
            session,
            output,
            participants,
            machine,
            compared_bytes,
            protector,
            description,
            place: None,
            capturing: None,
            marked,
            replay_stats: ReplayStats::default(),
            encoded: None,
            takeover,
            last_commit: None,
            recording_ended: None,
            offer: OwnOffer::default(),
            full_sync: None,
            sync_rate: self.sync_rate.clone(),
            gate: Gate::default(),
            copy,
            fence: FenceHere::new(fence),
            end_seen: false,
            broken: None,
            over: None,
            defect: None,
        });
        if let Some(why) = broken {
            guest.broke(why, cx.now());
            guest.handle(primary::Input::CaptureBroke, cx);
        }
        begin_session(&mut guest, cx);
        Ok(guest)
    }

    /// Holds a copy of a guest that `peer` offers.
    pub(super) fn hold(
        &mut self,
        name: &GuestName,
        peer: &NodeName,
        description: Description,
        cx: &mut dyn Context,
    ) -> Result<(), HoldRefusal> {
        self.admit(name, &description)?;
        let (runtime, reporter) = self.runtime();
        let traffic = self
            .host
            .runs_copies()
            .then(|| Arc::new(Traffic::new(reporter.clone(), self.config.colo.limits)));
        let session = secondary::Config { runs_copies: traffic.is_some(), ..self.config.secondary_session() };
        let limits = epoch::Limits {
            buffer_bytes_max: self.config.limits.epoch_buffer_bytes as usize,
            page_count: description.page_count,
        };
        let held = Held {
            name: name.to_string(),
            description: description.clone(),
            host: self.host.clone(),
            room: self.copy_room.clone(),
            keep: self.config.limits.keep,
        };
        let replica_thread = self.workers.hold(held, limits, reporter).map_err(|error| {
            HoldRefusal::new(
                HoldReason::Internal,
                format!("a thread for the guest cannot be started: {error}"),
            )
        })?;
        let mut guest = Box::new(SecondaryGuest::new(Parts {
            name: name.clone(),
            peer: peer.clone(),
            runtime,
            session: Secondary::new(session, cx.now()),
            replica_thread,
            traffic,
            description,
            meter: self.metrics.guest(name),
        }));
        guest.run_timers(cx);
        guest.attach(cx);
        if cx.is_witness_up() {
            guest.handle(secondary::Input::WitnessUp, cx);
        }
        self.guests.insert(name.clone(), guest);
        Ok(())
    }

    /// A guest goes on in another role: the earlier driver is over.
    pub(super) fn succeed(&mut self, name: &GuestName, successor: NewPrimary, cx: &mut dyn Context) {
        self.guests.remove(name);
        let machine = successor.machine.clone();
        match self.begin(successor, cx) {
            Ok(guest) => drop(self.guests.insert(name.clone(), guest)),
            Err(error) => {
                tracing::error!(guest = %name, %error, "A guest that was taken over cannot go on");
                machine.iter().for_each(|machine| machine.leave());
            }
        }
    }
}

/// The generation that the guest is marked with already.
fn mark_of(origin: &Origin) -> Generation {
    match origin {
        // It was started from a copy, and marked before it was begun.
        Origin::Adopted { generation, .. } | Origin::Outdated { generation, .. } => *generation,
        Origin::Started | Origin::TookOver { .. } => Generation(0),
    }
}

/// Runs a new session's first timeout, and tells it of connections that are up already.
fn begin_session(guest: &mut PrimaryGuest, cx: &mut dyn Context) {
    guest.run_timers(cx);
    if cx.is_link_up(&guest.peer) {
        guest.attach(cx);
    }
    if cx.is_witness_up() {
        guest.handle(primary::Input::WitnessUp, cx);
    }
}

/// What is cut in each pause: the guest's output, its input, and its disk.
fn participants_of(
    output: &HeldOutput,
    heard: Option<Arc<Heard>>,
    disk: Option<Arc<dyn DiskParticipant>>,
) -> Participants {
    let heard = heard.map(|heard| heard as Arc<dyn Participant>);
    let all = Participants::new(std::iter::once(output.participant()).chain(heard).collect());
    match disk {
        Some(disk) => all.with_disk(disk),
        None => all,
    }
}
