//! Finds this host's xenstore.
//!
//! Not here: what is asked of it (`requests`).

use super::StoreError;
use super::client::Xenstore;
use std::ffi::OsString;
use std::path::PathBuf;

impl Xenstore {
    /// Connects to this host's xenstore: `$XENSTORED_PATH`, `$XENSTORED_RUNDIR/socket` (or
    /// `/var/run/xenstored/socket`), `/run/xenstored/socket`, then the kernel's `/dev/xen/xenbus`, for hosts on which
    /// xenstore has a domain of its own.
    pub fn open() -> Result<Self, StoreError> {
        Self::open_first(places(std::env::var_os("XENSTORED_PATH"), std::env::var_os("XENSTORED_RUNDIR")))
    }

    /// A socket that refuses belongs to a daemon that has died. The kernel would accept requests for it and answer
    /// none, so the search ends there.
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
}

/// The places to look for xenstore, from the environment's variables.
fn places(socket: Option<OsString>, folder: Option<OsString>) -> Vec<PathBuf> {
    let folder = folder.map_or_else(|| PathBuf::from("/var/run/xenstored"), PathBuf::from);
    let usual = [folder.join("socket"), "/run/xenstored/socket".into(), "/dev/xen/xenbus".into()];
    socket.map(PathBuf::from).into_iter().chain(usual).collect()
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
}
