//! The guest of the simulator: eight pages of memory, a vCPU that counts, a card, a dirty log. It is small and its pages
//! are real: the capture, the encoder, the receiver and the image that work on it are the engine's own.
//!
//! ```text
//!   step: counter + 1, one page written, sometimes a frame ─► HeldOutput
//!   Source: suspend, drain, copy, state, resume                Machine: pause, unpause, stop, leave, mark
//! ```

mod source;

use super::frame::Frame;
use super::{GuestId, HostId};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use understudy::guest::{BoxedSource, HeldOutput, HostError, Machine, Replica};
use understudy_checkpoint::epoch::Image;
use understudy_checkpoint::{Epoch, Generation, Pfn};
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
    /// What is held; `None` if nothing is left of it.
    pub fn kept(replica: &dyn Replica) -> Option<Self> {
        Self::of(replica.image()?)
    }

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
    /// Each fails until a full sync begins the log anew: the log is lost.
    LogLost,
    /// Each fails for good.
    ForEver,
    /// The next one asks the guest to suspend and does not see it do so; it does so some steps later.
    SuspendsLate,
    /// In the next one a page cannot be mapped.
    UnmappedPage,
}

/// What a mutant makes wrong about a guest.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Wrongs {
    /// Nobody looks whether it stands still.
    pub is_not_looked_after: bool,
    /// A page that cannot be mapped is taken for an empty one.
    pub unmapped_is_empty: bool,
    /// Instead of being paused it is let out.
    pub passes_instead_of_pausing: bool,
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
    /// It has followed a request to suspend.
    pub suspended: bool,
    /// Somebody here has seen that, and is to let it run again.
    is_seen_suspended: bool,
    /// It follows a request in so many steps.
    suspends_in: Option<u64>,
    /// So many writes are not going to be logged.
    pub unlogged_writes: u64,
    /// What it sends leaves its host as it is made: the redirect into the queue is gone.
    pub is_loose: bool,
    /// Frames that have gone that way.
    pub leaked: Vec<Frame>,
    /// How often the redirect was removed.
    pub breaches: u64,
    /// A mutant's doing.
    pub wrongs: Wrongs,
    /// The engine of its host that ran it last, by its number; 0 for none.
    pub run_by: u64,
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
    /// Each write to it is in its log, so that pages may be compared that are not.
    pub logs_all_writes: bool,
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
            generation: Generation(0),
            stamp: Generation(0),
            open: Epoch(0),
            captured: None,
            trouble: Trouble::None,
            output,
            logs_all_writes: true,
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

    /// Whether it is paused, and no engine knows it for its own.
    pub fn is_left_paused(&self) -> bool {
        self.paused && self.mark == Generation(0)
    }

    /// One step: `chance` is what differs between two runs from the same state. Whether its write is missing in the log.
    pub fn step(&mut self, chance: u64) -> bool {
        self.state.counter += 1;
        let word = ((chance >> 8) % WORDS as u64) as usize;
        self.state.words[word] = self.state.counter ^ (chance << 20);
        let is_unlogged = self.unlogged_writes > 0;
        if is_unlogged {
            self.unlogged_writes -= 1;
        } else if self.logs {
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
            if self.is_loose {
                self.leaked.push(frame);
            } else {
                self.output.transmit(&frame.to_bytes());
            }
        }
        match &mut self.suspends_in {
            Some(0) => (self.suspended, self.suspends_in) = (true, None),
            Some(steps) => *steps -= 1,
            None => {}
        }
        is_unlogged
    }

    /// Whoever opens it sees whether it is suspended.
    pub fn is_opened(&mut self) {
        self.is_seen_suspended = self.suspended;
    }

    /// What was to go wrong with its next capture does not. A log that is lost stays lost.
    pub fn is_spared(&mut self) {
        if !matches!(self.trouble, Trouble::LogLost | Trouble::ForEver) {
            self.trouble = Trouble::None;
        }
    }

    /// Its log is switched off.
    pub fn stops_logging(&mut self) {
        self.logs = false;
    }

    /// Another reader of its log takes what is in there; false if that was nothing.
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
    fn reopen(&self) -> Option<Result<BoxedSource, HostError>> {
        self.get().is_opened();
        Some(Ok(BoxedSource(Box::new(self.clone()))))
    }
    fn deliver(&self, _frame: &[u8]) {}
}
