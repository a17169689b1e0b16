//! [`ShutdownSignal`]: SIGINT, SIGTERM, SIGHUP and the other signals that daemons get, as a readable file descriptor.
//! An event loop can thus end in order instead of mid-step, or, after SIGHUP, continue.

use mio::event::Source;
use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use std::io;
use std::os::fd::AsRawFd;

/// The meaning of SIGHUP for a process. It is sent when the terminal is closed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Hangup {
    /// The process continues, since guests depend on it, and is to read its certificates anew.
    Reloads,
    /// The process ends in order: it works for whoever sat at the terminal.
    Ends,
    /// The process dies at once, as without a handler.
    Kills,
}

/// Readable once a signal has arrived. Create it before any thread: the signals are blocked in the calling thread, and
/// threads inherit that.
#[derive(Debug)]
pub struct ShutdownSignal {
    descriptor: SignalFd,
    signals: SigSet,
    hangup: Hangup,
    reload: bool,
}

impl ShutdownSignal {
    /// Blocks the signals and turns them into a file descriptor.
    pub fn install(hangup: Hangup) -> io::Result<Self> {
        let mut signals = SigSet::empty();
        signals.add(Signal::SIGINT);
        signals.add(Signal::SIGTERM);
        if hangup != Hangup::Kills {
            signals.add(Signal::SIGHUP);
        }
        if hangup == Hangup::Reloads {
            // Other daemons open their logs anew or tell of themselves on these; here they would end the guests.
            signals.add(Signal::SIGUSR1);
            signals.add(Signal::SIGUSR2);
        }
        signals.thread_block()?;
        let descriptor = SignalFd::with_flags(&signals, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?;
        Ok(Self { descriptor, signals, hangup, reload: false })
    }

    /// The name of the signal that arrived and by which to end.
    pub fn arrived(&mut self) -> io::Result<Option<&'static str>> {
        while let Some(info) = self.descriptor.read_signal()? {
            match i32::try_from(info.ssi_signo).ok().and_then(|number| Signal::try_from(number).ok()) {
                Some(Signal::SIGHUP) if self.hangup == Hangup::Reloads => self.reload = true,
                Some(signal @ (Signal::SIGUSR1 | Signal::SIGUSR2)) => {
                    tracing::info!(
                        signal = signal.as_str(),
                        "A signal that means nothing here is passed over"
                    );
                }
                Some(signal) => return Ok(Some(signal.as_str())),
                None => {}
            }
        }
        Ok(None)
    }

    /// Whether a signal came since this was asked last that tells to read certificates anew. Ask it after
    /// [`arrived`](Self::arrived).
    pub fn take_reload(&mut self) -> bool {
        std::mem::take(&mut self.reload)
    }

    /// From here on the signals end this process at once.
    pub fn release(&self) -> io::Result<()> {
        Ok(self.signals.thread_unblock()?)
    }
}

impl Source for ShutdownSignal {
    fn register(&mut self, registry: &Registry, token: Token, interests: Interest) -> io::Result<()> {
        SourceFd(&self.descriptor.as_raw_fd()).register(registry, token, interests)
    }

    fn reregister(&mut self, registry: &Registry, token: Token, interests: Interest) -> io::Result<()> {
        SourceFd(&self.descriptor.as_raw_fd()).reregister(registry, token, interests)
    }

    fn deregister(&mut self, registry: &Registry) -> io::Result<()> {
        SourceFd(&self.descriptor.as_raw_fd()).deregister(registry)
    }
}
