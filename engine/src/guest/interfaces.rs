//! A Xen guest's output: what its interfaces on this host receive from it is held in a queue for each, which cards
//! join and leave while the guest runs.
//!
//! ```text
//!   capture ──cut─────────────┐
//!   loop ──release/pass/fence─┼──► state: mode, open epoch, [ card ─ OwnQueue │ card ─ OwnQueue … ]
//!   watch ──follow(cards)─────┘                                └ taps, redirects in the kernel
//! ```
//!
//! A card that joins and cannot be held must not leak:
//!
//! ```text
//!   holding, fenced   cut off: a filter drops what the guest sends by it, or its interface is down (netbuf's CutOff)
//!                     not even that: it leaks; cuts fail, and the session pauses the guest and gives protection up
//!   passing           left alone; cuts, and so protection, fail until it can be held or is gone
//!   every second      tried again
//! ```
//!
//! Not here: which cards a guest has (`cards`). A queue that failed while its interface is still there drops what the
//! guest sends, so nothing leaks; `follow` makes it anew.

use super::output::{OutputError, OutputStats, UnheldCard};
use super::report::Bell;
use parking_lot::Mutex;
use understudy_checkpoint::Epoch;
use understudy_netbuf::Limits;
use understudy_netbuf::kernel::{CutOff, KernelError, OutputCommit, OwnQueue, Start};

/// A guest's network card.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Card {
    /// Its interface on this host.
    pub interface: String,
    /// Its Ethernet address, if it is known.
    pub mac: Option<[u8; 6]>,
    /// Whether the guest can send already.
    pub is_connected: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Mode {
    Holding,
    Passing,
    Fenced,
    Detached,
}

#[derive(Debug)]
struct State {
    mode: Mode,
    open: Epoch,
    held: Vec<(Card, OwnQueue)>,
    unheld: Vec<Unheld>,
    /// Frames lost by queues that are no more.
    dropped_before: u64,
}

/// A card that joined and cannot be held.
#[derive(Debug)]
struct Unheld {
    interface: String,
    why: String,
    /// `None`: what the guest sends by it leaves.
    cut_off: Option<CutOff>,
}

impl Unheld {
    /// What the guest sends by it leaves, or does once somebody sets its interface up.
    fn may_leak(&self) -> bool {
        self.cut_off.as_ref().is_none_or(CutOff::is_down)
    }
}

/// Output of a guest's interfaces.
#[derive(Debug)]
pub(super) struct Interfaces {
    state: Mutex<State>,
    limits: Limits,
    bell: Bell,
}

impl Interfaces {
    /// Output of a guest without cards so far, whose open epoch is `open`.
    pub(super) fn new(open: Epoch, limits: Limits, bell: Bell) -> Self {
        let state =
            State { mode: Mode::Holding, open, held: Vec::new(), unheld: Vec::new(), dropped_before: 0 };
        Self { state: Mutex::new(state), limits, bell }
    }

    /// Takes hold of the output of `cards`: nothing leaves from now on. After an error those before it are held.
    pub(super) fn hold(&self, cards: &[Card]) -> Result<(), KernelError> {
        let mut state = self.state.lock();
        for card in cards {
            let queue = attach(card, state.open, self.limits, Start::Holding, &self.bell)?;
            state.held.push((card.clone(), queue));
        }
        Ok(())
    }

    pub(super) fn cut(&self, epoch: Epoch) -> Result<(), OutputError> {
        let mut state = self.state.lock();
        state.check()?;
        state.open = epoch.next();
        if state.mode == Mode::Passing {
            state.mode = Mode::Holding;
        }
        let mut result = Ok(());
        for (card, queue) in &state.held {
            match queue.cut(epoch) {
                // Its card is gone: nothing can leave by it. `follow` will hear of it.
                Err(KernelError::Gone { name }) if name == card.interface => {}
                cut => result = result.and(cut),
            }
        }
        Ok(result?)
    }

    /// The error is of a card that is neither held nor cut off.
    pub(super) fn check(&self) -> Result<(), OutputError> {
        self.state.lock().check()
    }

