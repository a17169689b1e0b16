//! A domain that stands by for a takeover, and what keeps the network from it: its cards are held, and nothing leaves by them,
//! from their making on. The state it was tried with makes it the guest of some time ago, should anybody let it run.
//!
//! ```text
//!   replica ─► Standby + HeldOutput, fenced ──card made──► held ──activate──► the same HeldOutput holds as of its first epoch
//!                                                           └─ dropped ──► the domain goes first, then what held its cards
//! ```
//!
//! Not here: what the domain is made of (`understudy_xen::standby`), and how cards are found ([`cards`](super::cards)).

use super::XenHost;
use super::build::{Stood, rescue};
use super::machine::XenMachine;
use crate::guest::host::Host;
use crate::guest::machine::RunningGuest;
use crate::guest::output::HeldOutput;
use crate::guest::replica::{NotSaved, NotStarted};
use crate::guest::replica::{Replica, Start};
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use understudy_checkpoint::domain::{Description, DomainState, Sink};
use understudy_checkpoint::epoch::Image;
use understudy_checkpoint::{Epoch, Page, PageEntry, Pfn};
use understudy_xen::DomId;
use understudy_xen::standby::Standby;

/// A domain that stands by. Dropping it destroys the domain.
pub struct StandingBy {
    // In this order they are dropped.
    pub(in crate::guest) standing: Box<Standby>,
    pub(in crate::guest) machine: Arc<XenMachine>,
    pub(in crate::guest) output: HeldOutput,
    /// How often it was tried in vain to make it the guest.
    pub(in crate::guest) attempts: u32,
    pub(in crate::guest) host: XenHost,
}

impl fmt::Debug for StandingBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.standing.fmt(f)
    }
}

impl XenHost {
    /// What is to keep the network from a domain that stands by.
    pub(in crate::guest) fn stand_by(&self, name: &str, what: &Description, standing: Standby) -> StandingBy {
        let domain = standing.domain();
        let machine = Arc::new(self.machine(domain, name, true));
        let output = self.outputs.interfaces(Epoch(0));
        output.fence();
        if let Err(error) = self.follow_cards(domain, &what.config, &machine, &output) {
            tracing::warn!(guest = name, %domain, error, "The cards of the domain that stands by are not held yet");
        }
        StandingBy { standing: Box::new(standing), machine, output, attempts: 0, host: self.clone() }
    }

    /// Makes a domain of the image in memory: paused, and its cards not held.
    pub(in crate::guest) fn built(
        &self,
        domain: DomId,
        name: &str,
        open: Epoch,
    ) -> (DomId, Arc<XenMachine>, HeldOutput) {
        (domain, Arc::new(self.machine(domain, name, true)), self.outputs.interfaces(open))
    }
}

impl Replica for StandingBy {
    fn to_image(&self) -> Option<Image> {
        self.standing.to_image()
    }

    fn fall_back(&mut self) -> Option<(String, Image)> {
        Some((self.standing.failure()?, self.standing.to_image()?))
    }

    fn is_refused(&self) -> bool {
        self.standing.is_refused()
    }

    fn activate(self: Box<Self>, start: &Start<'_>) -> Result<RunningGuest, NotStarted> {
        let (host, bytes_max) = (self.host.clone(), self.host.fallback_bytes(start.what));
        let stood = host.building.activate_standing(start.name, start.what, *self, bytes_max)?;
        let (domain, machine, output) = match stood {
            Stood::Itself(StandingBy { standing, machine, output, .. }) => {
                output.begin(start.open);
                (standing.domain(), machine, output)
            }
            Stood::Built(domain) => host.built(domain, start.name, start.open),
        };
        Ok(host.begin(start, domain, machine, output))
    }

    fn save(&self, name: &str, what: &Description) -> Result<PathBuf, NotSaved> {
        rescue(name, what, &*self.standing)
    }
}

impl Sink for StandingBy {
    fn page(&self, pfn: Pfn) -> Option<&Page> {
        self.standing.page(pfn)
    }

    fn apply_page(&mut self, entry: PageEntry, page: Option<&Page>) {
        self.standing.apply_page(entry, page);
    }

    fn apply_state(&mut self, state: &DomainState) {
        self.standing.apply_state(state);
    }

    fn expect_pages(&mut self, first: Pfn, count: u64) {
        self.standing.expect_pages(first, count);
    }

    fn check(&mut self) -> Option<String> {
        self.standing.check()
    }

    fn fault(&self) -> Option<String> {
        self.standing.fault()
    }
}
