//! The simulator's guest: eight pages of memory, a vCPU that counts, a network card, a dirty log. It is small, but its
//! pages are real: capture, encoder, receiver and image are the engine's own.
//!
//! ```text
//!   step: counter + 1, one page written, sometimes a frame ─► HeldOutput
//!   Source: suspend, drain, copy, state, resume                Machine: pause, unpause, stop, leave, mark
//! ```
//!
//! A guest that answers takes a step for each request in its card, and what it becomes follows from that and from
//! what it was, but for a draw now and then: so it may run twice. Any other takes steps as it likes.

mod source;

use super::card::Card;
use super::disk::{SECTORS, Sector, SimDisk};
use super::frame::Frame;
use super::harm::Trouble;
use super::port::SharedPort;
use super::{GuestId, HostId};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use understudy::guest::{BoxedSource, DiskParticipant, Heard, HeldOutput, HostError, Machine, Replica};
use understudy_checkpoint::domain::DomainState;
use understudy_checkpoint::epoch::Image;
use understudy_checkpoint::pages::DirtyBitmap;
use understudy_checkpoint::{Epoch, Generation, Pfn};
use understudy_lab::Port;

/// Pages of guest memory; each holds one word.
pub const WORDS: usize = SECTORS;

/// The complete state of a guest.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct State {
    /// Steps the guest has made since it was first started.
    pub counter: u64,
    /// Each step writes one word.
    pub words: [u64; WORDS],
    /// What it knows of its disk, if it has one: a sector in each page.
    pub sectors: [Sector; WORDS],
}

impl State {
    /// The state in a replica; `None` if there is no image.
    pub fn kept(replica: &dyn Replica) -> Option<Self> {
        Self::of(replica.image()?)
    }

    /// The state in an image; `None` if it is not such a guest's.
    pub fn of(image: &Image) -> Option<Self> {
        let mut state = Self { counter: Self::counter_of(image.state())?, ..Self::blank() };
        for pfn in 0..WORDS {
            let page = image.page(Pfn(pfn as u64))?;
            let word = |index: usize| Some(u64::from_le_bytes(*page[8 * index..].first_chunk()?));
            state.words[pfn] = word(0)?;
            state.sectors[pfn] = Sector { seen: word(1)?, under_way: word(2)?, kept: word(3)? };
        }
        Some(state)
    }

    /// That of a guest that begins.
    pub fn blank() -> Self {
        Self { counter: 0, words: [0; WORDS], sectors: [Sector::default(); WORDS] }
    }

    /// The words of a page.
    fn page(&self, pfn: usize) -> [u64; 4] {
        let Sector { seen, under_way, kept } = self.sectors[pfn];
        [self.words[pfn], seen, under_way, kept]
    }

    /// The counter in a guest's state records.
    pub fn counter_of(state: &DomainState) -> Option<u64> {
        Some(u64::from_le_bytes(*state.libxc.first_chunk()?))
    }

    /// All that it is, in short.
    pub fn digest(&self) -> u64 {
        let digest = self.words.iter().fold(mix(self.counter), |digest, word| mix(digest ^ word));
        let known = self.sectors.iter().filter(|sector| **sector != Sector::default());
        known.fold(digest, |digest, sector| {
            mix(mix(digest ^ sector.seen) ^ sector.under_way.rotate_left(20) ^ sector.kept.rotate_left(40))
        })
    }
}