    /// Whether something leaves that should be held.
    pub(super) fn leaks(&self) -> bool {
        let state = self.state.lock();
        state.is_holding() && state.check().is_err()
    }

    pub(super) fn unheld(&self) -> Vec<UnheldCard> {
        let told = |card: &Unheld| UnheldCard {
            interface: card.interface.clone(),
            why: card.why.clone(),
            is_cut_off: card.cut_off.is_some(),
        };
        self.state.lock().unheld.iter().map(told).collect()
    }

    pub(super) fn release(&self, through: Epoch) {
        for (card, queue) in &self.state.lock().held {
            note(&card.interface, "released", queue.release(through));
        }
    }

    pub(super) fn pass(&self) {
        let mut state = self.state.lock();
        if matches!(state.mode, Mode::Holding | Mode::Passing) {
            state.mode = Mode::Passing;
            for (card, queue) in &state.held {
                note(&card.interface, "let out", queue.pass());
            }
            for card in &mut state.unheld {
                let lifted = card.cut_off.take().map_or(Ok(()), CutOff::lift);
                note(&card.interface, "let out", lifted);
            }
        }
    }

    pub(super) fn fence(&self) {
        let mut state = self.state.lock();
        state.mode = Mode::Fenced;
        for (card, queue) in &state.held {
            note(&card.interface, "fenced", queue.fence());
        }
    }

    /// Gives back the direct way to output that passes.
    pub(super) fn detach(&self) {
        let mut state = self.state.lock();
        if state.mode != Mode::Passing {
            return;
        }
        state.mode = Mode::Detached;
        for (card, queue) in state.held.drain(..) {
            note(&card.interface, "given its direct way again", queue.detach());
        }
    }

    /// Takes hold of cards that joined, lets go of those that left, and makes queues that failed anew. What joined
    /// is held before anything else is done with it; a pause that comes meanwhile waits. Whether to look again soon.
    pub(super) fn follow(&self, cards: &[Card]) -> bool {
        let mut state = self.state.lock();
        if state.mode == Mode::Detached {
            return false;
        }
        state.drop_gone(cards);
        let mut look_again = false;
        for card in cards {
            if state.held.iter().any(|(held, _)| held.interface == card.interface) {
                continue;
            }
            match self.join(&mut state, card) {
                Ok(()) => {}
                // Announced in xenstore, and not made yet.
                Err(KernelError::Gone { .. }) => look_again = true,
                Err(error) => state.cannot_hold(card, &error),
            }
        }
        if state.is_holding() && state.check().is_err() {
            self.bell.ring();
        }
        look_again || (state.is_holding() && state.unheld.iter().any(Unheld::may_leak))
    }

    fn join(&self, state: &mut State, card: &Card) -> Result<(), KernelError> {
        let start = if state.is_holding() { Start::Holding } else { Start::Passing };
        let queue = attach(card, state.open, self.limits, start, &self.bell)?;
        if state.mode == Mode::Fenced {
            note(&card.interface, "fenced", queue.fence());
        }
        let known = state.unheld.iter().position(|it| it.interface == card.interface);
        if let Some(cut_off) = known.and_then(|at| state.unheld.remove(at).cut_off) {
            note(&card.interface, "let out", cut_off.replaced());
        }
        welcome(card, start);
        state.held.push((card.clone(), queue));
        Ok(())
    }

    /// Has every switch learn where the guest's addresses are. A guest with Linux's drivers does so itself; this
    /// is for those that do not, and costs a frame.
    pub(super) fn announce(&self) {
        for (card, queue) in &self.state.lock().held {
            if let Some(mac) = card.mac {
                note(&card.interface, "announced", queue.announce(&reverse_arp(mac)));
            }
        }
    }

    pub(super) fn take_pressure(&self) -> bool {
        // Asked of each, for asking resets it.
        self.state.lock().held.iter().filter(|(_, queue)| queue.take_pressure()).count() > 0
    }

    pub(super) fn stats(&self) -> OutputStats {
        let state = self.state.lock();
        let mut sum = OutputStats { held_bytes: 0, dropped_frames: state.dropped_before };
        for (_, queue) in &state.held {
            // Of one that is gone nothing is held any more.
            if let Ok(stats) = queue.stats() {
                sum.held_bytes += stats.queue.held_bytes as u64;
                sum.dropped_frames += stats.dropped();
            }
        }
        sum
    }
}

