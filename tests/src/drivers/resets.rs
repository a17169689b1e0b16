//! Xen's watchdog resets a host unless an engine sets it anew in time. Nothing stops a reset that has begun.
//!
//! ```text
//!   engine ── set, stop ──► Timer ── RunsOut ──► resets ── within RESET_MAX ──► Resets: the host loses its power, and boots
//! ```
//!
//! Not here: the leases at the witness (`leases`).

use super::HostId;
use super::cluster::Cluster;
use super::events::Event;
use super::facts::Fact;
use super::faults::Moment;
use understudy_session::Span;
use understudy_session::lease::RESET_MAX;

const SECOND: u64 = 1_000_000_000;

impl Cluster {
    /// After a turn of its engine. The time has not gone on meanwhile.
    pub(super) fn look_at_watchdog(&mut self, host: HostId) {
        let now = self.now;
        let timer = &mut self.hosts[host].yard.get().timer;
        let Some(said) = timer.said.take().filter(|_| !timer.resets) else { return };
        timer.runs_out = said.map(|seconds| now + Span(u64::from(seconds.get()) * SECOND));
        if let Some(at) = timer.runs_out {
            self.agenda.add(at, Event::RunsOut { host });
        }
    }

    pub(super) fn runs_out(&mut self, host: HostId) {
        {
            let timer = &mut self.hosts[host].yard.get().timer;
            if timer.resets || timer.runs_out != Some(self.now) {
                return;
            }
            timer.resets = true;
        }
        self.note(host, || "the watchdog runs out".to_owned());
        let within = self.rng.span_us(0, RESET_MAX.0 / 1_000);
        self.agenda.add(self.now + within, Event::Resets { host });
    }

    pub(super) fn resets(&mut self, host: HostId) {
        if !self.hosts[host].yard.get().timer.resets {
            return;
        }
        self.moment(Moment::Reset);
        (0..self.settings.guests).for_each(|guest| self.state_fact(guest, &Fact::Fault));
        let boots_after = self.rng.span_us(100_000, 800_000);
        self.loses_power(host, boots_after);
    }
}
