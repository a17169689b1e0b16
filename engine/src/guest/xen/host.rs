//! What a node asks of a host that runs Xen: whether it may hold a guest, what holds the image, and the guest from it.

use super::build::rescue;
use super::error::XenGuestError;
use super::{XenHost, admission, label, watchdog};
use crate::guest::host::{Host, NotBuilt};
use crate::guest::machine::{HostError, RunningGuest};
use crate::guest::replica::{NotSaved, Replica, Start};
use crate::guest::watchdog::Watchdog;
use std::io;
use std::path::{Path, PathBuf};
use understudy_checkpoint::domain::{Description, GuestKind};
use understudy_checkpoint::epoch::Image;
use understudy_checkpoint::{Generation, PAGE_SIZE};
use understudy_link::{HoldReason, HoldRefusal};
use understudy_xen::standby::Standby;
use understudy_xen::{DomId, domain_labels, xl};

impl Host for XenHost {
    fn watchdog(&self, state: &Path) -> Result<Box<dyn Watchdog>, HostError> {
        Ok(Box::new(watchdog::XenWatchdog::open(self.xen.clone(), state.join("watchdog"))?))
    }

    fn has_left_watchdog(&self, state: &Path) -> io::Result<bool> {
        Ok(watchdog::watchdog_left(state)?.is_some())
    }

    fn admits(&self, name: &str, what: &Description) -> Result<(), HoldRefusal> {
        if !what.disks_bytes.is_empty() {
            let why = "it has disks, which this host does not replicate for guests of Xen";
            return Err(HoldRefusal::new(HoldReason::Unfit, why));
        }
        let path = std::env::var_os("PATH").unwrap_or_default();
        admission::of_xen(name, what, self.xen.version(), Path::new("/"), &path)
    }

    fn image_bytes(&self, what: &Description) -> u64 {
        match what.kind {
            GuestKind::Hvm => self.fallback_bytes(what),
            // The standby domain is the image, and its memory is Xen's.
            GuestKind::Pv | GuestKind::Pvh => 0,
        }
    }

    /// A PVH or HVM guest has frames up to 4 GiB, however little memory it has.
    fn fallback_bytes(&self, what: &Description) -> u64 {
        let pages = xl::pages_max(&what.config).map_or(what.page_count, |pages| pages.min(what.page_count));
        pages.saturating_mul(PAGE_SIZE as u64 + 1)
    }

    fn replica(&self, name: &str, what: &Description) -> Option<Box<dyn Replica>> {
        match Standby::begin(&self.xen, name, what) {
            Ok(standing) => {
                tracing::info!(guest = name, domain = %standing.domain(), "The standby domain is ready");
                Some(Box::new(self.stand_by(name, what, standing)))
            }
            Err(error) => {
                tracing::warn!(guest = name, %error, "The image is held in memory; a takeover has to build the domain");
                None
            }
        }
    }

    fn build(&self, start: &Start<'_>, image: Image) -> Result<RunningGuest, NotBuilt> {
        let domain = self.building.restore(start.name, start.what, image)?;
        label(start, domain);
        let (domain, machine, output) = self.built(domain, start.name, start.open);
        Ok(self.begin(start, domain, machine, output))
    }

    fn save(&self, name: &str, what: &Description, image: &Image) -> Result<PathBuf, NotSaved> {
        rescue(name, what, image)
    }

    fn leave(&self) {
        self.building.leave();
    }

    fn rescue(&self, name: &str) -> Option<String> {
        self.building.rescue(name)
    }

    fn pause_older(&self, name: &str, newest: Generation) -> Result<(), HostError> {
        let Some((domain, generation)) = left_before(name, newest)? else { return Ok(()) };
        let info = self.xen.domain_info(domain)?;
        // Xen counts pauses, and the dead engine has paused the domain once.
        if info.is_none_or(|info| info.is_paused() || info.is_dying()) {
            return Ok(());
        }
        tracing::warn!(
            guest = name, %domain, generation = generation.0,
            "A dead engine left this guest here, and another host runs it; it is paused, and destroyed once a copy begins"
        );
        Ok(self.xen.pause(domain)?)
    }

    fn end_older(&self, name: &str, newest: Generation) -> Result<(), HostError> {
        let Some((domain, generation)) = left_before(name, newest)? else { return Ok(()) };
        tracing::warn!(guest = name, %domain, generation = generation.0, "A dead engine left this guest here; destroying it");
        Ok(xl::destroy(domain)?)
    }
}

/// The domain of the guest `name` that a dead engine left here and ran last in a generation before `newest`.
fn left_before(name: &str, newest: Generation) -> Result<Option<(DomId, Generation)>, XenGuestError> {
    let Some(domain) = xl::domain_named(name)? else { return Ok(None) };
    match domain_labels::read(domain)? {
        Some(generation) if generation < newest => Ok(Some((domain, generation))),
        Some(_) => Ok(None),
        None => Err(XenGuestError::Namesake { domain, name: name.to_owned() }),
    }
}
