//! The hypervisor: runs a guest on a thread of its own, and suspends and pauses it.
//!
//! ```text
//!             suspend / pause            resume / unpause
//!   running ──────────────────► halted ──────────────────► running       stop, last handle gone: off
//! ```
//!
//! To suspend: take the vCPU's lock and set *halted*. That takes microseconds, because the vCPU releases the lock as
//! soon as somebody asks. Copying pages while the guest runs does not ask; it alternates with whole slices. Not here:
//! what the vCPU does ([`vcpu`](crate::vcpu)).

use crate::conditions::{Conditions, Draws};
use crate::config::{ConfigError, GuestConfig};
use crate::disk::Disk;
use crate::guest::{Guest, RestoreError};
use crate::inlet::Inlet;
use crate::nic::Port;
use crate::registers::{Counters, DiskCounters};
use crate::vcpu::{Holds, Inside, OffWhenDone, Plugged, Power, Shared};
use parking_lot::MutexGuard;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::{self, Thread};
use understudy_checkpoint::epoch::Image;

/// A handle to a running guest. Clones are handles to the same guest; dropping the last one ends it.
#[derive(Clone)]
pub struct LabGuest {
    handle: Arc<Handle>,
}

/// Ends the guest when the last [`LabGuest`] or [`LabSource`] is dropped.
struct Handle {
    shared: Arc<Shared>,
    vcpu: Thread,
}

/// What a host plugs into a guest.
#[derive(Clone)]
pub struct Devices {
    /// Where its network card sends.
    pub port: Arc<dyn Port>,
    /// Its disk, if it has one.
    pub disk: Option<Arc<dyn Disk>>,
}

impl From<Arc<dyn Port>> for Devices {
    fn from(port: Arc<dyn Port>) -> Self {
        Self { port, disk: None }
    }
}

impl LabGuest {
    /// Starts a new guest that sends to `port`.
    pub fn start(config: &GuestConfig, port: Arc<dyn Port>) -> Result<Self, ConfigError> {
        Self::start_under(Conditions::NONE, config, port)
    }

    /// [`start`](Self::start) under the conditions of a host.
    pub fn start_under(
        conditions: Conditions,
        config: &GuestConfig,
        devices: impl Into<Devices>,
    ) -> Result<Self, ConfigError> {
        config.check()?;
        let devices = devices.into();
        if let (Some(bytes), None) = (config.disk_bytes, &devices.disk) {
            return Err(ConfigError::NoDisk(bytes));
        }
        let guest = Guest::boot(config).map_err(|_| ConfigError::OutOfMemory(config.memory_bytes))?;
        Self::run(guest, Holds::NONE, conditions, devices)
            .map_err(|error| ConfigError::Thread(error.to_string()))
    }

    /// Continues the guest of `image` with its state. The image becomes the guest's memory, without a copy. The guest
    /// announces its address on `port`.
    pub fn restore(image: Image, port: Arc<dyn Port>) -> Result<Self, RestoreError> {
        Self::restore_under(Conditions::NONE, image, port)
    }

    /// [`restore`](Self::restore) under the conditions of a host.
    pub fn restore_under(
        conditions: Conditions,
        image: Image,
        devices: impl Into<Devices>,
    ) -> Result<Self, RestoreError> {
        let devices = devices.into();
        let mut guest = Guest::from_image(image)?;
        guest.check_disk(devices.disk.is_some())?;
        guest.announce_soon();
        Self::run(guest, Holds::NONE, conditions, devices)
            .map_err(|error| RestoreError::Thread(error.to_string()))
    }

    /// The guest of `image`, which does not run yet and announces nothing; call [`resume`](Self::resume).
    pub(crate) fn stand(
        conditions: Conditions,
        image: Image,
        port: Arc<dyn Port>,
    ) -> Result<Self, RestoreError> {
        let mut guest = Guest::from_image(image)?;
        guest.check_disk(false).map_err(|_| RestoreError::CopyWithDisk)?;
        guest.ram_mut().begin_log_dirty();
        let holds = Holds { suspended: true, ..Holds::NONE };
        Self::run(guest, holds, conditions, port.into())
            .map_err(|error| RestoreError::Thread(error.to_string()))
    }

    fn run(guest: Guest, holds: Holds, conditions: Conditions, devices: Devices) -> std::io::Result<Self> {
        let name = format!("vcpu {}", guest.registers().name);
        let shared = Arc::new(Shared::new(guest, holds, Draws::new(conditions)));
        let of_vcpu = shared.clone();
        let vcpu = thread::Builder::new().name(name).spawn(move || {
            let _off_when_done = OffWhenDone(&of_vcpu);
            let inlet = Inlet::new(&of_vcpu.arrivals, thread::current());
            of_vcpu.run_vcpu(&Plugged { port: devices.port, disk: devices.disk, inlet });
        })?;
        Ok(Self { handle: Arc::new(Handle { shared, vcpu: vcpu.thread().clone() }) })
    }

