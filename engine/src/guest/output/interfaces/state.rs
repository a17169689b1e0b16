//! The state of a guest's cards: those that are held, those that cannot be, and what leaked.
//!
//! Nothing here waits for the kernel.

use super::Card;
use crate::guest::output::OutputError;
use std::sync::Arc;
use understudy_checkpoint::Epoch;
use understudy_netbuf::kernel::{Breach, CutOff, OutputCommit, OwnQueue};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Mode {
    Holding,
    Passing,
    Fenced,
    Detached,
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) mode: Mode,
    pub(super) open: Epoch,
    pub(super) held: Vec<(Card, OwnQueue)>,
    pub(super) unheld: Vec<Unheld>,
    /// The card by which something may have left before it was held, and why.
    pub(super) leak: Option<(String, String)>,
    /// Frames lost, and faults seen, by queues that are gone.
    pub(super) dropped_before: u64,
    pub(super) faults_before: u64,
    /// How many faults were reported to the operator.
    pub(super) faults_told: u64,
}

/// A card that joined and cannot be held.
#[derive(Debug)]
pub(super) struct Unheld {
    pub(super) interface: String,
    pub(super) why: String,
    /// `None`: the card's frames leave.
    pub(super) cut_off: Option<Arc<CutOff>>,
}

impl Unheld {
    /// Whether the card's frames leave, or will leave once somebody sets its interface up.
    pub(super) fn may_leak(&self) -> bool {
        self.cut_off.as_ref().is_none_or(|cut_off| cut_off.is_down())
    }

    /// How something may have left although the card is cut off.
    pub(super) fn leak(&self) -> Option<Breach> {
        self.cut_off.as_ref().and_then(|cut_off| cut_off.leak())
    }
}

impl State {
    pub(super) fn is_holding(&self) -> bool {
        matches!(self.mode, Mode::Holding | Mode::Fenced)
    }

    /// Makes fenced queues hold again; queues of a standby domain do so from epoch `open` on.
    pub(super) fn revive(&mut self, open: Option<Epoch>) {
        if let Some(open) = open {
            self.open = open;
            self.held.iter().for_each(|(_, queue)| queue.reopen(open));
        }
        if self.mode == Mode::Fenced {
            self.mode = Mode::Holding;
            self.held.iter().for_each(|(_, queue)| queue.revive());
        }
    }

    pub(super) fn check(&self) -> Result<(), OutputError> {
        let unheld = |interface: String, why: String| Err(OutputError::Unheld { interface, why });
        if let Some(Unheld { interface, why, .. }) = self.unheld.iter().find(|card| card.cut_off.is_none()) {
            return unheld(interface.clone(), why.clone());
        }
        let faults = self.held.iter().filter_map(|(_, queue)| queue.fault());
        match faults.into_iter().find(|fault| fault.breach.leaks()) {
            Some(fault) => unheld(fault.interface, fault.breach.to_string()),
            None => Ok(()),
        }
    }

    /// The frames that may have left since all output was last allowed to leave.
    pub(super) fn leak(&self) -> Option<OutputError> {
        let of_queues = self.held.iter().filter_map(|(_, queue)| queue.leak());
        let of_queues = of_queues.map(|fault| (fault.interface, fault.breach.to_string()));
        let of_cut_off =
            self.unheld.iter().filter_map(|it| Some((it.interface.clone(), it.leak()?.to_string())));
        let (interface, why) = self.leak.clone().into_iter().chain(of_queues).chain(of_cut_off).next()?;
        Some(OutputError::Leaked { interface, why })
    }

    /// Removes the cards that are not in `cards`, and queues whose interface is gone.
    pub(super) fn take_gone(&mut self, cards: &[Card]) -> Vec<(Card, OwnQueue)> {
        let is_there = |name: &str| cards.iter().any(|card| card.interface == name);
        let goes = |(card, queue): &mut (Card, OwnQueue)| !is_there(&card.interface) || queue.is_gone();
        let gone: Vec<_> = self.held.extract_if(.., goes).collect();
        for (card, queue) in &gone {
            tracing::info!(interface = card.interface, "The guest's card is gone");
            self.dropped_before += queue.stats().map_or(0, |stats| stats.dropped());
            self.faults_before += queue.faults().1;
            if let Some(fault) = queue.leak() {
                self.leak.get_or_insert((fault.interface, fault.breach.to_string()));
            }
        }
        self.unheld.retain(|card| is_there(&card.interface));
        gone
    }
}
