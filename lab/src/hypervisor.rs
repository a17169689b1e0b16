//! The hypervisor: a guest on a thread of its own, run in short slices under one lock.
//!
//! ```text
//!             suspend / pause            resume / unpause
//!   running ──────────────────► halted ──────────────────► running       stop, last handle gone: off
//!
//!   vCPU thread:  lock ─ slice ─ unlock ─ lock ─ slice ─ …     sleeps when nothing is due
//!   visitor:      raise hand ── lock ── (halt it, copy, …) ── unlock
//! ```
//!
//! Who holds the lock knows that the guest does not run and transmits nothing; so a suspend is: take the lock,
//! say *halted*. The vCPU looks at the raised hands after each frame and each page and gives the lock
//! up at once, so a suspend waits for microseconds. A live copy raises no hand and takes turns with whole slices.

use crate::conditions::{Conditions, Draw, Draws, Moment};
use crate::config::{ConfigError, GuestConfig};
use crate::guest::{Guest, RestoreError};
use crate::nic::{Port, Ring};
use crate::registers::Counters;
use parking_lot::{Mutex, MutexGuard};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Weak};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};
use understudy_checkpoint::epoch::Image;

/// Frames taken in before the load gets its turn.
const FRAMES_PER_SLICE: usize = 64;
/// How long the load runs before a live copy gets its turn: some times longer than the copy's own turn.
const SLICE: Duration = Duration::from_micros(100);
/// A vCPU that its host stalls looks this often whether somebody wants it.
const STALL_STEP: Duration = Duration::from_micros(100);
/// Pages written between two looks at the clock and the ring: a frame waits some microseconds for them.
const PAGES_PER_BURST: usize = 16;

/// A handle to a running guest. Clones are handles to the same guest; with the last of them the guest ends.
#[derive(Clone)]
pub struct LabGuest {
    handle: Arc<Handle>,
}

/// Ends the guest when the last [`LabGuest`] or [`LabSource`] is dropped.
struct Handle {
    shared: Arc<Shared>,
    vcpu: Thread,
}

/// What the vCPU's thread and the handles share.
struct Shared {
    inside: Mutex<Inside>,
    /// Visitors that want the lock now.
    hands: AtomicU32,
    ring: Ring,
    /// The vCPU's thread has ended, for whatever reason.
    has_ended: AtomicBool,
}

/// The guest and whether it runs.
pub(crate) struct Inside {
    pub(crate) guest: Guest,
    power: Power,
    /// Guest time was counted up to here.
    counted_to: Instant,
    draws: Draws,
    frames_taken: u64,
}

/// Whether a guest runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Power {
    /// There is a vCPU. It runs unless something holds it.
    On(Holds),
    /// It never runs again.
    Off,
}

/// What keeps a vCPU from running. Either is enough.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Holds {
    /// For a checkpoint.
    suspended: bool,
    /// By the engine's or the operator's decision, over many checkpoints.
    paused: bool,
}

impl Holds {
    const NONE: Self = Self { suspended: false, paused: false };
}

/// What the vCPU does after a slice.
enum Rest {
    Nothing,
    Until(Duration),
    UntilWoken,
}

impl LabGuest {
    /// Starts a new guest whose frames go to `port`.
    pub fn start(config: &GuestConfig, port: Arc<dyn Port>) -> Result<Self, ConfigError> {
        Self::start_under(Conditions::NONE, config, port)
    }

    /// As [`start`](Self::start), on a host that does this to it.
    pub fn start_under(
        conditions: Conditions,
        config: &GuestConfig,
        port: Arc<dyn Port>,
    ) -> Result<Self, ConfigError> {
        config.check()?;
        let guest = Guest::boot(config).map_err(|_| ConfigError::OutOfMemory(config.memory_bytes))?;
        Self::run(guest, Holds::NONE, conditions, port)
            .map_err(|error| ConfigError::Thread(error.to_string()))
    }

    /// Continues the guest that `image` with its state stands for. The image becomes its memory, without a
    /// copy. The guest announces itself on `port`.
    pub fn restore(image: Image, port: Arc<dyn Port>) -> Result<Self, RestoreError> {
        Self::restore_under(Conditions::NONE, image, port)
    }

    /// As [`restore`](Self::restore), on a host that does this to it.
    pub fn restore_under(
        conditions: Conditions,
        image: Image,
        port: Arc<dyn Port>,
    ) -> Result<Self, RestoreError> {
        let mut guest = Guest::from_image(image)?;
        guest.announce_soon();
        Self::run(guest, Holds::NONE, conditions, port)
            .map_err(|error| RestoreError::Thread(error.to_string()))
    }

