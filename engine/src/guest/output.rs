//! A guest's outgoing frames, between its network cards, its checkpoints and the event loop.
//!
//! ```text
//!   lab:  NIC ──push──► queue here ──take──► event loop ──► the lab's switch
//!   Xen:  vif ──► the kernel ──► a queue for each interface ──► vif             (see `interfaces`)
//!
//!   capture     ──cut──► both
//!   event loop  ──release / pass / fence──► both
//! ```
//!
//! The rules of who may leave when are [`EpochQueue`]'s; this only shares it between threads and rings the
//! loop's bell. Frames of the lab leave by the loop's hand alone, so nothing leaves once the loop has ended.

use super::interfaces::{Card, Interfaces};
use super::report::Bell;
use parking_lot::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::thread::Builder;
use understudy_checkpoint::Epoch;
use understudy_lab::Port;
use understudy_netbuf::kernel::KernelError;
use understudy_netbuf::{EpochQueue, Limits, Push, Waiting};

/// Held output, shared.
#[derive(Clone, Debug)]
pub struct HeldOutput(Arc<Hold>);

#[derive(Debug)]
enum Hold {
    Frames(Frames),
    Interfaces(Interfaces),
}

/// Frames that go through this process from a lab guest to the lab's switch.
#[derive(Debug)]
struct Frames {
    queue: Mutex<EpochQueue>,
    pressure: AtomicBool,
    /// Frames may have gone another way since everything could leave.
    breached: AtomicBool,
    bell: Bell,
}

/// What is held and what was lost.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct OutputStats {
    /// Bytes that wait for their acks.
    pub held_bytes: u64,
    /// Frames lost because a limit was reached or the kernel refused them.
    pub dropped_frames: u64,
    /// How often something was wrong with what holds.
    pub hold_faults: u64,
}

/// A card of the guest whose output cannot be held.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UnheldCard {
    /// Its interface on this host.
    pub interface: String,
    /// Why it cannot be held.
    pub why: String,
    /// What the guest sends by it goes nowhere. Otherwise it leaves, unheld.
    pub is_cut_off: bool,
}

/// Why an epoch's output cannot be closed.
#[derive(thiserror::Error, Debug)]
pub enum OutputError {
    /// The kernel's doing.
    #[error(transparent)]
    Kernel(#[from] KernelError),
    /// What the guest sends by a card is neither held nor dropped.
    #[error(
        "The card {interface} cannot be held ({why}); remove the cause, or detach the card (xl network-detach)"
    )]
    Unheld {
        /// Its interface on this host.
        interface: String,
        /// Why it cannot be held.
        why: String,
    },
    /// Something may have left before the ack of its epoch.
    #[error("What the guest sent by {interface} may have left before it was acknowledged: {why}")]
    Leaked {
        /// Its interface on this host.
        interface: String,
        /// What let it out.
        why: String,
    },
}

/// Makes queues of held output, all with the node's limits.
#[derive(Clone, Debug)]
pub struct OutputMaker {
    /// For each guest of the lab, for each interface of Xen's.
    pub limits: Limits,
    /// Rung when frames may leave, and when a limit is near.
    pub bell: Bell,
}

impl OutputMaker {
    /// A lab guest's, holding from the first frame on: whether output may pass without acks is for the session
    /// to say, never the state a guest starts in.
    pub fn frames(&self, open: Epoch) -> HeldOutput {
        let queue = Mutex::new(EpochQueue::holding(open, self.limits));
        let (pressure, breached) = (AtomicBool::new(false), AtomicBool::new(false));
        HeldOutput(Arc::new(Hold::Frames(Frames { queue, pressure, breached, bell: self.bell.clone() })))
    }

    /// That of interfaces of the kernel's, which [`hold`](HeldOutput::hold) names.
    pub fn interfaces(&self, open: Epoch) -> HeldOutput {
        let interfaces = Interfaces::new(open, self.limits, self.bell.clone());
        HeldOutput(Arc::new(Hold::Interfaces(interfaces)))
    }
}

impl Frames {
    fn check(&self) -> Result<(), OutputError> {
        if self.breached.load(Ordering::Acquire) {
            let (interface, why) = ("the lab's card".to_owned(), "frames went another way".to_owned());
            return Err(OutputError::Leaked { interface, why });
        }
        Ok(())
    }
}

