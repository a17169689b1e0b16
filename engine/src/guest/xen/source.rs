//! Finds the source of a Xen guest: at once; again, after its threads have failed; or late, for a guest that runs
//! already.
//!
//! ```text
//!   find      source ─► the guest is taken in
//!   activate  unpause ─► late source ─► the guest is taken in ─┬─ found ─► protected
//!                                                             └─ not yet ─► unprotected, found with a later full sync
//! ```
//!
//! Not here: which guests these are, and what holds their output ([`xen`](crate::guest::xen)).

use super::XenHost;
use super::error::XenGuestError;
use super::late_source::LateSource;
use super::machine::XenMachine;
use super::remake::{Alive, Remake};
use crate::config::FindChanges;
use crate::guest::machine::BoxedSource;
use crate::guest::output::HeldOutput;
use crate::memory;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use understudy_checkpoint::domain::{Description, GuestKind};
use understudy_xen::DomId;
use understudy_xen::domain::{Suspender, XenSource};
use understudy_xen::xl::XlGuest;

/// How long to wait for the memory of a guest that was started here: a PV guest's can be found only once the guest has
/// told Xen where its tables are on this host. Its output waits meanwhile.
pub(super) const SOURCE_MAX: Duration = Duration::from_secs(10);

impl XenHost {
    /// How to make its source again.
    pub(in crate::guest) fn remake(&self, alive: &Alive, guest: &XlGuest, how: FindChanges) -> Remake {
        let (host, guest) = (self.clone(), guest.clone());
        Remake::new(alive, move |alive| host.source(&guest, how, alive).map(|(source, _)| source))
    }

    /// Its source, which holds `alive`, and the memory that comparing takes.
    pub(in crate::guest) fn source(
        &self,
        guest: &XlGuest,
        how: FindChanges,
        alive: Alive,
    ) -> Result<(BoxedSource, u64), XenGuestError> {
        let mut source = Suspender::open(self.xen.clone(), guest.domain)
            .and_then(|suspender| match guest.kind {
                GuestKind::Hvm => suspender.with_device_model(),
                GuestKind::Pv | GuestKind::Pvh => Ok(suspender),
            })
            .and_then(|suspender| XenSource::open(self.xen.clone(), guest.domain, suspender))?;
        if how == FindChanges::Compare {
            let bytes_max = memory::host_bytes().unwrap_or(0).min(self.compare.bytes_max);
            let threads = std::thread::available_parallelism().map_or(1, usize::from);
            source = source.comparing(bytes_max, threads)?;
            let bytes = source.compared_bytes();
            tracing::info!(domain = %guest.domain, bytes, "Changes are found by comparing all memory in each pause");
        }
        let compared_bytes = source.compared_bytes();
        let source = source.named(guest.kind, guest.config.clone()).holding(alive);
        Ok((BoxedSource(Box::new(source)), compared_bytes))
    }

    /// The source of the guest `machine`, described by `what`, which runs here and nowhere else. Whatever fails is
    /// tried again with the next full sync; the guest continues. `is_held`: its cards are held. Also returns the memory
    /// that comparing takes.
    pub(in crate::guest) fn late_source(
        &self,
        domain: DomId,
        what: &Description,
        machine: &Arc<XenMachine>,
        output: &HeldOutput,
        is_held: bool,
    ) -> (BoxedSource, u64) {
        let name = machine.name().to_owned();
        let how = if self.compares(&name) { FindChanges::Compare } else { FindChanges::Log };
        let (host, config, is_held) = (self.clone(), what.config.clone(), AtomicBool::new(is_held));
        // What it is made by must not keep it.
        let (kept, output) = (Arc::downgrade(machine), output.downgrade());
        let open = Arc::new(move |alive: Alive| {
            // No xl is asked: what it would say is known.
            let machine = kept.upgrade().ok_or(XenGuestError::Forgotten)?;
            let guest = XlGuest::built(machine.name(), domain, &config)?;
            if let Some(output) = output.get().filter(|_| !is_held.load(Ordering::Acquire)) {
                host.hold_all(domain, &config, &machine, &output)?;
                is_held.store(true, Ordering::Release);
            }
            host.source(&guest, how, alive)
        });
        let (alive, again) = (Alive::default(), open.clone());
        machine.remade_by(Remake::new(&alive, move |alive| again(alive).map(|(source, _)| source)));
        let mut source = LateSource::new(what.clone(), move || open(alive.clone()));
        if let Some(why) = source.await_open(SOURCE_MAX) {
            tracing::error!(
                guest = name, %domain, why,
                "The guest runs here, and nothing can protect it yet; that is tried again"
            );
        }
        let compared_bytes = source.compared_bytes();
        (BoxedSource(Box::new(source)), compared_bytes)
    }
}
