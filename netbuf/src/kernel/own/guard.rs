//! The guard of an own queue: learns of every change to the devices and filters that hold output, and repairs them.
//!
//! ```text
//!   kernel ──notifications──► look ─┬─ leaks? ──► leak, until everything may leave anyway
//!                ▲                  └─ doubts ──► examine: filters, tap, programs ──► repair ──► settled
//!   cut ─────────┘ (never waits)                  (the guard's thread; waits for the kernel)
//! ```
//!
//! A cut succeeds only if, since output began to be held, no change was notified that may have let a frame by, and
//! every notified change has been examined. An epoch that leaked is thus never taken for one that was held, even if the
//! leak was closed a millisecond later.
//!
//! Everything is examined once a second anyway, because attaching a program by a `bpf_link` is not notified.

use super::inspect::{Repair, Sight, describe, program_in_front};
use super::nic::{Nic, Parts};
use super::signals::{Bell, Signals};
use super::wiring::{TAP_MTU_BYTES, Wiring};
use crate::kernel::KernelError;
use crate::kernel::breach::Breach;
use crate::kernel::netlink::Connection;
use crate::kernel::watch::{Holder, Notice, Watch, Watched};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use parking_lot::Mutex;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};

/// Milliseconds between two examinations without a notification, and after a repair that failed.
const LOOK_EVERY_MS: u16 = 1000;
const RETRY_EVERY_MS: u16 = 100;

/// A fault of the devices and filters that hold an interface's output.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fault {
    /// The interface, by the name it had when it was attached.
    pub interface: String,
    /// What is, or was, wrong.
    pub breach: Breach,
}

impl Fault {
    fn error(&self) -> KernelError {
        KernelError::NotHeld { name: self.interface.clone(), breach: self.breach }
    }
}

#[derive(Debug)]
pub(super) struct Guard {
    /// Never locked while the kernel is asked something.
    state: Mutex<State>,
    heard: OwnedFd,
    bell: Bell,
    /// Changes made through this connection are no news.
    connection: Mutex<Connection>,
    port: u32,
    wiring: Wiring,
    /// The redirects are being removed; repair nothing any more.
    is_retired: AtomicBool,
}

#[derive(Debug)]
struct State {
    watch: Watch,
    watched: Vec<Watched>,
    places: Vec<Place>,
    /// Changes notified, and how many of them have been examined.
    doubts: u64,
    settled: u64,
    /// The first fault since output is held by which frames may have left.
    leak: Option<Fault>,
    /// The newest fault, and the number of faults.
    last: Option<Fault>,
    faults: u64,
}

/// What is known of one interface.
#[derive(Clone, Copy, Default, Debug)]
struct Place {
    is_gone: bool,
    has_moved: bool,
    wrong: Option<Breach>,
}

impl Guard {
    /// Subscribes to notifications.
    pub(super) fn new(connection: Connection, wiring: Wiring) -> Result<Self, KernelError> {
        let watch = Watch::open()?;
        let heard = watch.as_fd().try_clone_to_owned()?;
        let state = State {
            watch,
            watched: Vec::new(),
            places: Vec::new(),
            doubts: 0,
            settled: 0,
            leak: None,
            last: None,
            faults: 0,
        };
        let port = connection.port();
        Ok(Self {
            state: Mutex::new(state),
            heard,
            bell: Bell::to_poll()?,
            connection: Mutex::new(connection),
            port,
            wiring,
            is_retired: AtomicBool::new(false),
        })
    }

    /// Installs the redirects for the first time. Frames arrive at the taps from here on.
    pub(super) fn install(&self, nics: &[Nic]) -> Result<(), KernelError> {
        let mut state = self.state.lock();
        state.watched = nics.iter().map(|nic| watched(&nic.parts())).collect();
        state.places = vec![Place::default(); nics.len()];
        // What was done to make the taps.
        state.watch.forget(self.port);
        drop(state);
        let mut connection = self.connection.lock();
        let redirects: Vec<_> = nics.iter().flat_map(|nic| self.wiring.redirects(&nic.parts())).collect();
        for nic in nics {
            // A program is in nobody's way but ours: it is not for us to take it off.
            if let Some(kind) = program_in_front(&mut connection, &nic.parts().vif)? {
                let breach = Breach::Program(kind);
                return Err(KernelError::NotHeld { name: nic.name().into(), breach });
            }
        }
        self.wiring.install(&mut connection, &redirects)
    }

