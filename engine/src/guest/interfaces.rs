//! A Xen guest's output: what its interfaces on this host receive from it is held in a queue for each, which cards
//! join and leave while the guest runs.
//!
//! ```text
//!   capture ──cut─────────────┐
//!   loop ──release/pass/fence─┼──► state: mode, open epoch, [ card ─ OwnQueue │ card ─ OwnQueue … ]
//!   watch ──follow(cards)─────┘                                └ taps, redirects in the kernel
//! ```
//!
//! Not here: which cards a guest has (`cards`). A queue that failed while its interface is still there drops what the
//! guest sends, so nothing leaks; `follow` makes it anew.

use super::OutputStats;
use super::report::Bell;
use parking_lot::Mutex;
use understudy_checkpoint::Epoch;
use understudy_netbuf::Limits;
use understudy_netbuf::kernel::{KernelError, OutputCommit, OwnQueue, Start};

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
    /// Frames lost by queues that are no more.
    dropped_before: u64,
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
        let state = State { mode: Mode::Holding, open, held: Vec::new(), dropped_before: 0 };
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

    pub(super) fn cut(&self, epoch: Epoch) -> Result<(), KernelError> {
        let mut state = self.state.lock();
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
        result
    }

    pub(super) fn release(&self, through: Epoch) {
        for (card, queue) in &self.state.lock().held {
            note(card, "released", queue.release(through));
        }
    }

    pub(super) fn pass(&self) {
        let mut state = self.state.lock();
        if matches!(state.mode, Mode::Holding | Mode::Passing) {
            state.mode = Mode::Passing;
            for (card, queue) in &state.held {
                note(card, "let out", queue.pass());
            }
        }
    }

    pub(super) fn fence(&self) {
        let mut state = self.state.lock();
        state.mode = Mode::Fenced;
        for (card, queue) in &state.held {
            note(card, "fenced", queue.fence());
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
            note(&card, "given its direct way again", queue.detach());
        }
    }

    /// Takes hold of cards that joined, lets go of those that left, and makes queues that failed anew. What joined
    /// is held before anything else is done with it; a pause that comes meanwhile waits.
    pub(super) fn follow(&self, cards: &[Card]) {
        let mut state = self.state.lock();
        let start = match state.mode {
            Mode::Holding | Mode::Fenced => Start::Holding,
            Mode::Passing => Start::Passing,
            Mode::Detached => return,
        };
        let (open, fenced) = (state.open, state.mode == Mode::Fenced);
        let mut lost = 0;
        state.held.retain(|(held, queue)| {
            let stays = cards.iter().any(|card| card.interface == held.interface) && queue.stats().is_ok();
            if !stays {
                tracing::info!(interface = held.interface, "The guest's card is gone, or its queue");
                lost += queue.stats().map_or(0, |stats| stats.dropped());
            }
            stays
        });
        state.dropped_before += lost;
        for card in cards {
            if state.held.iter().any(|(held, _)| held.interface == card.interface) {
                continue;
            }
            match attach(card, open, self.limits, start, &self.bell) {
                Ok(queue) => {
                    if fenced {
                        note(card, "fenced", queue.fence());
                    }
                    welcome(card, start);
                    state.held.push((card.clone(), queue));
                }
                // Announced in xenstore, and not made yet.
                Err(KernelError::Gone { .. }) => {}
                Err(error) => {
                    tracing::error!(interface = card.interface, %error, "What the guest sends is not held");
                }
            }
        }
    }

    /// Has every switch learn where the guest's addresses are. A guest with Linux's drivers does so itself; this
    /// is for those that do not, and costs a frame.
    pub(super) fn announce(&self) {
        for (card, queue) in &self.state.lock().held {
            if let Some(mac) = card.mac {
                note(card, "announced", queue.announce(&reverse_arp(mac)));
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
fn note(card: &Card, what: &str, result: Result<(), KernelError>) {
    if let Err(error) = result {
        tracing::error!(interface = card.interface, %error, "What the guest sends cannot be {what}");
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
