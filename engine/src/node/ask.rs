//! Requests about guests from outside: an operator's orders, their status, their costs.

use super::context::Context;
use super::guests::Guests;
use super::order_error::OrderError;
use super::replay_stats::ReplayStats;
use crate::config::{ConfigError, FindChanges, PacingSettings};
use crate::control::{GuestStatus, Wish};
use crate::guest::{Committed, ReadRequest};
use crossbeam::channel::Sender;
use understudy_checkpoint::domain::Description;
use understudy_session::{Mode, Time};

impl Guests {
    /// Begins what an operator requests.
    pub fn wish(&mut self, name: &str, wish: Wish, cx: &mut dyn Context) -> Result<(), OrderError> {
        let has_witness = self.config.witness.is_some();
        match self.guests.get_mut(name) {
            Some(guest) => guest.wish(wish, has_witness, cx),
            None => Err(OrderError::NoGuest(name.to_owned())),
        }
    }

    /// Changes what decides when the checkpoints of a guest that runs here begin.
    pub(super) fn set_pacing(
        &mut self,
        name: &str,
        wished: PacingSettings,
        cx: &mut dyn Context,
    ) -> Result<(), ConfigError> {
        let of_node = self.config.timing.pacing;
        self.guests.get_mut(name).map_or(Ok(()), |guest| guest.set_pacing(wished, of_node, cx))
    }

    /// Changes how a guest that runs here is protected.
    pub fn set_mode(&mut self, name: &str, mode: Mode, cx: &mut dyn Context) -> Result<(), OrderError> {
        self.guests.get_mut(name).map_or(Ok(()), |guest| guest.set_mode(mode, cx))
    }

    /// Whether a guest's changes are found in this way.
    pub(super) fn finds_changes(&self, name: &str, how: FindChanges) -> bool {
        self.guests.get(name).is_some_and(|guest| guest.finds_changes(how))
    }

    /// The status of each guest.
    pub(super) fn status(&mut self, now: Time) -> Vec<GuestStatus> {
        let has_witness = self.config.witness.is_some();
        self.guests.values_mut().map(|guest| guest.status(now, has_witness)).collect()
    }

    /// Copies counters that are kept elsewhere into the metrics.
    pub(super) fn measure(&mut self) {
        self.guests.values_mut().for_each(|guest| guest.measure());
    }

    /// What protecting a guest has cost so far.
    pub(super) fn replay_stats(&self, name: &str) -> Option<ReplayStats> {
        self.guests.get(name)?.replay_stats()
    }

    /// Requests a copy of a guest's committed image; `false` if it is not held here.
    pub(super) fn copy(&self, name: &str, to: Sender<Option<Committed>>) -> bool {
        self.guests.get(name).is_some_and(|guest| guest.copy(to))
    }

    /// Has an epoch of a guest that is held here read; `false` if nothing is held, or its thread is busy.
    pub(super) fn read(&self, name: &str, request: ReadRequest) -> bool {
        self.guests.get(name).is_some_and(|guest| guest.read(request))
    }

    /// The description of a guest whose image is held here.
    pub(super) fn held_description(&self, name: &str) -> Option<&Description> {
        Some(self.guests.get(name)?.held()?.description)
    }
}
