//! Events of the session of a guest that runs here: each goes to the log and to the metrics.

use super::PrimaryGuest;
use crate::control::GuestState;
use crate::node::status::{self, decline_words, loss_name};
use understudy_checkpoint::Generation;
use understudy_session::primary::{Event, State};
use understudy_session::{Decline, Time};

/// Logs that the guest is fenced here.
pub(super) fn log_fenced(guest: &str, generation: Generation, is_wished: bool) {
    if is_wished {
        tracing::info!(guest, %generation, "The guest was handed over, as was wished; it is paused here until it ends");
    } else {
        tracing::error!(
            guest, %generation,
            "Another generation is in charge, or claims to be; the guest is paused and kept here"
        );
    }
}

impl PrimaryGuest {
    pub(super) fn event(&mut self, event: Event, now: Time) {
        self.log(event.clone());
        match event {
            Event::State(state) => self.entered(state, now),
            Event::Committed { epoch, after } => {
                self.last_commit = Some(now);
                self.meter.committed(after.into());
                self.replay_stats.committed(epoch, after);
            }
            Event::Stretched => self.meter.stretched(),
            Event::TooSlow { .. } => self.meter.unprotected_for_slowness(),
            Event::Declined { why: Decline::Diverged } => self.meter.diverged(),
            Event::Declined { .. } => self.meter.declined(),
            Event::OutputDiverged { why } => self.meter.output_diverged(why),
            Event::Seed => {
                self.meter.full_copy_begun();
                self.meter.full_sync(Some(0.0));
                self.replay_stats.seeds += 1;
            }
            Event::Resync { .. } => self.replay_stats.resyncs += 1,
            Event::PeerLost { .. }
            | Event::CopyRests { .. }
            | Event::ClaimRefused { .. }
            | Event::Rivalled { .. }
            | Event::RumourRefuted { .. }
            | Event::LastOutputDropped
            | Event::CopyMet { .. }
            | Event::WishRefused { .. } => {}
        }
    }

    fn entered(&mut self, state: State, now: Time) {
        match (state, &self.protector) {
            // Its disk may be needed by the guest that is started in its place.
            (State::Ended, _) => {
                self.protector = None;
                self.participants = self.participants.without_disk();
            }
            // One that cannot take the order is replaced, and with it all that it left in the guest's host.
            (State::Unprotected, Some(protector)) => _ = protector.leave_alone(),
            _ => {}
        }
        self.mark();
        self.meter.set_role(state, self.session.generation().0);
        self.meter.set_protected(state == State::Protected);
        if !matches!(state, State::Seeding | State::Arming) {
            self.meter.full_sync(None);
        }
        self.offer_newer_generation(now);
    }

    /// Tells the log of it.
    fn log(&self, event: Event) {
        let guest = &*self.name;
        match event {
            Event::State(state) => {
                tracing::info!(guest, state = %GuestState::from(state), "Primary");
            }
            Event::Committed { .. } | Event::Stretched => {}
            Event::TooSlow { why } => {
                let why = status::given_up_reason(why, &self.peer);
                tracing::warn!(
                    guest,
                    why,
                    "No checkpoint was acked for too long; the copy is given up for now"
                );
            }
            Event::Declined { why: Decline::Diverged } => {
                tracing::error!(
                    guest,
                    peer = %self.peer,
                    "The copy is not what the guest was: a write was missed, so all of it is copied anew; find out what \
                     else reads or switches off the guest's dirty log"
                );
            }
            Event::Declined { why } => {
                tracing::warn!(guest, why = %decline_words(why), "Declined by the secondary");
            }
            Event::PeerLost { why } => {
                tracing::warn!(guest, peer = %self.peer, why = loss_name(why), "Secondary lost");
            }
            Event::OutputDiverged { why } => {
                tracing::debug!(
                    guest,
                    why = why.name(),
                    "A checkpoint is made for output that does not match"
                );
            }
            Event::CopyRests { why, rest } => {
                let (why, rest_ms) = (status::rest_reason(why, &self.peer), rest.0 / 1_000_000);
                tracing::info!(guest, why, rest_ms, "Protected by checkpoints alone for a while");
            }
            Event::Seed => {
                tracing::info!(guest, kind = "seed", "Synchronising");
            }
            Event::Resync { base } => {
                tracing::info!(guest, kind = "resync", %base, "Synchronising");
            }
            Event::ClaimRefused { why } => {
                tracing::warn!(guest, %why, "The guest may not run here now; it is paused and kept, and asked for again");
            }
            // In a switchover it speaks until it hears of the new generation.
            Event::Rivalled { generation } if generation < self.session.generation() => {
                tracing::warn!(
                    guest, peer = %self.peer, %generation,
                    "The peer still speaks for an older generation of the guest; it gives way when it hears of this one"
                );
            }
            Event::Rivalled { generation } => {
                tracing::error!(guest, peer = %self.peer, %generation, "Another host runs this guest as well");
            }
            Event::RumourRefuted { generation } => {
                tracing::warn!(guest, peer = %self.peer, %generation, "A generation was spoken of that the witness does not know");
            }
            Event::LastOutputDropped => {
                tracing::error!(
                    guest, peer = %self.peer,
                    "The guest has ended, and the peer has not said that it holds no copy: what the guest sent last is dropped"
                );
            }
            Event::CopyMet { .. } => {
                tracing::warn!(guest, peer = %self.peer, "The peer holds a copy of a guest of this name; a person decides");
            }
            Event::WishRefused { wish } => {
                tracing::warn!(guest, ?wish, "The wish cannot be granted now")
            }
        }
    }
}