    /// The guest that `image` stands for, which does not run yet and announces nothing: to be resumed.
    pub(crate) fn stand(
        conditions: Conditions,
        image: Image,
        port: Arc<dyn Port>,
    ) -> Result<Self, RestoreError> {
        let mut guest = Guest::from_image(image)?;
        guest.ram_mut().begin_log_dirty();
        let holds = Holds { suspended: true, ..Holds::NONE };
        Self::run(guest, holds, conditions, port).map_err(|error| RestoreError::Thread(error.to_string()))
    }

    fn run(guest: Guest, holds: Holds, conditions: Conditions, port: Arc<dyn Port>) -> std::io::Result<Self> {
        let name = format!("vcpu {}", guest.registers().name);
        let inside = Inside {
            guest,
            power: Power::On(holds),
            counted_to: Instant::now(),
            draws: Draws::new(conditions),
            frames_taken: 0,
        };
        let shared = Arc::new(Shared {
            inside: Mutex::new(inside),
            hands: AtomicU32::new(0),
            ring: Ring::new(),
            has_ended: AtomicBool::new(false),
        });
        let of_vcpu = shared.clone();
        let vcpu = thread::Builder::new().name(name).spawn(move || {
            let _off_when_done = OffWhenDone(&of_vcpu);
            of_vcpu.run_vcpu(&*port);
        })?;
        Ok(Self { handle: Arc::new(Handle { shared, vcpu: vcpu.thread().clone() }) })
    }

    /// Hands the guest's network card a frame; `false` if it was dropped. Never blocks.
    pub fn inject(&self, frame: &[u8]) -> bool {
        let taken = self.handle.shared.ring.push(frame);
        self.handle.vcpu.unpark();
        taken
    }

    /// A way to its network card that does not keep it.
    pub fn inlet(&self) -> Inlet {
        Inlet { shared: Arc::downgrade(&self.handle.shared), vcpu: self.handle.vcpu.clone() }
    }

    /// Holds the guest until [`unpause`](Self::unpause), whatever checkpoints do meanwhile. When this returns
    /// it transmits no more. Idempotent.
    pub fn pause(&self) {
        self.visit().hold(|hold| hold.paused = true);
    }

    /// Lets a paused guest run on. Idempotent.
    pub fn unpause(&self) {
        self.visit().hold(|hold| hold.paused = false);
        self.handle.vcpu.unpark();
    }

    /// Ends the guest. When this returns it transmits no more, ever. Idempotent.
    pub fn stop(&self) {
        self.handle.stop();
    }

    /// Whether the guest has ended.
    pub fn is_stopped(&self) -> bool {
        self.visit().power == Power::Off
    }

    /// Whether its vCPU is no more, for whatever reason. Costs the guest nothing, and may be true a moment after
    /// [`is_stopped`](Self::is_stopped).
    pub fn has_ended(&self) -> bool {
        self.handle.shared.has_ended.load(Ordering::Acquire)
    }

    /// What the guest has done. Costs the guest a slice's end.
    pub fn counters(&self) -> Counters {
        self.visit().guest.registers().counters
    }

    /// Frames that the network card dropped.
    pub fn frames_dropped(&self) -> u64 {
        self.handle.shared.ring.dropped()
    }

    /// Frames that the guest has taken from its card, of those that [`inject`](Self::inject) took: in their order, unless
    /// its host reorders them. Exact while it is suspended.
    pub fn frames_taken(&self) -> u64 {
        self.visit().frames_taken
    }

    /// The guest says where it is, as one does that runs on in a new place.
    pub fn announce(&self) {
        self.visit().guest.announce_soon();
        self.handle.vcpu.unpark();
    }

    /// Holds the guest for a checkpoint, in the time that its host makes of it; `false` if it has ended.
    pub(crate) fn suspend(&self) -> bool {
        let (is_alive, takes) = {
            let mut inside = self.visit();
            (inside.hold(|hold| hold.suspended = true), inside.draws.suspend_takes())
        };
        if is_alive && !takes.is_zero() {
            thread::sleep(takes);
        }
        is_alive
    }

    /// Holds the guest at once; `false` if it has ended.
    pub(crate) fn halt(&self) -> bool {
        self.visit().hold(|hold| hold.suspended = true)
    }

    /// Drops what its card has and the guest has not taken.
    pub(crate) fn clear_ring(&self) {
        while self.handle.shared.ring.pop().is_some() {}
    }

    /// Lets a suspended guest run on; `false` if it has ended.
    pub(crate) fn resume(&self) -> bool {
        let is_alive = self.visit().hold(|hold| hold.suspended = false);
        self.handle.vcpu.unpark();
        is_alive
    }

