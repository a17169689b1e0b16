//! Builds a Xen guest from an image with xl, and saves images in files.
//!
//! ```text
//!   image ─┬─ in memory ─► xl restore ─► the guest
//!          │                  └─ fails ─► given back
//!          └─ in a file where memory has no room ─► xl restore, five times ─► the guest
//!                                                       └─ fails ─► for a person
//! ```
//!
//! Not here: holding the guest's output, and letting it run ([`xen`](crate::guest::xen)).

use super::error::XenGuestError;
use crate::guest::host::NotBuilt;
use crate::guest::replica::NotSaved;
use crate::output_file::{Allow, write_to};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::Duration;
use understudy_checkpoint::domain::Description;
use understudy_checkpoint::epoch::Image;
use understudy_checkpoint::stream::{Committed, write_restore_file};
use understudy_xen::DomId;
use understudy_xen::xl;

/// How often building a domain is tried, and the pause between two attempts.
const RESTORE_ATTEMPTS: u32 = 5;
const RESTORE_RETRY: Duration = Duration::from_secs(2);

/// Memory that is left to the host.
const RESERVE_BYTES: u64 = 256 << 20;

/// The directory where libxl saves guests. It exists on every host with xl.
pub const RESCUE_DIRECTORY: &str = "/var/lib/xen";

/// Guests that are being built, with their images, which exist nowhere else.
#[derive(Clone, Default, Debug)]
pub(in crate::guest) struct Building(Arc<Inside>);

#[derive(Default, Debug)]
struct Inside {
    unbuilt: Mutex<BTreeMap<String, Arc<Unbuilt>>>,
    /// The engine ends.
    leaves: AtomicBool,
}

/// A guest that is being built.
#[derive(Debug)]
struct Unbuilt {
    what: Description,
    image: Image,
}

impl Building {
    /// Do not repeat what fails from here on: the engine ends.
    pub(in crate::guest) fn leave(&self) {
        self.0.leaves.store(true, Ordering::Release);
    }

    /// Writes the image of a guest that is still being built to a file. Returns the result in words; `None` if there is
    /// no such guest.
    pub(in crate::guest) fn rescue(&self, name: &str) -> Option<String> {
        let unbuilt = self.0.unbuilt.lock().get(name).cloned()?;
        Some(rescued(name, &unbuilt.what, &unbuilt.image))
    }

    /// Builds the domain. If that fails, returns the image; meanwhile others may save it.
    pub(in crate::guest) fn restore(
        &self,
        name: &str,
        what: &Description,
        image: Image,
    ) -> Result<DomId, NotBuilt> {
        let unbuilt = Arc::new(Unbuilt { what: what.clone(), image });
        self.0.unbuilt.lock().insert(name.to_owned(), unbuilt.clone());
        let built = build(name, |mut stream| write_restore_file(&mut stream, what, &unbuilt.image));
        self.0.unbuilt.lock().remove(name);
        built.map_err(|why| match Arc::try_unwrap(unbuilt) {
            Ok(unbuilt) => NotBuilt::with(why, unbuilt.image),
            // Somebody saves it at this moment, because the engine ends.
            Err(_) => why.to_string().into(),
        })
    }

    /// [`restore`](Self::restore) for an image that is in a file already. The file is deleted once there is a domain.
    pub(in crate::guest) fn restore_from(&self, name: &str, file: &Path) -> Result<DomId, XenGuestError> {
        let copy = |stream: &mut dyn Write| {
            let mut image = File::open(file)?;
            io::copy(&mut image, stream).map(drop)
        };
        let in_file = |why| XenGuestError::InFile { why: Box::new(why), file: file.to_owned() };
        let domain = self.build_again(name, copy).map_err(in_file)?;
        if let Err(error) = std::fs::remove_file(file) {
            tracing::warn!(guest = name, file = %file.display(), %error, "The guest runs; delete what it was built from");
        }
        Ok(domain)
    }

    /// Tries again if the host lacks something for a moment.
    fn build_again(
        &self,
        name: &str,
        write: impl Fn(&mut dyn Write) -> io::Result<()>,
    ) -> Result<DomId, XenGuestError> {
        let mut attempt = 1;
        loop {
            match build(name, &write) {
                Err(error) if attempt < RESTORE_ATTEMPTS && !self.0.leaves.load(Ordering::Acquire) => {
                    tracing::error!(
                        guest = name,
                        attempt,
                        %error,
                        "The guest cannot be restored; trying again"
                    );
                }
                built => return built,
            }
            attempt += 1;
            sleep(RESTORE_RETRY);
        }
    }
}

/// Makes xl build the domain from what `write` writes.
fn build(name: &str, write: impl Fn(&mut dyn Write) -> io::Result<()>) -> Result<DomId, XenGuestError> {
    xl::restore(|stream| write(stream))?;
    xl::domain_named(name)?.ok_or(XenGuestError::NotBuilt)
}

/// Whether this host has so much memory and a reserve for itself. Unknown counts as no.
pub(in crate::guest) fn has_room(available_bytes: Option<u64>, bytes: u64) -> bool {
    available_bytes.is_some_and(|available| available.saturating_sub(RESERVE_BYTES) >= bytes)
}

/// Writes the image to a file.
pub(in crate::guest) fn rescue(
    name: &str,
    what: &Description,
    image: &impl Committed,
) -> Result<PathBuf, NotSaved> {
    let path = PathBuf::from(RESCUE_DIRECTORY).join(format!("{name}.understudy"));
    match write_to(&path, Allow::Files, |mut file| write_restore_file(&mut file, what, image)) {
        Ok(()) => Ok(path),
        Err(why) => Err(NotSaved::Unwritten { path, why: why.to_string() }),
    }
}

/// [`rescue`], with the result in words. Nothing else has the image.
fn rescued(name: &str, what: &Description, image: &Image) -> String {
    rescue(name, what, image).map_or_else(|why| format!("{why} and is lost"), |file| kept_in(&file))
}

fn kept_in(path: &Path) -> String {
    let path = path.display();
    format!("its last commit is in {path}: make room and run `xl restore {path}`")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_is_copied_to_memory_only_where_there_is_room() {
        const GIB: u64 = 1 << 30;
        assert!(has_room(Some(2 * GIB), GIB));
        for (available, bytes) in [(Some(GIB), GIB), (Some(0), 1), (None, 1), (Some(2 * GIB), u64::MAX)] {
            assert!(!has_room(available, bytes), "{available:?} for {bytes}");
        }
    }
}
