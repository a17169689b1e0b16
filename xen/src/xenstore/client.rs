//! Requests and watches over one connection to xenstore.
//!
//! ```text
//!   request ─► send ─► receive ─┬─ WATCH_EVENT ─► queue ─► next_event
//!                               └─ reply ─► answer
//! ```
//!
//! One request is under way at a time. A connection that answered out of turn, or not in time, is broken for
//! good: what it would say next could be the answer to anything.
//!
//! Not here: transactions, see `transaction`.

use super::connection::Connection;
use super::wire::{self, Kind, Message};
use super::{Permission, StoreError, WatchEvent};
use crate::{DomId, Gfn};
use std::collections::VecDeque;
use std::ffi::OsString;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Xenstore answers in well under a millisecond; a host that takes so long has other troubles.
const REPLY_TIMEOUT: Duration = Duration::from_secs(30);

/// Events that wait to be taken, at most. An event that waits already is not queued again: it would say the same.
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

/// What is asked, in words.
#[derive(Clone, Copy)]
pub(super) struct Asked<'a> {
    pub(super) what: &'static str,
    pub(super) subject: &'a str,
}

/// The transaction of requests that belong to none.
pub(super) const NO_TRANSACTION: u32 = 0;

impl Xenstore {
    /// Connects to this host's xenstore: `$XENSTORED_PATH`, `$XENSTORED_RUNDIR/socket` (else
    /// `/var/run/xenstored/socket`), `/run/xenstored/socket`, then the kernel's `/dev/xen/xenbus`, as where xenstore has a
    /// domain of its own.
    pub fn open() -> Result<Self, StoreError> {
        Self::open_first(places(std::env::var_os("XENSTORED_PATH"), std::env::var_os("XENSTORED_RUNDIR")))
    }

    /// A socket that refuses is that of a daemon which died. The kernel would take requests for it, and answer none.
    fn open_first(places: Vec<PathBuf>) -> Result<Self, StoreError> {
        let mut tried = Vec::new();
        for path in places {
            match Self::connect(&path) {
                Ok(store) => return Ok(store),
                Err(error) => {
                    let is_dead = error.kind() == std::io::ErrorKind::ConnectionRefused;
                    tried.push((path, error));
                    if is_dead {
                        break;
                    }
                }
            }
        }
        Err(StoreError::Unreachable(tried))
    }

    /// Connects to a socket or device of this path.
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

    /// Whether it is of no further use: it ended, or answered late or out of turn.
    pub fn is_broken(&self) -> bool {
        self.broken
    }

    /// The value of a node; `None` if there is no such node.
    pub fn read(&mut self, path: &str) -> Result<Option<String>, StoreError> {
        self.read_in(NO_TRANSACTION, path)
    }

    /// Sets the value of a node, which is created where it is not there.
    pub fn write(&mut self, path: &str, value: &str) -> Result<(), StoreError> {
        self.write_in(NO_TRANSACTION, path, value)
    }

    /// Creates an empty node; one that is there is left as it is.
    pub fn mkdir(&mut self, path: &str) -> Result<(), StoreError> {
        self.mkdir_in(NO_TRANSACTION, path)
    }

    /// Removes a node and all below it, if it is there.
    pub fn rm(&mut self, path: &str) -> Result<(), StoreError> {
        self.rm_in(NO_TRANSACTION, path)
    }

    /// Names of the nodes right below a node; none if it is not there.
    pub fn directory(&mut self, path: &str) -> Result<Vec<String>, StoreError> {
        self.directory_in(NO_TRANSACTION, path)
    }

    /// Says who may do what with a node.
    pub fn set_permissions(&mut self, path: &str, permissions: &[Permission]) -> Result<(), StoreError> {
        self.set_permissions_in(NO_TRANSACTION, path, permissions)
    }