/// Mixes bits: no draw, but as good as one.
pub(super) fn mix(value: u64) -> u64 {
    let value = (value ^ (value >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    value ^ (value >> 31)
}

/// One step of a guest, for the judges.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Step {
    /// All that it was, in short.
    pub from: u64,
    /// All that it was then.
    pub to: u64,
    /// The request that it took from its card.
    pub request: Option<u64>,
    /// The counter of the frame that it sent.
    pub sent: Option<u64>,
}

/// What a mutant does wrong to a guest.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Wrongs {
    /// Nobody checks whether it stays suspended.
    pub is_not_looked_after: bool,
    /// A page that cannot be mapped counts as empty.
    pub unmapped_is_empty: bool,
    /// What it writes while its pages are copied is not logged.
    pub unlogged_while_copied: bool,
    /// Instead of being paused, its output passes.
    pub passes_instead_of_pausing: bool,
    /// Its disk is cut when it runs again.
    pub cuts_disk_late: bool,
}

/// A guest on a host.
#[derive(Debug)]
pub struct Domain {
    /// Its number among all domains there ever were.
    pub id: u64,
    /// The guest.
    pub guest: GuestId,
    /// The host.
    pub host: HostId,
    /// Memory and vCPU.
    pub state: State,
    /// Pages written since the log was drained.
    dirty: u8,
    logs: bool,
    /// Paused by the toolstack.
    pub paused: bool,
    /// Suspended, after a request.
    pub suspended: bool,
    /// Somebody here has noticed that it is suspended, and must resume it.
    is_seen_suspended: bool,
    /// Steps until it follows a request to suspend.
    suspends_in: Option<u64>,
    /// The number of coming writes that will not be logged.
    pub unlogged_writes: u64,
    /// Its frames bypass the queue: the redirect is gone.
    pub is_loose: bool,
    /// Frames that bypassed the queue.
    pub leaked: Vec<Frame>,
    /// How often the redirect was removed.
    pub breaches: u64,
    /// What a mutant does wrong.
    pub wrongs: Wrongs,
    /// The number of the last engine of its host that ran it; 0 for none.
    pub run_by: u64,
    /// It is gone.
    pub gone: bool,
    /// It survives its engine.
    pub outlives: bool,
    /// It uses its devices again.
    pub settled: bool,
    /// The generation with which an engine labelled it.
    pub mark: Generation,
    /// What xenstore is to write as the mark, and how often it is asked before that is done.
    marking: (Generation, u64),
    /// The generation under which it runs; 0 before it is claimed.
    pub generation: Generation,
    /// The generation in its frames: 0 while its engine has not claimed it.
    pub stamp: Generation,
    /// Its epoch, counted by its captures and not by the queue.
    pub open: Epoch,
    /// Its state at the last capture.
    pub captured: Option<State>,
    /// The fault of its captures.
    pub trouble: Trouble,
    /// What it sends is held here.
    pub output: HeldOutput,
    /// What it sends goes here first: it is a copy, or was one.
    pub port: Option<SharedPort>,
    /// What comes for it, if it answers.
    pub card: Option<Card>,
    /// What comes for it is told to whoever wants to know.
    pub heard: Option<Arc<Heard>>,
    /// Its disk, if it has one and is not gone.
    pub disk: Option<SimDisk>,
    /// It runs beside its image, and is not the guest.
    pub is_copy: bool,
    /// An event for its next step is on the agenda.
    pub is_stepping: bool,
    /// Of a hundred answers, those that depend on a draw.
    pub knob: u64,
    /// Its steps since they were stated last.
    pub steps: Vec<Step>,
    /// Every write to it is logged, so that unchanged pages may be compared.
    pub logs_all_writes: bool,
    /// For a mutant: a step between capturing the state and cutting the output.
    pub late_step: Option<u64>,
    /// A step while its pages are copied ahead of a pause, if they are.
    pub step_ahead: Option<u64>,
    /// Such a step was not logged.
    pub lost_bits_ahead: bool,
}

/// A domain, shared by all that use it.
#[derive(Clone, Debug)]
pub struct SharedDomain(Arc<Mutex<Domain>>);

