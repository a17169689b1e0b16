//! What takes part in a guest's epochs beside its memory: what it sends, and later its disks. The pause cuts every
//! participant, and the session's word after the ack lets go of what each holds.
//!
//! ```text
//!   capture ── check ── cut(N) ──────► each participant: what comes from here on is epoch N+1's
//!   loop    ── release(N) ───────────► what is of epochs up to N may leave          (N is acked)
//!           ── pass · fence · revive ► all of it may leave · nothing ever · held again
//!           ◄─ take_health ──────────  pressure, leaks, faults
//! ```
//!
//! Not here: which frames leave how ([`output`](crate::guest::output)).

use std::error::Error;
use std::fmt::Debug;
use std::sync::Arc;
use understudy_checkpoint::Epoch;

/// Why an epoch cannot be closed.
#[derive(thiserror::Error, Debug)]
#[error("{what}: {why}")]
pub struct ParticipantError {
    /// What cannot be held, for the operator: a sentence without its end.
    pub what: &'static str,
    /// Why not.
    pub why: Box<dyn Error + Send + Sync>,
}

/// What became of a participant since this was asked last.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Health {
    /// It is near a limit: a checkpoint should come soon.
    pub pressure: bool,
    /// Something leaves that should be held, or did since everything could leave.
    pub leaks: bool,
    /// What was wrong with it, and was put right.
    pub fault: Option<String>,
}

/// One participant of one guest. Nothing in here waits, but for [`detach`](Self::detach).
pub trait Participant: Send + Sync + Debug {
    /// Whether everything can be held.
    fn check(&self) -> Result<(), ParticipantError>;

    /// Closes `epoch`, in the pause. After an error something may not be held.
    fn cut(&self, epoch: Epoch) -> Result<(), ParticipantError>;

    /// `through` is acked: what is of epochs up to it may leave.
    fn release(&self, through: Epoch);

    /// Everything may leave, now and from here on.
    fn pass(&self);

    /// Nothing may leave any more.
    fn fence(&self);

    /// After [`fence`](Self::fence), by a person's word: holds again. Nothing from before leaves.
    fn revive(&self);

    /// What passes goes on without this process. It may wait for the kernel.
    fn detach(&self);

    /// How it is.
    fn take_health(&self) -> Health;

    /// What was wrong with it last, in words.
    fn last_fault(&self) -> Option<String>;
}

/// All participants of one guest, shared between its threads and the loop.
#[derive(Clone, Debug)]
pub struct Participants(Arc<[Arc<dyn Participant>]>);

impl Participants {
    /// These, cut in this order.
    pub fn new(all: Vec<Arc<dyn Participant>>) -> Self {
        Self(all.into())
    }

    /// Whether everything can be held.
    pub fn check(&self) -> Result<(), ParticipantError> {
        self.0.iter().try_for_each(|one| one.check())
    }

    /// Closes `epoch` in all of them, also where one fails: what is held stays in its epoch.
    pub fn cut(&self, epoch: Epoch) -> Result<(), ParticipantError> {
        let mut result = Ok(());
        for one in self.0.iter() {
            result = result.and(one.cut(epoch));
        }
        result
    }

    /// `through` is acked.
    pub fn release(&self, through: Epoch) {
        self.0.iter().for_each(|one| one.release(through));
    }

    /// Everything may leave.
    pub fn pass(&self) {
        self.0.iter().for_each(|one| one.pass());
    }

    /// Nothing may leave any more.
    pub fn fence(&self) {
        self.0.iter().for_each(|one| one.fence());
    }

    /// All of them hold again.
    pub fn revive(&self) {
        self.0.iter().for_each(|one| one.revive());
    }

    /// What passes goes on without this process.
    pub fn detach(&self) {
        self.0.iter().for_each(|one| one.detach());
    }

    /// The worst of all: each is asked, for asking forgets.
    pub fn take_health(&self) -> Health {
        self.0.iter().map(|one| one.take_health()).fold(Health::default(), |all, one| Health {
            pressure: all.pressure | one.pressure,
            leaks: all.leaks | one.leaks,
            fault: all.fault.or(one.fault),
        })
    }

    /// What was wrong last, in words.
    pub fn last_fault(&self) -> Option<String> {
        self.0.iter().find_map(|one| one.last_fault())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use parking_lot::Mutex;

    /// Notes what it was told; `fails` whatever is asked.
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
