//! A guest whose protection was fresh, or that runs unprotected, ends only by its own end, by a person, or by at least
//! two faults. While no copy of it is fresh, a single fault may end it together with the host or process it runs in.

use super::super::facts::Fact;
use super::{Invariant, Verdict};
use understudy_session::Copy;

#[derive(Debug, Default)]
pub(super) struct Durability {
    /// It runs, or ran.
    begun: bool,
    /// A person or the guest itself has ended it, or a crash while no copy was fresh.
    may_end: bool,
    faults: u32,
    fresh: bool,
}

impl Durability {
    pub(super) fn see(&mut self, fact: &Fact) -> Verdict {
        match fact {
            // A guest may have ended before its claim was confirmed: that is still the same life.
            Fact::Began { .. } if self.begun && !self.may_end && self.faults < 2 => {
                let what = format!("the guest begins anew, and was not lost; {} faults", self.faults);
                return Err((Invariant::Durability, what));
            }
            Fact::Began { .. } => (self.may_end, self.begun) = (self.may_end && !self.begun, true),
            Fact::Recorded(record) => self.fresh = record.copy != Copy::Stale,
            Fact::Fault => self.faults += 1,
            Fact::Crashed { took_guest: true, .. } if !self.fresh => self.may_end = true,
            Fact::Person { .. } | Fact::Ended => self.may_end = true,
            Fact::Lost if self.begun && !self.may_end && self.faults < 2 => {
                let faults = self.faults;
                return Err((Invariant::Durability, format!("the guest is lost, after {faults} faults")));
            }
            Fact::Lost => (self.begun, self.may_end) = (false, false),
            _ => {}
        }
        Ok(())
    }
}
