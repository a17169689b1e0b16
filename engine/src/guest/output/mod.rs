//! A guest's outgoing frames, between its network cards, its checkpoints and the event loop.
//!
//! ```text
//!   lab:  NIC ──push──► a queue in this process ──take──► event loop ──► the lab's switch   (see `frames`)
//!   Xen:  vif ──► the kernel ──► a queue for each interface ──► vif             (see `interfaces`)
//!
//!   capture     ──cut──► both
//!   event loop  ──release / pass / fence──► both
//! ```
//!
//! Not here: when a frame may leave ([`EpochQueue`](understudy_netbuf::EpochQueue)).

mod frames;
pub(in crate::guest) mod interfaces;

use crate::guest::participant::{Health, Participant, ParticipantError, Participants};
use crate::guest::waker::LoopWaker;
use frames::Frames;
use interfaces::{Card, Interfaces};
use std::sync::{Arc, Weak};
use std::thread::Builder;
use understudy_checkpoint::Epoch;
use understudy_lab::Port;
use understudy_netbuf::kernel::KernelError;
use understudy_netbuf::{HeldId, Limits, Waiting};

/// Held output, shared.
#[derive(Clone, Debug)]
pub struct HeldOutput(Arc<dyn Hold>);

/// What holds a guest's frames, one kind for each way in which they leave.
pub(in crate::guest) trait Hold: Participant {
    /// See [`HeldOutput::begin`].
    fn begin(&self, _open: Epoch) {}
    /// See [`HeldOutput::is_fenced`].
    fn is_fenced(&self) -> bool {
        false
    }
    /// See [`HeldOutput::hold`].
    fn hold(&self, _cards: &[Card]) -> Result<(), KernelError> {
        Ok(())
    }
    /// See [`HeldOutput::follow`].
    fn follow(&self, _cards: &[Card]) -> bool {
        false
    }
    /// See [`HeldOutput::breach`].
    fn breach(&self) {}
    /// See [`HeldOutput::leaks`].
    fn leaks(&self) -> bool;
    /// See [`HeldOutput::unheld`].
    fn unheld(&self) -> Vec<UnheldCard> {
        Vec::new()
    }
    /// See [`HeldOutput::announce`].
    fn announce(&self) {}
    /// See [`HeldOutput::take_into`].
    fn take_into(&self, _into: &mut Vec<Vec<u8>>) {}
    /// See [`HeldOutput::take_waiting`].
    fn take_waiting(&self) -> Option<Waiting>;
    /// See [`HeldOutput::tell_at`].
    fn tell_at(&self, answers: Option<u32>);
    /// See [`HeldOutput::stats`].
    fn stats(&self) -> OutputStats;
    /// A lab guest's frame.
    fn transmit(&self, _frame: &[u8]) {}
    /// See [`HeldOutput::compared`].
    fn compared(&self) -> Option<&dyn Compared> {
        None
    }
}

/// Held frames that are compared one by one, and may leave one by one.
pub trait Compared: Send + Sync {
    /// Whether the loop is woken for each frame that is held, until it has looked.
    fn watch(&self, watches: bool);
    /// The number of the next frame that is held.
    fn next_id(&self) -> HeldId;
    /// Shows the held frames from this number on, and returns the number of the next frame that will be held. The callback
    /// must not call this queue.
    fn look(&self, from: HeldId, see: &mut dyn FnMut(HeldId, Epoch, &[u8])) -> HeldId;
    /// Lets one frame leave, changed by `edit`, if it is still held.
    fn let_out(&self, id: HeldId, edit: &mut dyn FnMut(&mut [u8]));
    /// Shows one frame, if it is still held. The callback must not call this queue.
    fn show(&self, id: HeldId, see: &mut dyn FnMut(&[u8]));
    /// Drops one frame, if it is still held.
    fn discard(&self, id: HeldId);
    /// Adds a frame that this host has made; it leaves after the frames that may leave already.
    fn add(&self, frame: Vec<u8>);
}

/// What is held and what was lost.
#[derive(Clone, Copy, PartialEq, Default, Debug)]
pub struct OutputStats {
    /// Bytes of frames that wait for acks.
    pub held_bytes: u64,
    /// Frames that wait for acks.
    pub held_frames: u64,
    /// The share of the room that held frames take, from 0 to 1, on the fullest card.
    pub held_share: f64,
    /// Frames lost because a limit was reached or the kernel refused them.
    pub dropped_frames: u64,
    /// How often another program disturbed the hold.
    pub hold_faults: u64,
    /// Frames that left because a copy had sent the same.
    pub matched_frames: u64,
    /// Frames that left by the ack of their epoch.
    pub acked_frames: u64,
}

/// A card of the guest whose output cannot be held.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UnheldCard {
    /// Its interface on this host.
    pub interface: String,
    /// Why it cannot be held.
    pub why: String,
    /// The card is cut off: its frames are dropped. Otherwise they leave without being held.
    pub is_cut_off: bool,
}

/// Why an epoch's output cannot be closed.
#[derive(thiserror::Error, Debug)]
pub enum OutputError {
    /// The kernel has failed.
    #[error(transparent)]
    Kernel(#[from] KernelError),
    /// The frames of a card are neither held nor dropped.
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
    /// For each lab guest, and for each interface of a Xen guest.
    pub limits: Limits,
    /// Woken when frames may leave, and when a limit is near.
    pub waker: LoopWaker,
}

impl OutputMaker {
    /// The output of a lab guest, held from the first frame on: only the session may let output pass without acks.
    pub fn frames(&self, open: Epoch) -> HeldOutput {
        HeldOutput(Arc::new(Frames::holding(open, self.limits, self.waker.clone())))
    }

