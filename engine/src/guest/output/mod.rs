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
//! Not here: who may leave when ([`EpochQueue`](understudy_netbuf::EpochQueue)).

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

/// Held frames that are looked at one by one, and may leave alone.
pub trait Compared: Send + Sync {
    /// Whether the loop is woken for each frame that is held, until it has looked.
    fn watch(&self, watches: bool);
    /// The number of the next frame that is held.
    fn next_id(&self) -> HeldId;
    /// Shows what is held from this number on; the answer is the number of the next frame that is held. It must not come back here
    /// meanwhile.
    fn look(&self, from: HeldId, see: &mut dyn FnMut(HeldId, Epoch, &[u8])) -> HeldId;
    /// Lets out one frame, changed by `edit`, unless it is not held any more.
    fn let_out(&self, id: HeldId, edit: &mut dyn FnMut(&mut [u8]));
    /// Shows one frame, if it is still held. It must not come back here meanwhile.
    fn show(&self, id: HeldId, see: &mut dyn FnMut(&[u8]));
    /// Throws one frame away, unless it is not held any more.
    fn discard(&self, id: HeldId);
    /// A frame of this host's making leaves after those that may.
    fn add(&self, frame: Vec<u8>);
}

/// What is held and what was lost.
#[derive(Clone, Copy, PartialEq, Default, Debug)]
pub struct OutputStats {
    /// Bytes that wait for their acks.
    pub held_bytes: u64,
    /// Frames that wait for their acks.
    pub held_frames: u64,
    /// How much of the room for them is taken, of 1; of the fullest card.
    pub held_share: f64,
    /// Frames lost because a limit was reached or the kernel refused them.
    pub dropped_frames: u64,
    /// How often something was wrong with what holds.
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
    /// Woken when frames may leave, and when a limit is near.
    pub waker: LoopWaker,
}

impl OutputMaker {
    /// A lab guest's, holding from the first frame on: whether output may pass without acks is for the session
    /// to say, never the state a guest starts in.
    pub fn frames(&self, open: Epoch) -> HeldOutput {
        HeldOutput(Arc::new(Frames::holding(open, self.limits, self.waker.clone())))
    }

    /// That of interfaces of the kernel's, which [`hold`](HeldOutput::hold) names.
    pub fn interfaces(&self, open: Epoch) -> HeldOutput {
        let interfaces = Interfaces::new(open, self.limits, self.waker.clone());
        HeldOutput(Arc::new(interfaces))
    }
}

impl HeldOutput {
    /// Closes `epoch`: what is sent from here on belongs to the next. After an error it may pass unheld.
    pub fn cut(&self, epoch: Epoch) -> Result<(), ParticipantError> {
        self.0.cut(epoch)
    }

    /// `through` is acked: its output may leave.
    pub fn release(&self, through: Epoch) {
        self.0.release(through);
    }

    /// Everything may leave, now and from here on.
    pub fn pass(&self) {
        self.0.pass();
    }

    /// Nothing may leave ever again.
    pub fn fence(&self) {
        self.0.fence();
    }

    /// After [`fence`](Self::fence), by a person's word: output is held again. Nothing from before leaves.
    pub fn revive(&self) {
        self.0.revive();
    }

    /// What stood by, [fenced](Self::fence) from its first card on, is the guest now: what it sends is held as of epoch
    /// `open`.
    pub(in crate::guest) fn begin(&self, open: Epoch) {
        self.0.begin(open);
    }

    /// Whether nothing may leave, for whatever reason.
    pub(in crate::guest) fn is_fenced(&self) -> bool {
        self.0.is_fenced()
    }

    /// Takes hold of these cards' output. After an error some of it may be held: it is for the caller to
    /// [`let_go`](Self::let_go) or not.
    pub fn hold(&self, cards: &[Card]) -> Result<(), KernelError> {
        self.0.hold(cards)
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
        self.0.detach();
    }

    /// The guest has these network cards now. Whether it should be asked again soon: some are announced and not made
    /// yet, or have to be watched.
    pub fn follow(&self, cards: &[Card]) -> bool {
        self.0.follow(cards)
    }

    /// Whether everything that the guest sends can be held. `Err` names the card whose output cannot.
    pub fn check(&self) -> Result<(), ParticipantError> {
        self.0.check()
    }

    /// Whoever moves a lab guest's frames has seen that some went another way than through here.
    pub fn breach(&self) {
        self.0.breach();
    }

    /// Whether something leaves that should be held, or did since everything could leave.
    pub fn leaks(&self) -> bool {
        self.0.leaks()
    }

    /// Cards whose output cannot be held.
    pub fn unheld(&self) -> Vec<UnheldCard> {
        self.0.unheld()
    }

    /// What was wrong last with what holds, in words.
    pub fn last_fault(&self) -> Option<String> {
        self.0.last_fault()
    }

    /// Tells the network where the guest is now, as soon as the guest may speak.
    pub fn announce(&self) {
        self.0.announce();
    }

    /// Moves all frames that may leave by the loop's hand to the end of `into`.
    pub fn take_into(&self, into: &mut Vec<Vec<u8>>) {
        self.0.take_into(into);
    }

    /// What waits in the open epoch, if there is news of it.
    pub fn take_waiting(&self) -> Option<Waiting> {
        self.0.take_waiting()
    }

    /// From how many answers in the open epoch on there is news; `None`: more of them are none.
    pub fn tell_at(&self, answers: Option<u32>) {
        self.0.tell_at(answers);
    }

    /// Whether a queue came near a limit, and the rest of its [`Health`], since this was asked last.
    pub fn take_health(&self) -> Health {
        self.0.take_health()
    }

    /// Its frames, one by one; `None` where they cannot be looked at.
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

    /// A hold on it that does not keep it.
    pub(in crate::guest) fn downgrade(&self) -> OutputWatch {
        OutputWatch(Arc::downgrade(&self.0))
    }
}

/// Held output as long as somebody else has it.
#[derive(Debug)]
pub(in crate::guest) struct OutputWatch(Weak<dyn Hold>);

impl OutputWatch {
    /// It, if it is still there.
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
        Self { what: "What the guest sends cannot be held", why: error.into() }
    }
}
