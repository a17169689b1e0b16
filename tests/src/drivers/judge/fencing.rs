//! A6: a guest with a disk that both hosts reach has stopped on its former host before it runs on the other one. What counts is
//! what it does, by its steps: each may be a write.

use super::super::HostId;
use super::super::facts::Fact;
use super::{Invariant, Verdict};

#[derive(Debug, Default)]
pub(super) struct Fencing {
    /// Where the guest began last, or was taken over to.
    runs_on: Option<HostId>,
    /// A person has said where it runs: what runs elsewhere is that person's affair.
    is_a_persons: bool,
}

impl Fencing {
    pub(super) fn see(&mut self, fact: &Fact) -> Verdict {
        match fact {
            Fact::Began { host, .. } | Fact::Adopted { host, .. } | Fact::Activated { host, .. } => {
                self.runs_on = Some(*host);
            }
            Fact::Person { moves: true, .. } => self.is_a_persons = true,
            Fact::Stepped { host, generation, by_copy: false, .. } if !self.is_a_persons => {
                if let Some(on) = self.runs_on.filter(|on| on != host) {
                    let what = format!(
                        "the guest of generation {generation} takes a step on host {host}, and runs on host {on}"
                    );
                    return Err((Invariant::Fencing, what));
                }
            }
            _ => {}
        }
        Ok(())
    }
}
