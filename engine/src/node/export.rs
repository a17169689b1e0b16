//! Writes the committed image of a guest held here to a file that `xl restore` takes, on a thread of its own.

use super::guests::Guests;
use crate::guest::Committed;
use crate::output_file::{Allow, OutputError, write_to};
use crossbeam::channel::{Receiver, bounded};
use std::io;
use std::path::{Path, PathBuf};
use std::thread::Builder;
use understudy_checkpoint::domain::Description;
use understudy_checkpoint::stream::write_restore_file;

/// The log message for an image that could not be written.
pub const NOT_EXPORTED: &str = "Not exported";

/// Why an image cannot be exported.
#[derive(thiserror::Error, Debug)]
pub(super) enum ExportError {
    #[error("{} is not an absolute path", .0.display())]
    RelativePath(PathBuf),
    #[error("No image of {0} is held here; ask the host that holds its copy")]
    NotHeld(String),
    #[error("The image of {0} cannot be copied now; ask again")]
    Busy(String),
    #[error("The thread that writes the image cannot be started: {0}")]
    Thread(#[source] io::Error),
}

/// Asks the guest's thread for a copy of the image and starts a thread that writes it. The error says why there is
/// nothing to write. A later failure is logged, and the file does not appear.
pub(super) fn begin(guests: &Guests, guest: &str, path: PathBuf) -> Result<(), ExportError> {
    if !path.is_absolute() {
        return Err(ExportError::RelativePath(path));
    }
    let not_held = || ExportError::NotHeld(guest.to_owned());
    let description = guests.held_description(guest).ok_or_else(not_held)?.clone();
    let (to, copy) = bounded(1);
    if !guests.copy(guest, to) {
        return Err(ExportError::Busy(guest.to_owned()));
    }
    let guest = guest.to_owned();
    let work = move || match write(&path, &description, &copy) {
        Ok(()) => tracing::info!(guest, path = %path.display(), "Exported"),
        Err(error) => tracing::error!(guest, %error, "{NOT_EXPORTED}"),
    };
    Builder::new().name("export".into()).spawn(work).map(drop).map_err(ExportError::Thread)
}

fn write(
    path: &Path,
    description: &Description,
    copy: &Receiver<Option<Committed>>,
) -> Result<(), OutputError> {
    let nothing = || io::Error::other("nothing is committed");
    // Not a pipe: a reader who stays away would keep the copy in memory.
    write_to(path, Allow::Files, |mut file| {
        let committed = copy.recv().ok().flatten().ok_or_else(nothing)?;
        write_restore_file(&mut file, description, &committed.image)
    })
}