impl HeldOutput {
    /// Closes `epoch`: what is sent from here on belongs to the next. After an error it may pass unheld.
    pub fn cut(&self, epoch: Epoch) -> Result<(), OutputError> {
        match &*self.0 {
            Hold::Frames(frames) => {
                frames.queue.lock().cut(epoch);
                frames.check()?;
            }
            Hold::Interfaces(interfaces) => interfaces.cut(epoch)?,
        }
        Ok(())
    }

    /// `through` is acked: its output may leave.
    pub fn release(&self, through: Epoch) {
        match &*self.0 {
            Hold::Frames(frames) => frames.queue.lock().release(through),
            Hold::Interfaces(interfaces) => interfaces.release(through),
        }
    }

    /// Everything may leave, now and from here on.
    pub fn pass(&self) {
        match &*self.0 {
            Hold::Frames(frames) => {
                frames.breached.store(false, Ordering::Release);
                frames.queue.lock().pass();
            }
            Hold::Interfaces(interfaces) => interfaces.pass(),
        }
    }

    /// Nothing may leave ever again.
    pub fn fence(&self) {
        match &*self.0 {
            Hold::Frames(frames) => frames.queue.lock().fence(),
            Hold::Interfaces(interfaces) => interfaces.fence(),
        }
    }

    /// After [`fence`](Self::fence), by a person's word: output is held again. Nothing from before leaves.
    pub fn revive(&self) {
        match &*self.0 {
            Hold::Frames(frames) => frames.queue.lock().revive(),
            Hold::Interfaces(interfaces) => interfaces.revive(None),
        }
    }

    /// What stood by, [fenced](Self::fence) from its first card on, is the guest now: what it sends is held as of epoch
    /// `open`.
    pub(super) fn begin(&self, open: Epoch) {
        if let Hold::Interfaces(interfaces) = &*self.0 {
            interfaces.revive(Some(open));
        }
    }

    /// Whether nothing may leave, for whatever reason.
    pub(super) fn is_fenced(&self) -> bool {
        matches!(&*self.0, Hold::Interfaces(interfaces) if interfaces.is_fenced())
    }

    /// Takes hold of these cards' output. After an error some of it may be held: it is for the caller to
    /// [`let_go`](Self::let_go) or not.
    pub fn hold(&self, cards: &[Card]) -> Result<(), KernelError> {
        match &*self.0 {
            Hold::Frames(_) => Ok(()),
            Hold::Interfaces(interfaces) => interfaces.hold(cards),
        }
    }

    /// Everything passes and goes its direct way again, without this process: of a guest that nobody else may run.
    pub fn let_go(&self) {
        self.pass();
        self.detach();
    }

    /// As [`let_go`](Self::let_go), for whoever must not wait for the kernel.
    pub fn let_go_soon(self) {
        let rest = self.clone();
        if let Err(error) = Builder::new().name("let-go".into()).spawn(move || self.let_go()) {
            tracing::error!(%error, "What the guest sends goes through this process on");
            rest.pass();
        }
    }

    /// Output that passes goes its direct way again, without this process.
    pub fn detach(&self) {
        if let Hold::Interfaces(interfaces) = &*self.0 {
            interfaces.detach();
        }
    }

    /// The guest has these network cards now. Whether it should be asked again soon: some are announced and not made
    /// yet, or have to be watched.
    pub fn follow(&self, cards: &[Card]) -> bool {
        match &*self.0 {
            Hold::Frames(_) => false,
            Hold::Interfaces(interfaces) => interfaces.follow(cards),
        }
    }

    /// Whether everything that the guest sends can be held: the error is of a card by which it cannot.
    pub fn check(&self) -> Result<(), OutputError> {
        match &*self.0 {
            Hold::Frames(frames) => frames.check(),
            Hold::Interfaces(interfaces) => interfaces.check(),
        }
    }

    /// Whoever moves a lab guest's frames has seen that some went another way than through here.
    pub fn breach(&self) {
        if let Hold::Frames(frames) = &*self.0 {
            frames.breached.store(true, Ordering::Release);
            frames.bell.ring();
        }
    }

