//! The control socket as a file: made for its owner alone, as its directory is if that is missing, and in place of nothing
//! that is not a dead node's socket.
//!
//! ```text
//!   at PATH      nothing ─► bind          a socket that refuses ─► removed, bind       a socket that answers ─► InUse
//!                anything else ─► NotASocket, and it is left alone
//!   at the end   removed, if it is still this one
//! ```

use mio::net::UnixListener;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, setsockopt, socket, sockopt};
use nix::sys::stat::{Mode, umask};
use nix::sys::time::{TimeVal, TimeValLike};
use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Why there is no control socket.
#[derive(thiserror::Error, Debug)]
pub enum SocketError {
    /// The path is a file, a directory or a link.
    #[error("{0} is there and is no socket; it is left alone. Give --control another path")]
    NotASocket(PathBuf),
    /// Another node listens there.
    #[error("Another node answers at {0}; give each node of a host its own --control")]
    InUse(PathBuf),
    /// This user may not create a socket there.
    #[error(
        "This user may not make {path}: {source}; run the node as root, or give --control a path in a directory of yours"
    )]
    NotAllowed { path: PathBuf, source: io::Error },
    /// The socket cannot be created.
    #[error(
        "Cannot listen on {path}: {source}; give --control a path in a directory that is there and yours"
    )]
    Io { path: PathBuf, source: io::Error },
}

/// The file of a socket that this process listens on. Dropping it removes the file.
#[derive(Debug)]
pub struct SocketFile {
    path: PathBuf,
    /// Device and inode.
    identity: (u64, u64),
}

impl SocketError {
    fn at(path: &Path, source: io::Error) -> Self {
        let path = path.to_owned();
        match source.kind() {
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                Self::NotAllowed { path, source }
            }
            _ => Self::Io { path, source },
        }
    }
}