impl SharedDomain {
    /// A guest that continues from `state`, or starts anew.
    pub fn new(id: u64, guest: GuestId, host: HostId, state: Option<State>, output: HeldOutput) -> Self {
        Self(Arc::new(Mutex::new(Domain {
            id,
            guest,
            host,
            state: state.unwrap_or(State::blank()),
            dirty: 0,
            logs: false,
            paused: false,
            suspended: false,
            is_seen_suspended: false,
            suspends_in: None,
            unlogged_writes: 0,
            is_loose: false,
            leaked: Vec::new(),
            breaches: 0,
            wrongs: Wrongs::default(),
            run_by: 0,
            gone: false,
            outlives: false,
            settled: true,
            mark: Generation(0),
            marking: (Generation(0), 0),
            generation: Generation(0),
            stamp: Generation(0),
            open: Epoch(0),
            captured: None,
            trouble: Trouble::None,
            output,
            port: None,
            card: None,
            heard: None,
            disk: None,
            is_copy: false,
            is_stepping: false,
            knob: 0,
            steps: Vec::new(),
            logs_all_writes: true,
            late_step: None,
            step_ahead: None,
            lost_bits_ahead: false,
        })))
    }

    /// The domain.
    pub fn get(&self) -> MutexGuard<'_, Domain> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Domain {
    /// Whether its vCPU runs.
    pub fn runs(&self) -> bool {
        !(self.gone || self.paused || self.suspended)
    }

    /// Whether it is paused and no engine considers it its own.
    pub fn is_left_paused(&self) -> bool {
        self.paused && self.mark == Generation(0)
    }

    /// Takes a step, if there is one to take. `chance` is the only difference between two runs from the same state. Returns
    /// whether its write was not logged.
    pub fn step(&mut self, chance: u64) -> bool {
        match self.card.as_ref().map(Card::take) {
            None => self.steps_with(chance, None),
            Some(Some(request)) => {
                let draw = if chance % 100 < self.knob { chance | 1 } else { 0 };
                self.steps_with(mix(self.state.digest() ^ request ^ draw), Some(request))
            }
            Some(None) => self.follows_request(),
        }
    }

    /// Some steps after a request to suspend it follows it.
    fn follows_request(&mut self) -> bool {
        match &mut self.suspends_in {
            Some(0) => (self.suspended, self.suspends_in) = (true, None),
            Some(steps) => *steps -= 1,
            None => {}
        }
        false
    }

    /// Takes a step, if it runs and is to take one while its pages are copied.
    pub fn steps_while_copied(&mut self) {
        if !self.runs() {
            return;
        }
        let Some(chance) = self.step_ahead.take() else { return };
        let logged = self.dirty;
        self.lost_bits_ahead |= self.step(chance);
        if self.wrongs.unlogged_while_copied {
            self.dirty = logged;
        }
    }

    fn steps_with(&mut self, chance: u64, request: Option<u64>) -> bool {
        let from = self.state.digest();
        self.state.counter += 1;
        let word = ((chance >> 8) % WORDS as u64) as usize;
        self.state.words[word] = self.state.counter ^ (chance << 20);
        let is_unlogged = self.unlogged_writes > 0;
        if is_unlogged {
            self.unlogged_writes -= 1;
        } else if self.logs {
            self.dirty |= 1 << word;
        }
        if let Some(disk) = &mut self.disk {
            let touched = disk.used(&mut self.state.sectors, self.state.counter, mix(chance));
            self.dirty |= if self.logs { touched } else { 0 };
        }
        let says = self.state.digest();
        let sends = !chance.is_multiple_of(4);
        self.steps.push(Step { from, to: says, request, sent: sends.then_some(self.state.counter) });
        if sends {
            let frame = Frame {
                guest: self.guest,
                host: self.host,
                generation: self.stamp,
                epoch: self.open,
                counter: self.state.counter,
                says,
                by_copy: self.is_copy,
            };
            match &self.port {
                _ if self.is_loose && !self.is_copy => self.leaked.push(frame),
                Some(SharedPort(port)) => port.transmit(&frame.to_bytes()),
                None => self.output.transmit(&frame.to_bytes()),
            }
        }
        self.follows_request();
        is_unlogged
    }

