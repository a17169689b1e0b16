//! A domain that stands by for a takeover, and what keeps the network from it: its cards are held, and nothing leaves by them,
//! from their making on. The state it was tried with makes it the guest of some time ago, should anybody let it run.
//!
//! ```text
//!   keep ──► Standing + HeldOutput, fenced ──card made──► held ──activate──► the same HeldOutput holds as of its first epoch
//!                                                           └─ dropped ──► the domain goes first, then what held its cards
//! ```
//!
//! Not here: what the domain is made of (`understudy_xen::standby`), and how cards are found ([`cards`](super::cards)).

use super::keep::Keep;
use super::machine::Host;
use super::machine::NotStarted;
use super::output::HeldOutput;
use super::xen::XenHost;
use super::xen_build::Stood;
use super::xen_machine::XenMachine;
use std::fmt;
use std::sync::Arc;
use understudy_checkpoint::Epoch;
use understudy_checkpoint::domain::Description;
use understudy_xen::DomId;
use understudy_xen::standby::Standby;

/// A domain that stands by. Dropping it destroys the domain.
pub struct StandingBy {
    // In this order they are dropped.
    pub(super) standing: Box<Standby>,
    pub(super) machine: Arc<XenMachine>,
    pub(super) output: HeldOutput,
    /// How often it was tried in vain to make it the guest.
    pub(super) attempts: u32,
}

impl fmt::Debug for StandingBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.standing.fmt(f)
    }
}

impl XenHost {
    /// What is to keep the network from a domain that stands by.
    pub(super) fn stand_by(&self, name: &str, what: &Description, standing: Standby) -> StandingBy {
        let domain = standing.domain();
        let machine = Arc::new(self.machine(domain, name, true));
        let output = self.outputs.interfaces(Epoch(0));
        output.fence();
        if let Err(error) = self.follow_cards(domain, &what.config, &machine, &output) {
            tracing::warn!(guest = name, %domain, error, "The cards of the domain that stands by are not held yet");
        }
        StandingBy { standing: Box::new(standing), machine, output, attempts: 0 }
    }

    /// Makes a domain of what was kept: paused, and its cards not held unless it is the one that stood by.
    pub(super) fn build(
        &self,
        name: &str,
        what: &Description,
        keep: Keep,
        open: Epoch,
    ) -> Result<(DomId, Arc<XenMachine>, HeldOutput), NotStarted> {
        let built = match keep {
            Keep::Standing(by) => {
                self.building.activate_standing(name, what, *by, self.fallback_bytes(what))?
            }
            Keep::Memory(image) => Stood::Built(self.building.restore(name, what, image)?),
            Keep::Other(_) => return Err("this is no guest of Xen".into()),
        };
        Ok(match built {
            Stood::Itself(StandingBy { standing, machine, output, .. }) => {
                output.begin(open);
                (standing.domain(), machine, output)
            }
            Stood::Built(domain) => {
                let machine = Arc::new(self.machine(domain, name, true));
                (domain, machine, self.outputs.interfaces(open))
            }
        })
    }
}
