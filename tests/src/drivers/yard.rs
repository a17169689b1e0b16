//! The domains of one host. They belong to the host and not to the engine: an engine that dies leaves them behind.
//!
//! Not here: what the engine asks of them (`toolstack`).

use super::card::Card;
use super::disk::SimDisk;
use super::fate::Stand;
use super::guest::{SharedDomain, State, Wrongs};
use super::machine::SimMachine;
use super::mutant::Mutant;
use super::names::guest_of;
use super::settings::Settings;
use super::timer::Timer;
use super::{GuestId, HostId};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use understudy::guest::{
    BoxedSource, Heard, HeldOutput, LoopWaker, OutputMaker, PreviousRun, RunningGuest, Start,
};
use understudy_checkpoint::{Epoch, Generation};

/// Why a takeover is to be tried again.
pub(super) const SHORT: &str = "the host has no memory for it at the moment";

/// Domains of a host, by guest.
#[derive(Debug)]
pub struct Yard {
    pub(super) host: HostId,
    /// The newest domain of each guest.
    pub domains: [Option<SharedDomain>; 2],
    /// The number of domains there ever were.
    pub(super) made: u64,
    /// Guests survive their engine.
    pub outlives: bool,
    /// Every write of a guest is logged, so its unchanged pages may be compared with the secondary's.
    pub(super) logs_all_writes: bool,
    /// Guests answer, and may run twice; of a hundred answers so many depend on a draw.
    pub(super) answers: Option<u64>,
    /// The newest copy of each guest.
    pub copies: [Option<SharedDomain>; 2],
    /// Images are held by standby domains.
    pub(super) stands_by: bool,
    /// The newest standby domain of each guest.
    pub standing: [Option<Stand>; 2],
    /// The next takeover fails to start its guest.
    pub activation_fails: bool,
    /// The next takeover meets a shortage: nothing of the guest has run, and its image is given back.
    pub activation_is_short: bool,
    /// The engine dies during the next takeover, when the guest is built and nobody knows of it yet.
    pub dies_activating: bool,
    /// Takeovers that succeeded, to be stated as facts.
    pub activated: Vec<(GuestId, State)>,
    /// Guests that began on their disks, from their memory's state or from nothing, to be stated as facts.
    pub on_disks: Vec<(GuestId, Option<State>)>,
    /// Guests have disks.
    pub has_disks: bool,
    /// The host's disks.
    pub machine: SimMachine,
    /// What resets this host.
    pub(super) timer: Timer,
    pub(super) outputs: OutputMaker,
    pub(super) mutant: Option<Mutant>,
}

/// The yard, shared by the engine and the cluster.
#[derive(Clone, Debug)]
pub struct SharedYard(Arc<Mutex<Yard>>);

impl SharedYard {
    /// An empty yard.
    pub fn new(host: HostId, settings: &Settings, outputs: OutputMaker, mutant: Option<Mutant>) -> Self {
        Self(Arc::new(Mutex::new(Yard {
            host,
            domains: [None, None],
            made: 0,
            outlives: settings.outlives,
            logs_all_writes: settings.scrubs,
            answers: settings.answers,
            copies: [None, None],
            stands_by: settings.stands_by,
            standing: [None, None],
            activation_fails: false,
            activation_is_short: false,
            dies_activating: false,
            activated: Vec::new(),
            on_disks: Vec::new(),
            has_disks: settings.disks,
            machine: SimMachine::new(host, mutant),
            timer: Timer::default(),
            outputs,
            mutant,
        })))
    }

    /// The yard.
    pub fn get(&self) -> MutexGuard<'_, Yard> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Yard {
    /// Builds a guest's domain; says why not, if its disk cannot be used.
    pub fn build(
        &mut self,
        guest: GuestId,
        state: Option<State>,
        open: Epoch,
    ) -> Result<RunningGuest, String> {
        let (disk, state) = self.opens_disk(guest, state)?;
        self.made += 1;
        let output = self.outputs.frames(open);
        let id = (self.made << 1) | self.host as u64;
        let domain = SharedDomain::new(id, guest, self.host, state, output.clone());
        domain.get().outlives = self.outlives;
        domain.get().logs_all_writes = self.logs_all_writes && self.mutant != Some(Mutant::ScrubOff);
        domain.get().wrongs = self.wrongs();
        domain.get().open = open;
        domain.get().disk = disk;
        self.gets_card(&domain);
        self.domains[guest] = Some(domain.clone());
        Ok(RunningGuest {
            machine: Arc::new(domain.clone()),
            source: BoxedSource(Box::new(domain)),
            output,
            past: None,
            compared_bytes: 0,
        })
    }