    /// For a mutant: it writes to its disk between the capture of its state and the cut.
    fn writes_late(&mut self) {
        let draw = mix(self.state.digest());
        if let Some(disk) = &mut self.disk {
            self.dirty |= disk.writes_late(&mut self.state.sectors, draw);
        }
    }

    /// It answers what comes for it: its card, and what tells of that.
    pub fn answers(&mut self, card: Card, heard: Arc<Heard>) {
        (self.card, self.heard) = (Some(card), Some(heard));
    }

    /// An engine opens it, and sees whether it is suspended.
    pub fn is_opened(&mut self) {
        self.is_seen_suspended = self.suspended;
    }

    /// Cancels the fault of its next capture. A lost log stays lost.
    pub fn is_spared(&mut self) {
        if !matches!(self.trouble, Trouble::LogLost | Trouble::ForEver) {
            self.trouble = Trouble::None;
        }
    }

    /// Reads and clears the log.
    pub fn drain(&mut self, into: &mut DirtyBitmap) {
        let dirty = std::mem::take(&mut self.dirty);
        (0..WORDS as u64).filter(|word| dirty & (1 << word) != 0).for_each(|word| into.set(Pfn(word)));
    }

    /// Switches its log on, with nothing in it.
    pub fn logs_from_here(&mut self) {
        (self.logs, self.dirty) = (true, 0);
    }

    /// Switches its log off.
    pub fn stops_logging(&mut self) {
        self.logs = false;
    }

    /// Another reader of the log takes its marks; `false` if there were none.
    pub fn loses_dirty_bits(&mut self) -> bool {
        self.logs && std::mem::take(&mut self.dirty) != 0
    }
}

impl Machine for SharedDomain {
    fn pause(&self) {
        let mut domain = self.get();
        if domain.wrongs.passes_instead_of_pausing {
            return domain.output.pass();
        }
        domain.paused = true;
    }
    fn unpause(&self) {
        self.get().paused = false;
    }
    fn outlives_us(&self) -> bool {
        self.get().outlives
    }
    fn stop(&self) {
        self.get().gone = true;
    }
    fn leave(&self) {
        let mut domain = self.get();
        if domain.outlives {
            domain.paused = true;
        } else {
            domain.gone = true;
        }
    }
    fn has_ended(&self) -> bool {
        self.get().gone
    }
    fn mark(&self, generation: Generation) {
        let mut domain = self.get();
        if domain.marking.0 < generation {
            domain.marking = (generation, generation.0 % 4 * 3);
        }
    }
    fn is_marked(&self, generation: Generation) -> bool {
        let mut domain = self.get();
        match domain.marking {
            (newest, 0) => domain.mark = domain.mark.max(newest),
            (newest, asks) => domain.marking = (newest, asks - 1),
        }
        domain.mark >= generation
    }
    fn has_settled(&self) -> bool {
        self.get().settled
    }
    fn take_renewed(&self) -> Option<Vec<u8>> {
        None
    }
    fn reopen(&self) -> Option<Result<BoxedSource, HostError>> {
        self.get().is_opened();
        Some(Ok(BoxedSource(Box::new(self.clone()))))
    }
    fn deliver(&self, frame: &[u8]) {
        let (heard, card) = {
            let domain = self.get();
            (domain.heard.clone(), domain.card.clone())
        };
        if let (Some(heard), Some(card)) = (heard, card) {
            heard.hear(frame, |frame| card.put(frame));
        }
    }
    fn disk(&self) -> Option<Arc<dyn DiskParticipant>> {
        self.get().disk.as_ref().map(|disk| disk.disk.clone() as Arc<dyn DiskParticipant>)
    }
    fn heard(&self) -> Option<Arc<Heard>> {
        self.get().heard.clone()
    }
}
