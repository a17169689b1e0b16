//! The guest of the simulator: eight pages of memory, a vCPU that counts, a card, a dirty log. It is small and its pages
//! are real: the capture, the encoder, the receiver and the image that work on it are the engine's own.
//!
//! ```text
//!   step: counter + 1, one page written, sometimes a frame ─► HeldOutput
//!   Source: suspend, drain, copy, state, resume                Machine: pause, unpause, stop, leave, mark
//! ```

use super::{GuestId, HostId};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use understudy::guest::{BoxedSource, HeldOutput, Machine};
use understudy_checkpoint::domain::{Description, DomainError, DomainState, GuestKind, Source};
use understudy_checkpoint::epoch::{Image, Staging};
use understudy_checkpoint::pages::DirtyBitmap;
use understudy_checkpoint::{Epoch, Generation, PageEntry, PageType, Pfn};
use understudy_lab::Port;

/// Pages of guest memory; each holds one word.
pub const WORDS: usize = 8;

/// The whole state of a guest.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct State {
    /// Steps the guest has made since it was first started.
    pub counter: u64,
    /// Each step writes one word.
    pub words: [u64; WORDS],
}

impl State {
    /// What an image holds; `None` if it is not of such a guest.
    pub fn of(image: &Image) -> Option<Self> {
        let word = |bytes: &[u8]| Some(u64::from_le_bytes(*bytes.first_chunk()?));
        let mut state = Self { counter: word(&image.state().libxc)?, words: [0; WORDS] };
        for (pfn, held) in state.words.iter_mut().enumerate() {
            *held = word(&image.page(Pfn(pfn as u64))?[..])?;
        }
        Some(state)
    }
}

/// What goes wrong with captures of a guest.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Trouble {
    /// Nothing.
    #[default]
    None,
    /// The next one fails.
    Once,
    /// Each fails until a full copy begins the log anew: the log is lost.
    LogLost,
    /// Each fails for good.
    ForEver,
}

/// A guest on a host.
#[derive(Debug)]
pub struct Domain {
    /// Its number in the order of all domains there were.
    pub id: u64,
    /// Which guest it is.
    pub guest: GuestId,
    /// Where.
    pub host: HostId,
    /// Memory and vCPU.
    pub state: State,
    /// Pages written since the log was drained.
    dirty: u8,
    logs: bool,
    /// Held by the toolstack.
    pub paused: bool,
    /// Held by a capture.
    pub suspended: bool,
    /// It is no more.
    pub gone: bool,
    /// It goes on when its engine dies.
    pub outlives: bool,
    /// It uses its devices again.
    pub settled: bool,
    /// The generation that an engine noted with it.
    pub mark: Generation,
    /// That under which it runs now; 0 before its claim.
    pub generation: Generation,
    /// What its frames say of that: 0 while its engine has no claim.
    pub stamp: Generation,
    /// The epoch that it is in: the captures of it are counted here, not by the queue.
    pub open: Epoch,
    /// What it was at the last capture.
    pub captured: Option<State>,
    /// Of its captures.
    pub trouble: Trouble,
    /// Its card.
    pub output: HeldOutput,
    /// A step that comes between the state and the cut of a capture, for a mutant.
    pub late_step: Option<u64>,
}

/// A guest on a host, shared by all that have to do with it.
#[derive(Clone, Debug)]
pub struct SharedDomain(Arc<Mutex<Domain>>);

impl SharedDomain {
    /// A guest that goes on from `state`, or begins.
    pub fn new(id: u64, guest: GuestId, host: HostId, state: Option<State>, output: HeldOutput) -> Self {
        Self(Arc::new(Mutex::new(Domain {
            id,
            guest,
            host,
            state: state.unwrap_or(State { counter: 0, words: [0; WORDS] }),
            dirty: 0,
            logs: false,
            paused: false,
            suspended: false,
            gone: false,
            outlives: false,
            settled: true,
            mark: Generation(0),
            generation: Generation(0),
            stamp: Generation(0),
            open: Epoch(0),
            captured: None,
            trouble: Trouble::None,
            output,
            late_step: None,
        })))
    }

    /// It.
    pub fn get(&self) -> MutexGuard<'_, Domain> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Domain {
    /// Whether its vCPU goes.
    pub fn runs(&self) -> bool {
        !(self.gone || self.paused || self.suspended)
    }

    /// One step: `chance` is what differs between two runs from the same state.
    pub fn step(&mut self, chance: u64) {
        self.state.counter += 1;
        let word = ((chance >> 8) % WORDS as u64) as usize;
        self.state.words[word] = self.state.counter ^ (chance << 20);
        if self.logs {
            self.dirty |= 1 << word;
        }
        if !chance.is_multiple_of(4) {
            let frame = Frame {
                guest: self.guest,
                host: self.host,
                generation: self.stamp,
                epoch: self.open,
                counter: self.state.counter,
            };
            self.output.transmit(&frame.to_bytes());
        }
    }
}

