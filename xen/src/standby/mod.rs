//! [`Standby`]: a domain that libxl builds, with devices, before it is needed, and whose memory is the committed image
//! itself. It has never run. A takeover gives it the guest's state and lets it run.
//!
//! ```text
//!   begin      xl restore -p ──► empty domain NAME--incoming ──► our save helper waits for its rings ([`build`])
//!   full sync  pages ──► the domain's memory; state ──► where the rings are ──► libxl plugs in devices, xl ends
//!   an epoch   pages ──► memory, those of the rings ──► kept here; state ──► kept here
//!   activate   state ──► domain, PV: page tables name machine frames; the caller labels it
//!   take_name  named NAME; the caller unpauses it
//!   drop       destroyed
//! ```
//!
//! Before each acknowledgement Xen is asked whether the domain is still there, paused and the same, because mappings of
//! a domain that is gone still accept pages. Whether Xen accepts the state's records is tried once, with the full sync,
//! while the guest runs elsewhere: the domain is given them then, and again by `activate`.
//!
//! Until `activate`, memory holds pages as the stream has them, so deltas can be applied to it. What `activate`
//! overwrites is kept until the guest has its state, so the image survives a failure. The rings belong to xenstored and
//! xenconsoled as soon as libxl has completed the domain, so the guest's own pages are kept here.
//!
//! Not for HVM guests: their device model would need a new state at each takeover.

mod build;
mod error;
mod left;
mod pages;
mod rings;
mod state;

pub use build::{STANDBY_VARIABLE, stand_by};
pub use error::StandbyError;
pub use left::{Activation, Fate, StandbyDomain, destroy_left, standby_domains, stands_by};

use crate::restore::hvm::{CONSOLE_EVTCHN, STORE_EVTCHN};
use crate::restore::{RestoreError, RingEnd, Rings, seed_rings};
use crate::xenstore::StoreError;
use crate::{DomId, DomainInfo, Xen, xl};
use build::Build;
use left::{mark, mark_activation, rename};
use pages::StandbyPages;
use state::retry;
use std::fmt;
use std::thread::sleep;
use std::time::{Duration, Instant};
use understudy_checkpoint::domain::{Description, DomainState, GuestKind, Sink};
use understudy_checkpoint::epoch::Image;
use understudy_checkpoint::stream::Committed;
use understudy_checkpoint::{Page, PageEntry, PageType, Pfn};

/// Suffix of the name of a standby domain; stock Xen uses the same for a domain that is migrated in.
const INCOMING: &str = "--incoming";

/// Longest wait for a name to become free, and the pause between two attempts.
const FREE_MAX: Duration = Duration::from_secs(30);
const FREE_RETRY: Duration = Duration::from_millis(100);

/// Longest wait for libxl's word on a domain that is gone before it was complete.
const ENDED_MAX: Duration = Duration::from_secs(10);

/// A standby domain. Dropping it destroys it, which takes xl a while.
pub struct Standby {
    xen: Xen,
    domain: DomId,
    name: String,
    /// The domain's UUID, once it is known: the number may be used again.
    uuid: Option<[u8; 16]>,
    what: Description,
    rings: Rings,
    build: Build,
    pages: StandbyPages,
    state: DomainState,
    fault: Option<String>,
    /// The guest's state is at fault.
    is_refused: bool,
    /// It has become the guest, and is no longer ours to destroy.
    is_activated: bool,
    /// Its memory is no longer as the stream has it.
    is_changed: bool,
    /// [`activate`](Self::activate) has begun.
    is_begun: bool,
    /// Xen uses its memory, so that activating cannot be tried again.
    is_used: bool,
    /// Records how far a takeover has come.
    mark: fn(DomId, Activation) -> Result<(), StoreError>,
}

impl fmt::Debug for Standby {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Standby(domain {} for {})", self.domain, self.name)
    }
}

impl Standby {
    /// Makes libxl build an empty domain for the guest `name`. Takes as long as xl does.
    pub fn begin(xen: &Xen, name: &str, what: &Description) -> Result<Self, StandbyError> {
        if what.kind == GuestKind::Hvm {
            return Err(StandbyError::DeviceModel);
        }
        let incoming = format!("{name}{INCOMING}");
        await_free(&incoming)?;
        let (build, made) = Build::start(&incoming, what)?;
        let mut standby = Self {
            xen: xen.clone(),
            domain: made.domain,
            name: name.into(),
            uuid: None,
            rings: made.rings,
            build,
            pages: StandbyPages::new(xen, made.domain, what)?,
            what: what.clone(),
            state: DomainState::default(),
            fault: None,
            is_refused: false,
            is_activated: false,
            is_changed: false,
            is_begun: false,
            is_used: false,
            mark: mark_activation,
        };
        standby.uuid = Some(standby.look()?.uuid);
        mark(made.domain)?;
        Ok(standby)
    }

