//! The vCPU of a lab guest: a thread that runs the guest in short slices under one lock.
//!
//! ```text
//!   vCPU thread:  lock ─ slice ─ unlock ─ lock ─ slice ─ …     sleeps when nothing is due
//!   visitor:      raise hand ── lock ── (halt it, copy, …) ── unlock
//! ```
//!
//! Whoever holds the lock knows that the guest neither runs nor transmits. The vCPU checks for raised hands after each
//! frame and each page, and releases the lock at once. Not here: suspending and pausing
//! ([`hypervisor`](crate::hypervisor)).

use crate::conditions::{Draw, Draws, Moment};
use crate::disk::Disk;
use crate::guest::Guest;
use crate::inlet::{Arrivals, Inlet};
use crate::nic::Port;
use parking_lot::{Mutex, MutexGuard};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// Frames taken before the load gets its turn.
const FRAMES_PER_SLICE: usize = 64;
/// How long the load runs before a copy of the running guest gets its turn: some times longer than the copy's own turn.
const SLICE: Duration = Duration::from_micros(100);
/// How often a vCPU that its host stalls checks whether somebody wants the lock.
const STALL_STEP: Duration = Duration::from_micros(100);
/// Pages written between two looks at the clock and the ring. A frame waits some microseconds for them.
const PAGES_PER_BURST: usize = 16;

/// What the vCPU's thread and the handles share.
pub(crate) struct Shared {
    pub(crate) inside: Mutex<Inside>,
    /// The number of visitors that want the lock now.
    hands: AtomicU32,
    pub(crate) arrivals: Arc<Arrivals>,
}

/// The guest, and whether it runs.
pub(crate) struct Inside {
    pub(crate) guest: Guest,
    pub(crate) power: Power,
    /// Guest time has been counted up to here.
    counted_to: Instant,
    pub(crate) draws: Draws,
}

/// What a guest's vCPU sends to.
pub(crate) struct Plugged {
    pub(crate) port: Arc<dyn Port>,
    pub(crate) disk: Option<Arc<dyn Disk>>,
    /// Where the disk answers.
    pub(crate) inlet: Inlet,
}

/// Whether a guest runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Power {
    /// The guest runs unless something holds it.
    On(Holds),
    /// It never runs again.
    Off,
}

/// The reasons why a vCPU does not run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Holds {
    /// For a checkpoint.
    pub(crate) suspended: bool,
    /// By decision of the engine or the operator, over many checkpoints.
    pub(crate) paused: bool,
}

impl Holds {
    pub(crate) const NONE: Self = Self { suspended: false, paused: false };
}

/// What the vCPU does after a slice.
enum Rest {
    Nothing,
    Until(Duration),
    UntilWoken,
}

/// Switches a guest off when its vCPU's thread ends for whatever reason, even a panic, so that it does not hang
/// silently.
pub(crate) struct OffWhenDone<'a>(pub(crate) &'a Shared);

impl Drop for OffWhenDone<'_> {
    fn drop(&mut self) {
        self.0.visit().power = Power::Off;
        self.0.arrivals.has_ended.store(true, Ordering::Release);
    }
}

impl Shared {
    pub(crate) fn new(guest: Guest, holds: Holds, draws: Draws) -> Self {
        let power = Power::On(holds);
        let inside = Inside { guest, power, counted_to: Instant::now(), draws };
        Self { inside: Mutex::new(inside), hands: AtomicU32::new(0), arrivals: Arc::new(Arrivals::new()) }
    }

