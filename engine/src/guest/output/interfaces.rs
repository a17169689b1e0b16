//! A Xen guest's output: a queue for each of its interfaces on this host. Network cards may join and leave while the
//! guest runs.
//!
//! ```text
//!   capture ──cut─────────────┐
//!   loop ──release/pass/fence─┼──► state: mode, open epoch, [ card ─ OwnQueue │ card ─ OwnQueue … ]
//!   watch ──follow(cards)─────┘      ▲                           └ taps, redirects in the kernel
//!               └─ asks the kernel ───┘ without the lock: a new queue holds until it is brought to the present mode
//! ```
//!
//! The lock is never held while the kernel is asked something, so neither the loop nor a guest's pause waits for the
//! kernel. A card that joins and cannot be held must not leak:
//!
//! ```text
//!   holding, fenced   cut off: a filter drops the card's frames, or its interface is down (netbuf's CutOff)
//!                     not even that: it leaks; cuts fail, and the session pauses the guest and gives protection up
//!   passing           left alone; cuts, and so protection, fail until it can be held or is gone
//!   every second      tried again
//! ```
//!
//! The same applies to a card that could send before it was held, and to one that another program released for a
//! moment: what left then is not in the secondary's image.
//!
//! Not here: which cards a guest has (`cards`), and repairing what another program changed (netbuf).

mod hold;
mod logged;
mod state;

use super::{Hold, OutputError};
use crate::guest::participant::{Health, Participant, ParticipantError};
use crate::guest::waker::LoopWaker;
use logged::{lift, note};
use parking_lot::Mutex;
use state::{Mode, State, Unheld};
use std::sync::Arc;
use understudy_checkpoint::Epoch;
use understudy_netbuf::Limits;
use understudy_netbuf::kernel::{CutOff, KernelError, OutputCommit, OwnQueue, Start};

/// A guest's network card.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Card {
    /// The card's interface on this host.
    pub interface: String,
    /// The card's Ethernet address, if it is known.
    pub mac: Option<[u8; 6]>,
    /// Whether the guest can send by the card already.
    pub is_connected: bool,
}

/// The output of a guest's interfaces.
#[derive(Debug)]
pub(in crate::guest) struct Interfaces {
    state: Mutex<State>,
    /// Locked while a thread attaches queues, so that only one does.
    joining: Mutex<()>,
    limits: Limits,
    waker: LoopWaker,
}

impl Interfaces {
    /// The output of a guest without cards. `open` is the open epoch.
    pub(in crate::guest) fn new(open: Epoch, limits: Limits, waker: LoopWaker) -> Self {
        let state = State {
            mode: Mode::Holding,
            open,
            held: Vec::new(),
            unheld: Vec::new(),
            leak: None,
            dropped_before: 0,
            faults_before: 0,
            faults_told: 0,
        };
        Self { state: Mutex::new(state), joining: Mutex::new(()), limits, waker }
    }

    fn cut_all(&self, epoch: Epoch) -> Result<(), OutputError> {
        let mut state = self.state.lock();
        state.check()?;
        state.open = epoch.next();
        if state.mode == Mode::Passing {
            state.mode = Mode::Holding;
        }
        let mut result = Ok(());
        for (card, queue) in &state.held {
            match queue.cut(epoch) {
                // The card is gone, and nothing can leave through it. `follow` will notice.
                Err(KernelError::Gone { name }) if name == card.interface => {}
                cut => result = result.and(cut),
            }
        }
        result?;
        state.leak().map_or(Ok(()), Err)
    }

    fn cut_off_of(&self, card: &Card) -> Option<Arc<CutOff>> {
        let state = self.state.lock();
        state.unheld.iter().find(|it| it.interface == card.interface)?.cut_off.clone()
    }

    /// Attaches a holding queue. Nothing else refers to it yet.
    fn attach(&self, card: &Card) -> Result<OwnQueue, KernelError> {
        let open = self.state.lock().open;
        let queue = OwnQueue::attach(&[&card.interface], open, self.limits, Start::Holding)?;
        let waker = self.waker.clone();
        queue.on_alarm(move || waker.wake());
        Ok(queue)
    }

    /// Adds a card that joined while the guest runs. Frames from before it was held have left.
    fn join(&self, card: &Card, queue: OwnQueue) {
        let interface = &card.interface;
        // Counted while all is held: zero means that nothing can have left.
        let has_sent = queue.ask_received().map_or(card.is_connected, |frames| frames > 0);
        let (was_cut_off, is_holding) = {
            let state = self.state.lock();
            let known = state.unheld.iter().find(|it| it.interface == *interface);
            (known.is_some_and(|it| it.cut_off.is_some()), state.is_holding())
        };
        if has_sent && is_holding && !was_cut_off {
            tracing::error!(
                interface,
                "A card joined that has sent before it could be held; the copy is given up"
            );
            let why = "it was plugged in and sent before it could be held".to_owned();
            self.state.lock().leak.get_or_insert((interface.clone(), why));
        } else {
            tracing::info!(interface, "A card joined");
        }
        self.take_in(card, queue);
    }

