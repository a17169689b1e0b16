//! Asks a node over its control socket, and waits for the answer.

use super::events::Events;
use super::socket::connect;
use super::status::FORMAT;
use super::{Protection, Request, Response, Status, Wish, line_of};
use std::io::{self, Read, Write};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// A node that does not answer within this time hangs: its loop answers in microseconds.
const ANSWER_MAX: Duration = Duration::from_secs(5);

/// Upper bound of an answer: some kilobytes for each of a thousand guests.
const ANSWER_BYTES_MAX: usize = 8 << 20;

/// Why a request failed.
#[derive(thiserror::Error, Debug)]
pub enum ClientError {
    /// There is no socket, or no process listens on it.
    #[error("No node answers at {path}: {source}; is it running, and is this its --control?")]
    Unreachable { path: PathBuf, source: io::Error },
    /// The socket belongs to another user.
    #[error("{path} is for its owner alone; ask as the user that runs the node (root, mostly): {source}")]
    NotAllowed { path: PathBuf, source: io::Error },
    /// The path is no socket.
    #[error("No node answers at {path}, which is no socket; give its --control")]
    NotASocket { path: PathBuf },
    /// The node is stopped or hangs.
    #[error(
        "The node at {path} has not answered for {} s: it is stopped, or hangs; its guests may be taken over",
        ANSWER_MAX.as_secs()
    )]
    Hangs { path: PathBuf },
    /// The node's answer is malformed.
    #[error("The node at {path} does not answer as it should: {reason}")]
    BadAnswer {
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The node refuses.
    #[error("{0}")]
    Refused(String),
}

/// A client of one control socket. Each request uses a connection of its own.
#[derive(Clone, Debug)]
pub struct Client {
    path: PathBuf,
}

/// Why the connection to `path` failed.
fn unreachable(path: &Path, source: io::Error) -> ClientError {
    let path = path.to_owned();
    match source.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => ClientError::Hangs { path },
        _ if is_something_else(&path) => ClientError::NotASocket { path },
        io::ErrorKind::PermissionDenied => ClientError::NotAllowed { path, source },
        _ => ClientError::Unreachable { path, source },
    }
}

impl Client {
    /// A client of the node whose control socket is at `path`. Connects for each request.
    pub fn new(path: impl AsRef<Path>) -> Self {
        Self { path: path.as_ref().to_owned() }
    }

    /// The node's status.
    pub fn status(&self) -> Result<Status, ClientError> {
        match self.ask(&Request::Status)? {
            Response::Status { status } if status.format == FORMAT => Ok(*status),
            Response::Status { status } => Err(self.bad(&format!(
                "its status has format {}, and this program reads {FORMAT}; restart the node after an update",
                status.format
            ))),
            Response::Refused { reason } => Err(ClientError::Refused(reason)),
            Response::Accepted => Err(self.bad("it accepts a question")),
            Response::Events { .. } | Response::Facts { .. } => {
                Err(self.bad("it answers a question that was not asked"))
            }
        }
    }

    /// The events after a number; waits if there are none yet.
    pub fn events(&self, after: u64, wait_ms: u64) -> Result<Events, ClientError> {
        match self.ask(&Request::Events { after, wait_ms })? {
            Response::Events { events } => Ok(events),
            Response::Refused { reason } => Err(ClientError::Refused(reason)),
            Response::Status { .. } | Response::Facts { .. } | Response::Accepted => {
                Err(self.bad("it answers a question that was not asked"))
            }
        }
    }

    /// Begins an operation on `guest`; [`status`](Self::status) shows its progress.
    pub fn wish(&self, guest: &str, wish: Wish) -> Result<(), ClientError> {
        self.begin(&Request::Wish { guest: guest.to_owned(), wish, even_in_maintenance: false })
    }

    /// Begins to move a guest; to a host in maintenance only if that is said.
    pub fn switch_over(&self, guest: &str, even_in_maintenance: bool) -> Result<(), ClientError> {
        self.begin(&Request::Wish { guest: guest.to_owned(), wish: Wish::Switchover, even_in_maintenance })
    }

    /// Protects a guest: one that the node knows, or a Xen guest of its host.
    pub fn protect(&self, protection: Protection) -> Result<(), ClientError> {
        self.begin(&Request::Protect(protection))
    }

    /// Makes the node reload its certificates.
    pub fn reload(&self) -> Result<(), ClientError> {
        self.begin(&Request::Reload)
    }

    /// Switches maintenance, in which the node takes no new copies, on or off.
    pub fn maintenance(&self, on: bool) -> Result<(), ClientError> {
        self.begin(&Request::Maintenance { on })
    }

    /// Has the node ask a peer for the facts of its host.
    pub fn want_facts(&self, peer: &str) -> Result<(), ClientError> {
        self.begin(&Request::FactsWanted { peer: peer.to_owned() })
    }

    /// What the peer has answered since; `None` while it has not.
    pub fn facts(&self, peer: &str) -> Result<Option<String>, ClientError> {
        match self.ask(&Request::Facts { peer: peer.to_owned() })? {
            Response::Facts { facts } => Ok(Some(facts)),
            Response::Accepted => Ok(None),
            Response::Refused { reason } => Err(ClientError::Refused(reason)),
            Response::Status { .. } | Response::Events { .. } => {
                Err(self.bad("it answers a question that was not asked"))
            }
        }
    }