impl State {
    fn is_holding(&self) -> bool {
        matches!(self.mode, Mode::Holding | Mode::Fenced)
    }

    fn check(&self) -> Result<(), OutputError> {
        match self.unheld.iter().find(|card| card.cut_off.is_none()) {
            Some(Unheld { interface, why, .. }) => {
                Err(OutputError::Unheld { interface: interface.clone(), why: why.clone() })
            }
            None => Ok(()),
        }
    }

    /// Lets go of what is not among `cards` any more, and of queues that failed.
    fn drop_gone(&mut self, cards: &[Card]) {
        let is_there = |name: &str| cards.iter().any(|card| card.interface == name);
        let mut lost = 0;
        self.held.retain(|(held, queue)| {
            let stays = is_there(&held.interface) && queue.stats().is_ok();
            if !stays {
                tracing::info!(interface = held.interface, "The guest's card is gone, or its queue");
                lost += queue.stats().map_or(0, |stats| stats.dropped());
            }
            stays
        });
        self.dropped_before += lost;
        self.unheld.retain(|card| is_there(&card.interface));
    }

    /// `card` is there and cannot be held: while anything is, nothing may leave by it.
    fn cannot_hold(&mut self, card: &Card, error: &KernelError) {
        let (interface, why) = (card.interface.clone(), error.to_string());
        let before =
            self.unheld.iter().position(|it| it.interface == interface).map(|at| self.unheld.remove(at));
        let is_new = before.as_ref().is_none_or(|before| before.why != why);
        let mut unheld = Unheld { interface, why, cut_off: before.and_then(|before| before.cut_off) };
        if self.is_holding() {
            let cut_off = unheld.cut_off.take().filter(|cut_off| cut_off.renew().is_ok());
            match cut_off.map_or_else(|| CutOff::new(&unheld.interface), Ok) {
                Ok(cut_off) => unheld.cut_off = Some(cut_off),
                // It has gone meanwhile.
                Err(KernelError::Gone { .. }) => return,
                Err(error) if is_new => {
                    tracing::error!(interface = unheld.interface, %error, "Nor can the card be cut off: it leaks");
                }
                Err(_) => {}
            }
        }
        if is_new {
            let (interface, why, cut_off) = (&unheld.interface, &unheld.why, unheld.cut_off.is_some());
            tracing::error!(interface, why, cut_off, "A card cannot be held; it is tried again");
        }
        self.unheld.push(unheld);
    }
}

fn attach(
    card: &Card,
    open: Epoch,
    limits: Limits,
    start: Start,
    bell: &Bell,
) -> Result<OwnQueue, KernelError> {
    let queue = OwnQueue::attach(&[&card.interface], open, limits, start)?;
    let bell = bell.clone();
    queue.on_pressure(move || bell.ring());
    Ok(queue)
}

fn welcome(card: &Card, start: Start) {
    let interface = &card.interface;
    if card.is_connected && start == Start::Holding {
        tracing::warn!(
            interface,
            "A card joined that could send already; its first frames may not have been held"
        );
    } else {
        tracing::info!(interface, "A card joined");
    }
}

/// An error of these never lets anything out: it is for the log.
fn note(interface: &str, what: &str, result: Result<(), KernelError>) {
    if let Err(error) = result {
        tracing::error!(interface, %error, "What the guest sends cannot be {what}");
    }
}

/// "Who has this Ethernet address?", asked by itself (RFC 903): no address of IP is needed, and every switch on the
/// way learns.
fn reverse_arp(mac: [u8; 6]) -> Vec<u8> {
    const HEAD: [u8; 10] = [0x80, 0x35, 0, 1, 8, 0, 6, 4, 0, 3];
    let (broadcast, nobody) = ([0xff; 6], [0; 4]);
    let mut frame = [&broadcast[..], &mac, &HEAD, &mac, &nobody, &mac, &nobody].concat();
    frame.resize(60, 0);
    frame
}
