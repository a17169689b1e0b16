//! Devices of device mapper: a guest's disk is one, so that what is below may change under a guest that runs.
//!
//! ```text
//!   guest ─ blkfront ═ blkback ─► understudy-GUEST-VDEV ──► the operator's device        nobody protects the guest
//!                                                     └───► /dev/nbdN ═ engine ─► the operator's device
//! ```
//!
//! [`Mapper::swap`] changes it: requests under way end first, those that come meanwhile wait, and none of them fails. With a server
//! that is dead they do not end: give its device another socket first ([`nbd`](super::nbd)).
//!
//! Not here: the messages themselves, which are pure ([`crate::dm`]).

use super::sys;
use crate::dm::{self, BadAnswer, BadName, DeviceNumber, Linear, Order, Standing, Target};
use nix::errno::Errno;
use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use thiserror::Error;

/// Where udev and systemd put it.
pub const CONTROL_PATH: &str = "/dev/mapper/control";
/// Room for an answer at first; and where it ends, which no host reaches.
const ROOM_BYTES: usize = 16 << 10;
const ROOM_BYTES_MAX: usize = 16 << 20;

/// Device mapper did not do it.
#[derive(Debug, Error)]
pub enum MapError {
    /// It is not there, or may not be opened.
    #[error("device mapper's {path} cannot be opened; it needs root and the module dm_mod: {source}")]
    Control {
        /// Where it should be.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// It speaks another version.
    #[error("the kernel's device mapper speaks version {0}, and this program 4")]
    Version(u32),
    /// No device has this name.
    #[error("device mapper has no device {0}")]
    Missing(String),
    /// Somebody has it open, or there is one of that name.
    #[error("device mapper cannot {what} {name}: it is in use, or there is one already")]
    Busy {
        /// What was asked for.
        what: &'static str,
        /// Of which device.
        name: String,
    },
    /// It refused.
    #[error("device mapper refused to {what} {name}: {}", errno.desc())]
    Refused {
        /// What was asked for.
        what: &'static str,
        /// Of which device.
        name: String,
        /// The error number that the kernel gave.
        errno: Errno,
    },
    /// The name.
    #[error(transparent)]
    Name(#[from] BadName),
    /// What it said is nothing.
    #[error(transparent)]
    Malformed(#[from] BadAnswer),
}

/// A way to the kernel's device mapper.
#[derive(Debug)]
pub struct Mapper {
    control: File,
}

impl Mapper {
    /// Opens the kernel's device mapper.
    pub fn open() -> Result<Self, MapError> {
        Self::open_at(Path::new(CONTROL_PATH))
    }

    /// The same by another node.
    pub fn open_at(path: &Path) -> Result<Self, MapError> {
        let opened = OpenOptions::new().read(true).write(true).open(path);
        let control = opened.map_err(|source| MapError::Control { path: path.to_owned(), source })?;
        let mapper = Self { control };
        let said = mapper.call(Order::Version, "ask", "for its version", dm::ask(0))?;
        match dm::version(&said)? {
            (4, ..) => Ok(mapper),
            (other, ..) => Err(MapError::Version(other)),
        }
    }

    /// Makes a device, with what is below it. After an error there is none of this name that was not there before.
    pub fn create(&self, name: &str, uuid: &str, below: Linear) -> Result<DeviceNumber, MapError> {
        let made = self.call(Order::Create, "make", name, dm::create(name, uuid)?)?;
        let begun = self.load(name, below).and_then(|()| self.resume(name));
        if let Err(error) = begun {
            // The first error is what is told; what is left is found by its name.
            let _ = self.remove(name);
            return Err(error);
        }
        Ok(dm::standing(&made)?.device)
    }

    /// Puts something else below a device. After an error it is as before; if that is refused, too, its requests wait, and
    /// [`standing`](Self::standing) says so.
    pub fn swap(&self, name: &str, below: Linear) -> Result<(), MapError> {
        self.load(name, below)?;
        let suspended = self.call(Order::Suspend, "suspend", name, dm::suspend(name)?);
        if let Err(error) = suspended.and_then(|_| self.resume(name)) {
            let forgotten = dm::about(name).map(|about| self.call(Order::Clear, "clear", name, about));
            if matches!(forgotten, Ok(Ok(_))) {
                let _ = self.resume(name);
            }
            return Err(error);
        }
        Ok(())
    }

    fn load(&self, name: &str, below: Linear) -> Result<(), MapError> {
        self.call(Order::Load, "load a table for", name, dm::load(name, below)?).map(drop)
    }

    /// Goes on with the table that was loaded last. A process that ended within [`swap`](Self::swap) leaves a device that waits
    /// for it.
    pub fn resume(&self, name: &str) -> Result<(), MapError> {
        self.call(Order::Suspend, "resume", name, dm::about(name)?).map(drop)
    }

    /// How a device stands.
    pub fn standing(&self, name: &str) -> Result<Standing, MapError> {
        Ok(dm::standing(&self.call(Order::Status, "look at", name, dm::about(name)?)?)?)
    }

    /// A device's table.
    pub fn table(&self, name: &str) -> Result<Vec<Target>, MapError> {
        self.with_room(name, |room| {
            let said = self.call(Order::Table, "read the table of", name, dm::ask_table(name, room)?)?;
            Ok(dm::table(&said)?)
        })
    }

    /// All devices of this host.
    pub fn list(&self) -> Result<Vec<(String, DeviceNumber)>, MapError> {
        self.with_room("the devices", |room| {
            Ok(dm::list(&self.call(Order::List, "list", "the devices", dm::ask(room))?)?)
        })
    }

    /// Ends a device that nobody has open.
    pub fn remove(&self, name: &str) -> Result<(), MapError> {
        self.call(Order::Remove, "remove", name, dm::about(name)?).map(drop)
    }

    fn with_room<T>(
        &self,
        name: &str,
        ask: impl Fn(usize) -> Result<Option<T>, MapError>,
    ) -> Result<T, MapError> {
        let mut room = ROOM_BYTES;
        while room <= ROOM_BYTES_MAX {
            if let Some(said) = ask(room)? {
                return Ok(said);
            }
            room *= 4;
        }
        Err(MapError::Refused { what: "tell all of", name: name.to_owned(), errno: Errno::E2BIG })
    }

    fn call(
        &self,
        order: Order,
        what: &'static str,
        name: &str,
        mut message: Vec<u8>,
    ) -> Result<Vec<u8>, MapError> {
        loop {
            match sys::dm(&self.control, order, &mut message) {
                Ok(()) => return Ok(message),
                Err(Errno::EINTR) => {}
                Err(Errno::ENXIO) => return Err(MapError::Missing(name.to_owned())),
                Err(Errno::EBUSY) => return Err(MapError::Busy { what, name: name.to_owned() }),
                Err(errno) => return Err(MapError::Refused { what, name: name.to_owned(), errno }),
            }
        }
    }
}