    /// Where a domain's nodes are: `/local/domain/5`. Also of domains that are not there.
    pub fn domain_path(&mut self, domain: DomId) -> Result<String, StoreError> {
        let path = self.of_domain(Kind::GetDomainPath, "name the path of domain", domain, &[])?;
        Ok(wire::string(&path)?.to_owned())
    }

    /// Tells xenstore that a domain that shut down runs on, so that its next shutdown is announced.
    pub fn resume(&mut self, domain: DomId) -> Result<(), StoreError> {
        self.of_domain(Kind::Resume, "resume domain", domain, &[]).map(drop)
    }

    /// Connects a domain to xenstore: through the page `gfn` and the event channel port `evtchn` of that domain.
    pub fn introduce(&mut self, domain: DomId, gfn: Gfn, evtchn: u32) -> Result<(), StoreError> {
        self.of_domain(Kind::Introduce, "introduce domain", domain, &[gfn.0, evtchn.into()]).map(drop)
    }

    /// Takes a domain's connection to xenstore away.
    pub fn release(&mut self, domain: DomId) -> Result<(), StoreError> {
        self.of_domain(Kind::Release, "release domain", domain, &[]).map(drop)
    }

    /// Whether a domain is connected to xenstore.
    pub fn is_introduced(&mut self, domain: DomId) -> Result<bool, StoreError> {
        let answer = self.of_domain(Kind::IsDomainIntroduced, "find domain", domain, &[])?;
        match wire::string(&answer)? {
            "T" => Ok(true),
            "F" => Ok(false),
            other => Err(StoreError::Protocol(format!("{other:?} for true or false"))),
        }
    }

    /// Has changes of a node, and of all below it, told as events with this token. An event comes at once, whether
    /// or not the node is there.
    pub fn watch(&mut self, path: &str, token: &str) -> Result<(), StoreError> {
        let asked = Asked { what: "watch", subject: path };
        let parts: [&[u8]; 4] = [name(path)?, b"\0", name(token)?, b"\0"];
        self.ask(Kind::Watch, NO_TRANSACTION, &parts, asked).map(drop)
    }

    /// Ends a watch. Events with this token that were not taken yet are dropped: give each watch its own.
    pub fn unwatch(&mut self, path: &str, token: &str) -> Result<(), StoreError> {
        let asked = Asked { what: "unwatch", subject: path };
        let parts: [&[u8]; 4] = [name(path)?, b"\0", name(token)?, b"\0"];
        self.ask(Kind::Unwatch, NO_TRANSACTION, &parts, asked).map(drop)?;
        self.events.retain(|event| event.token != token);
        Ok(())
    }

    /// The next event; `None` if none came within `timeout` (none given: waits for ever).
    ///
    /// Events also come in during requests: before the descriptor is polled, all that are there must be taken
    /// (with a timeout of zero, until `None`).
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