    /// The domain's number, which stays the same when the domain becomes the guest.
    pub fn domain(&self) -> DomId {
        self.domain
    }

    /// Gives the domain the guest's state. The domain stays paused, and has its former name until
    /// [`take_name`](Self::take_name). After an error [`to_image`](Self::to_image) may still have the guest.
    pub fn activate(&mut self) -> Result<DomId, StandbyError> {
        if let Some(fault) = &self.fault {
            return Err(StandbyError::Build(fault.clone()));
        }
        self.build.wait()?;
        // What is mapped of a domain that was destroyed is still the image; what ran is not.
        let as_it_was = self.is_as_it_was();
        self.is_changed |= matches!(as_it_was, Err(StandbyError::Ran { .. }));
        as_it_was?;
        // An engine after this one must not take it for a copy that nobody needs. Nor is a guest of use without xenstore.
        (self.mark)(self.domain, Activation::Begun)?;
        self.is_begun = true;
        match self.what.kind {
            // What it changes of the image is kept.
            GuestKind::Pv => self.give_pv_state()?,
            // Nothing of it changes the image: it may be done again.
            GuestKind::Pvh | GuestKind::Hvm => retry(|| self.give_state())?,
        }
        self.pages.unmap();
        // From here on only its name is another.
        self.is_activated = true;
        if let Err(error) = (self.mark)(self.domain, Activation::Whole) {
            tracing::warn!(guest = self.name, %error, "An engine after this one would not know that the guest is whole");
        }
        Ok(self.domain)
    }

    /// Gives the domain, which is the guest now, the guest's name. To be called once it is labelled with its generation:
    /// an engine after this one, if this one dies now, takes in a paused domain of that name only if it knows its past.
    pub fn take_name(&self) {
        if let Err(error) = retry(|| rename(self.domain, &self.name)) {
            tracing::error!(
                guest = self.name, domain = %self.domain, %error,
                "The guest is taken over under the name of the domain that stood by; use xl rename"
            );
        }
    }

    /// The domain's state, from Xen.
    fn look(&self) -> Result<DomainInfo, StandbyError> {
        let lost = |how| StandbyError::Lost { domain: self.domain, how };
        let info = self.xen.domain_info(self.domain).map_err(RestoreError::from)?;
        match info {
            None => Err(lost("was destroyed")),
            Some(info) if info.is_dying() => Err(lost("is being destroyed")),
            Some(info) if info.is_shutdown() || !info.is_paused() => {
                Err(StandbyError::Ran { domain: self.domain })
            }
            Some(info) => Ok(info),
        }
    }

    /// Fails unless the domain is as it was left.
    fn is_as_it_was(&self) -> Result<(), StandbyError> {
        if Some(self.look()?.uuid) == self.uuid {
            return Ok(());
        }
        Err(StandbyError::Lost { domain: self.domain, how: "was destroyed, and its number is another's" })
    }

    /// Whether the domain with our number is still the one that we made.
    fn is_ours_to_destroy(&self) -> bool {
        match self.xen.domain_info(self.domain) {
            Ok(info) => info.is_some_and(|info| self.uuid.is_none_or(|uuid| uuid == info.uuid)),
            Err(error) => {
                tracing::warn!(guest = self.name, domain = %self.domain, %error, "A domain that stood by may be left");
                false
            }
        }
    }

    /// Whether this host can never run the guest with its present state.
    pub fn is_refused(&self) -> bool {
        self.is_refused
    }

    /// Why libxl failed to complete the domain, as soon as that is known. The domain cannot be activated then, but
    /// [`to_image`](Self::to_image) has the guest.
    pub fn failure(&mut self) -> Option<String> {
        // libxl destroys what it cannot complete, and says so a little later.
        if self.build.is_completing() && matches!(self.look(), Err(StandbyError::Lost { .. })) {
            self.build.await_end(ENDED_MAX);
        }
        self.build.failure()
    }

    /// Whether it still has the image.
    pub fn has_image(&self) -> bool {
        !self.is_changed && self.fault.is_none()
    }

    /// Whether [`activate`](Self::activate), which failed with `error`, may succeed a moment later on this very domain.
    pub fn may_try_again(&self, error: &StandbyError) -> bool {
        error.is_passing() && self.has_image() && !self.is_used
    }

    /// A copy of the image; `None` if there is none any more.
    pub fn to_image(&self) -> Option<Image> {
        if !self.has_image() {
            return None;
        }
        let mut image = Image::new(self.what.page_count);
        for entry in self.pages.entries() {
            image.apply_page(entry, self.pages.page(entry.pfn()));
        }
        image.apply_state(&self.state);
        Some(image)
    }