    /// Begins to write an epoch of a guest held there, or the one committed last, to the absolute `path`. The file appears
    /// when it is complete; [`status`](Self::status) shows how far that is.
    pub fn export(&self, guest: &str, path: &Path, epoch: Option<u64>) -> Result<(), ClientError> {
        self.begin(&Request::Export { guest: guest.to_owned(), path: path.to_owned(), epoch })
    }

    fn begin(&self, request: &Request) -> Result<(), ClientError> {
        match self.ask(request)? {
            Response::Accepted => Ok(()),
            Response::Refused { reason } => Err(ClientError::Refused(reason)),
            Response::Status { .. } | Response::Events { .. } | Response::Facts { .. } => {
                Err(self.bad("it answers a question that was not asked"))
            }
        }
    }

    fn ask(&self, request: &Request) -> Result<Response, ClientError> {
        let unreachable = |source| unreachable(&self.path, source);
        let mut stream = connect(&self.path, ANSWER_MAX).map_err(unreachable)?;
        let answer = exchange(&mut stream, &line_of(request)).map_err(unreachable)?;
        serde_json::from_slice(&answer).map_err(|error| self.bad(&error.to_string()))
    }

    fn bad(&self, reason: &str) -> ClientError {
        ClientError::BadAnswer { path: self.path.clone(), reason: reason.to_owned() }
    }
}

fn is_something_else(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|found| !found.file_type().is_socket())
}

fn exchange(stream: &mut UnixStream, question: &[u8]) -> io::Result<Vec<u8>> {
    let ends_at = Instant::now() + ANSWER_MAX;
    stream.set_write_timeout(Some(ANSWER_MAX))?;
    stream.write_all(question)?;
    let (mut answer, mut piece) = (Vec::new(), [0; 16 << 10]);
    while answer.len() < ANSWER_BYTES_MAX {
        // For the whole answer: one that comes byte by byte would never be late otherwise.
        let left = ends_at.checked_duration_since(Instant::now()).filter(|left| !left.is_zero());
        stream.set_read_timeout(Some(left.ok_or(io::ErrorKind::TimedOut)?))?;
        match stream.read(&mut piece) {
            Ok(0) => break,
            Ok(count) => answer.extend_from_slice(&piece[..count]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    // A node that is killed between question and answer closes the connection: that is no answer, not a bad one.
    let is_cut_off = answer.len() < ANSWER_BYTES_MAX && answer.last() != Some(&b'\n');
    if is_cut_off { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(answer) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::status::{MaintenanceStatus, WitnessStatus};
    use std::os::unix::net::UnixListener;

    #[test]
    fn a_status_of_another_format_is_not_read_as_this_one() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.sock");
        let listener = UnixListener::bind(&path).unwrap();
        for (format, is_read) in [(FORMAT, true), (FORMAT + 1, false)] {
            let witness = WitnessStatus::none();
            let (certificate, peers, guests, waiting) = (None, Vec::new(), Vec::new(), Vec::new());
            let (node, pid, maintenance) = ("a".into(), 1, MaintenanceStatus::default());
            let status = Status {
                format,
                node,
                pid,
                clock_ns: 0,
                maintenance,
                witness,
                certificate,
                fencing: None,
                peers,
                guests,
                waiting,
            };
            let answer = line_of(&Response::Status { status: Box::new(status) });
            let said = std::thread::scope(|scope| {
                scope.spawn(|| {
                    let (mut asking, _) = listener.accept().unwrap();
                    asking.read_exact(&mut vec![0; line_of(&Request::Status).len()]).unwrap();
                    asking.write_all(&answer).unwrap();
                });
                Client::new(&path).status()
            });
            match said {
                Ok(status) => assert!(is_read && status.format == FORMAT),
                Err(error) => assert!(!is_read && error.to_string().contains("restart the node"), "{error}"),
            }
        }
    }

    #[test]
    fn a_node_that_ends_before_its_answer_is_whole_is_gone_and_not_mistaken() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.sock");
        let listener = UnixListener::bind(&path).unwrap();
        let question = line_of(&Request::Events { after: 0, wait_ms: 1 });
        for (said, is_gone) in [(&b""[..], true), (b"{\"status\":", true), (b"no answer of a node\n", false)]
        {
            let answer = std::thread::scope(|scope| {
                scope.spawn(|| {
                    let (mut asking, _) = listener.accept().unwrap();
                    asking.read_exact(&mut vec![0; question.len()]).unwrap();
                    asking.write_all(said).unwrap();
                });
                Client::new(&path).events(0, 1)
            });
            match answer.unwrap_err() {
                ClientError::Unreachable { .. } => assert!(is_gone),
                ClientError::BadAnswer { .. } => assert!(!is_gone),
                error => panic!("{error}"),
            }
        }
    }

    #[test]
    fn another_users_node_is_told_from_none() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.sock");
        drop(UnixListener::bind(&path).unwrap());
        let refused = |kind: io::ErrorKind| unreachable(&path, kind.into());
        assert!(matches!(refused(io::ErrorKind::PermissionDenied), ClientError::NotAllowed { .. }));
        assert!(matches!(refused(io::ErrorKind::ConnectionRefused), ClientError::Unreachable { .. }));
        assert!(refused(io::ErrorKind::PermissionDenied).to_string().contains("its owner"));
    }
}
