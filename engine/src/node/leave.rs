//! How a node ends: what it does with the guests that it runs, holds, or is starting.
//!
//! ```text
//!   runs here          unprotected: goes on by itself · else: paused, nothing leaves, the copy takes over
//!   being started      waited for, `START_MAX` at most ─┬─ runs: marked, paused, kept for the next engine
//!                                                       ├─ failed: said, and its image saved where it is whole
//!                                                       └─ neither: its last commit is written to a file, if it can be
//!   held here          what stands by goes, which is waited for, `END_MAX` at most
//! ```
//!
//! The end takes a bounded time. Otherwise an operator or the system would kill the node at an arbitrary moment.

use super::driver::{GuestDriver, Started};
use super::guests::Guests;
use super::inbound::GuestName;
use crate::guest::{Report, RunningGuest, RuntimeId};
use crossbeam::channel::Receiver;
use std::thread::sleep;
use std::time::{Duration, Instant};
use understudy_checkpoint::Generation;

/// How long to wait for a guest that is being started.
pub(super) const START_MAX: Duration = Duration::from_secs(30);

/// How long to wait until nothing is left of the guests held here, all of them together.
const END_MAX: Duration = Duration::from_secs(15);

/// How long to wait for the mark of a guest that was just started, and how often to look.
const MARK_MAX: Duration = Duration::from_secs(2);
const MARK_LOOK: Duration = Duration::from_millis(5);

type Named = (GuestName, Box<dyn GuestDriver>);

impl Guests {
    /// Ends the node: from here on no output of any guest leaves. Workers still send `reports`.
    pub(super) fn leave(&mut self, reports: &Receiver<(RuntimeId, Report)>, start_max: Duration) {
        let need = self.fencing_need();
        self.guests.values_mut().for_each(|guest| guest.leave());
        self.fencing.leave(need);
        self.host.leave();
        let (mut starting, others): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.guests).into_iter().partition(|(_, guest)| guest.is_being_started());
        // Images that are complete are saved.
        let failed = await_started(&mut starting, reports, start_max);
        for (name, _) in &starting {
            let rescued = self.host.rescue(name).unwrap_or_else(|| "nothing of it can be saved here".into());
            tracing::error!(
                guest = %name, rescued,
                "The guest was being started here when the node ended, and that took too long; see `xl list` whether it \
                 came to be, before anything else is made of it"
            );
        }
        let until = Instant::now() + END_MAX;
        for (name, guest) in others.into_iter().chain(failed) {
            if !guest.close(until.saturating_duration_since(Instant::now())) {
                tracing::error!(guest = %name, "What was held of the guest may still be on this host; see `xl list`");
            }
        }
    }
}

/// Waits for guests that are being started. Those that are still starting afterwards stay in `starting`.
fn await_started(
    starting: &mut Vec<Named>,
    reports: &Receiver<(RuntimeId, Report)>,
    time_max: Duration,
) -> Vec<Named> {
    let mut failed = Vec::new();
    for (name, _) in &*starting {
        let seconds = time_max.as_secs();
        tracing::warn!(guest = %name, seconds, "The guest is being started here; the node waits for that before it ends");
    }
    let until = Instant::now() + time_max;
    while !starting.is_empty()
        && let Ok((runtime, report)) = reports.recv_deadline(until)
    {
        let Some(at) = starting.iter().position(|(_, guest)| guest.runtime() == runtime) else { continue };
        match starting[at].1.started(report) {
            Started::NotYet => {}
            Started::Kept => drop(starting.swap_remove(at)),
            Started::Failed => failed.push(starting.swap_remove(at)),
        }
    }
    failed
}

/// A guest that was started while its node ends stays paused until an engine here goes on with it.
pub(super) fn hold_still(name: &str, generation: Option<Generation>, guest: &RunningGuest) {
    let RunningGuest { machine, output, .. } = guest;
    output.fence();
    let Some(generation) = generation else { return machine.leave() };
    machine.mark(generation);
    let begun = Instant::now();
    while !machine.is_marked(generation) && begun.elapsed() < MARK_MAX {
        sleep(MARK_LOOK);
    }
    machine.leave();
    tracing::warn!(
        guest = name, %generation,
        "The guest was started here while the node ended; it is paused and kept, and the next engine here goes on with it"
    );
}