    /// Removes the redirects, after any repair that is under way.
    pub(super) fn remove(&self, nics: &[Nic]) -> Result<(), KernelError> {
        self.is_retired.store(true, Ordering::Release);
        let mut connection = self.connection.lock();
        let vifs: Vec<_> = nics.iter().map(|nic| nic.parts().vif.clone()).collect();
        // Once more, for what stays redirected is cut off when the tap goes, and nobody holds it any more.
        let wiring = &self.wiring;
        wiring.remove(&mut connection, &vifs).or_else(|_| wiring.remove(&mut connection, &vifs))
    }

    /// Asks the kernel whether the interface is gone.
    pub(super) fn ask_whether_gone(&self, nic: &Nic) -> bool {
        nic.parts().vif.check(&mut self.connection.lock()).is_err()
    }

    /// Asks the kernel how many frames have arrived at the interfaces since they were made.
    pub(super) fn ask_received(&self, nics: &[Nic]) -> Result<u64, KernelError> {
        let mut connection = self.connection.lock();
        let mut frames = 0;
        for nic in nics {
            frames += describe(&mut connection, &nic.parts().vif)?.map_or(0, |link| link.rx_frames);
        }
        Ok(frames)
    }

    /// Takes in the notifications so far, without waiting. Returns whether any mattered.
    pub(super) fn look(&self, nics: &[Nic]) -> bool {
        let mut state = self.state.lock();
        let (faults, doubts) = (state.faults, state.doubts);
        let mut notices = Vec::new();
        let State { watch, watched, .. } = &mut *state;
        watch.look(self.port, watched, |place, notice| notices.push((place, notice)));
        for (place, notice) in notices {
            state.take_in(place, notice, &nics[place]);
        }
        let is_news = (faults, doubts) != (state.faults, state.doubts);
        if is_news {
            self.bell.ring();
        }
        is_news
    }

    /// Fails if anything may have leaked since [`forgive`](Self::forgive), according to the notifications so far.
    pub(super) fn verdict(&self) -> Result<(), KernelError> {
        let state = self.state.lock();
        match state.leak.clone().or_else(|| state.fault()) {
            Some(fault) => Err(fault.error()),
            None => Ok(()),
        }
    }

    /// Forgets a leak: what left was allowed to leave.
    pub(super) fn forgive(&self) {
        self.state.lock().leak = None;
    }

    pub(super) fn leak(&self) -> Option<Fault> {
        self.state.lock().leak.clone()
    }

    /// The fault of this moment.
    pub(super) fn fault(&self) -> Option<Fault> {
        self.state.lock().fault()
    }

    /// The newest fault, and the number of faults.
    pub(super) fn faults(&self) -> (Option<Fault>, u64) {
        let state = self.state.lock();
        (state.last.clone(), state.faults)
    }

    /// The index of the first interface that is gone.
    pub(super) fn gone(&self) -> Option<usize> {
        self.state.lock().places.iter().position(|place| place.is_gone)
    }

    pub(super) fn wake(&self) {
        self.bell.ring();
    }

    /// The guard thread. Ends when `signals` say so.
    pub(super) fn run(&self, nics: &[Nic], signals: &Signals) {
        let mut wait_ms = LOOK_EVERY_MS;
        while !signals.is_stopped() {
            let mut ready =
                [self.heard.as_fd(), self.bell.as_fd()].map(|it| PollFd::new(it, PollFlags::POLLIN));
            let _ = poll(&mut ready, PollTimeout::from(wait_ms));
            self.bell.clear();
            if signals.is_stopped() {
                return;
            }
            self.look(nics);
            let before = self.faults();
            let is_whole = self.examine(nics, signals);
            wait_ms = if is_whole { LOOK_EVERY_MS } else { RETRY_EVERY_MS };
            if self.leak().is_some() || before != self.faults() {
                signals.alarm();
            }
        }
    }

    /// Checks every interface and repairs what can be repaired. Returns whether nothing is wrong any more. If the
    /// kernel does not answer, nothing is learnt and the doubts stay.
    fn examine(&self, nics: &[Nic], signals: &Signals) -> bool {
        let doubts = self.state.lock().doubts;
        let mut connection = self.connection.lock();
        let mut is_whole = true;
        for place in 0..nics.len() {
            let was = self.state.lock().places[place];
            if was.is_gone || self.is_retired.load(Ordering::Acquire) {
                continue;
            }
            let seen = self.put_right(&mut connection, nics, place, was, signals);
            let mut state = self.state.lock();
            match seen {
                Ok(Sight::Whole) => {
                    // Unless something was heard meanwhile.
                    let has_moved = state.doubts != doubts && state.places[place].has_moved;
                    state.places[place] = Place { has_moved, ..Place::default() };
                }
                Ok(Sight::Wrong(breach)) => state.places[place].wrong = Some(breach),
                Ok(Sight::Missing) => state.places[place] = Place { is_gone: true, ..Place::default() },
                Err(_) => return false,
            }
            is_whole &= state.places[place].wrong.is_none();
        }
        self.state.lock().settled = doubts;
        is_whole
    }

