//! What the receive thread of a guest that is held here reports: epochs, commits, and how a start went.

use super::SecondaryGuest;
use crate::control::status::{KeptEpoch, KeptStatus};
use crate::guest::{Report, Work};
use crate::node::context::Context;
use understudy_checkpoint::Epoch;
use understudy_link::GuestFrame;
use understudy_session::Decline;
use understudy_session::secondary::{Input, State};

impl SecondaryGuest {
    /// A report of the receive thread.
    pub(super) fn report(&mut self, report: Report, cx: &mut dyn Context) {
        match report {
            Report::Complete { generation, epoch } => {
                if self.receiving == Some((generation, epoch)) {
                    self.stop_receiving();
                    self.handle(Input::Complete { generation, epoch }, cx);
                    // A full sync is in the image when it is complete; its duration says nothing about checkpoints.
                    if self.session.committed() == Some(epoch) {
                        self.begun.clear();
                    }
                }
            }
            Report::Broken { generation, epoch, why, error } => {
                match why {
                    Decline::Diverged => {
                        tracing::error!(guest = %self.name, %epoch, error, "The copy is wrong")
                    }
                    _ => tracing::warn!(guest = %self.name, %epoch, error, "An epoch cannot be used"),
                }
                if self.receiving == Some((generation, epoch)) {
                    self.stop_receiving();
                    self.begun.pop_back();
                    self.handle(Input::Broken { generation, epoch, why }, cx);
                }
            }
            Report::Committed { epoch } => {
                while let Some((_, since)) = self.begun.pop_front_if(|(begun, _)| *begun <= epoch) {
                    self.meter.committed((cx.now() - since).into());
                }
                self.last_commit = Some(cx.now());
                self.disk_fault = None;
                self.copy.iter().for_each(|copy| copy.committed(epoch));
                self.handle(Input::Committed { epoch }, cx);
            }
            Report::Kept { epochs, bytes } => {
                let of =
                    |(epoch, at_ns): (Epoch, u64)| KeptEpoch { epoch: epoch.0, at_ms: at_ns / 1_000_000 };
                self.kept = KeptStatus { epochs: epochs.into_iter().map(of).collect(), bytes: bytes as u64 };
                // It ends no wait.
                return;
            }
            Report::CommitFailed { epoch, error } => {
                tracing::error!(guest = %self.name, %epoch, error, "The image is lost");
                self.handle(Input::CommitFailed { epoch }, cx);
            }
            Report::DiskFails { error } => {
                self.disk_fault = Some(error);
                return;
            }
            Report::DiskSay { generation, epoch, say } => {
                if let Some(guest) = cx.number_of(&self.peer, &self.name) {
                    cx.send(&self.peer, &GuestFrame::DiskSay { generation, epoch, say: &say }.of(guest));
                }
                // It ends no wait.
                return;
            }
            Report::CopySet { .. }
            | Report::CopySetFailed { .. }
            | Report::CopyHalted
            | Report::CopyEnded { .. } => self.copy_report(report, cx),
            Report::Activated { guest } => {
                self.started = Some(guest);
                return;
            }
            Report::ActivationDelayed { error } => self.delayed(error, cx),
            Report::ActivationFailed { error } => {
                self.cannot_start(&error);
                self.delay = Some(error);
                self.handle(Input::ActivationFailed, cx);
            }
            Report::ImageSaved { advice } => self.saved = Some(advice),
            Report::GivenUp { refusal } => self.given_up = Some(refusal),
            Report::Panicked { worker, message } => {
                self.broken = Some(format!("its {worker} thread panicked: {message}"));
            }
            other => {
                tracing::error!(guest = %self.name, report = other.name(), "A report of a primary for a secondary")
            }
        }
        self.pump(cx);
    }

    /// The guest could not be started, and its image is whole. The start is tried again, unless a person has started
    /// the guest elsewhere meanwhile, or trying has lasted too long.
    fn delayed(&mut self, error: String, cx: &mut dyn Context) {
        self.is_being_started = false;
        let is_outdated = self.activation.as_ref().is_some_and(|activation| activation.is_outdated);
        self.handle(if is_outdated { Input::ActivationFailed } else { Input::ActivationDelayed }, cx);
        if self.session.state() == State::Activating {
            tracing::warn!(guest = %self.name, error, "The guest cannot be started yet; it is tried again");
            self.delay = Some(error);
        } else {
            self.cannot_start(&error);
            self.delay = Some(error);
            self.give(Work::Save);
        }
    }

    pub(super) fn cannot_start(&self, error: &str) {
        tracing::error!(
            guest = %self.name, error, peer = %self.peer,
            "The guest could not be started here; the other host may still have it: `understudy reclaim` there"
        );
    }
}
