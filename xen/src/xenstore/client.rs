//! [`Xenstore`]: one connection, with requests and their replies, and watches and their events.
//!
//! ```text
//!   request ─► send ─► receive ─┬─ WATCH_EVENT ─► queue ─► next_event
//!                               └─ reply ─► answer
//! ```
//!
//! One request is in progress at a time. A connection that answered out of turn or too late is broken for good: its
//! next message could be the answer to anything.
//!
//! Not here: finding xenstore (`locate`), and the requests (`requests`, `transaction`).

use super::connection::Connection;
use super::wire::{self, Kind, Message};
use super::{StoreError, WATCH, WatchEvent};
use crate::calls;
use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::time::{Duration, Instant};

/// Longest wait for a reply. Xenstore answers in well under a millisecond.
const REPLY_TIMEOUT: Duration = Duration::from_secs(30);

/// Most events that wait to be taken. An event equal to one that waits already is not queued.
const EVENTS_MAX: usize = 1024;

/// A connection to xenstore.
#[derive(Debug)]
pub struct Xenstore {
    connection: Connection,
    request: u32,
    reply_timeout: Duration,
    outgoing: Vec<u8>,
    events: VecDeque<WatchEvent>,
    events_lost: bool,
    broken: bool,
}

/// A request, in words, for errors.
#[derive(Clone, Copy)]
pub(super) struct Asked<'a> {
    pub(super) what: &'static str,
    pub(super) subject: &'a str,
}

/// The transaction number of requests outside transactions.
pub(super) const NO_TRANSACTION: u32 = 0;

impl Xenstore {
    /// Connects to the socket or device `path`.
    pub fn connect(path: &Path) -> std::io::Result<Self> {
        Ok(Self {
            connection: Connection::open(path)?,
            request: 0,
            reply_timeout: REPLY_TIMEOUT,
            outgoing: Vec::with_capacity(wire::MESSAGE_MAX),
            events: VecDeque::new(),
            events_lost: false,
            broken: false,
        })
    }

    /// Whether the connection cannot be used further: it ended, or answered late or out of turn.
    pub fn is_broken(&self) -> bool {
        self.broken
    }

    /// Watches a node and everything below it. Each change produces an event with this token. The first event comes at
    /// once, whether or not the node exists.
    pub fn watch(&mut self, path: &str, token: &str) -> Result<(), StoreError> {
        let asked = Asked { what: WATCH, subject: path };
        let parts: [&[u8]; 4] = [wire::name(path)?, b"\0", wire::name(token)?, b"\0"];
        self.ask(Kind::Watch, NO_TRANSACTION, &parts, asked).map(drop)
    }

    /// [`watch`](Self::watch) for a caller that can also look by itself: a refusal, such as of a quota that is used up, is
    /// returned. Then no event comes, and the caller has to look from time to time.
    pub fn watch_if_allowed(&mut self, path: &str, token: &str) -> Result<Option<StoreError>, StoreError> {
        match self.watch(path, token) {
            Ok(()) => Ok(None),
            Err(refusal) if refusal.is_refusal() => Ok(Some(refusal)),
            Err(error) => Err(error),
        }
    }

    /// Ends a watch. Events with this token that were not taken yet are dropped, so give each watch its own token.
    pub fn unwatch(&mut self, path: &str, token: &str) -> Result<(), StoreError> {
        let asked = Asked { what: "unwatch", subject: path };
        let parts: [&[u8]; 4] = [wire::name(path)?, b"\0", wire::name(token)?, b"\0"];
        self.ask(Kind::Unwatch, NO_TRANSACTION, &parts, asked).map(drop)?;
        self.events.retain(|event| event.token != token);
        Ok(())
    }

    /// The next event; `None` if none came within `timeout` (`None`: wait for ever).
    ///
    /// Events also arrive during requests. Before polling the descriptor, take all events that have arrived (with a
    /// timeout of zero, until `None`).
    pub fn next_event(&mut self, timeout: Option<Duration>) -> Result<Option<WatchEvent>, StoreError> {
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        loop {
            if std::mem::take(&mut self.events_lost) {
                return Err(StoreError::EventsLost(EVENTS_MAX));
            }
            if let Some(event) = self.events.pop_front() {
                return Ok(Some(event));
            }
            if self.broken {
                return Err(StoreError::Closed);
            }
            match self.connection.receive(deadline) {
                Ok(None) => return Ok(None),
                Ok(Some(message)) if message.is(Kind::WatchEvent) => match event(&message.payload) {
                    Ok(event) => self.queue(event),
                    Err(error) => return self.broken_by(error),
                },
                Ok(Some(message)) => {
                    let unasked = format!("message type {} unasked", message.kind);
                    return self.broken_by(StoreError::Protocol(unasked));
                }
                Err(error) => return self.broken_by(error),
            }
        }
    }