    /// Whether something leaves that should be held, or did since everything could leave.
    pub fn leaks(&self) -> bool {
        match &*self.0 {
            Hold::Frames(frames) => frames.breached.load(Ordering::Acquire),
            Hold::Interfaces(interfaces) => interfaces.leaks(),
        }
    }

    /// Cards whose output cannot be held.
    pub fn unheld(&self) -> Vec<UnheldCard> {
        match &*self.0 {
            Hold::Frames(_) => Vec::new(),
            Hold::Interfaces(interfaces) => interfaces.unheld(),
        }
    }

    /// As [`last_fault`](Self::last_fault), once for each.
    pub fn take_fault(&self) -> Option<String> {
        match &*self.0 {
            Hold::Frames(_) => None,
            Hold::Interfaces(interfaces) => interfaces.take_fault(),
        }
    }

    /// What was wrong last with what holds, in words.
    pub fn last_fault(&self) -> Option<String> {
        match &*self.0 {
            Hold::Frames(_) => None,
            Hold::Interfaces(interfaces) => interfaces.last_fault(),
        }
    }

    /// Tells the network where the guest is now, as soon as the guest may speak.
    pub fn announce(&self) {
        if let Hold::Interfaces(interfaces) = &*self.0 {
            interfaces.announce();
        }
    }

    /// Moves all frames that may leave by the loop's hand to the end of `into`.
    pub fn take_into(&self, into: &mut Vec<Vec<u8>>) {
        if let Hold::Frames(frames) = &*self.0 {
            let mut queue = frames.queue.lock();
            into.extend(std::iter::from_fn(|| queue.take()));
        }
    }

    /// What waits in the open epoch, if there is news of it.
    pub fn take_waiting(&self) -> Option<Waiting> {
        match &*self.0 {
            Hold::Frames(frames) => {
                let mut queue = frames.queue.lock();
                queue.has_news().then(|| queue.waiting())
            }
            Hold::Interfaces(interfaces) => interfaces.take_waiting(),
        }
    }

    /// From how many answers in the open epoch on there is news; `None`: more of them are none.
    pub fn tell_at(&self, answers: Option<u32>) {
        match &*self.0 {
            Hold::Frames(frames) => frames.queue.lock().tell_at(answers),
            Hold::Interfaces(interfaces) => interfaces.tell_at(answers),
        }
    }

    /// Whether a queue came near a limit since this was asked last.
    pub fn take_pressure(&self) -> bool {
        match &*self.0 {
            Hold::Frames(frames) => frames.pressure.swap(false, Ordering::AcqRel),
            Hold::Interfaces(interfaces) => interfaces.take_pressure(),
        }
    }

    /// Counters.
    pub fn stats(&self) -> OutputStats {
        match &*self.0 {
            Hold::Frames(frames) => {
                let stats = frames.queue.lock().stats();
                let held_bytes = stats.held_bytes as u64;
                OutputStats { held_bytes, dropped_frames: stats.dropped_at_limit, hold_faults: 0 }
            }
            Hold::Interfaces(interfaces) => interfaces.stats(),
        }
    }

    /// A hold on it that does not keep it.
    pub(super) fn downgrade(&self) -> OutputWatch {
        OutputWatch(Arc::downgrade(&self.0))
    }
}

/// Held output as long as somebody else has it.
#[derive(Debug)]
pub(super) struct OutputWatch(Weak<Hold>);

impl OutputWatch {
    /// It, if it is still there.
    pub(super) fn get(&self) -> Option<HeldOutput> {
        self.0.upgrade().map(HeldOutput)
    }
}

impl Port for HeldOutput {
    fn transmit(&self, frame: &[u8]) {
        let Hold::Frames(frames) = &*self.0 else { return };
        let mut queue = frames.queue.lock();
        let had_news = queue.has_news();
        let ring = match queue.push(frame) {
            Push::Passing => true,
            Push::Held | Push::Dropped => !had_news && queue.has_news(),
            Push::HeldNearLimit => !frames.pressure.swap(true, Ordering::AcqRel),
        };
        drop(queue);
        if ring {
            frames.bell.ring();
        }
    }
}
