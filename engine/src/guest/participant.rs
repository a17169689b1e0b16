//! [`Participant`]: anything besides memory that takes part in a guest's epochs, such as output, and later disks. The
//! pause cuts every participant, and after the ack the session releases what each of them holds.
//!
//! ```text
//!   capture ── check ── cut(N) ──────► each participant: what follows belongs to epoch N+1
//!   loop    ── release(N) ───────────► epochs up to N may leave                    (N is acked)
//!           ── pass · fence · revive ► everything may leave · nothing may, ever · held again
//!           ◄─ take_health ──────────  pressure, leaks, faults
//! ```
//!
//! One of them may be the guest's disk ([`DiskParticipant`]): what was written to it is a part of each epoch.
//!
//! Not here: how frames leave ([`output`](crate::guest::output)), and what is kept of writes ([`disks`](crate::guest::disks)).

use crate::guest::disks::full_copy::CopyGoal;
use crate::guest::disks::recording::{CopyError, WritesOf};
use std::error::Error;
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;
use understudy_checkpoint::{Epoch, Generation};
use understudy_disk::record::{Overrun, Tagged};
use understudy_disk::sync::talk::Ask;

/// Why an epoch could not be closed.
#[derive(thiserror::Error, Debug)]
#[error("{what}: {why}")]
pub struct ParticipantError {
    /// The part that cannot be held, as a sentence without its end, for the operator.
    pub what: &'static str,
    pub why: Box<dyn Error + Send + Sync>,
}

/// The health of a participant since the last call.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Health {
    /// A limit is near: a checkpoint should come soon.
    pub pressure: bool,
    /// Something that should be held leaves, or has left since everything was last allowed to leave.
    pub leaks: bool,
    /// A fault that was found and repaired.
    pub fault: Option<String>,
}

/// A participant in one guest's epochs. Only [`detach`](Self::detach) may wait.
pub trait Participant: Send + Sync + Debug {
    /// Fails unless everything can be held.
    fn check(&self) -> Result<(), ParticipantError>;

    /// Closes `epoch`; called in the pause. After an error something may not be held.
    fn cut(&self, epoch: Epoch) -> Result<(), ParticipantError>;

    /// Allows epochs up to `through` to leave: they are acked.
    fn release(&self, through: Epoch);

    /// Allows everything to leave, now and from here on.
    fn pass(&self);

    /// Lets nothing leave from here on.
    fn fence(&self);

    /// Holds again after [`fence`](Self::fence), because a person asked for it. Nothing from before leaves.
    fn revive(&self);

    /// Lets what passes continue without this process. May wait for the kernel.
    fn detach(&self);

    /// Its health since the last call.
    fn take_health(&self) -> Health;

    /// Its last fault, in words.
    fn last_fault(&self) -> Option<String>;
}

/// How a guest's disk stands where the guest runs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DiskStanding {
    /// Its size.
    pub size_bytes: u64,
    /// What a full copy has still to read; `None` without one, and before the other host has said what it has.
    pub left_bytes: Option<u64>,
    /// What the other host's disk lacks at most, in whole chunks.
    pub behind_bytes: u64,
    /// Why the guest is told that its disk fails.
    pub fault: Option<String>,
}

/// A step of a disk's full copy.
#[derive(Debug)]
pub struct CopyStep {
    /// What can be sent.
    pub ready: Vec<Arc<Tagged>>,
    /// What the other host is asked or told behind it.
    pub ask: Option<Ask>,
    /// What comes then.
    pub next: CopyNext,
}

/// What comes after a step.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CopyNext {
    /// Another step.
    Step,
    /// Another step, not before so much time.
    Wait(Duration),
    /// The goal is reached.
    Done,
}

/// The guest's disk: its writes are sent as parts of their epochs.
pub trait DiskParticipant: Participant {
    /// A full copy begins, which `epoch` ends.
    fn begin_copy(&self, generation: Generation, epoch: Epoch) -> Result<(), CopyError>;

    /// What the other host says of its disk, in or of this epoch of the present generation.
    fn hear(&self, epoch: Epoch, say: &[u8]);

    /// Goes a step towards the goal.
    fn copy_on(&self, goal: CopyGoal) -> Result<CopyStep, CopyError>;

    /// Whether all is sent that is not in the record; it may be so no more when the guest has written.
    fn is_even(&self) -> bool;

    /// How it stands.
    fn standing(&self) -> DiskStanding;

    /// What the guest wrote since, and what can be sent of it before the full copy's end.
    fn take_ready(&self) -> Vec<Arc<Tagged>>;

    /// What an epoch has that was cut.
    fn end(&self, epoch: Epoch) -> Result<WritesOf, Overrun>;

    /// The next epoch is to have all after `base`.
    fn go_back_to(&self, base: Epoch) -> Result<(), Overrun>;
}

/// All participants of one guest, shared by its threads and the loop.
#[derive(Clone, Debug)]
pub struct Participants {
    all: Arc<[Arc<dyn Participant>]>,
    disk: Option<Arc<dyn DiskParticipant>>,
}

