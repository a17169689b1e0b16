//! Xen's guests as the engine runs them: found by name, activated from an image, paused, destroyed.
//!
//! ```text
//!   primary:    xl list -l ──► XenSource (hypercalls, kept mappings) │ XenMachine
//!   secondary:  a domain that stands by, its memory the image ──► unpause ──► the same two
//!               where there is none: image ──restore file──► xl restore -p ──► unpause ──► …
//! ```
//!
//! What the guest sends is held from before it runs; each domain is marked with its generation, by which a later engine
//! knows it again.

mod admission;
mod build;
mod cards;
mod ended;
mod error;
mod host_lock;
mod late_source;
mod machine;
mod noted;
pub mod obstacle;
mod remake;
mod settle;
mod source;
mod standing_by;

pub use build::RESCUE_DIRECTORY;
pub use error::XenGuestError;
pub use host_lock::{HostLock, HostLockError};
pub use machine::XenMachine;
pub use standing_by::StandingBy;

use crate::config::FindChanges;
use crate::guest::host::{Host, NotBuilt};
use crate::guest::machine::{HostError, Machine, PreviousRun, RunningGuest};
use crate::guest::output::{HeldOutput, OutputMaker};
use crate::guest::replica::NotSaved;
use crate::guest::replica::{Replica, Start};
use build::{Building, rescue};
use remake::Alive;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use understudy_checkpoint::domain::{Description, GuestKind};
use understudy_checkpoint::epoch::Image;
use understudy_checkpoint::{Epoch, Generation, PAGE_SIZE};
use understudy_link::HoldRefusal;
use understudy_xen::domain::continue_device_model;
use understudy_xen::domain_labels::Labels;
use understudy_xen::process::Process;
use understudy_xen::standby::{self, Standby};
use understudy_xen::xenstore::StoreError;
use understudy_xen::xl::{self, XlGuest};
use understudy_xen::{DomId, Xen, domain_labels};

/// How long a guest that was created is given to connect its cards before it is protected all the same. Linux does so
/// from the thread by which it suspends: one that is asked to suspend before stands still for its 20 s of freezing tasks.
const STARTING_MAX: Duration = Duration::from_secs(60);

/// Guests whose changes are found by comparing.
#[derive(Clone, Default, Debug)]
pub struct Compare {
    /// Of those that are taken over here.
    pub names: BTreeSet<String>,
    /// Memory that each may take, at most; never more than the host has available.
    pub bytes_max: u64,
}

/// Why a guest is not ready to be protected.
#[derive(thiserror::Error, Debug)]
pub enum NotFound {
    /// There is none.
    #[error("it does not run here")]
    Absent,
    /// It was created a moment ago.
    #[error(
        "it has just been started and has not connected its network card yet; it is protected as soon as it has"
    )]
    Starting,
    /// A guest that is found is claimed, which another host may have done.
    #[error("the witness does not answer, so nobody can say whether it may run here")]
    NoWitness,
    /// It cannot be protected.
    #[error(transparent)]
    Unfit(XenGuestError),
}

impl<E> From<E> for NotFound
where
    XenGuestError: From<E>,
{
    fn from(why: E) -> Self {
        Self::Unfit(why.into())
    }
}

/// This host's Xen.
#[derive(Clone, Debug)]
pub struct XenHost {
    pub(in crate::guest) xen: Xen,
    pub(in crate::guest) outputs: OutputMaker,
    pub(in crate::guest) compare: Compare,
    /// `None` beside an engine.
    lock: Option<Arc<HostLock>>,
    pub(in crate::guest) building: Building,
}

impl XenHost {
    /// Opens the hypervisor, as the one engine of this host. Guests' output is held by queues of `outputs`. What an engine
    /// that is gone had stand by goes: its memory is needed.
    pub fn open(outputs: OutputMaker, compare: Compare) -> Result<Self, XenGuestError> {
        let mut host = Self::beside(outputs, compare)?;
        host.lock = Some(Arc::new(HostLock::take()?));
        match standby::destroy_left(&host.xen) {
            Ok(0) => {}
            Ok(domains) => tracing::warn!(domains, "Domains that stood by for a dead engine were destroyed"),
            Err(error) => tracing::warn!(%error, "What a dead engine had stand by may be left"),
        }
        Ok(host)
    }

    /// The same, beside an engine that may run on this host.
    pub fn beside(outputs: OutputMaker, compare: Compare) -> Result<Self, XenGuestError> {
        Ok(Self { xen: Xen::open()?, outputs, compare, lock: None, building: Building::default() })
    }