    /// Lets libxl complete the domain: the guest's first state says where its rings are.
    fn complete(&mut self) -> Result<(), StandbyError> {
        let pfns = rings::find(self.what.kind, &self.state, &self.pages)?;
        let frames = self.pages.set_rings(pfns)?;
        if self.what.kind != GuestKind::Pv {
            let port = |ring: RingEnd| u64::from(ring.port);
            self.xen
                .set_hvm_param(self.domain, STORE_EVTCHN, port(self.rings.store))
                .and_then(|()| self.xen.set_hvm_param(self.domain, CONSOLE_EVTCHN, port(self.rings.console)))
                .map_err(RestoreError::from)?;
        }
        seed_rings(&self.xen, self.domain, frames, self.rings)?;
        self.try_state()?;
        self.build.complete(frames, &self.state.libxl)
    }

    /// Finds out whether Xen accepts the state. A PVH domain is simply given it, because `activate` overwrites it. The
    /// state of a PV guest names pfns that only `activate` translates, so it is checked against the memory instead.
    fn try_state(&mut self) -> Result<(), StandbyError> {
        let tried = match self.what.kind {
            GuestKind::Pv => self.check_pv_state(),
            GuestKind::Pvh | GuestKind::Hvm => self.give_state(),
        };
        match tried {
            Err(StandbyError::Restore(error)) => {
                self.is_refused = true;
                Err(StandbyError::State(error))
            }
            tried => tried,
        }
    }

    fn try_apply_state(&mut self) -> Result<(), StandbyError> {
        self.pages.release_unused()?;
        if self.build.is_waiting() { self.complete() } else { Ok(()) }
    }

    /// Keeps the first fault; later ones are consequences of it.
    fn note(&mut self, result: Result<(), StandbyError>) {
        if let (Err(error), None) = (result, &self.fault) {
            self.fault = Some(error.to_string());
        }
    }
}

impl Committed for Standby {
    fn committed_entries(&self) -> Box<dyn Iterator<Item = PageEntry> + '_> {
        Box::new(self.pages.entries())
    }

    fn committed_page(&self, pfn: Pfn) -> Option<&Page> {
        self.pages.page(pfn)
    }

    fn committed_state(&self) -> &DomainState {
        &self.state
    }
}

impl Sink for Standby {
    fn page(&self, pfn: Pfn) -> Option<&Page> {
        self.pages.page(pfn)
    }

    fn page_type(&self, pfn: Pfn) -> PageType {
        self.pages.page_type(pfn)
    }

    fn state(&self) -> &DomainState {
        &self.state
    }

    fn apply_page(&mut self, entry: PageEntry, page: Option<&Page>) {
        if self.fault.is_none() {
            let applied = self.pages.apply(entry, page).map_err(StandbyError::from);
            self.note(applied);
        }
    }

    fn apply_state(&mut self, state: &DomainState) {
        self.state.clone_from(state);
        if self.fault.is_none() {
            let applied = self.try_apply_state();
            self.note(applied);
        }
    }

    fn expect_pages(&mut self, first: Pfn, count: u64) {
        if self.fault.is_none() {
            let expected = self.pages.expect(first, count).map_err(StandbyError::from);
            self.note(expected);
        }
    }

    fn fault(&self) -> Option<String> {
        self.fault.clone()
    }

    fn check(&mut self) -> Option<String> {
        if self.fault.is_none() {
            let standby = self.is_as_it_was();
            self.note(standby);
        }
        self.fault.clone()
    }
}

impl Drop for Standby {
    fn drop(&mut self) {
        if self.is_activated {
            return;
        }
        if self.is_begun && std::thread::panicking() {
            tracing::error!(
                guest = self.name, domain = %self.domain,
                "What made the domain that stood by the guest has panicked; the domain may be the only copy and is kept"
            );
            return;
        }
        self.build.end();
        self.pages.unmap();
        // xl destroys a domain that it could not complete by itself.
        if self.is_ours_to_destroy()
            && let Err(error) = xl::destroy(self.domain)
        {
            tracing::warn!(guest = self.name, domain = %self.domain, %error, "A domain that stood by is left; use xl destroy");
        }
    }
}

/// Waits until no domain has this name: an earlier standby domain of the guest may be on its way out.
fn await_free(name: &str) -> Result<(), StandbyError> {
    let begun = Instant::now();
    while let Some(domain) = xl::domain_named(name)? {
        if begun.elapsed() > FREE_MAX {
            return Err(StandbyError::Build(format!("domain {domain} is called {name} already; destroy it")));
        }
        sleep(FREE_RETRY);
    }
    Ok(())
}

#[cfg(test)]
mod tests;
