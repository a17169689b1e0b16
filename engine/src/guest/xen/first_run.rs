//! Takes in a PV guest whose engine died just before it let the guest run here.
//!
//! ```text
//!   ours (labelled), PV, paused, has used no processor ──► held ──► unpaused ─┬─ it says where its memory is ─► found
//!                                                                            └─ not in time ─► paused again, and told
//! ```
//!
//! A PV guest says where its memory is on this host only when it runs: until then nothing of it can be copied, not even
//! described. Its output is held before it runs, as that of any guest that is found running, and leaves only once the guest
//! has been claimed. Guests with disks are not taken in at all, so nothing else of it gets out.
//!
//! Not here: a guest that stands still because an engine paused it; nobody lets that run before it is claimed.

use super::XenHost;
use super::error::XenGuestError;
use super::machine::XenMachine;
use super::remake::Alive;
use super::source::SOURCE_MAX;
use crate::config::FindChanges;
use crate::guest::machine::{BoxedSource, Machine};
use crate::guest::output::HeldOutput;
use std::thread::sleep;
use std::time::{Duration, Instant};
use understudy_checkpoint::domain::GuestKind;
use understudy_xen::DomainInfo;
use understudy_xen::xl::XlGuest;

/// Time between two attempts to find the guest's memory.
const RETRY: Duration = Duration::from_millis(20);

/// Whether a domain that an engine has labelled as its guest was never let run on this host, and cannot be found before it is.
pub(super) fn is_due(kind: GuestKind, info: &DomainInfo) -> bool {
    kind == GuestKind::Pv && info.is_paused() && info.cpu_time_ns == 0
}

impl XenHost {
    /// Lets a guest run for which [`is_due`] holds, with its output held. Returns its source, which holds `alive`, and the
    /// memory that comparing takes.
    pub(super) fn run_first(
        &self,
        guest: &XlGuest,
        how: FindChanges,
        alive: &Alive,
        machine: &XenMachine,
        output: &HeldOutput,
    ) -> Result<(BoxedSource, u64), XenGuestError> {
        let domain = guest.domain;
        self.hold(domain, &guest.config, machine, output)?;
        tracing::warn!(guest = machine.name(), %domain, "Its engine died before it let the guest run; it runs, and its output is held");
        let open = || self.source(guest, how, alive.clone());
        find(|| machine.unpause(), open, || machine.pause(), SOURCE_MAX)
    }
}

/// Lets a guest run by `unpause` whose output is held, until `open` finds it or `time_max` is over; then it is stopped by
/// `pause`, and the error says why it was not found.
pub(super) fn find<T>(
    unpause: impl FnOnce(),
    mut open: impl FnMut() -> Result<T, XenGuestError>,
    pause: impl FnOnce(),
    time_max: Duration,
) -> Result<T, XenGuestError> {
    unpause();
    let begun = Instant::now();
    loop {
        match open() {
            Ok(found) => return Ok(found),
            Err(_) if begun.elapsed() < time_max => sleep(RETRY),
            Err(why) => {
                pause();
                return Err(XenGuestError::NotRunYet { why: Box::new(why) });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    #[test]
    fn a_guest_that_is_found_once_it_runs_goes_on_running_and_one_that_is_not_stands_still_again() {
        for (fails, time_max, is_found) in
            [(3, Duration::from_secs(60), true), (u32::MAX, Duration::ZERO, false)]
        {
            let (runs, asked) = (Cell::new(false), Cell::new(0));
            let open = || {
                assert!(runs.get(), "it says nothing before");
                asked.set(asked.get() + 1);
                if asked.get() > fails { Ok(7) } else { Err(XenGuestError::Forgotten) }
            };
            let found = find(|| runs.set(true), open, || runs.set(false), time_max);
            assert_eq!((found.is_ok(), runs.get()), (is_found, is_found));
            if let Err(error) = found {
                let said = error.to_string();
                assert!(said.contains("xl unpause") && said.contains("not run here any more"), "{said}");
            }
        }
    }
}