    /// The guest `name`, ready to be protected, its changes found as told. The error says why it is not.
    pub fn find(&self, name: &str, how: FindChanges) -> Result<RunningGuest, NotFound> {
        let Some(domain) = xl::domain_named(name)? else {
            return Err(NotFound::Absent);
        };
        self.claim(domain)?;
        let past = self.past(domain)?;
        if past.is_none() && is_starting(domain) {
            return Err(NotFound::Starting);
        }
        let guest = XlGuest::find(name)?;
        check(&guest)?;
        let info = self.xen.domain_info(domain)?;
        // As an engine that is gone left it.
        let machine = Arc::new(self.machine(domain, name, info.is_some_and(|info| info.is_paused())));
        let alive = Alive::default();
        let (source, compared_bytes) = self.source(&guest, how, alive.clone())?;
        machine.remade_by(self.remake(&alive, &guest, how));
        // Last: a guest that cannot be protected keeps its network.
        let output = self.outputs.interfaces(Epoch(0));
        if let Err(why) = self.hold(domain, &guest.config, &machine, &output) {
            // What an engine before this one ran stays cut off: another host may run it.
            if past.is_none() {
                output.let_go();
            }
            return Err(why.into());
        }
        Ok(RunningGuest { machine, source, output, past, compared_bytes })
    }

    /// An error if somebody else makes checkpoints of a domain, or if that cannot be learnt.
    pub fn is_free(domain: DomId) -> Result<(), XenGuestError> {
        check_free(&domain_labels::of(domain)?)
    }

    /// Labels the domain as this process's, unless somebody else has it: two would read each other's dirty log, and each
    /// would miss what the other has read.
    fn claim(&self, domain: DomId) -> Result<(), XenGuestError> {
        Self::is_free(domain)?;
        if self.lock.is_none() {
            return Ok(());
        }
        domain_labels::write_engine(domain, Process::this()?)?;
        // Whoever marked it at the same time sees this mark, or is seen here.
        Self::is_free(domain)
    }

    /// What a domain was to an engine that is gone. The error says why it cannot be protected as it stands.
    fn past(&self, domain: DomId) -> Result<Option<PreviousRun>, XenGuestError> {
        let info = self.xen.domain_info(domain)?;
        let info = info.filter(|info| !info.is_dying()).ok_or(XenGuestError::Dying)?;
        let generation = domain_labels::of(domain)?.generation;
        let is_halted = info.is_shutdown() || info.is_paused();
        match (info.shutdown_reason(), generation) {
            (Some(reason), _) if !info.is_suspended() => Err(XenGuestError::Ended { reason }),
            (_, Some(generation)) => Ok(Some(PreviousRun { generation, is_halted })),
            (Some(_), None) => Err(XenGuestError::Suspended),
            (None, None) if info.is_paused() => Err(XenGuestError::Paused),
            (None, None) => Ok(None),
        }
    }

    pub(in crate::guest) fn machine(&self, domain: DomId, name: &str, is_paused: bool) -> XenMachine {
        XenMachine::new(&self.xen, domain, name, is_paused, &self.outputs.waker)
    }

    /// Holds a domain's output from now on, whatever cards come and go.
    fn hold(
        &self,
        domain: DomId,
        config: &[u8],
        machine: &XenMachine,
        output: &HeldOutput,
    ) -> Result<(), XenGuestError> {
        output.hold(&cards::of(domain)?)?;
        self.follow_cards(domain, config, machine, output)
    }

    /// Has its output follow its cards, if it does not yet.
    pub(in crate::guest) fn follow_cards(
        &self,
        domain: DomId,
        config: &[u8],
        machine: &XenMachine,
        output: &HeldOutput,
    ) -> Result<(), XenGuestError> {
        let start = || {
            let name = machine.name().to_owned();
            let watched = cards::Watched { xen: self.xen.clone(), domain, name };
            let follower =
                cards::Follower::new(watched, config, machine.renewed().clone(), machine.ended().clone());
            follower.follow(output)
        };
        Ok(machine.followed_by(start)?)
    }

    /// The same, of a guest that is nobody else's, and whether it runs or not: a card that cannot be held is tried again,
    /// and nothing can be copied before.
    pub(in crate::guest) fn hold_all(
        &self,
        domain: DomId,
        config: &[u8],
        machine: &XenMachine,
        output: &HeldOutput,
    ) -> Result<(), XenGuestError> {
        self.follow_cards(domain, config, machine, output)?;
        output.follow(&cards::of(domain)?);
        Ok(())
    }

