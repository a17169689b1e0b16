//! Maintenance: a person is about to work on this host. No copy is taken that is not held already, so that no guest comes here
//! that was not protected here. What runs here goes on and stays protected, and a copy that is whole is kept, and may take over:
//! maintenance makes no guest less safe than it was.
//!
//! ```text
//!   on, off ─► thread: make or remove DIR/NODE.maintenance, durably ─► loop: offers judged anew, the asker answered
//!   start   ─► is the file there?
//! ```
//!
//! It lasts until it is ended by a person: over a restart of the engine, and of the host.

use super::Node;
use super::context::Context;
use super::guests::Guests;
use super::handle::Command;
use super::order_error::OrderError;
use super::peer_offer::OfferKey;
use crate::config::NodeConfig;
use crate::control::status::MaintenanceStatus;
use crate::output_file::{Allow, write_to};
use crate::request_server::ClientId;
use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::thread::Builder;
use std::time::{SystemTime, UNIX_EPOCH};
use understudy_link::{HoldReason, HoldRefusal};

/// Whether it is on, and where that is kept.
#[derive(Debug)]
pub(super) struct Maintenance {
    path: PathBuf,
    since: Option<SystemTime>,
    /// A thread writes.
    is_changing: bool,
}

impl Maintenance {
    /// As it was left.
    pub(super) fn open(config: &NodeConfig) -> io::Result<Self> {
        let path = config.state.join(format!("{}.maintenance", config.node));
        let since = since(&path)?;
        if since.is_some() {
            tracing::warn!("In maintenance: no new copy is taken until `understudy maintenance off`");
        }
        Ok(Self { path, since, is_changing: false })
    }

    pub(super) fn is_on(&self) -> bool {
        self.since.is_some()
    }

    pub(super) fn status(&self) -> MaintenanceStatus {
        let seconds = |since: SystemTime| since.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        MaintenanceStatus { on: self.is_on(), since: self.since.map(seconds) }
    }
}

/// Since when it is on; an error is not taken for "off".
fn since(path: &Path) -> io::Result<Option<SystemTime>> {
    match fs::metadata(path) {
        Ok(file) => Ok(Some(file.modified()?)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Makes the file or removes it; afterwards it is so after a crash as well. It may be so already.
fn keep(path: &Path, on: bool) -> io::Result<Option<SystemTime>> {
    let directory = path.parent().unwrap_or(Path::new("/"));
    if on && since(path)?.is_none() {
        match DirBuilder::new().mode(0o755).create(directory) {
            Err(error) if !directory.is_dir() => return Err(error),
            _ => {}
        }
        write_to(path, Allow::Files, |file| {
            file.write_all(b"`understudy maintenance off` removes this file\n")
        })
        .map_err(io::Error::other)?;
    } else if !on && since(path)?.is_some() {
        fs::remove_file(path)?;
        File::open(directory)?.sync_all()?;
    }
    since(path)
}

impl Node {
    /// Begins to switch it; the asker is answered once that lasts.
    pub(super) fn begin_maintenance(&mut self, on: bool, asker: ClientId) -> Result<(), OrderError> {
        if std::mem::replace(&mut self.maintenance.is_changing, true) {
            return Err(OrderError::MaintenanceChanges);
        }
        let (path, to, waker) = (self.maintenance.path.clone(), self.to_commands.clone(), self.waker.clone());
        let work = move || {
            let kept = keep(&path, on).map_err(|source| OrderError::MaintenanceFile { path, on, source });
            // A node that has ended needs no answer.
            if to.send(Command::Maintained { asker, kept }).is_ok() {
                waker.wake();
            }
        };
        let started = Builder::new().name("maintenance".into()).spawn(work);
        started.map(drop).map_err(|error| {
            self.maintenance.is_changing = false;
            OrderError::Thread(error)
        })
    }

    /// The thread has done so, or could not.
    pub(super) fn maintained(
        &mut self,
        kept: Result<Option<SystemTime>, OrderError>,
    ) -> Result<(), OrderError> {
        self.maintenance.is_changing = false;
        let was_on = self.maintenance.is_on();
        self.maintenance.since = kept?;
        let is_on = self.maintenance.is_on();
        if is_on != was_on {
            tracing::warn!(on = is_on, "Maintenance: a person has said so");
            self.guests.set_maintenance(is_on, &mut self.cx);
            self.cx.links.owe_bulletins();
        }
        Ok(())
    }
}

impl Guests {
    /// Takes no new copy, or takes copies again.
    pub(super) fn set_maintenance(&mut self, on: bool, cx: &mut dyn Context) {
        self.in_maintenance = on;
        let keys: Vec<OfferKey> = self.offers.keys().cloned().collect();
        for key in keys {
            let (name, peer) = &key;
            let held_from =
                self.guests.get(name).filter(|guest| guest.held().is_some()).map(|guest| guest.peer());
            let was_refused = self.offers.get(&key).is_some_and(|offer| offer.refusal.is_some());
            match self.maintenance_refusal(name) {
                Some(refusal) if held_from == Some(peer) => {
                    self.guests.remove(name);
                    self.refuse(&key, refusal, cx);
                }
                _ if was_refused => self.consider(&key, cx),
                _ => {}
            }
        }
    }

    /// Why no copy of the guest is taken, if it is for maintenance.
    pub(super) fn maintenance_refusal(&self, name: &str) -> Option<HoldRefusal> {
        let has_copy = || {
            let held = self.guests.get(name).and_then(|guest| guest.held());
            held.is_some_and(|held| held.is_whole)
        };
        let node = &self.config.node;
        (self.in_maintenance && !has_copy()).then(|| {
            let why = format!("{node} is in maintenance; `understudy maintenance off` there ends it");
            HoldRefusal::new(HoldReason::TooMany, why)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_on_as_long_as_its_file_is_there_and_may_be_said_twice() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("state/a.maintenance");
        assert_eq!(since(&path).unwrap(), None);
        let first = keep(&path, true).unwrap();
        assert!(first.is_some());
        assert_eq!(keep(&path, true).unwrap(), first, "since the first time");
        assert_eq!(keep(&path, false).unwrap(), None);
        assert_eq!(keep(&path, false).unwrap(), None);
    }

    #[test]
    fn what_cannot_be_looked_at_is_an_error_and_not_off() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("file");
        fs::write(&file, "").unwrap();
        assert!(since(&file.join("a.maintenance")).is_err());
        assert!(keep(&file.join("a.maintenance"), true).is_err());
    }
}