    /// Sends a request and waits for its reply. Queues events that come first.
    pub(super) fn ask(
        &mut self,
        kind: Kind,
        transaction: u32,
        parts: &[&[u8]],
        asked: Asked<'_>,
    ) -> Result<Vec<u8>, StoreError> {
        if self.broken {
            return Err(StoreError::Closed);
        }
        calls::store_request();
        self.request = self.request.wrapping_add(1);
        wire::encode(kind, self.request, transaction, parts, &mut self.outgoing)?;
        let reply = match self.exchange(kind) {
            Ok(reply) => reply,
            Err(error) => return self.broken_by(error),
        };
        if reply.is(Kind::Error) {
            let Asked { what, subject } = asked;
            let name = wire::string(&reply.payload)?.to_owned();
            return Err(StoreError::Refused { what, subject: subject.to_owned(), name });
        }
        Ok(reply.payload)
    }

    /// Sends the request in the buffer and waits for its reply.
    fn exchange(&mut self, kind: Kind) -> Result<Message, StoreError> {
        let deadline = Instant::now() + self.reply_timeout;
        let timeout = self.reply_timeout;
        let timeout = || StoreError::Timeout(timeout.as_millis() as u64);
        if !self.connection.send(&self.outgoing, deadline)? {
            return Err(timeout());
        }
        loop {
            let message = self.connection.receive(Some(deadline))?.ok_or_else(timeout)?;
            if message.is(Kind::WatchEvent) {
                self.queue(event(&message.payload)?);
            } else if self.answers(&message, kind) {
                return Ok(message);
            } else {
                let Message { kind: came, request, .. } = message;
                let (asked, number) = (kind as u32, self.request);
                return Err(StoreError::Protocol(format!(
                    "message type {came} to request {request} where type {asked} to request {number} was due"
                )));
            }
        }
    }

    /// Whether a message is the reply to the request in progress. The kernel's device answers watches itself, and older
    /// kernels leave out the request's number.
    fn answers(&self, message: &Message, kind: Kind) -> bool {
        let by_kernel = self.connection.is_device() && matches!(kind, Kind::Watch | Kind::Unwatch);
        let numbered = message.request == self.request || by_kernel && message.request == 0;
        numbered && (message.is(kind) || message.is(Kind::Error))
    }

    fn queue(&mut self, event: WatchEvent) {
        if self.events.contains(&event) {
            return;
        }
        if self.events.len() == EVENTS_MAX {
            self.events_lost = true;
            return;
        }
        self.events.push_back(event);
    }

    fn broken_by<T>(&mut self, error: StoreError) -> Result<T, StoreError> {
        self.broken = true;
        Err(error)
    }
}

impl AsFd for Xenstore {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.connection.as_fd()
    }
}

fn event(payload: &[u8]) -> Result<WatchEvent, StoreError> {
    let mut parts = wire::strings(payload);
    match (parts.next().transpose()?, parts.next().transpose()?) {
        (Some(path), Some(token)) => Ok(WatchEvent { path: path.to_owned(), token: token.to_owned() }),
        _ => Err(StoreError::Protocol("a watch event without path and token".into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_has_a_path_and_a_token() {
        let expected = WatchEvent { path: "@releaseDomain".into(), token: "t".into() };
        assert_eq!(event(b"@releaseDomain\0t\0").unwrap(), expected);
        // Newer versions may say more.
        assert_eq!(event(b"@releaseDomain\0t\0more\0").unwrap(), expected);
        assert!(event(b"/only/a/path\0").is_err());
        assert!(event(b"").is_err());
    }

    #[test]
    fn a_xenstored_that_hangs_is_given_up() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("socket");
        let _hangs = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        let mut store =
            Xenstore { reply_timeout: Duration::from_millis(20), ..Xenstore::connect(&socket).unwrap() };
        assert!(matches!(store.read("/a"), Err(StoreError::Timeout(20))));
        assert!(
            matches!(store.read("/a"), Err(StoreError::Closed)),
            "its late answer would be taken for another's"
        );
        assert!(matches!(store.next_event(None), Err(StoreError::Closed)));
    }
}