    /// Lets a domain run that was made of a guest's image.
    pub(in crate::guest) fn begin(
        &self,
        start: &Start<'_>,
        domain: DomId,
        machine: Arc<XenMachine>,
        output: HeldOutput,
    ) -> RunningGuest {
        let Start { name, what, .. } = *start;
        // From here on nothing may fail: the guest is nowhere else any more.
        let marked = domain_labels::write(domain, start.generation)
            .and_then(|()| Process::this().map_err(StoreError::Io))
            .and_then(|this| domain_labels::write_engine(domain, this));
        if let Err(error) = marked {
            tracing::warn!(guest = name, %error, "The guest is not marked as this engine's yet");
        }
        let held = self.hold_all(domain, &what.config, &machine, &output);
        if let Err(error) = &held {
            tracing::error!(guest = name, %error, "Nothing holds what the guest sends; it runs all the same");
        }
        if what.kind == GuestKind::Hvm
            && let Err(error) = continue_device_model(domain)
        {
            tracing::error!(guest = name, %error, "Whether the guest's QEMU runs is not known");
        }
        machine.unpause();
        tracing::info!(guest = name, %domain, "The guest runs");
        settle::watch(domain, &output, machine.settled());
        let (source, compared_bytes) = self.late_source(domain, what, &machine, &output, held.is_ok());
        RunningGuest { machine, source, output, past: None, compared_bytes }
    }

    /// Whether changes of the guest `name` are found by comparing, once it is taken over here.
    pub(in crate::guest) fn compares(&self, name: &str) -> bool {
        self.compare.names.contains(name)
    }
}

/// An error if a domain is somebody else's, or if that is not known.
fn check_free(marks: &Labels) -> Result<(), XenGuestError> {
    let lives = |process: Option<Process>| match process.filter(|process| !process.is_this()) {
        None => Ok(None),
        Some(process) => match process.runs() {
            Ok(runs) => Ok(runs.then_some(process.pid)),
            Err(source) => Err(XenGuestError::OwnerUnknown { pid: process.pid, source }),
        },
    };
    if let Some(pid) = lives(marks.engine)? {
        return Err(XenGuestError::RunByEngine { pid });
    }
    lives(marks.blackhole)?.map_or(Ok(()), |pid| Err(XenGuestError::RunByRemus { pid }))
}

/// Whether a guest can be protected at all.
fn check(guest: &XlGuest) -> Result<(), XenGuestError> {
    obstacle::Obstacle::of(guest).next().map_or(Ok(()), |obstacle| Err(obstacle.into()))
}

impl Host for XenHost {
    fn admits(&self, name: &str, what: &Description) -> Result<(), HoldRefusal> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        admission::of_xen(name, what, self.xen.version(), Path::new("/"), &path)
    }

    fn image_bytes(&self, what: &Description) -> u64 {
        match what.kind {
            GuestKind::Hvm => self.fallback_bytes(what),
            // The domain that stands by is the image; its memory is Xen's.
            GuestKind::Pv | GuestKind::Pvh => 0,
        }
    }

    /// The frames of a PVH or HVM guest go up to 4 GiB, however little memory it has.
    fn fallback_bytes(&self, what: &Description) -> u64 {
        let pages = xl::pages_max(&what.config).map_or(what.page_count, |pages| pages.min(what.page_count));
        pages.saturating_mul(PAGE_SIZE as u64 + 1)
    }

    fn replica(&self, name: &str, what: &Description) -> Option<Box<dyn Replica>> {
        match Standby::begin(&self.xen, name, what) {
            Ok(standing) => {
                tracing::info!(guest = name, domain = %standing.domain(), "A domain stands by");
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
        // Xen counts pauses: one that stands still by its engine's hand is unpaused once.
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

/// What a dead engine left here of the guest `name`, run last under a generation before `newest`.
fn left_before(name: &str, newest: Generation) -> Result<Option<(DomId, Generation)>, XenGuestError> {
    let Some(domain) = xl::domain_named(name)? else { return Ok(None) };
    match domain_labels::read(domain)? {
        Some(generation) if generation < newest => Ok(Some((domain, generation))),
        Some(_) => Ok(None),
        None => Err(XenGuestError::Namesake { domain, name: name.to_owned() }),
    }
}

fn is_starting(domain: DomId) -> bool {
    let is_young = matches!(xl::age(domain), Ok(Some(age)) if age < STARTING_MAX);
    is_young && !settle::are_connected(domain)
}
