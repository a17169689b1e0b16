//! `xen/sched.h`: shutting a domain down, and the timer that does so unless it is set anew.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// `SHUTDOWN_suspend`
pub const SHUTDOWN_SUSPEND: u32 = 2;
/// `SCHEDOP_remote_shutdown`
pub const REMOTE_SHUTDOWN: u64 = 4;

/// `SCHEDOP_watchdog`
pub const WATCHDOG: u64 = 6;

/// `struct sched_remote_shutdown`
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct RemoteShutdown {
    /// The domain to stop.
    pub domain: u16,
    /// Zero.
    pub pad: u16,
    /// `SHUTDOWN_*`: 0 poweroff, 1 reboot, 2 suspend, 3 crash.
    pub reason: u32,
}

const _: () = assert!(size_of::<RemoteShutdown>() == 8);

/// `struct sched_watchdog`
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Watchdog {
    /// 0: a new timer, whose number is the answer.
    pub id: u32,
    /// Seconds from now; 0: none any more.
    pub timeout: u32,
}

const _: () = assert!(size_of::<Watchdog>() == 8);
