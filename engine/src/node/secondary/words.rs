//! Reports about a guest held here: to the log and the metrics when something changes, to `status` on request.

use super::SecondaryGuest;
use crate::control::status::{DiskStatus, GuestStatus, KeptStatus};
use crate::control::{GuestRole, GuestState};
use crate::guest::Work;
use crate::node::status::{loss_name, record_words, secondary_reason};
use understudy_checkpoint::PAGE_SIZE;
use understudy_session::Time;
use understudy_session::secondary::{Event, State};

impl SecondaryGuest {
    pub(super) fn event(&mut self, event: Event, now: Time) {
        let guest = &*self.name;
        match event {
            Event::State(state) => {
                tracing::info!(guest, state = %GuestState::from(state), "Secondary");
                self.meter.set_role(GuestRole::Secondary, self.session.generation().0);
                self.meter.set_protected(matches!(state, State::Standing));
                if matches!(state, State::Empty | State::Seeding) {
                    // No earlier epoch outlives the image that it was read back from.
                    self.kept = KeptStatus::default();
                }
                if state == State::Seeding {
                    self.give(Work::EndOlder(self.session.generation()));
                }
            }
            Event::PrimaryLost { why } => {
                let why = loss_name(why);
                tracing::warn!(guest, peer = %self.peer, why, "Primary lost");
                self.lost = Some((now, why));
            }
            Event::PrimaryGone => {
                tracing::warn!(guest, peer = %self.peer, "The primary's process is gone: its host has ended the link, and refuses another");
            }
            Event::ActivationFailed { .. } => self.meter.set_protected(false),
            Event::CopyEnded { base, why } => {
                tracing::warn!(guest, %base, ?why, "There is no copy that runs any more");
            }
            Event::TakeoverWithheld { base } => {
                let peer = &self.peer;
                tracing::error!(
                    guest, epoch = %base, %peer,
                    "No takeover: the copy has crashed, and clients may have seen what is in no image; bring the other host \
                     back, or take what there is with `understudy takeover` here"
                );
            }
            Event::TakeoverRefused { record } => {
                let record = record.as_ref().map_or("none".to_owned(), record_words);
                tracing::warn!(guest, record, "No takeover: the witness's record does not allow it");
            }
        }
    }

    /// Copies values that are kept elsewhere into the meter: a newer generation may appear in any state.
    pub(in crate::node) fn measure(&mut self) {
        self.meter.set_role(GuestRole::Secondary, self.session.generation().0);
        let image_bytes = match self.holds_nothing() {
            true => 0,
            false => self.description.page_count * PAGE_SIZE as u64,
        };
        self.meter.holds(image_bytes, self.inbox_bytes as u64);
        if !self.description.disks_bytes.is_empty() {
            self.meter.disk(None, self.disk_fault.is_some());
        }
    }

    /// Adds what only this role knows.
    pub(in crate::node) fn fill(&self, status: &mut GuestStatus, now: Time, has_witness: bool) {
        let state = self.session.state();
        status.reason = secondary_reason(state, &self.peer, has_witness);
        if let (State::Activating, Some(why)) = (state, &self.delay) {
            status.reason = format!("the guest cannot be started here yet, and is tried again: {why}");
        }
        if state == State::ActivationFailed {
            let why = self.delay.iter().map(|why| format!("; it failed: {why}"));
            status.reason.extend(why.chain(self.saved.iter().map(|advice| format!("; {advice}"))));
        }
        if let Some(why) = &self.disk_fault {
            status.reason = format!("the guest's disk here does not follow it: {why}");
        }
        status.disk = self.description.disks_bytes.first().map(|bytes| DiskStatus {
            bytes: *bytes,
            behind_bytes: None,
            fault: self.disk_fault.clone().unwrap_or_default(),
        });
        if self.session.awaits_fencing() {
            status.reason.clone_from(&self.fence_words);
        }
        if let Some(why) = self.defect_reason() {
            status.reason = why;
        }
        status.generation = self.session.generation().0;
        if self.session.acked().is_some() {
            status.colo.mode = self.session.mode().name().into();
        }
        status.acked = self.session.acked().map(|epoch| epoch.0);
        status.epoch = self.receiving.map(|(_, epoch)| epoch.0).or(status.acked);
        status.committed = self.session.committed().map(|epoch| epoch.0);
        status.kept.clone_from(&self.kept);
        status.commit_age_ms = self.last_commit.map(|at| (now - at).0 / 1_000_000);
    }
}
