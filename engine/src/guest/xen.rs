//! Xen's guests as the engine runs them: found by name, activated from an image, paused, destroyed.
//!
//! ```text
//!   primary:    xl list -l ──► XenSource (hypercalls, kept mappings) │ XenMachine
//!   secondary:  image ──restore file──► xl restore -p ──► unpause ──► the same two
//! ```
//!
//! The image is held here and not in a standing domain: a takeover pays for building the domain.
//!
//! Not here: the guest's network. What it sends is not held yet, so the operator has to allow that.

use super::machine::{Activated, BoxedSource, Host, Machine};
use super::output::HeldOutput;
use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::Duration;
use understudy_checkpoint::domain::Description;
use understudy_checkpoint::epoch::Image;
use understudy_checkpoint::stream::write_restore_file;
use understudy_xen::domain::{Suspender, XenSource};
use understudy_xen::xl::{self, XlGuest};
use understudy_xen::{DomId, Xen};

/// How often a domain is tried to be built, and after how long again.
const RESTORE_ATTEMPTS: u32 = 5;
const RESTORE_RETRY: Duration = Duration::from_secs(2);

/// Where libxl keeps what it saves (its own directory, there on every host with xl).
const RESCUE_DIRECTORY: &str = "/var/lib/xen";

/// A domain that runs here.
#[derive(Debug)]
pub struct XenMachine {
    xen: Xen,
    domain: DomId,
    name: String,
    /// Xen counts pauses; what is asked of a machine twice is done once.
    is_paused: AtomicBool,
}

/// This host's Xen.
#[derive(Clone, Debug)]
pub struct XenHost {
    xen: Xen,
}

impl XenHost {
    /// Opens the hypervisor.
    pub fn open() -> Result<Self, String> {
        Ok(Self { xen: Xen::open().map_err(|error| error.to_string())? })
    }

    /// The running guest `name`, ready to be protected. The error says why it cannot be.
    pub fn find(&self, name: &str) -> Result<Activated, String> {
        let guest = XlGuest::find(name).map_err(|error| error.to_string())?;
        check(&guest)?;
        self.take(guest, name)
    }

    fn take(&self, guest: XlGuest, name: &str) -> Result<Activated, String> {
        let domain = guest.domain;
        let suspender = Suspender::open(self.xen.clone(), domain).map_err(|error| error.to_string())?;
        let source =
            XenSource::open(self.xen.clone(), domain, suspender).map_err(|error| error.to_string())?;
        let machine = XenMachine {
            xen: self.xen.clone(),
            domain,
            name: name.to_owned(),
            is_paused: AtomicBool::new(false),
        };
        Ok(Activated {
            machine: Arc::new(machine),
            source: BoxedSource(Box::new(source.named(guest.kind, guest.config))),
        })
    }
}

/// Whether a guest can be protected at all.
fn check(guest: &XlGuest) -> Result<(), String> {
    super::obstacle::Obstacle::of(guest).next().map_or(Ok(()), |obstacle| Err(obstacle.to_string()))
}

impl Host for XenHost {
    fn activate(
        &self,
        name: &str,
        what: &Description,
        image: Image,
        _output: HeldOutput,
    ) -> Result<Activated, String> {
        restore(name, what, &image)?;
        drop(image);
        let guest = XlGuest::find(name).map_err(|error| error.to_string())?;
        self.xen.unpause(guest.domain).map_err(|error| error.to_string())?;
        self.take(guest, name)
    }
}

/// Builds the domain. The guest runs nowhere else any more, so a host that lacks something for a moment is asked again;
/// in the end the image is kept where a person can restore it.
fn restore(name: &str, what: &Description, image: &Image) -> Result<(), String> {
    let mut attempt = 1;
    loop {
        let Err(error) = xl::restore(|mut stream| write_restore_file(&mut stream, what, image)) else {
            return Ok(());
        };
        if attempt == RESTORE_ATTEMPTS {
            return Err(format!("{error}; {}", rescue(name, what, image)));
        }
        tracing::error!(guest = name, attempt, %error, "The guest cannot be restored; trying again");
        attempt += 1;
        sleep(RESTORE_RETRY);
    }
}

/// Writes the image to a file, and says what came of it.
fn rescue(name: &str, what: &Description, image: &Image) -> String {
    let path = PathBuf::from(RESCUE_DIRECTORY).join(format!("{name}.understudy"));
    let path = path.display();
    let written = File::create(path.to_string()).and_then(|mut file| {
        write_restore_file(&mut file, what, image)?;
        file.sync_all()
    });
    match written {
        Ok(()) => format!("its last commit is in {path}: make room and run `xl restore {path}`"),
        Err(why) => format!("its last commit cannot be written to {path} either ({why}) and is lost"),
    }
}

impl Machine for XenMachine {
    fn pause(&self) {
        if self.is_paused.swap(true, Ordering::AcqRel) {
            return;
        }
        if let Err(error) = self.xen.pause(self.domain) {
            tracing::error!(guest = self.name, %error, "The guest cannot be paused");
        }
    }

    fn unpause(&self) {
        if !self.is_paused.swap(false, Ordering::AcqRel) {
            return;
        }
        if let Err(error) = self.xen.unpause(self.domain) {
            tracing::error!(guest = self.name, %error, "The guest cannot be unpaused");
        }
    }

    fn stop(&self) {
        // It stands still from here on. The rest takes xl a while, and the loop has other guests.
        self.pause();
        let (domain, name) = (self.domain, self.name.clone());
        let destroy = move || {
            if let Err(error) = xl::destroy(domain) {
                tracing::error!(guest = name, %error, "The guest is paused, but cannot be destroyed; use xl destroy");
            }
        };
        if let Err(error) = std::thread::Builder::new().name("destroy".into()).spawn(destroy) {
            tracing::error!(guest = self.name, %error, "The guest is paused, but cannot be destroyed; use xl destroy");
        }
    }

    fn leave(&self) {
        self.pause();
        tracing::warn!(
            guest = self.name,
            "The guest is paused, since nobody guards it any more; before `xl unpause`, see that it was not taken over"
        );
    }

    fn deliver(&self, _frame: &[u8]) {
        // Its network is the host's.
    }
}
