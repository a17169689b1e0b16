//! The node's port of the lab's switch, for frames to and from all guests that run here. It is reconnected when it
//! fails; meanwhile frames are lost, as with a cable pulled out.

use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use std::os::fd::{AsFd, AsRawFd};
use std::path::PathBuf;
use understudy_lab::{Uplink, UplinkError};
use understudy_session::{Span, Time};

/// The wait between two attempts to connect.
const RETRY: Span = Span::from_ms(100);

/// How many frames are read from the switch before others have their turn.
const FRAMES_PER_TURN: usize = 512;

#[derive(Debug)]
enum State {
    Out {
        retry_at: Time,
    },
    In {
        uplink: Uplink,
        /// Something waits until the socket takes more. Only then is room in it an event: a unix socket makes one whenever its other
        /// end has read.
        is_full: bool,
    },
}

/// The port.
#[derive(Debug)]
pub(super) struct SwitchPort {
    path: Option<PathBuf>,
    name: String,
    registry: Registry,
    token: Token,
    state: State,
    unread: bool,
    /// Why the guests have no network, once that was logged.
    trouble: Option<String>,
}

impl SwitchPort {
    pub(super) fn new(path: Option<PathBuf>, name: String, registry: Registry, token: Token) -> Self {
        let state = State::Out { retry_at: Time(0) };
        Self { path, name, registry, token, state, unread: false, trouble: None }
    }

    pub(super) fn ready(&mut self, token: Token, has_ended: bool) {
        if token == self.token
            && let State::In { uplink, .. } = &mut self.state
        {
            self.unread = true;
            uplink.is_readable(has_ended);
        }
    }

    /// Whether the socket may hold more frames.
    pub(super) fn has_unread(&self) -> bool {
        self.unread
    }

    pub(super) fn next_timeout(&self) -> Option<Time> {
        match &self.state {
            State::Out { retry_at } => self.path.as_ref().map(|_| *retry_at),
            State::In { .. } => None,
        }
    }

    pub(super) fn run_timers(&mut self, now: Time) {
        let State::Out { retry_at } = &self.state else { return };
        let Some(path) = self.path.as_ref().filter(|_| *retry_at <= now) else { return };
        let plugged = Uplink::connect(path, &self.name).and_then(|uplink| {
            let fd = uplink.as_fd().as_raw_fd();
            self.registry.register(&mut SourceFd(&fd), self.token, Interest::READABLE)?;
            Ok(uplink)
        });
        self.unread = plugged.is_ok();
        self.state = match plugged {
            Ok(uplink) => {
                self.trouble = None;
                State::In { uplink, is_full: false }
            }
            Err(error) => {
                let trouble = error.to_string();
                // Logged once for each reason, since it is tried ten times a second.
                if self.trouble.as_ref() != Some(&trouble) {
                    tracing::warn!(
                        uplink = %path.display(), why = trouble,
                        "The guests have no network: no switch takes them in; is it running, and is this its socket?"
                    );
                    self.trouble = Some(trouble);
                }
                State::Out { retry_at: now + RETRY }
            }
        };
    }

    /// Hands arrived frames to `deliver`, up to a bound.
    pub(super) fn read(&mut self, now: Time, mut deliver: impl FnMut(&[u8])) {
        let State::In { uplink, .. } = &mut self.state else { return };
        if !self.unread {
            return;
        }
        for _ in 0..FRAMES_PER_TURN {
            match uplink.next_frame() {
                Ok(Some(frame)) => deliver(frame),
                Ok(None) => {
                    self.unread = false;
                    return;
                }
                Err(error) => return self.unplug(&error, now),
            }
        }
    }

    /// Queues a frame for the switch. A full queue drops it and counts that, as a switch does.
    pub(super) fn write(&mut self, frame: &[u8]) {
        if let State::In { uplink, .. } = &mut self.state {
            uplink.write_frame(frame);
        }
    }

    /// Sends as much as the socket takes.
    pub(super) fn flush(&mut self, now: Time) {
        let State::In { uplink, is_full } = &mut self.state else { return };
        let flushed = uplink.flush().and_then(|is_done| {
            if *is_full == is_done {
                *is_full = !is_done;
                let interest =
                    if is_done { Interest::READABLE } else { Interest::READABLE | Interest::WRITABLE };
                let fd = uplink.as_fd().as_raw_fd();
                self.registry.reregister(&mut SourceFd(&fd), self.token, interest)?;
            }
            Ok(())
        });
        if let Err(error) = flushed {
            self.unplug(&error, now);
        }
    }

    fn unplug(&mut self, error: &UplinkError, now: Time) {
        tracing::warn!(%error, "The guests' network is gone");
        self.unread = false;
        // Dropping the uplink closes its socket, which deregisters it.
        self.state = State::Out { retry_at: now + RETRY };
    }
}