    /// The output of interfaces of the kernel, which [`hold`](HeldOutput::hold) names.
    pub fn interfaces(&self, open: Epoch) -> HeldOutput {
        let interfaces = Interfaces::new(open, self.limits, self.waker.clone());
        HeldOutput(Arc::new(interfaces))
    }
}

impl HeldOutput {
    /// Closes `epoch`: frames that the guest sends after this belong to the next. After an error they may leave unheld.
    pub fn cut(&self, epoch: Epoch) -> Result<(), ParticipantError> {
        self.0.cut(epoch)
    }

    /// Lets the output of epochs up to `through` leave: they are acked.
    pub fn release(&self, through: Epoch) {
        self.0.release(through);
    }

    /// Lets all output leave, now and later.
    pub fn pass(&self) {
        self.0.pass();
    }

    /// Lets nothing leave any more.
    pub fn fence(&self) {
        self.0.fence();
    }

    /// After [`fence`](Self::fence), on a person's order: holds output again. Nothing from before leaves.
    pub fn revive(&self) {
        self.0.revive();
    }

    /// The standby domain, [fenced](Self::fence) from its first card on, is the guest now: holds its output from epoch `open`
    /// on.
    pub(in crate::guest) fn begin(&self, open: Epoch) {
        self.0.begin(open);
    }

    /// Whether nothing may leave.
    pub(in crate::guest) fn is_fenced(&self) -> bool {
        self.0.is_fenced()
    }

    /// Begins to hold the output of these cards. After an error some cards may be held; the caller decides whether to
    /// [`let_go`](Self::let_go).
    pub fn hold(&self, cards: &[Card]) -> Result<(), KernelError> {
        self.0.hold(cards)
    }

    /// Lets all output pass, on its direct way again and without this process: for a guest that no other host may run.
    pub fn let_go(&self) {
        self.pass();
        self.detach();
    }

    /// As [`let_go`](Self::let_go), without waiting for the kernel.
    pub fn let_go_soon(self) {
        let rest = self.clone();
        if let Err(error) = Builder::new().name("let-go".into()).spawn(move || self.let_go()) {
            tracing::error!(%error, "The guest's output still goes through this process");
            rest.pass();
        }
    }

    /// If output passes, it goes its direct way again, without this process.
    pub fn detach(&self) {
        self.0.detach();
    }

    /// The guest has these network cards now. Returns whether to call this again soon: some cards are announced and not made
    /// yet, or have to be watched.
    pub fn follow(&self, cards: &[Card]) -> bool {
        self.0.follow(cards)
    }

    /// Whether everything that the guest sends can be held. `Err` names the card whose output cannot.
    pub fn check(&self) -> Result<(), ParticipantError> {
        self.0.check()
    }

    /// Reports that frames of a lab guest bypassed this queue.
    pub fn breach(&self) {
        self.0.breach();
    }

    /// Whether a frame leaves that should be held, or has left so since all output could leave.
    pub fn leaks(&self) -> bool {
        self.0.leaks()
    }

    /// The cards whose output cannot be held.
    pub fn unheld(&self) -> Vec<UnheldCard> {
        self.0.unheld()
    }

    /// The newest disturbance of the hold, in words.
    pub fn last_fault(&self) -> Option<String> {
        self.0.last_fault()
    }

    /// Announces the guest's place to the network, as soon as the guest may send.
    pub fn announce(&self) {
        self.0.announce();
    }

    /// Appends to `into` all frames that may leave and that the loop sends.
    pub fn take_into(&self, into: &mut Vec<Vec<u8>>) {
        self.0.take_into(into);
    }

    /// What waits in the open epoch, if that has changed.
    pub fn take_waiting(&self) -> Option<Waiting> {
        self.0.take_waiting()
    }

    /// Sets from how many answers in the open epoch on a change counts; `None`: never.
    pub fn tell_at(&self, answers: Option<u32>) {
        self.0.tell_at(answers);
    }

    /// The [`Health`] since the last call, such as whether a queue came near a limit.
    pub fn take_health(&self) -> Health {
        self.0.take_health()
    }

    /// The held frames, one by one; `None` where frames cannot be compared.
    pub fn compared(&self) -> Option<&dyn Compared> {
        self.0.compared()
    }

    /// Counters.
    pub fn stats(&self) -> OutputStats {
        self.0.stats()
    }

    /// The output as a participant of its guest's epochs.
    pub fn participant(&self) -> Arc<dyn Participant> {
        self.0.clone()
    }

    /// A reference that does not keep the output alive.
    pub(in crate::guest) fn downgrade(&self) -> OutputWatch {
        OutputWatch(Arc::downgrade(&self.0))
    }
}

/// Held output, as long as somebody else keeps it.
#[derive(Debug)]
pub(in crate::guest) struct OutputWatch(Weak<dyn Hold>);

impl OutputWatch {
    /// The output, if it is still kept.
    pub(in crate::guest) fn get(&self) -> Option<HeldOutput> {
        self.0.upgrade().map(HeldOutput)
    }
}

impl Port for HeldOutput {
    fn transmit(&self, frame: &[u8]) {
        self.0.transmit(frame);
    }
}

impl From<HeldOutput> for Participants {
    fn from(output: HeldOutput) -> Self {
        Self::new(vec![output.0])
    }
}

impl From<OutputError> for ParticipantError {
    fn from(error: OutputError) -> Self {
        Self { what: "The guest's output cannot be held", why: error.into() }
    }
}
