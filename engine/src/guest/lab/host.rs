//! The lab as a host: guests in this process, which begin and end with it.

use super::copy::{HostedCopy, card_of, running_through};
use super::machine::LabMachine;
use super::tap::{LabCard, LabCards};
use super::watchdog::LabWatchdog;
use crate::config::LabGuestConfig;
use crate::guest::copy::{Heard, HostCopy, Traffic};
use crate::guest::disks::error::LocalError;
use crate::guest::disks::held::DisksError;
use crate::guest::disks::{DiskPlace, HeldDisks, LocalDisk};
use crate::guest::host::{Host, NotBuilt, NotCopied};
use crate::guest::machine::{BoxedSource, HostError, RunningGuest};
use crate::guest::replica::Start;
use crate::guest::watchdog::Watchdog;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use understudy_checkpoint::domain::Description;
use understudy_checkpoint::epoch::Image;
use understudy_checkpoint::{Epoch, Generation};
use understudy_lab::{
    Conditions, ConfigError, Devices, Disk, GuestConfig, LabCopy, LabGuest, LoadError, Mac, Port,
};
use understudy_link::{HoldReason, HoldRefusal};
use understudy_netbuf::kernel::KernelError;

/// The lab: guests in this process.
#[derive(Clone, Debug)]
pub struct LabHost {
    cards: LabCards,
    conditions: Conditions,
    /// The directory of the guests' disks.
    disks: Option<PathBuf>,
    /// What a full copy of one reads in a second.
    sync_bytes_per_s: u64,
}