impl Participants {
    /// The participants, in the order in which they are cut.
    pub fn new(all: Vec<Arc<dyn Participant>>) -> Self {
        Self { all: all.into(), disk: None }
    }

    /// The same and the guest's disk, which is cut last.
    #[must_use]
    pub fn with_disk(self, disk: Arc<dyn DiskParticipant>) -> Self {
        let cut: Arc<dyn Participant> = disk.clone();
        Self { all: self.all.iter().cloned().chain([cut]).collect(), disk: Some(disk) }
    }

    /// The same without the guest's disk, whose files the guest needs where it is started again.
    #[must_use]
    pub fn without_disk(&self) -> Self {
        let rest = self.all.len() - usize::from(self.disk.is_some());
        Self { all: self.all[..rest].into(), disk: None }
    }

    /// The guest's disk.
    pub fn disk(&self) -> Option<&dyn DiskParticipant> {
        self.disk.as_deref()
    }

    /// Fails unless everything can be held.
    pub fn check(&self) -> Result<(), ParticipantError> {
        self.all.iter().try_for_each(|one| one.check())
    }

    /// Closes `epoch` in all of them, even if one fails, so that what is held stays in its epoch.
    pub fn cut(&self, epoch: Epoch) -> Result<(), ParticipantError> {
        let mut result = Ok(());
        for one in self.all.iter() {
            result = result.and(one.cut(epoch));
        }
        result
    }

    /// Allows epochs up to `through` to leave.
    pub fn release(&self, through: Epoch) {
        self.all.iter().for_each(|one| one.release(through));
    }

    /// Allows everything to leave.
    pub fn pass(&self) {
        self.all.iter().for_each(|one| one.pass());
    }

    /// Lets nothing leave from here on.
    pub fn fence(&self) {
        self.all.iter().for_each(|one| one.fence());
    }

    /// Makes all of them hold again.
    pub fn revive(&self) {
        self.all.iter().for_each(|one| one.revive());
    }

    /// Lets what passes continue without this process.
    pub fn detach(&self) {
        self.all.iter().for_each(|one| one.detach());
    }

    /// The worst health of all. Every participant is asked, because asking resets it.
    pub fn take_health(&self) -> Health {
        self.all.iter().map(|one| one.take_health()).fold(Health::default(), |all, one| Health {
            pressure: all.pressure | one.pressure,
            leaks: all.leaks | one.leaks,
            fault: all.fault.or(one.fault),
        })
    }

    /// The last fault, in words.
    pub fn last_fault(&self) -> Option<String> {
        self.all.iter().find_map(|one| one.last_fault())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use parking_lot::Mutex;

    /// Records its calls. If `fails`, every call fails.
    #[derive(Clone, Default, Debug)]
    struct Noting {
        told: Arc<Mutex<Vec<String>>>,
        fails: bool,
        health: Health,
    }

    impl Noting {
        fn note(&self, what: impl Into<String>) {
            self.told.lock().push(what.into());
        }

        fn answer(&self) -> Result<(), ParticipantError> {
            match self.fails {
                true => Err(ParticipantError { what: "It cannot be held", why: "a test".into() }),
                false => Ok(()),
            }
        }
    }

    impl Participant for Noting {
        fn check(&self) -> Result<(), ParticipantError> {
            self.answer()
        }
        fn cut(&self, epoch: Epoch) -> Result<(), ParticipantError> {
            self.note(format!("cut {epoch}"));
            self.answer()
        }
        fn release(&self, through: Epoch) {
            self.note(format!("release {through}"));
        }
        fn pass(&self) {
            self.note("pass");
        }
        fn fence(&self) {
            self.note("fence");
        }
        fn revive(&self) {
            self.note("revive");
        }
        fn detach(&self) {
            self.note("detach");
        }
        fn take_health(&self) -> Health {
            self.note("health");
            self.health.clone()
        }
        fn last_fault(&self) -> Option<String> {
            self.health.fault.clone()
        }
    }

    #[test]
    fn what_one_is_told_all_are_told_also_where_one_fails() {
        let first = Noting { fails: true, ..Noting::default() };
        let second = Noting {
            health: Health { leaks: true, fault: Some("a fault".into()), ..Health::default() },
            ..Noting::default()
        };
        let all = Participants::new(vec![Arc::new(first.clone()), Arc::new(second.clone())]);
        assert_eq!(all.cut(Epoch(3)).unwrap_err().to_string(), "It cannot be held: a test");
        assert!(all.check().is_err());
        all.release(Epoch(3));
        all.fence();
        all.revive();
        all.pass();
        all.detach();
        assert!(all.take_health().leaks);
        assert_eq!(all.last_fault().as_deref(), Some("a fault"));
        let said = ["cut 3", "release 3", "fence", "revive", "pass", "detach", "health"];
        assert_eq!(*first.told.lock(), said);
        assert_eq!(*second.told.lock(), said);
    }
}