    /// Brings a new queue, which is holding, to the present mode and epoch.
    fn take_in(&self, card: &Card, queue: OwnQueue) {
        let interface = &card.interface;
        let mut state = self.state.lock();
        queue.reopen(state.open);
        match state.mode {
            Mode::Holding => {}
            Mode::Passing | Mode::Detached => note(interface, "let out", queue.pass()),
            Mode::Fenced => note(interface, "fenced", queue.fence()),
        }
        if state.mode == Mode::Detached {
            drop(state);
            return note(interface, "given its direct way again", queue.detach());
        }
        let known = state.unheld.iter().position(|it| it.interface == *interface);
        let known = known.map(|at| state.unheld.remove(at));
        if let Some(why) = known.as_ref().and_then(Unheld::leak) {
            state.leak.get_or_insert((interface.clone(), why.to_string()));
        }
        state.held.push((card.clone(), queue));
        drop(state);
        if let Some(cut_off) = known.and_then(|it| it.cut_off) {
            note(interface, "let out", cut_off.replaced());
        }
    }

    /// Handles a card that cannot be held: as long as anything is held, nothing may leave by it.
    fn cannot_hold(&self, card: &Card, error: &KernelError) {
        let (interface, why) = (&card.interface, error.to_string());
        let (is_new, is_holding, known) = {
            let mut state = self.state.lock();
            let known = state.unheld.iter_mut().find(|it| it.interface == *interface);
            let is_new = known.as_ref().is_none_or(|known| known.why != why);
            let cut_off = known.and_then(|known| {
                known.why.clone_from(&why);
                known.cut_off.clone()
            });
            if state.unheld.iter().all(|it| it.interface != *interface) {
                // From here on cuts fail, until it is cut off.
                state.unheld.push(Unheld { interface: interface.clone(), why: why.clone(), cut_off: None });
            }
            (is_new, state.is_holding(), cut_off)
        };
        let mut is_cut_off = false;
        if is_holding {
            let renewed = known.filter(|cut_off| cut_off.renew().is_ok());
            match renewed.map_or_else(|| CutOff::new(interface).map(Arc::new), Ok) {
                Ok(cut_off) => is_cut_off = self.is_cut_off_now(interface, cut_off),
                // The card has gone meanwhile.
                Err(KernelError::Gone { .. }) => {
                    return self.state.lock().unheld.retain(|it| it.interface != *interface);
                }
                Err(error) => {
                    self.set_cut_off(interface, None);
                    if is_new {
                        tracing::error!(interface, %error, "Nor can the card be cut off: it leaks");
                    }
                }
            }
        }
        if is_new {
            tracing::error!(interface, why, cut_off = is_cut_off, "A card cannot be held; it is tried again");
        }
    }

    /// Whether the interface stays cut off; meanwhile everything may have been allowed to leave.
    fn is_cut_off_now(&self, interface: &str, cut_off: Arc<CutOff>) -> bool {
        if self.state.lock().is_holding() {
            self.set_cut_off(interface, Some(cut_off));
            return true;
        }
        lift(interface, cut_off);
        false
    }

    fn set_cut_off(&self, interface: &str, cut_off: Option<Arc<CutOff>>) {
        let mut state = self.state.lock();
        if let Some(known) = state.unheld.iter_mut().find(|it| it.interface == interface) {
            known.cut_off = cut_off;
        }
    }

    /// Whether a queue came near a limit since the last call.
    fn take_pressure(&self) -> bool {
        // Every queue is asked, because asking resets its flag.
        self.state.lock().held.iter().filter(|(_, queue)| queue.take_pressure()).count() > 0
    }

    /// The newest fault in words, if there was one since the last call.
    fn take_fault(&self) -> Option<String> {
        let faults = self.stats().hold_faults;
        let told = std::mem::replace(&mut self.state.lock().faults_told, faults);
        if faults > told { self.last_fault() } else { None }
    }
}

impl Participant for Interfaces {
    fn check(&self) -> Result<(), ParticipantError> {
        Ok(self.state.lock().check()?)
    }

    fn cut(&self, epoch: Epoch) -> Result<(), ParticipantError> {
        Ok(self.cut_all(epoch)?)
    }

    fn release(&self, through: Epoch) {
        for (card, queue) in &self.state.lock().held {
            note(&card.interface, "released", queue.release(through));
        }
    }

    fn pass(&self) {
        let mut state = self.state.lock();
        if matches!(state.mode, Mode::Holding | Mode::Passing) {
            state.mode = Mode::Passing;
            state.leak = None;
            for (card, queue) in &state.held {
                note(&card.interface, "let out", queue.pass());
            }
            for card in &mut state.unheld {
                if let Some(cut_off) = card.cut_off.take() {
                    lift(&card.interface, cut_off);
                }
            }
        }
    }

    fn fence(&self) {
        let mut state = self.state.lock();
        state.mode = Mode::Fenced;
        for (card, queue) in &state.held {
            note(&card.interface, "fenced", queue.fence());
        }
    }

    /// Detaches queues that pass. Waits for the kernel.
    fn detach(&self) {
        let held = {
            let mut state = self.state.lock();
            if state.mode != Mode::Passing {
                return;
            }
            state.mode = Mode::Detached;
            std::mem::take(&mut state.held)
        };
        for (card, queue) in held {
            note(&card.interface, "given its direct way again", queue.detach());
        }
    }

    /// The newest fault, for the operator.
    fn last_fault(&self) -> Option<String> {
        let state = self.state.lock();
        let mut faults = state.held.iter().filter_map(|(_, queue)| queue.faults().0);
        let told =
            |interface: &str, why: &str| format!("what {interface} sent was not held for a moment: {why}");
        let leak = state.leak.as_ref().map(|(interface, why)| told(interface, why));
        leak.or(faults.next_back().map(|fault| told(&fault.interface, &fault.breach.to_string())))
    }

    fn revive(&self) {
        self.state.lock().revive(None);
    }

    fn take_health(&self) -> Health {
        Health { pressure: self.take_pressure(), leaks: self.leaks(), fault: self.take_fault() }
    }
}