/// Why a lab guest could not be started.
#[derive(thiserror::Error, Debug)]
pub enum LabStartError {
    /// Its load is malformed.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// It cannot have a network card.
    #[error(transparent)]
    Card(#[from] KernelError),
    /// Its configuration is not valid.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Its disk cannot be opened.
    #[error(transparent)]
    Disk(#[from] LocalError),
    /// Its tap's thread cannot be started.
    #[error("The guest's network card gets no thread: {0}")]
    Thread(#[from] io::Error),
}

impl LabHost {
    /// A host whose guests get their network cards from `cards`.
    pub fn new(cards: LabCards) -> Self {
        Self { cards, conditions: Conditions::NONE, disks: None, sync_bytes_per_s: u64::MAX }
    }

    /// The same, with disks of guests in this directory, of which a full copy reads so much in a second.
    pub fn with_disks(self, directory: Option<PathBuf>, sync_bytes_per_s: u64) -> Self {
        Self { disks: directory, sync_bytes_per_s, ..self }
    }

    fn place(&self, name: &str, size_bytes: u64) -> Result<DiskPlace, LocalError> {
        let directory = self.disks.as_ref().ok_or(LocalError::NoDirectory)?;
        Ok(DiskPlace::new(directory, name, size_bytes))
    }

    fn disk(&self, name: &str, size_bytes: u64) -> Result<LocalDisk, LocalError> {
        LocalDisk::start(&self.place(name, size_bytes)?, self.sync_bytes_per_s)
    }

    /// The same host, under these conditions for its guests and copies.
    pub fn under(self, conditions: Conditions) -> Self {
        Self { conditions, ..self }
    }

    /// Like `build`, for a guest whose connections `traffic` rewrites.
    fn build_through(
        &self,
        start: &Start<'_>,
        image: Image,
        card: LabCard,
        traffic: &Arc<Traffic>,
    ) -> Result<RunningGuest, NotBuilt> {
        // The guest sends as soon as it exists.
        traffic.idle();
        traffic.begin(Epoch(start.open.0.saturating_sub(1)), card.port());
        let port: Arc<dyn Port> = traffic.clone();
        let guest =
            LabGuest::restore_under(self.conditions, image, port).map_err(|error| error.to_string())?;
        traffic.connect(card_of(&guest));
        running_through(guest, traffic, card).map_err(|error| error.to_string().into())
    }

    /// Starts a new guest.
    pub fn start(&self, guest: &LabGuestConfig) -> Result<RunningGuest, LabStartError> {
        let config = GuestConfig {
            memory_bytes: guest.memory_bytes,
            load: guest.load.parse()?,
            disk_bytes: guest.disk_bytes,
            ..GuestConfig::new(guest.name.clone(), Mac(guest.mac), guest.ip)
        };
        config.check()?;
        let disk = match guest.disk_bytes {
            Some(bytes) => Some(Arc::new(self.disk(&guest.name, bytes)?)),
            None => None,
        };
        let card = self.cards.make(&guest.name, Epoch(0))?;
        let machine = LabGuest::start_under(self.conditions, &config, devices(&card, &disk))?;
        Ok(plugged(machine, card, disk)?)
    }
}

impl Host for LabHost {
    fn watchdog(&self, _state: &Path) -> Result<Box<dyn Watchdog>, HostError> {
        Ok(Box::new(LabWatchdog::default()))
    }

    fn admits(&self, name: &str, what: &Description) -> Result<(), HoldRefusal> {
        if what.disks_bytes.len() > 1 || (what.disks_bytes.len() == 1 && self.disks.is_none()) {
            let why =
                "it has disks, and this host has no room for them; give the node there --lab-disks DIRECTORY";
            return Err(HoldRefusal::new(HoldReason::Unfit, why));
        }
        self.cards.check(name).map_err(|error| HoldRefusal::new(HoldReason::Network, error.to_string()))
    }

    fn build(&self, start: &Start<'_>, image: Image) -> Result<RunningGuest, NotBuilt> {
        let card = match self.cards.make(start.name, start.open) {
            Ok(card) => card,
            Err(error) => return Err(NotBuilt::with(error, image)),
        };
        if let Some(traffic) = start.through {
            return self.build_through(start, image, card, traffic);
        }
        let disk = match start.what.disks_bytes.first() {
            Some(bytes) => match self.disk(start.name, *bytes) {
                Ok(disk) => Some(Arc::new(disk)),
                Err(error) => return Err(NotBuilt::with(error, image)),
            },
            None => None,
        };
        let guest = LabGuest::restore_under(self.conditions, image, devices(&card, &disk))
            .map_err(|error| error.to_string())?;
        plugged(guest, card, disk).map_err(|error| error.to_string().into())
    }

    fn disks(&self, name: &str, what: &Description) -> Result<HeldDisks, DisksError> {
        let bytes = what.disks_bytes.first().ok_or(DisksError::Unsupported)?;
        let place = self.place(name, *bytes).map_err(|_| DisksError::Unsupported)?;
        HeldDisks::open(&place)
    }

    fn runs_copies(&self) -> bool {
        true
    }

    fn copy(
        &self,
        _name: &str,
        _what: &Description,
        image: Image,
        port: Arc<dyn Port>,
    ) -> Result<Box<dyn HostCopy>, NotCopied> {
        let copy = LabCopy::new(self.conditions, image, port)?;
        Ok(Box::new(HostedCopy::new(copy, self.cards.clone())))
    }

    fn pause_older(&self, _name: &str, _newest: Generation) -> Result<(), HostError> {
        // Lab guests end with their engine.
        Ok(())
    }

    fn end_older(&self, _name: &str, _newest: Generation) -> Result<(), HostError> {
        // Lab guests end with their engine.
        Ok(())
    }
}

fn devices(card: &LabCard, disk: &Option<Arc<LocalDisk>>) -> Devices {
    let disk = disk.clone().map(|disk| disk as Arc<dyn Disk>);
    Devices { port: card.port(), disk }
}

/// A running lab guest with network card `card`.
pub fn activated(guest: LabGuest, card: LabCard) -> std::io::Result<RunningGuest> {
    plugged(guest, card, None)
}

fn plugged(guest: LabGuest, card: LabCard, disk: Option<Arc<LocalDisk>>) -> std::io::Result<RunningGuest> {
    let taken = guest.inlet();
    let heard = Heard::new(move || taken.frames_taken(), card.waker());
    let output = card.plug(&guest, &heard)?;
    let source = BoxedSource(Box::new(guest.source()));
    let machine = Arc::new(LabMachine { guest, heard, disk });
    Ok(RunningGuest { source, machine, output, past: None, compared_bytes: 0 })
}
