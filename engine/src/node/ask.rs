//! What is asked of the guests from outside: an operator's wishes, how they stand, what they cost.

use super::arrived::GuestName;
use super::guests::{Guest, Guests};
use super::status;
use super::tally::Tally;
use super::wires::Wires;
use crate::config::{ConfigError, FindChanges, PacingSettings};
use crate::control::{GuestRole, GuestStatus, Wish};
use crate::guest::{Committed, Work};
use crossbeam::channel::Sender;
use understudy_checkpoint::domain::Description;
use understudy_session::primary::Pacing;
use understudy_session::{Time, primary, secondary};

impl Guests {
    /// Begins what an operator wishes; the error says why not.
    pub fn wish(&mut self, name: &str, wish: Wish, wires: &mut dyn Wires) -> Result<(), String> {
        let wished = match wish {
            Wish::Protect => primary::Wish::Protect,
            Wish::Unprotect => primary::Wish::Unprotect,
            Wish::Switchover => primary::Wish::Switchover,
            Wish::Reclaim => primary::Wish::Reclaim,
            Wish::Discard => primary::Wish::Discard,
            Wish::ForceTakeover => return self.force_takeover(name, wires),
        };
        let has_witness = self.config.witness.is_some();
        match self.guests.get_mut(name) {
            Some(Guest::Primary(guest)) => {
                let state = guest.session.state();
                if wish == Wish::Switchover && state != primary::State::Protected {
                    return Err(format!("{name} is not protected: {}", guest.reason()));
                }
                if matches!(wish, Wish::Reclaim | Wish::Discard) && !guest.session.awaits_person() {
                    return Err(format!(
                        "{name} is not held here for a person's word; it is {}",
                        status::snake_case(&state)
                    ));
                }
                if wish == Wish::Reclaim && has_witness && !wires.is_witness_up() {
                    return Err("The witness does not answer; without it nobody can be given a guest".into());
                }
                guest.handle(primary::Input::Operator(wished), wires);
                if wish == Wish::Unprotect {
                    guest.waive_mark();
                }
                Ok(())
            }
            Some(Guest::Secondary(guest)) => {
                Err(format!("{name} runs on {}; ask there (here only its copy is held)", guest.peer))
            }
            None => Err(format!("There is no guest {name} on this node; `status` lists them")),
        }
    }

    /// Changes what decides when the checkpoints of a guest that runs here begin.
    pub(super) fn set_pacing(
        &mut self,
        name: &str,
        wished: PacingSettings,
        wires: &mut dyn Wires,
    ) -> Result<(), ConfigError> {
        if let Some(Guest::Primary(guest)) = self.guests.get_mut(name).filter(|_| !wished.is_empty()) {
            // A budget that is not said stays.
            let below = match guest.session.pacing() {
                Pacing::Output(budgets) => Pacing::Output(budgets),
                Pacing::Clock { .. } => self.config.timing.pacing,
            };
            let pacing = wished.decide(below)?;
            guest.handle(primary::Input::Pacing(pacing), wires);
        }
        Ok(())
    }

    /// Whether the changes of a guest are found in this way.
    pub(super) fn finds_changes(&self, name: &str, how: FindChanges) -> bool {
        match self.guests.get(name) {
            Some(Guest::Primary(guest)) => (guest.compared_bytes > 0) == (how == FindChanges::Compare),
            _ => false,
        }
    }

    fn force_takeover(&mut self, name: &str, wires: &mut dyn Wires) -> Result<(), String> {
        match self.guests.get_mut(name) {
            Some(Guest::Secondary(guest)) if guest.session.committed().is_some() => {
                guest.lost = Some((wires.now(), "operator"));
                guest.handle(secondary::Input::ForceTakeover, wires);
                Ok(())
            }
            Some(Guest::Secondary(_)) => Err(format!("There is no complete copy of {name} here")),
            Some(Guest::Primary(_)) => Err(format!("{name} runs here already")),
            None => Err(format!("There is no guest {name} on this node; `status` lists them")),
        }
    }

    /// How each guest stands.
    pub(super) fn status(&mut self, now: Time) -> Vec<GuestStatus> {
        let has_witness = self.config.witness.is_some();
        let of = |(name, guest): (&GuestName, &mut Guest)| match guest {
            Guest::Primary(guest) => {
                let mut status = status::blank(name, GuestRole::Primary);
                guest.measure();
                guest.meter.fill(&mut status);
                guest.fill(&mut status, now);
                status
            }
            Guest::Secondary(guest) => {
                let mut status = status::blank(name, GuestRole::Secondary);
                guest.measure();
                guest.meter.fill(&mut status);
                guest.fill(&mut status, now, has_witness);
                status
            }
        };
        self.guests.iter_mut().map(of).collect()
    }

    /// Brings counters that are read, not counted, into the metrics.
    pub(super) fn measure(&mut self) {
        for guest in self.guests.values_mut() {
            match guest {
                Guest::Primary(guest) => guest.measure(),
                Guest::Secondary(guest) => guest.measure(),
            }
        }
    }

    /// What protecting a guest has cost so far.
    pub(super) fn tally(&self, name: &str) -> Option<Tally> {
        match self.guests.get(name)? {
            Guest::Primary(guest) => Some(guest.tally.clone()),
            Guest::Secondary(_) => None,
        }
    }

    /// Asks for a copy of what is committed here of a guest; `false` if it is not held here.
    pub(super) fn copy(&self, name: &str, to: Sender<Option<Committed>>) -> bool {
        match self.guests.get(name) {
            Some(Guest::Secondary(guest)) => guest.keeper.offer(Work::Copy(to)).is_ok(),
            _ => false,
        }
    }

    /// What a guest is whose image is held here.
    pub(super) fn held_description(&self, name: &str) -> Option<&Description> {
        match self.guests.get(name)? {
            Guest::Secondary(guest) => Some(&guest.description),
            Guest::Primary(_) => None,
        }
    }
}