    /// The disk of a guest that is to begin, and what the guest is then: one that begins from nothing reads its disk.
    fn opens_disk(
        &mut self,
        guest: GuestId,
        state: Option<State>,
    ) -> Result<(Option<SimDisk>, Option<State>), String> {
        if !self.has_disks {
            return Ok((None, state));
        }
        self.let_go(guest);
        let disk = self.machine.open(guest)?;
        let mut known = state.unwrap_or(State::blank());
        let content = self.machine.content(guest).ok_or("it has no disk")?;
        if state.is_none() {
            for (sector, content) in known.sectors.iter_mut().zip(content) {
                (sector.seen, sector.kept) = (content, content);
            }
        }
        self.on_disks.push((guest, state));
        Ok((Some(SimDisk::new(disk, &known.sectors, self.mutant)), Some(known)))
    }

    /// A guest that is gone uses its disk no more.
    pub(super) fn let_go(&mut self, guest: GuestId) {
        if let Some(domain) = &self.domains[guest] {
            let mut domain = domain.get();
            if domain.gone {
                domain.disk = None;
            }
        }
    }

    fn wrongs(&self) -> Wrongs {
        Wrongs {
            is_not_looked_after: self.mutant == Some(Mutant::LateSuspendStays),
            passes_instead_of_pausing: self.mutant == Some(Mutant::PassInsteadOfPause),
            unmapped_is_empty: self.mutant == Some(Mutant::UnmappedIsEmpty),
            unlogged_while_copied: self.mutant == Some(Mutant::StagedOld),
            cuts_disk_late: self.mutant == Some(Mutant::DiskCutLate),
        }
    }

    /// A guest that answers gets a card, and what tells of what comes by it.
    fn gets_card(&self, domain: &SharedDomain) {
        let Some(knob) = self.answers else { return };
        let mut domain = domain.get();
        let card = Card::new(domain.guest);
        let taken = card.clone();
        domain.knob = knob;
        domain.port = None;
        domain.answers(card, Heard::new(move || taken.taken(), LoopWaker::silent()));
    }

    /// The next takeover fails, if that was wanted.
    pub(super) fn fails_to_start(&mut self) -> bool {
        std::mem::take(&mut self.activation_fails)
    }

    /// The next takeover meets a shortage, if that was wanted.
    pub(super) fn is_short(&mut self) -> bool {
        std::mem::take(&mut self.activation_is_short)
    }

    /// A copy is the guest from now on. The answer is what holds its output.
    pub(super) fn copy_is_guest(
        &mut self,
        guest: GuestId,
        copy: &SharedDomain,
        start: &Start<'_>,
    ) -> HeldOutput {
        let output = self.outputs.frames(start.open);
        let mut domain = copy.get();
        (domain.is_copy, domain.output) = (false, output.clone());
        (domain.settled, domain.mark) = (false, start.generation);
        (domain.stamp, domain.open) = (start.generation, start.open);
        (domain.outlives, domain.wrongs) = (self.outlives, self.wrongs());
        domain.stops_logging();
        self.activated.push((guest, domain.state));
        drop(domain);
        self.copies[guest] = None;
        self.domains[guest] = Some(copy.clone());
        output
    }

    /// Finds a guest here without an engine, if it lives. A guest that no engine has run and that is paused waits for a
    /// person.
    pub fn find(&mut self, guest: GuestId) -> Option<RunningGuest> {
        let domain = self.domains[guest].clone()?;
        let output = self.outputs.frames(Epoch(0));
        let mut found = domain.get();
        if found.gone || found.is_left_paused() {
            return None;
        }
        let is_halted = found.paused || found.suspended;
        let past = (found.mark > Generation(0)).then_some(PreviousRun { generation: found.mark, is_halted });
        found.is_opened();
        found.output = output.clone();
        found.open = Epoch(0);
        found.stamp = Generation(0);
        drop(found);
        self.gets_card(&domain);
        Some(RunningGuest {
            machine: Arc::new(domain.clone()),
            source: BoxedSource(Box::new(domain)),
            output,
            past,
            compared_bytes: 0,
        })
    }

    /// The host loses its power: nothing survives.
    pub fn loses_power(&mut self) {
        self.timer = Timer::default();
        self.domains.iter().flatten().for_each(|domain| domain.get().outlives = false);
    }
}

impl SharedYard {
    /// Starts a guest from the state in its image.
    pub(super) fn start(&self, start: &Start<'_>, state: Option<State>) -> Result<RunningGuest, String> {
        let mut yard = self.get();
        let state = state.ok_or("no image is left")?;
        if yard.fails_to_start() {
            return Err("the hypervisor refuses a record".to_owned());
        }
        let guest = guest_of(start.name);
        let activated = yard.build(guest, Some(state), start.open)?;
        yard.activated.push((guest, state));
        if let Some(domain) = &yard.domains[guest] {
            let mut domain = domain.get();
            (domain.settled, domain.mark) = (false, start.generation);
        }
        Ok(activated)
    }
}