    pub(crate) fn visit(&self) -> MutexGuard<'_, Inside> {
        self.hands.fetch_add(1, Ordering::AcqRel);
        let inside = self.inside.lock();
        self.hands.fetch_sub(1, Ordering::AcqRel);
        inside
    }

    fn hand_is_raised(&self) -> bool {
        self.hands.load(Ordering::Acquire) > 0
    }

    /// Lets time pass for the vCPU, unless somebody wants the lock.
    fn stall(&self, time: Duration) {
        let end = Instant::now() + time;
        while Instant::now() < end && !self.hand_is_raised() {
            thread::sleep(STALL_STEP.min(time));
        }
    }

    pub(crate) fn run_vcpu(&self, devices: &Plugged) {
        loop {
            while self.hand_is_raised() {
                thread::yield_now();
            }
            let mut inside = self.inside.lock();
            let rest = match inside.power {
                Power::Off => return,
                Power::On(Holds::NONE) => self.run_slice(&mut inside, devices),
                Power::On(_) => Rest::UntilWoken,
            };
            MutexGuard::unlock_fair(inside);
            match rest {
                Rest::Nothing => (),
                Rest::Until(time) => thread::park_timeout(time),
                Rest::UntilWoken => thread::park(),
            }
        }
    }

    /// Something arrived that the guest takes.
    fn has_input(&self, guest: &Guest) -> bool {
        !self.arrivals.answers.is_empty() || (!self.arrivals.ring.is_empty() && guest.takes_frames())
    }

    /// What the disk answered goes to the guest, and what the guest wants of it to the disk.
    fn run_disk(&self, guest: &mut Guest, devices: &Plugged) {
        let Some(disk) = &devices.disk else { return };
        while let Some(answer) = self.arrivals.answers.pop() {
            guest.disk_answered(answer, &*devices.port);
        }
        while let Some(request) = guest.next_disk_request() {
            disk.submit(request, &devices.inlet);
        }
    }

    fn run_slice(&self, inside: &mut Inside, devices: &Plugged) -> Rest {
        let port = &*devices.port;
        inside.count_time();
        inside.guest.run_timers(port);
        for _ in 0..FRAMES_PER_SLICE {
            if self.hand_is_raised() {
                return Rest::Nothing;
            }
            self.run_disk(&mut inside.guest, devices);
            if !inside.guest.takes_frames() {
                break;
            }
            let Some(frame) = self.arrivals.ring.pop() else { break };
            let mut moment = Moment::default();
            match inside.draws.next() {
                Draw::Now(drawn) => moment = drawn,
                Draw::After(time) => self.stall(time),
                Draw::Overtaken => {
                    if let Some(later) = self.arrivals.ring.pop() {
                        inside.guest.deliver(&later, port);
                    }
                }
            }
            inside.guest.deliver_at(moment, &frame, port);
        }
        self.run_disk(&mut inside.guest, devices);
        let guest = &mut inside.guest;
        let slice_end = Instant::now() + SLICE;
        loop {
            // At least one burst, also under a flood of frames.
            for _ in 0..PAGES_PER_BURST {
                if self.hand_is_raised() {
                    return Rest::Nothing;
                }
                if !guest.load_is_due() {
                    return if self.has_input(guest) {
                        Rest::Nothing
                    } else {
                        Rest::after(guest.next_due_ns())
                    };
                }
                guest.write_load_page();
            }
            if self.has_input(guest) || Instant::now() >= slice_end {
                return Rest::Nothing;
            }
        }
    }
}

impl Rest {
    fn after(due_ns: Option<u64>) -> Self {
        match due_ns {
            Some(0) => Self::Nothing,
            Some(ns) => Self::Until(Duration::from_nanos(ns)),
            None => Self::UntilWoken,
        }
    }
}

impl Inside {
    pub(crate) fn is_off(&self) -> bool {
        self.power == Power::Off
    }

    pub(crate) fn is_suspended(&self) -> bool {
        matches!(self.power, Power::On(Holds { suspended: true, .. }))
    }

    /// Changes the reasons for which the guest is held, and counts its time so far if it ran; `false` if it has ended.
    pub(crate) fn hold(&mut self, change: impl FnOnce(&mut Holds)) -> bool {
        let Power::On(holds) = &mut self.power else { return false };
        let ran = *holds == Holds::NONE;
        change(holds);
        if ran {
            self.count_time();
        } else {
            self.counted_to = Instant::now();
        }
        true
    }

    fn count_time(&mut self) {
        let now = Instant::now();
        let elapsed = now.duration_since(self.counted_to);
        self.guest.advance(elapsed.as_nanos() as u64);
        self.counted_to = now;
    }
}