    /// Passes a frame to the guest's network card; `false` if it was dropped. Never blocks.
    pub fn inject(&self, frame: &[u8]) -> bool {
        let number = self.push(frame);
        self.notify();
        number.is_some()
    }

    /// Puts a frame into the card's ring, as one of many: call [`notify`](Self::notify) after the last. Returns the frame's
    /// place in the order in which the guest takes frames, if nobody else puts any there: it is taken once
    /// [`frames_taken`](Self::frames_taken) is more. `None` if it was dropped. Never blocks.
    pub fn push(&self, frame: &[u8]) -> Option<u64> {
        let Handle { shared, vcpu } = &*self.handle;
        shared.arrivals.ring.push_and_notify(frame, vcpu)
    }

    /// Wakes the vCPU for what is in its card's ring.
    pub fn notify(&self) {
        self.handle.vcpu.unpark();
    }

    /// A handle to the network card, which does not keep the guest alive.
    pub fn inlet(&self) -> Inlet {
        Inlet::new(&self.handle.shared.arrivals, self.handle.vcpu.clone())
    }

    /// Stops the guest until [`unpause`](Self::unpause), whatever checkpoints do meanwhile. When this returns, the
    /// guest transmits nothing. Idempotent.
    pub fn pause(&self) {
        self.visit().hold(|hold| hold.paused = true);
    }

    /// Lets a paused guest continue. Idempotent.
    pub fn unpause(&self) {
        self.visit().hold(|hold| hold.paused = false);
        self.handle.vcpu.unpark();
    }

    /// Ends the guest. When this returns, it never transmits again. Idempotent.
    pub fn stop(&self) {
        self.handle.stop();
    }

    /// Whether the guest has ended.
    pub fn is_stopped(&self) -> bool {
        self.visit().power == Power::Off
    }

    /// Whether the vCPU's thread has ended, for whatever reason. Does not disturb the guest, and may become true a
    /// moment after [`is_stopped`](Self::is_stopped).
    pub fn has_ended(&self) -> bool {
        self.handle.shared.arrivals.has_ended.load(Ordering::Acquire)
    }

    /// The guest's counters. Interrupts the guest's slice.
    pub fn counters(&self) -> Counters {
        self.visit().guest.registers().counters
    }

    /// The counters of the guest's disk; `None` if it has none. Interrupts the guest's slice.
    pub fn disk_counters(&self) -> Option<DiskCounters> {
        self.visit().guest.registers().disk.as_ref().map(|disk| disk.counters)
    }

    /// Whether the guest's disk has been compared with its memory since it was restored here.
    pub fn is_compared(&self) -> bool {
        self.visit().guest.is_compared()
    }

    /// Frames that the network card dropped.
    pub fn frames_dropped(&self) -> u64 {
        self.handle.shared.arrivals.ring.dropped()
    }

    /// Frames that have left its card, of those that [`inject`](Self::inject) took, in their order: the guest has taken them, or
    /// they were dropped when it was set. Exact while it is suspended.
    pub fn frames_taken(&self) -> u64 {
        self.handle.shared.arrivals.ring.popped()
    }

    /// Makes the guest announce its address, as after a move.
    pub fn announce(&self) {
        self.visit().guest.announce_soon();
        self.handle.vcpu.unpark();
    }

    /// Suspends the guest for a checkpoint, which takes as long as its host's conditions say; `false` if it has ended.
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

    /// Stops the guest at once; `false` if it has ended.
    pub(crate) fn halt(&self) -> bool {
        self.visit().hold(|hold| hold.suspended = true)
    }

    /// Drops the frames that the card holds and the guest has not taken.
    pub(crate) fn clear_ring(&self) {
        while self.handle.shared.arrivals.ring.pop().is_some() {}
    }

    /// Lets a suspended guest continue; `false` if it has ended.
    pub(crate) fn resume(&self) -> bool {
        let is_alive = self.visit().hold(|hold| hold.suspended = false);
        self.handle.vcpu.unpark();
        is_alive
    }

    /// Takes the lock as soon as the vCPU can be interrupted.
    pub(crate) fn visit(&self) -> MutexGuard<'_, Inside> {
        self.handle.shared.visit()
    }

    /// Takes the lock between two slices of the vCPU. Release it with [`MutexGuard::unlock_fair`].
    pub(crate) fn take_turn(&self) -> MutexGuard<'_, Inside> {
        self.handle.shared.inside.lock()
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