    pub(super) fn read_in(&mut self, transaction: u32, path: &str) -> Result<Option<String>, StoreError> {
        match self.of_path(Kind::Read, "read", transaction, path) {
            Ok(value) => Ok(Some(wire::text(&value)?.to_owned())),
            Err(error) if error.is("ENOENT") => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub(super) fn write_in(&mut self, transaction: u32, path: &str, value: &str) -> Result<(), StoreError> {
        let asked = Asked { what: "write", subject: path };
        let parts: [&[u8]; 3] = [name(path)?, b"\0", value.as_bytes()];
        self.ask(Kind::Write, transaction, &parts, asked).map(drop)
    }

    pub(super) fn mkdir_in(&mut self, transaction: u32, path: &str) -> Result<(), StoreError> {
        self.of_path(Kind::Mkdir, "create", transaction, path).map(drop)
    }

    pub(super) fn rm_in(&mut self, transaction: u32, path: &str) -> Result<(), StoreError> {
        match self.of_path(Kind::Rm, "remove", transaction, path) {
            // Xenstore says so only where the node above is not there either.
            Err(error) if error.is("ENOENT") => Ok(()),
            answer => answer.map(drop),
        }
    }

    pub(super) fn directory_in(&mut self, transaction: u32, path: &str) -> Result<Vec<String>, StoreError> {
        match self.of_path(Kind::Directory, "list", transaction, path) {
            Ok(names) => wire::strings(&names).map(|name| name.map(str::to_owned)).collect(),
            Err(error) if error.is("ENOENT") => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    pub(super) fn set_permissions_in(
        &mut self,
        transaction: u32,
        path: &str,
        permissions: &[Permission],
    ) -> Result<(), StoreError> {
        let asked = Asked { what: "set the permissions of", subject: path };
        let entries: String = permissions.iter().map(|permission| format!("{permission}\0")).collect();
        let parts: [&[u8]; 3] = [name(path)?, b"\0", entries.as_bytes()];
        self.ask(Kind::SetPerms, transaction, &parts, asked).map(drop)
    }

    /// A request that names a path and nothing else.
    fn of_path(
        &mut self,
        kind: Kind,
        what: &'static str,
        transaction: u32,
        path: &str,
    ) -> Result<Vec<u8>, StoreError> {
        self.ask(kind, transaction, &[name(path)?, b"\0"], Asked { what, subject: path })
    }

    /// A request that names a domain, and numbers.
    fn of_domain(
        &mut self,
        kind: Kind,
        what: &'static str,
        domain: DomId,
        numbers: &[u64],
    ) -> Result<Vec<u8>, StoreError> {
        let domain = domain.to_string();
        let numbers: String = numbers.iter().map(|number| format!("\0{number}")).collect();
        let asked = Asked { what, subject: &domain };
        self.ask(kind, NO_TRANSACTION, &[domain.as_bytes(), numbers.as_bytes(), b"\0"], asked)
    }

    /// Sends a request and waits for its reply; events that come before it are queued.
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

    /// Sends what is to go out and waits for what answers it.
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

    /// Whether a message is the reply to the request under way. The kernel's device answers watches itself, and
    /// older kernels leave the request's number out.
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

/// The places to look for xenstore at, by the environment's variables.
fn places(socket: Option<OsString>, folder: Option<OsString>) -> Vec<PathBuf> {
    let folder = folder.map_or_else(|| PathBuf::from("/var/run/xenstored"), PathBuf::from);
    let usual = [folder.join("socket"), "/run/xenstored/socket".into(), "/dev/xen/xenbus".into()];
    socket.map(PathBuf::from).into_iter().chain(usual).collect()
}

/// The bytes of a path or token, if it can be one.
fn name(text: &str) -> Result<&[u8], StoreError> {
    if text.is_empty() || text.contains('\0') {
        return Err(StoreError::BadName(text.to_owned()));
    }
    Ok(text.as_bytes())
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
    fn xenstore_is_looked_for_where_its_variables_say_and_then_where_it_is_usually() {
        let text =
            |places: Vec<PathBuf>| places.iter().map(|place| place.display().to_string()).collect::<Vec<_>>();
        assert_eq!(
            text(places(None, None)),
            ["/var/run/xenstored/socket", "/run/xenstored/socket", "/dev/xen/xenbus"]
        );
        assert_eq!(
            text(places(Some("/tmp/here".into()), Some("/srv".into()))),
            ["/tmp/here", "/srv/socket", "/run/xenstored/socket", "/dev/xen/xenbus"]
        );
    }

    #[test]
    fn a_daemon_that_died_is_not_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let (socket, device) = (folder.path().join("socket"), folder.path().join("device"));
        std::fs::write(&device, b"").unwrap();
        let open = || Xenstore::open_first(vec![socket.clone(), device.clone()]);
        assert!(open().is_ok(), "without a socket it has a domain of its own");
        drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
        assert!(matches!(open(), Err(StoreError::Unreachable(tried)) if tried.len() == 1));
    }

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
