//! Xen guests as the engine runs them: found by name, activated from an image, paused, destroyed.
//!
//! ```text
//!   primary:    xl list -l ──► XenSource (hypercalls, kept mappings) │ XenMachine
//!   secondary:  a standby domain, whose memory is the image ──► unpause ──► the same two
//!               without one: image ──restore file──► xl restore -p ──► unpause ──► …
//! ```
//!
//! A guest's output is held before the guest runs. Each domain is labelled with its generation, by which a later engine
//! recognises it.

mod admission;
mod build;
mod cards;
mod ended;
mod error;
mod first_run;
mod host;
mod host_lock;
mod late_source;
mod machine;
mod noted;
pub mod obstacle;
mod remake;
mod settle;
mod source;
mod standing_by;
mod watchdog;

pub use build::RESCUE_DIRECTORY;
pub use error::XenGuestError;
pub use host_lock::{HostLock, HostLockError};
pub use machine::XenMachine;
pub use standing_by::StandingBy;
pub use watchdog::watchdog_left;

use crate::config::FindChanges;
use crate::guest::machine::{Machine, PreviousRun, RunningGuest};
use crate::guest::output::{HeldOutput, OutputMaker};
use crate::guest::replica::Start;
use build::Building;
use remake::Alive;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use understudy_checkpoint::Epoch;
use understudy_checkpoint::domain::GuestKind;
use understudy_xen::domain::continue_device_model;
use understudy_xen::domain_labels::Labels;
use understudy_xen::process::Process;
use understudy_xen::standby;
use understudy_xen::xenstore::StoreError;
use understudy_xen::xl::{self, XlGuest};
use understudy_xen::{DomId, Xen, domain_labels};

/// How long a newly created guest may take to connect its cards before it is protected all the same. Linux connects
/// them in the thread that suspends: if it is asked to suspend earlier, it stops for the 20 s in which it tries to
/// freeze tasks.
const STARTING_MAX: Duration = Duration::from_secs(60);

/// Guests whose changes are found by comparing.
#[derive(Clone, Default, Debug)]
pub struct Compare {
    /// Names of guests that are compared once they are taken over here.
    pub names: BTreeSet<String>,
    /// Most memory that each may use; never more than the host has available.
    pub bytes_max: u64,
}

/// Why a guest is not ready to be protected.
#[derive(thiserror::Error, Debug)]
pub enum NotFound {
    /// There is no such guest.
    #[error("it does not run here")]
    Absent,
    /// The guest was created a moment ago.
    #[error(
        "it has just been started and has not connected its network card yet; it is protected as soon as it has"
    )]
    Starting,
    /// A guest that is found has to be claimed at the witness, because another host may have claimed it.
    #[error("the witness does not answer, so nobody can say whether it may run here")]
    NoWitness,
    /// Looking for it panicked.
    #[error("looking for it failed inside understudy ({0}); it is tried again; please report this")]
    Panicked(String),
    /// The guest cannot be protected.
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
    /// `None` if it runs beside an engine.
    lock: Option<Arc<HostLock>>,
    pub(in crate::guest) building: Building,
}

impl XenHost {
    /// Opens the hypervisor, as the only engine of this host. `outputs` makes the queues for guests' output. Destroys
    /// standby domains of engines that are gone, because their memory is needed.
    pub fn open(outputs: OutputMaker, compare: Compare) -> Result<Self, XenGuestError> {
        let mut host = Self::beside(outputs, compare)?;
        host.lock = Some(Arc::new(HostLock::take()?));
        match standby::destroy_left(&host.xen) {
            Ok(0) => {}
            Ok(domains) => tracing::warn!(domains, "Standby domains of a dead engine were destroyed"),
            Err(error) => tracing::warn!(%error, "Standby domains of a dead engine may remain"),
        }
        Ok(host)
    }

    /// [`open`](Self::open) beside an engine that may run on this host.
    pub fn beside(outputs: OutputMaker, compare: Compare) -> Result<Self, XenGuestError> {
        Ok(Self { xen: Xen::open()?, outputs, compare, lock: None, building: Building::default() })
    }