    /// Checks an interface, repairs what is wrong, and checks again.
    fn put_right(
        &self,
        connection: &mut Connection,
        nics: &[Nic],
        place: usize,
        was: Place,
        signals: &Signals,
    ) -> Result<Sight, KernelError> {
        let nic = &nics[place];
        let breach = match self.check(connection, nics, place, was.has_moved)? {
            Sight::Wrong(breach) => breach,
            sight => return Ok(sight),
        };
        self.state.lock().find(place, breach, nic, was);
        // A repair that failed shows at the second check.
        let repaired = self.wiring.repair(connection, nic, breach, was.wrong == Some(breach));
        if matches!(repaired, Ok(Repair::OtherDevices)) {
            self.state.lock().watched[place] = watched(&nic.parts());
            signals.reader.ring();
            signals.sender.ring();
        }
        self.check(connection, nics, place, was.has_moved && repaired.is_err())
    }

    /// Checks one interface. If it is missing, finds out whether it was moved or deleted.
    fn check(
        &self,
        connection: &mut Connection,
        nics: &[Nic],
        place: usize,
        has_moved: bool,
    ) -> Result<Sight, KernelError> {
        let nic = &nics[place];
        match self.wiring.inspect(connection, nic, has_moved)? {
            Sight::Missing => {
                // By now the kernel has reported where it went.
                self.look(nics);
                let has_moved = has_moved || self.state.lock().has_moved(nic.name());
                Ok(if has_moved { Sight::Wrong(Breach::Moved) } else { Sight::Missing })
            }
            sight => Ok(sight),
        }
    }
}

impl State {
    fn take_in(&mut self, place: usize, notice: Notice, nic: &Nic) {
        match notice {
            Notice::Gone => self.places[place].is_gone = true,
            Notice::Breach(breach) => {
                self.doubts += 1;
                self.places[place].has_moved |= matches!(breach, Breach::Moved | Breach::Unknown);
                if breach.leaks() {
                    self.count(place, breach, nic);
                }
            }
        }
    }

    /// Whether the interface was moved away. Lost notifications count as yes.
    fn has_moved(&self, name: &str) -> bool {
        let has_moved = |(watched, place): (&Watched, &Place)| watched.vif.name == name && place.has_moved;
        self.watched.iter().zip(&self.places).any(has_moved)
    }

    /// Records a breach that a check found, unless a notification has already counted it.
    fn find(&mut self, place: usize, breach: Breach, nic: &Nic, was: Place) {
        let was_heard = self.doubts != self.settled && self.last.as_ref().is_some_and(|it| it.breach.leaks());
        if was.wrong != Some(breach) && !was_heard {
            self.count(place, breach, nic);
        }
        self.places[place].wrong = Some(breach);
    }

    fn count(&mut self, place: usize, breach: Breach, nic: &Nic) {
        let fault = Fault { interface: self.watched[place].vif.name.clone(), breach };
        if breach.leaks() && !nic.is_passing() {
            self.leak.get_or_insert_with(|| fault.clone());
        }
        self.last = Some(fault);
        self.faults += 1;
    }

    /// The fault of this moment; a change that was not examined yet counts as one.
    fn fault(&self) -> Option<Fault> {
        let fault = |place: usize, breach| Fault { interface: self.watched[place].vif.name.clone(), breach };
        let wrong = self.places.iter().position(|place| place.wrong.is_some());
        match wrong {
            Some(place) => self.places[place].wrong.map(|breach| fault(place, breach)),
            None if self.doubts != self.settled => Some(fault(0, Breach::Doubted)),
            None => None,
        }
    }
}

fn watched(parts: &Parts) -> Watched {
    let (device, mtu_bytes) = (parts.tap_device.clone(), Some(TAP_MTU_BYTES));
    let holder = Holder { device, mtu_bytes };
    Watched { vif: parts.vif.clone(), holder: Some(holder) }
}