impl Machine for SharedDomain {
    fn pause(&self) {
        self.get().paused = true;
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
        self.get().mark = generation;
    }
    fn is_marked(&self, generation: Generation) -> bool {
        self.get().mark >= generation
    }
    fn has_settled(&self) -> bool {
        self.get().settled
    }
    fn take_renewed(&self) -> Option<Vec<u8>> {
        None
    }
    fn reopen(&self) -> Option<Result<BoxedSource, String>> {
        Some(Ok(BoxedSource(Box::new(self.clone()))))
    }
    fn deliver(&self, _frame: &[u8]) {}
}

impl Source for SharedDomain {
    fn describe(&mut self) -> Result<Description, DomainError> {
        Ok(Description {
            kind: GuestKind::Pvh,
            page_count: WORDS as u64,
            libxc_version: 3,
            xen_version: (4, 19),
            config: super::host::guest_name(self.get().guest).as_bytes().to_vec(),
            static_records: Vec::new(),
        })
    }

    fn begin_log_dirty(&mut self) -> Result<(), DomainError> {
        let mut domain = self.get();
        (domain.logs, domain.dirty) = (true, 0);
        if domain.trouble == Trouble::LogLost {
            domain.trouble = Trouble::None;
        }
        Ok(())
    }

    fn end_log_dirty(&mut self) -> Result<(), DomainError> {
        self.get().logs = false;
        Ok(())
    }

    fn suspend(&mut self) -> Result<(), DomainError> {
        let mut domain = self.get();
        if domain.gone {
            return Err(DomainError::Gone("it has ended".to_owned()));
        }
        match domain.trouble {
            Trouble::None | Trouble::LogLost => {}
            Trouble::Once => {
                domain.trouble = Trouble::None;
                return Err(DomainError::SuspendTimeout(1));
            }
            Trouble::ForEver => return Err(DomainError::Failed("the toolstack does not answer".to_owned())),
        }
        domain.suspended = true;
        Ok(())
    }

    fn resume(&mut self) -> Result<(), DomainError> {
        self.get().suspended = false;
        Ok(())
    }

    fn look_after(&mut self) -> Result<(), DomainError> {
        self.get().suspended = false;
        Ok(())
    }

    fn drain_dirty(&mut self, into: &mut DirtyBitmap) -> Result<(), DomainError> {
        let mut domain = self.get();
        if domain.trouble == Trouble::LogLost || !domain.logs {
            return Err(DomainError::LogLost("it is off".to_owned()));
        }
        let dirty = std::mem::take(&mut domain.dirty);
        (0..WORDS as u64).filter(|word| dirty & (1 << word) != 0).for_each(|word| into.set(Pfn(word)));
        Ok(())
    }

    fn copy_pages(
        &mut self,
        wanted: &DirtyBitmap,
        from: Pfn,
        staging: &mut Staging,
        _copiers: usize,
    ) -> Result<Option<Pfn>, DomainError> {
        let domain = self.get();
        for pfn in wanted.runs(from).flatten() {
            if staging.room() == 0 {
                return Ok(Some(Pfn(pfn)));
            }
            let page = &mut staging.extend([PageEntry::new(Pfn(pfn), PageType::Normal)])[0];
            page.fill(0);
            page[..8].copy_from_slice(&domain.state.words[pfn as usize].to_le_bytes());
        }
        Ok(None)
    }

    fn capture_state(&mut self, into: &mut DomainState) -> Result<(), DomainError> {
        let mut domain = self.get();
        domain.captured = Some(domain.state);
        into.libxc.extend_from_slice(&domain.state.counter.to_le_bytes());
        if let Some(chance) = domain.late_step {
            domain.step(chance | 1);
        }
        Ok(())
    }
}

/// An Ethernet frame of the guest, with what the outside world must not need to know: where it came from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Frame {
    /// Whose.
    pub guest: GuestId,
    /// Host it left from.
    pub host: HostId,
    /// Generation it was made in.
    pub generation: Generation,
    /// Epoch that was open when it was made.
    pub epoch: Epoch,
    /// The guest's counter when it was made: whoever sees the frame knows that the guest came this far.
    pub counter: u64,
}

impl Frame {
    /// The frame as the queue holds it.
    pub fn to_bytes(self) -> [u8; 26] {
        let mut bytes = [0; 26];
        (bytes[0], bytes[25]) = (self.host as u8, self.guest as u8);
        bytes[1..9].copy_from_slice(&self.generation.0.to_le_bytes());
        bytes[9..17].copy_from_slice(&self.epoch.0.to_le_bytes());
        bytes[17..25].copy_from_slice(&self.counter.to_le_bytes());
        bytes
    }

    /// The frame that `bytes` are.
    pub fn from_bytes(bytes: &[u8]) -> Self {
        let word =
            |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("frames have 26 bytes"));
        Self {
            guest: usize::from(bytes[25]),
            host: usize::from(bytes[0]),
            generation: Generation(word(1)),
            epoch: Epoch(word(9)),
            counter: word(17),
        }
    }
}