    /// Finds the guest `name`, ready to be protected; `how` says how its changes are found. The error says why it is
    /// not ready.
    pub fn find(&self, name: &str, how: FindChanges) -> Result<RunningGuest, NotFound> {
        let Some(domain) = xl::domain_named(name)? else {
            return Err(NotFound::Absent);
        };
        self.claim(domain)?;
        let mut past = self.past(domain)?;
        if past.is_none() && is_starting(domain) {
            return Err(NotFound::Starting);
        }
        let guest = XlGuest::find(name)?;
        check(&guest)?;
        let info = self.xen.domain_info(domain)?;
        // The domain may be as a dead engine has left it.
        let machine = Arc::new(self.machine(domain, name, info.is_some_and(|info| info.is_paused())));
        let alive = Alive::default();
        let output = self.outputs.interfaces(Epoch(0));
        let runs_first = past.is_some() && info.is_some_and(|info| first_run::is_due(guest.kind, &info));
        let (source, compared_bytes) = if runs_first {
            past = past.map(|past| PreviousRun { is_halted: false, ..past });
            self.run_first(&guest, how, &alive, &machine, &output)?
        } else {
            self.source(&guest, how, alive.clone())?
        };
        machine.remade_by(self.remake(&alive, &guest, how));
        // Last: a guest that cannot be protected keeps its network.
        if !runs_first && let Err(why) = self.hold(domain, &guest.config, &machine, &output) {
            // The guest of an earlier engine stays cut off: another host may run it.
            if past.is_none() {
                output.let_go();
            }
            return Err(why.into());
        }
        Ok(RunningGuest { machine, source, output, past, compared_bytes })
    }

    /// Fails if somebody else makes checkpoints of a domain, or if that is not known.
    pub fn is_free(domain: DomId) -> Result<(), XenGuestError> {
        check_free(&domain_labels::of(domain)?)
    }

    /// Labels the domain with this process, unless somebody else has it: two processes would read each other's dirty
    /// log, and each would miss what the other has read.
    fn claim(&self, domain: DomId) -> Result<(), XenGuestError> {
        Self::is_free(domain)?;
        if self.lock.is_none() {
            return Ok(());
        }
        domain_labels::write_engine(domain, Process::this()?)?;
        // Whoever marked it at the same time sees this mark, or is seen here.
        Self::is_free(domain)
    }

    /// The domain's state under an engine that is gone. The error says why the domain cannot be protected.
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

    /// Makes its output follow its cards, unless it does already.
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
            let (renewed, ended) = (machine.renewed().clone(), machine.ended().clone());
            let unwatched = machine.unwatched().clone();
            cards::Follower::new(watched, config, renewed, ended, unwatched).follow(output)
        };
        Ok(machine.followed_by(start)?)
    }

    /// [`hold`](Self::hold) for a guest that nobody else has, whether it runs or not: a card that cannot be held is
    /// tried again, and nothing can be copied before.
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

    /// Lets a domain run. It was made from a guest's image, and is labelled.
    pub(in crate::guest) fn begin(
        &self,
        start: &Start<'_>,
        domain: DomId,
        machine: Arc<XenMachine>,
        output: HeldOutput,
    ) -> RunningGuest {
        let Start { name, what, .. } = *start;
        // From here on nothing may fail: no other copy of the guest is left.
        let held = self.hold_all(domain, &what.config, &machine, &output);
        if let Err(error) = &held {
            tracing::error!(guest = name, %error, "The guest's output is not held; the guest runs all the same");
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

    /// Whether changes of the guest `name` are found by comparing once it is taken over here.
    pub(in crate::guest) fn compares(&self, name: &str) -> bool {
        self.compare.names.contains(name)
    }
}

/// Labels the domain that a guest was given, for an engine after this one. The guest runs, whether that succeeds or not.
fn label(start: &Start<'_>, domain: DomId) {
    let marked = domain_labels::write(domain, start.generation)
        .and_then(|()| Process::this().map_err(StoreError::Io))
        .and_then(|this| domain_labels::write_engine(domain, this));
    if let Err(error) = marked {
        tracing::warn!(guest = start.name, %error, "The guest is not labelled as this engine's yet");
    }
}

/// Fails if somebody else has the domain, or if that is not known.
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

/// Fails if a guest cannot be protected at all.
fn check(guest: &XlGuest) -> Result<(), XenGuestError> {
    obstacle::Obstacle::of(guest).next().map_or(Ok(()), |obstacle| Err(obstacle.into()))
}

fn is_starting(domain: DomId) -> bool {
    let is_young = matches!(xl::age(domain), Ok(Some(age)) if age < STARTING_MAX);
    is_young && !settle::are_connected(domain)
}
