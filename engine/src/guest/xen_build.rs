//! A guest of Xen made of the image that was held of it: the domain that stands by becomes the guest, or another is built.
//!
//! ```text
//!   Standing ──activate──► the guest
//!      └─ fails ─► its image ─► xl restore, five times ─► the guest
//!                                   └─ fails ─► a file, for a person
//! ```
//!
//! Not here: what holds its output and lets it run ([`xen`](super::xen)).

use crate::output_file::{Allow, write_to};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::Duration;
use understudy_checkpoint::domain::Description;
use understudy_checkpoint::epoch::Image;
use understudy_checkpoint::stream::write_restore_file;
use understudy_xen::DomId;
use understudy_xen::standing::Standing;
use understudy_xen::xl;

/// How often a domain is tried to be built, and after how long again.
const RESTORE_ATTEMPTS: u32 = 5;
const RESTORE_RETRY: Duration = Duration::from_secs(2);

/// Where libxl keeps what it saves (its own directory, there on every host with xl).
pub const RESCUE_DIRECTORY: &str = "/var/lib/xen";

/// Guests that are being built, and their images: they are nowhere else.
#[derive(Clone, Default, Debug)]
pub(super) struct Building(Arc<Inside>);

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
    /// What fails from here on is not tried again.
    pub(super) fn leave(&self) {
        self.0.leaves.store(true, Ordering::Release);
    }

    /// Writes the image of a guest that is still being built to a file, and says what came of it; `None` if there is no
    /// such guest.
    pub(super) fn rescue(&self, name: &str) -> Option<String> {
        let unbuilt = self.0.unbuilt.lock().get(name).cloned()?;
        Some(rescue(name, &unbuilt.what, &unbuilt.image))
    }

    /// Lets a domain that stands by be the guest; where it cannot, one is built from its memory.
    pub(super) fn activate_standing(
        &self,
        name: &str,
        what: &Description,
        mut standing: Box<Standing>,
    ) -> Result<DomId, String> {
        let Err(error) = standing.activate() else { return Ok(standing.domain()) };
        let Some(image) = standing.to_image() else {
            return Err(format!("the domain that stood by cannot go on: {error}"));
        };
        tracing::error!(guest = name, %error, "The domain that stood by cannot go on; building another");
        // Its memory is needed.
        drop(standing);
        self.restore(name, what, image)
    }

    /// Builds the domain. The guest runs nowhere else any more, so a host that lacks something for a moment is asked
    /// again; in the end the image is kept where a person can restore it. Others may save it meanwhile.
    pub(super) fn restore(&self, name: &str, what: &Description, image: Image) -> Result<DomId, String> {
        let unbuilt = Arc::new(Unbuilt { what: what.clone(), image });
        self.0.unbuilt.lock().insert(name.to_owned(), unbuilt.clone());
        let built = self.try_restore(name, &unbuilt);
        self.0.unbuilt.lock().remove(name);
        built
    }

    fn try_restore(&self, name: &str, Unbuilt { what, image }: &Unbuilt) -> Result<DomId, String> {
        let mut attempt = 1;
        loop {
            let Err(error) = xl::restore(|mut stream| write_restore_file(&mut stream, what, image)) else {
                let domain = xl::domain_named(name).map_err(|error| error.to_string())?;
                return domain.ok_or_else(|| "xl built a domain, but there is none of its name".into());
            };
            if attempt == RESTORE_ATTEMPTS || self.0.leaves.load(Ordering::Acquire) {
                return Err(format!("{error}; {}", rescue(name, what, image)));
            }
            tracing::error!(guest = name, attempt, %error, "The guest cannot be restored; trying again");
            attempt += 1;
            sleep(RESTORE_RETRY);
        }
    }
}

/// Writes the image to a file, and says what came of it.
fn rescue(name: &str, what: &Description, image: &Image) -> String {
    let path = PathBuf::from(RESCUE_DIRECTORY).join(format!("{name}.understudy"));
    let written = write_to(&path, Allow::Files, |mut file| write_restore_file(&mut file, what, image));
    let path = path.display();
    match written {
        Ok(()) => format!("its last commit is in {path}: make room and run `xl restore {path}`"),
        Err(why) => format!("its last commit cannot be written to {path} either ({why}) and is lost"),
    }
}
