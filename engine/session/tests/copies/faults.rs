//! The client, and what fails.

use crate::host::Role;
use crate::world::{Event, MS, World};
use understudy_session::primary::{self, State, Wish};
use understudy_session::{Span, Time, secondary};

/// From here on all is well.
const FAULTS_UNTIL: Time = Time(2_500 * MS);
/// Requests that a client has open.
const OPEN_MAX: u64 = 8;

impl World {
    /// The next request, or the oldest that is not acknowledged.
    pub(crate) fn request(&mut self) {
        let is_open = self.client_sent < self.client_acked + OPEN_MAX;
        let host = self.owner;
        if is_open && self.rng.percent(80) {
            self.client_sent += 1;
            let request = self.client_sent;
            self.hear(host, request);
        } else {
            let (from, to) = (self.client_acked + 1, self.client_sent);
            (from..=to).for_each(|request| self.hear(host, request));
        }
        let next = self.rng.between(500, 4_000);
        self.after(next * 1_000, 0, Event::Request);
    }

    pub(crate) fn tick(&mut self) {
        for host in 0..2 {
            if self.hosts[host].hangs_until <= self.now {
                self.look(host);
            }
        }
        self.after(MS, 0, Event::Tick);
    }

    pub(crate) fn fault(&mut self) {
        let next = self.rng.between(100, 500) * MS;
        if self.now < FAULTS_UNTIL {
            self.after(next, 0, Event::Fault);
        }
        let host = self.owner;
        let is_protected = self.runs(host).is_some_and(|runs| runs.session.state() == State::Protected);
        let stands = |world: &mut Self| {
            world.holds(1 - host).is_some_and(|holds| holds.session.state() == secondary::State::Standing)
        };
        self.feel(700);
        match self.rng.below(8) {
            0 | 1 if is_protected && stands(self) => self.crash(host),
            2 | 3 => {
                let until = self.now + Span(self.rng.between(10, 400) * MS);
                self.hosts[host].hangs_until = self.hosts[host].hangs_until.max(until);
            }
            4 => {
                let until = self.now + Span(self.rng.between(10, 300) * MS);
                self.stalls_until = self.stalls_until.max(until);
            }
            5 => self.end_link(),
            6 => {
                self.crash_copy(1 - host);
                if is_protected && stands(self) && self.rng.percent(40) {
                    self.crash(host);
                }
            }
            7 if self.rng.percent(30) => {
                self.tell_primary(host, primary::Input::Operator(Wish::Switchover));
            }
            _ => {}
        }
    }

    fn crash(&mut self, host: usize) {
        self.hosts[host].role = Role::Gone;
        self.hosts[host].life += 1;
        self.end_link();
        let back = self.rng.between(150, 500) * MS;
        self.after(back, host, Event::Back);
    }

    fn crash_copy(&mut self, host: usize) {
        let Some(copy) = self.holds(host).and_then(|holds| holds.copy.as_mut()) else { return };
        if std::mem::replace(&mut copy.runs, false) {
            let has_forwarded = copy.has_forwarded;
            copy.is_told = false;
            self.tell_secondary(host, secondary::Input::CopyCrashed { has_forwarded });
        }
    }
}
