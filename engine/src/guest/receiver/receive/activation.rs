//! The end of holding a guest: it is started from its image, or its live copy becomes the guest, or the image is saved to a
//! file for a person. What an earlier engine left of the guest ends before.

use super::{ReceiveThread, in_memory};
use crate::guest::copy::Traffic;
use crate::guest::receiver::keeping::NotTheGuest;
use crate::guest::receiver::work::Held;
use crate::guest::replica::{NotStarted, Replica, Start};
use crate::guest::report::Report;
use std::sync::Arc;
use understudy_checkpoint::{Epoch, Generation};

impl ReceiveThread {
    pub(super) fn pause_older(&self, newest: Generation) {
        let Held { name, host, .. } = &self.held;
        if let Err(error) = host.pause_older(name, newest) {
            tracing::error!(guest = name, %error, "What an earlier engine left of the guest cannot be paused");
        }
    }

    pub(super) fn end_older(&self, newest: Generation) {
        let Held { name, host, .. } = &self.held;
        if let Err(error) = host.end_older(name, newest) {
            tracing::error!(guest = name, %error, "What an earlier engine left of the guest cannot be ended");
        }
    }

    /// `None` if the guest runs, or nothing is left of it here.
    pub(super) fn activate(
        mut self,
        generation: Generation,
        open: Epoch,
        through: Option<&Arc<Traffic>>,
    ) -> Option<Self> {
        self.end_older(generation);
        if let Some(mut disks) = self.disks.take()
            && let Err(error) = disks.hand_over(generation)
        {
            // What failed fails again in this life; the disk is whole, and the next one may have it.
            self.reporter.tell(Report::ActivationFailed { error: error.to_string() });
            return None;
        }
        let replica = self.take_replica();
        let Held { name, description: what, .. } = &self.held;
        let (report, replica) = match replica.activate(&Start { name, what, generation, open, through }) {
            Ok(guest) => (Report::Activated { guest }, None),
            Err(NotStarted { why, replica: None }) => (Report::ActivationFailed { error: why }, None),
            Err(NotStarted { why, replica }) => (Report::ActivationDelayed { error: why }, replica),
        };
        if let Some(replica) = replica {
            *self.receiver.sink_mut() = replica;
            self.is_last_copy = true;
            self.reporter.tell(report);
            return Some(self);
        }
        self.reporter.tell(report);
        None
    }

    /// `None` if the copy is the guest now.
    pub(super) fn activate_copy(mut self, generation: Generation, open: Epoch) -> Option<Self> {
        self.end_older(generation);
        self.set_to_end();
        let (name, what) = (&self.held.name, &self.held.description);
        match self.copy.begin(&Start { name, what, generation, open, through: None }) {
            Ok(guest) => {
                self.reporter.tell(Report::Activated { guest });
                None
            }
            Err(NotTheGuest { why, is_gone }) => {
                if is_gone {
                    self.reporter.tell(Report::CopyEnded { error: why.clone() });
                }
                self.is_last_copy = true;
                self.reporter.tell(Report::ActivationDelayed { error: why });
                Some(self)
            }
        }
    }

    pub(super) fn take_replica(&mut self) -> Box<dyn Replica> {
        std::mem::replace(self.receiver.sink_mut(), in_memory(0, &self.held.host))
    }

    /// No more attempts to start the guest: saves the image, so that a person can start it.
    pub(super) fn save(&mut self) {
        if !self.is_last_copy {
            return;
        }
        let Held { name, description, .. } = &self.held;
        let advice = match self.receiver.sink().save(name, description) {
            Ok(file) => {
                let file = file.display();
                self.is_last_copy = false;
                format!(
                    "the last commit is in {file}: make room and run `xl restore {file}`, unless the guest runs elsewhere"
                )
            }
            Err(why) => format!(
                "the last commit is in this process alone ({why}): make room and end the node (SIGTERM), which saves it"
            ),
        };
        tracing::error!(guest = name, advice, "Nobody tries any more to start the guest here");
        self.reporter.tell(Report::ImageSaved { advice });
        if !self.is_last_copy {
            self.take_replica();
        }
    }
}