impl SocketFile {
    /// Whether the socket's file is gone.
    pub fn is_gone(&self) -> bool {
        fs::symlink_metadata(&self.path).is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if identity_of(&self.path).is_ok_and(|identity| identity == self.identity) {
            // A socket that stays is replaced by the next node.
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn identity_of(path: &Path) -> io::Result<(u64, u64)> {
    fs::symlink_metadata(path).map(|found| (found.dev(), found.ino()))
}

/// Listens at `path`. Creates the last directory of `path` if it is missing.
pub fn listen(path: &Path) -> Result<(UnixListener, SocketFile), SocketError> {
    let failed = |source| SocketError::at(path, source);
    make_directory(path).map_err(failed)?;
    make_room(path)?;
    // From the first moment on, not only after it was made: who connects before a change of mode stays connected.
    let before = umask(Mode::from_bits_truncate(0o077));
    let bound = UnixListener::bind(path);
    umask(before);
    let listener = bound.map_err(failed)?;
    fs::set_permissions(path, Permissions::from_mode(0o600)).map_err(failed)?;
    let identity = identity_of(path).map_err(failed)?;
    Ok((listener, SocketFile { path: path.to_owned(), identity }))
}

/// Connects, and waits no longer than this for a process that accepts no connections, such as a stopped one. The standard
/// library waits for ever once the queue of such a process is full.
pub(super) fn connect(path: &Path, within_max: Duration) -> io::Result<UnixStream> {
    let address = UnixAddr::new(path)?;
    let socket = socket(AddressFamily::Unix, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    setsockopt(&socket, sockopt::SendTimeout, &TimeVal::milliseconds(within_max.as_millis() as i64))?;
    nix::sys::socket::connect(socket.as_raw_fd(), &address)?;
    Ok(socket.into())
}

fn make_directory(path: &Path) -> io::Result<()> {
    let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) else { return Ok(()) };
    match DirBuilder::new().mode(0o700).create(parent) {
        Err(error) if !parent.is_dir() => Err(error),
        _ => Ok(()),
    }
}

/// Removes a dead node's socket, and nothing else.
fn make_room(path: &Path) -> Result<(), SocketError> {
    let failed = |source| SocketError::at(path, source);
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(error)),
        Ok(found) if !found.file_type().is_socket() => return Err(SocketError::NotASocket(path.to_owned())),
        Ok(_) => {}
    }
    match connect(path, Duration::from_millis(100)) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            fs::remove_file(path).map_err(failed)
        }
        // Its queue is full: it is slow, and alive.
        Err(error) if error.kind() != io::ErrorKind::WouldBlock => Err(failed(error)),
        _ => Err(SocketError::InUse(path.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn only_a_dead_nodes_socket_is_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        fs::write(at("file"), "theirs").unwrap();
        fs::create_dir(at("directory")).unwrap();
        symlink(at("file"), at("link")).unwrap();
        let _living = std::os::unix::net::UnixListener::bind(at("living")).unwrap();
        symlink(at("living"), at("link-to-socket")).unwrap();
        for name in ["file", "directory", "link", "link-to-socket"] {
            assert!(matches!(listen(&at(name)), Err(SocketError::NotASocket(_))), "{name}");
        }
        assert!(matches!(listen(&at("living")), Err(SocketError::InUse(_))));
        assert_eq!(fs::read_to_string(at("file")).unwrap(), "theirs");
        drop(std::os::unix::net::UnixListener::bind(at("dead")).unwrap());
        let (_listener, file) = listen(&at("dead")).unwrap();
        assert_eq!(fs::metadata(at("dead")).unwrap().permissions().mode() & 0o777, 0o600);
        drop(file);
        assert!(!at("dead").exists(), "it is removed at the end");
    }

    #[test]
    fn a_user_that_may_make_none_is_told_what_to_do() {
        let at = |kind: io::ErrorKind| SocketError::at(Path::new("/run/understudy/a.sock"), kind.into());
        for kind in [io::ErrorKind::PermissionDenied, io::ErrorKind::ReadOnlyFilesystem] {
            let said = at(kind).to_string();
            assert!(said.contains("may not make /run/understudy/a.sock"), "{said}");
            assert!(said.contains("as root, or give --control"), "{said}");
        }
        assert!(matches!(at(io::ErrorKind::NotFound), SocketError::Io { .. }));
    }

    /// More than any queue holds; the kernel's own limit is lower by default.
    const FULL: usize = 70_000;

    #[test]
    fn a_process_that_takes_nobody_in_is_in_use_and_not_waited_for() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("stopped");
        let _stopped = std::os::unix::net::UnixListener::bind(&path).unwrap();
        let within_max = Duration::from_millis(1);
        let mut waiting = Vec::new();
        let full = (0..FULL).find_map(|_| match connect(&path, within_max) {
            Ok(stream) => {
                waiting.push(stream);
                None
            }
            Err(error) => Some(error.kind()),
        });
        assert_eq!(full, Some(io::ErrorKind::WouldBlock));
        assert!(matches!(listen(&path), Err(SocketError::InUse(_))));
    }

    #[test]
    fn what_took_its_place_stays() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.sock");
        let (_listener, file) = listen(&path).unwrap();
        fs::remove_file(&path).unwrap();
        fs::write(&path, "theirs").unwrap();
        drop(file);
        assert_eq!(fs::read_to_string(&path).unwrap(), "theirs");
    }

    #[test]
    fn its_directory_is_made_and_not_those_above() {
        let directory = tempfile::tempdir().unwrap();
        let _made = listen(&directory.path().join("run/a.sock")).unwrap();
        let mode = fs::metadata(directory.path().join("run")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700, "for the node's user alone");
        let error = listen(&directory.path().join("no/such/a.sock")).unwrap_err();
        assert!(error.to_string().contains("a directory that is there"), "{error}");
        assert!(
            listen(&directory.path().join("x".repeat(120))).is_err(),
            "longer than a socket's path may be"
        );
    }
}
