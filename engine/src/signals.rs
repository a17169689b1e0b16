//! SIGINT and SIGTERM as a readable file descriptor, so that an event loop ends in order instead of mid-step.

use mio::event::Source;
use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use std::io;
use std::os::fd::AsRawFd;

/// Readable once SIGINT or SIGTERM arrived. Create it before any thread: the signals are blocked in the
/// calling thread, and threads inherit that.
#[derive(Debug)]
pub struct ShutdownSignal(SignalFd);

impl ShutdownSignal {
    /// Blocks both signals and turns them into a file descriptor.
    pub fn install() -> io::Result<Self> {
        let mut signals = SigSet::empty();
        signals.add(Signal::SIGINT);
        signals.add(Signal::SIGTERM);
        signals.thread_block()?;
        Ok(Self(SignalFd::with_flags(&signals, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?))
    }

    /// The name of the signal that arrived, if one did.
    pub fn arrived(&mut self) -> io::Result<Option<&'static str>> {
        let info = self.0.read_signal()?;
        Ok(info.map(|info| if info.ssi_signo == Signal::SIGINT as u32 { "SIGINT" } else { "SIGTERM" }))
    }
}

impl Source for ShutdownSignal {
    fn register(&mut self, registry: &Registry, token: Token, interests: Interest) -> io::Result<()> {
        SourceFd(&self.0.as_raw_fd()).register(registry, token, interests)
    }

    fn reregister(&mut self, registry: &Registry, token: Token, interests: Interest) -> io::Result<()> {
        SourceFd(&self.0.as_raw_fd()).reregister(registry, token, interests)
    }

    fn deregister(&mut self, registry: &Registry) -> io::Result<()> {
        SourceFd(&self.0.as_raw_fd()).deregister(registry)
    }
}
