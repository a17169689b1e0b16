//! The stream's descriptor: inherited from libxl, and made to fail when libxl wants the helper to end.
//!
//! On SIGTERM the descriptor is replaced by one that cannot be written. The next write fails, and the helper ends as
//! after any failed write, with the guest's dirty log off (`save_signal_handler` in
//! `tools/libs/light/libxl_save_helper.c`).

#![allow(unsafe_code)]

use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
use std::ffi::c_int;
use std::fs::File;
use std::os::fd::{FromRawFd, IntoRawFd, RawFd};
use std::sync::atomic::{AtomicI32, Ordering};

static STREAM: AtomicI32 = AtomicI32::new(-1);
static NOWHERE: AtomicI32 = AtomicI32::new(-1);

/// The descriptor that libxl passed down.
pub(super) fn stream(fd: RawFd) -> File {
    // SAFETY: libxl opened the descriptor for this process alone and named it on the command line; nothing else here
    // owns it. If it is not open, reads and writes fail.
    unsafe { File::from_raw_fd(fd) }
}

/// Makes SIGTERM fail all later writes to `fd`.
pub(super) fn break_stream_on_sigterm(fd: RawFd) {
    let Ok(nowhere) = File::open("/dev/null") else { return };
    STREAM.store(fd, Ordering::Release);
    NOWHERE.store(nowhere.into_raw_fd(), Ordering::Release);
    let action = SigAction::new(SigHandler::Handler(break_stream), SaFlags::SA_RESTART, SigSet::empty());
    // SAFETY: the handler calls nothing but dup2, which is async-signal-safe, and reads atomics.
    let installed = unsafe { sigaction(Signal::SIGTERM, &action) };
    if let Err(why) = installed {
        tracing::warn!(%why, "SIGTERM will end the helper at once, and leave the guest's dirty log on");
    }
}

extern "C" fn break_stream(_: c_int) {
    let (stream, nowhere) = (STREAM.load(Ordering::Acquire), NOWHERE.load(Ordering::Acquire));
    // SAFETY: both are descriptors that stay open as long as the process lives; dup2 is async-signal-safe.
    unsafe { nix::libc::dup2(nowhere, stream) };
}
