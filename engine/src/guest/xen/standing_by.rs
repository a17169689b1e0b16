//! [`StandingBy`]: a standby domain and the hold on its network. Its cards are held from their creation on, and nothing
//! leaves through them: if somebody let the domain run, it would be the guest of some time ago.
//!
//! ```text
//!   replica ─► Standby + HeldOutput, fenced ──card made──► held ──activate──► the same HeldOutput holds from its first epoch on
//!                                                           └─ dropped ──► the domain goes first, then the queues of its cards
//! ```
//!
//! ```text
//!   activate ─┬─► the guest
//!             ├─ fails, and may pass ─► given back, some times          the session tries again, within its bound
//!             └─ fails ─► its image, in memory or in a file ─► another domain is built from it ([`build`](super::build))
//! ```
//!
//! Not here: how the domain is built (`understudy_xen::standby`), and how cards are found ([`cards`](super::cards)).

use super::build::{Building, has_room, rescue};
use super::machine::XenMachine;
use super::{XenHost, label};
use crate::guest::host::{Host, NotBuilt};
use crate::guest::machine::RunningGuest;
use crate::guest::output::HeldOutput;
use crate::guest::receiver::in_memory::InMemory;
use crate::guest::replica::{NotSaved, NotStarted, Replica, Start};
use crate::memory;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use understudy_checkpoint::domain::{Description, DomainState, Sink};
use understudy_checkpoint::epoch::Image;
use understudy_checkpoint::{Epoch, Page, PageEntry, PageType, Pfn};
use understudy_xen::DomId;
use understudy_xen::standby::Standby;

/// A standby domain. Dropping it destroys the domain.
pub struct StandingBy {
    // In this order they are dropped.
    pub(in crate::guest) standing: Box<Standby>,
    pub(in crate::guest) machine: Arc<XenMachine>,
    pub(in crate::guest) output: HeldOutput,
    /// How often activating it has failed.
    pub(in crate::guest) attempts: u32,
    pub(in crate::guest) host: XenHost,
}

/// How often to activate a standby domain before another is built from its image.
const STANDING_ATTEMPTS: u32 = 5;

/// What became of a standby domain.
enum Stood {
    /// It is the guest.
    Itself(StandingBy),
    /// Another domain was built from its image, and is the guest.
    Built(DomId),
}

impl fmt::Debug for StandingBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.standing.fmt(f)
    }
}

impl XenHost {
    /// Fences the network of a standby domain.
    pub(in crate::guest) fn stand_by(&self, name: &str, what: &Description, standing: Standby) -> StandingBy {
        let domain = standing.domain();
        let machine = Arc::new(self.machine(domain, name, true));
        let output = self.outputs.interfaces(Epoch(0));
        output.fence();
        if let Err(error) = self.follow_cards(domain, &what.config, &machine, &output) {
            tracing::warn!(guest = name, %domain, %error, "The cards of the standby domain are not held yet");
        }
        StandingBy { standing: Box::new(standing), machine, output, attempts: 0, host: self.clone() }
    }

    /// Builds a domain from an image in memory: paused, and its cards not held.
    pub(in crate::guest) fn built(
        &self,
        domain: DomId,
        name: &str,
        open: Epoch,
    ) -> (DomId, Arc<XenMachine>, HeldOutput) {
        (domain, Arc::new(self.machine(domain, name, true)), self.outputs.interfaces(open))
    }
}

/// Makes a standby domain the guest. If that fails, builds another from its memory, which takes up to `bytes_max` of
/// this host's.
fn stand_up(
    mut by: StandingBy,
    building: &Building,
    name: &str,
    what: &Description,
    bytes_max: u64,
) -> Result<Stood, NotStarted> {
    let Err(error) = by.standing.activate() else { return Ok(Stood::Itself(by)) };
    if by.standing.may_try_again(&error) && by.attempts < STANDING_ATTEMPTS {
        by.attempts += 1;
        return Err(NotStarted::with(error, Box::new(by)));
    }
    if !by.standing.has_image() {
        return Err(format!("the standby domain cannot be used: {error}").into());
    }
    tracing::error!(guest = name, %error, "The standby domain cannot be used; building another");
    // The domain's memory is needed for the next one.
    if !has_room(memory::host_bytes(), bytes_max) {
        match rescue(name, what, &*by.standing) {
            Ok(file) => {
                drop(by);
                return building
                    .restore_from(name, &file)
                    .map(Stood::Built)
                    .map_err(|why| why.to_string().into());
            }
            Err(why) => {
                tracing::error!(guest = name, %why, "The image is copied to memory, which is short")
            }
        }
    }
    let image = by.standing.to_image().ok_or("the image of the domain that stood by is gone")?;
    let host = Arc::new(by.host.clone());
    drop(by);
    building.restore(name, what, image).map(Stood::Built).map_err(|NotBuilt { why, image }| NotStarted {
        why,
        replica: image.map(|image| Box::new(InMemory::new(image, host)) as Box<dyn Replica>),
    })
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
        let stood = stand_up(*self, &host.building, start.name, start.what, bytes_max)?;
        let (domain, machine, output) = match stood {
            Stood::Itself(StandingBy { standing, machine, output, .. }) => {
                output.begin(start.open);
                label(start, standing.domain());
                standing.take_name();
                (standing.domain(), machine, output)
            }
            Stood::Built(domain) => {
                label(start, domain);
                host.built(domain, start.name, start.open)
            }
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

    fn page_type(&self, pfn: Pfn) -> PageType {
        self.standing.page_type(pfn)
    }

    fn state(&self) -> &DomainState {
        self.standing.state()
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