    /// Takes the lock as soon as the vCPU can be interrupted.
    pub(crate) fn visit(&self) -> MutexGuard<'_, Inside> {
        self.handle.shared.visit()
    }

    /// Takes the lock in turn with the vCPU's slices. Give it back with [`MutexGuard::unlock_fair`].
    pub(crate) fn take_turn(&self) -> MutexGuard<'_, Inside> {
        self.handle.shared.inside.lock()
    }
}

/// A way to a guest's network card, which does not keep the guest.
#[derive(Clone)]
pub struct Inlet {
    shared: Weak<Shared>,
    vcpu: Thread,
}

impl Inlet {
    /// Hands the card a frame; `false` if it was dropped, or the guest has ended. Never blocks.
    pub fn inject(&self, frame: &[u8]) -> bool {
        let taken = self.shared.upgrade().is_some_and(|shared| shared.ring.push(frame));
        self.vcpu.unpark();
        taken
    }

    /// Whether the guest has not ended.
    pub fn is_open(&self) -> bool {
        self.shared.upgrade().is_some_and(|shared| !shared.visit().is_off())
    }
}

impl std::fmt::Debug for LabGuest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Not waited for: a port may print its guest while the vCPU holds the lock.
        let mut out = f.debug_struct("LabGuest");
        if let Some(inside) = self.handle.shared.inside.try_lock() {
            out.field("power", &inside.power).field("registers", inside.guest.registers());
        }
        out.finish_non_exhaustive()
    }
}

impl Handle {
    fn stop(&self) {
        self.shared.visit().power = Power::Off;
        self.vcpu.unpark();
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.stop();
    }
}

/// A vCPU that ended for whatever reason, a panic too, leaves its guest off, not silently hanging.
struct OffWhenDone<'a>(&'a Shared);

impl Drop for OffWhenDone<'_> {
    fn drop(&mut self) {
        self.0.visit().power = Power::Off;
        self.0.has_ended.store(true, Ordering::Release);
    }
}

impl Shared {
    fn visit(&self) -> MutexGuard<'_, Inside> {
        self.hands.fetch_add(1, Ordering::AcqRel);
        let inside = self.inside.lock();
        self.hands.fetch_sub(1, Ordering::AcqRel);
        inside
    }

    fn hand_is_raised(&self) -> bool {
        self.hands.load(Ordering::Acquire) > 0
    }

    /// Lets time pass for the vCPU, unless somebody wants it.
    fn stall(&self, time: Duration) {
        let end = Instant::now() + time;
        while Instant::now() < end && !self.hand_is_raised() {
            thread::sleep(STALL_STEP.min(time));
        }
    }

    fn run_vcpu(&self, port: &dyn Port) {
        loop {
            while self.hand_is_raised() {
                thread::yield_now();
            }
            let mut inside = self.inside.lock();
            let rest = match inside.power {
                Power::Off => return,
                Power::On(Holds::NONE) => self.run_slice(&mut inside, port),
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

    fn run_slice(&self, inside: &mut Inside, port: &dyn Port) -> Rest {
        inside.count_time();
        inside.guest.run_timers(port);
        for _ in 0..FRAMES_PER_SLICE {
            if self.hand_is_raised() {
                return Rest::Nothing;
            }
            let Some(frame) = self.ring.pop() else { break };
            inside.frames_taken += 1;
            let mut moment = Moment::default();
            match inside.draws.next() {
                Draw::Now(drawn) => moment = drawn,
                Draw::After(time) => self.stall(time),
                Draw::Overtaken => {
                    if let Some(later) = self.ring.pop() {
                        inside.frames_taken += 1;
                        inside.guest.deliver(&later, port);
                    }
                }
            }
            inside.guest.deliver_at(moment, &frame, port);
        }
        let guest = &mut inside.guest;
        let slice_end = Instant::now() + SLICE;
        loop {
            // At least one burst, also under a flood of frames.
            for _ in 0..PAGES_PER_BURST {
                if self.hand_is_raised() {
                    return Rest::Nothing;
                }
                if !guest.load_is_due() {
                    return if self.ring.is_empty() {
                        Rest::after(guest.next_due_ns())
                    } else {
                        Rest::Nothing
                    };
                }
                guest.write_load_page();
            }
            if !self.ring.is_empty() || Instant::now() >= slice_end {
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

    /// Changes what holds the guest, and counts its time up to now if it ran; `false` if it has ended.
    fn hold(&mut self, change: impl FnOnce(&mut Holds)) -> bool {
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
