//! Writes a committed epoch of a guest held here to a file that `xl restore` takes, on a thread of its own, while the guest
//! goes on.
//!
//! ```text
//!   receive thread ── frames, then the state ──► export thread ──► .FILE.new ─► FILE
//!        ▲                                            │
//!        └────────────── emptied stagings ◄───────────┘
//! ```
//!
//! The guest's epochs do not wait for the disk: the receive thread sends frames only as stagings come back.

use super::guests::Guests;
use super::inbound::GuestName;
use crate::control::status::{ExportState, ExportStatus, GuestStatus};
use crate::guest::{ReadError, ReadPart, ReadRequest, panic_words};
use crate::output_file::{Allow, OutputError, write_to};
use crossbeam::channel::{Receiver, Sender, bounded};
use std::collections::BTreeMap;
use std::io::{self, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::Builder;
use understudy_checkpoint::Epoch;
use understudy_checkpoint::domain::Description;
use understudy_checkpoint::epoch::Staging;
use understudy_checkpoint::stream::{BATCH_ENTRIES_MAX, write_head, write_staged, write_state};

/// The log message for an image that could not be written.
pub const NOT_EXPORTED: &str = "Not exported";

/// Blocks that are on their way between the two threads: 4 MiB each.
const STAGINGS: usize = 3;

/// Why an image cannot be exported.
#[derive(thiserror::Error, Debug)]
pub(super) enum ExportError {
    #[error("{} is not an absolute path", .0.display())]
    RelativePath(PathBuf),
    #[error("No image of {0} is held here; ask the host that holds its copy")]
    NotHeld(String),
    #[error("An epoch of {0} is being written already; wait until that is done (`status` shows it)")]
    Unfinished(String),
    #[error("The image of {0} cannot be read now; ask again")]
    Busy(String),
    #[error("The thread that writes the image cannot be started: {0}")]
    Thread(#[source] io::Error),
}

/// Why a file was not written. The name belongs to no file, or to the one before.
#[derive(thiserror::Error, Debug)]
enum Unwritten {
    #[error(transparent)]
    Output(#[from] OutputError),
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error("the guest is not held here any more")]
    Gone,
    /// It would count as being written for ever.
    #[error("an internal error: {0}; please report it, with the log")]
    Panicked(String),
}

/// The last export of each guest, as it stands.
#[derive(Debug, Default)]
pub(super) struct Exports(BTreeMap<GuestName, Arc<Mutex<ExportStatus>>>);

fn set(status: &Mutex<ExportStatus>, change: impl FnOnce(&mut ExportStatus)) {
    change(&mut status.lock().unwrap_or_else(PoisonError::into_inner));
}

impl Exports {
    /// Begins to write `epoch` of a guest, or the one that is committed. The error says why there is nothing to write. What
    /// fails later is logged and shown by [`fill`](Self::fill), and the file does not appear.
    pub(super) fn begin(
        &mut self,
        guests: &Guests,
        guest: &str,
        path: PathBuf,
        epoch: Option<Epoch>,
    ) -> Result<(), ExportError> {
        if !path.is_absolute() {
            return Err(ExportError::RelativePath(path));
        }
        let not_held = || ExportError::NotHeld(guest.to_owned());
        let description = guests.held_description(guest).ok_or_else(not_held)?.clone();
        let name = GuestName::from(guest);
        if self.0.get(&name).is_some_and(|last| is_unfinished(last)) {
            return Err(ExportError::Unfinished(guest.to_owned()));
        }
        let (to, parts) = bounded(STAGINGS + 2);
        let (back, emptied) = bounded(STAGINGS);
        if !guests.read(guest, ReadRequest { epoch, parts: to, emptied }) {
            return Err(ExportError::Busy(guest.to_owned()));
        }
        let status = Arc::new(Mutex::new(ExportStatus {
            path: path.display().to_string(),
            epoch: epoch.map(|epoch| epoch.0),
            bytes: 0,
            state: ExportState::Writing,
            reason: String::new(),
        }));
        let export =
            Export { guest: guest.to_owned(), path, description, parts, back, status: status.clone() };
        let started = Builder::new().name("export".into()).spawn(move || export.run());
        started.map_err(ExportError::Thread)?;
        self.0.insert(name, status);
        Ok(())
    }

    /// Adds to the status of each guest what was written of it last.
    pub(super) fn fill(&self, guests: &mut [GuestStatus]) {
        for guest in guests {
            let last = self.0.iter().find(|(name, _)| name.as_ref() == guest.name);
            guest.export = last.map(|(_, last)| last.lock().unwrap_or_else(PoisonError::into_inner).clone());
        }
    }
}

fn is_unfinished(status: &Mutex<ExportStatus>) -> bool {
    status.lock().unwrap_or_else(PoisonError::into_inner).state == ExportState::Writing
}

fn caught(write: impl FnOnce() -> Result<(), Unwritten>) -> Result<(), Unwritten> {
    catch_unwind(AssertUnwindSafe(write))
        .unwrap_or_else(|panic| Err(Unwritten::Panicked(panic_words(&*panic))))
}

/// What the thread has.
struct Export {
    guest: String,
    path: PathBuf,
    description: Description,
    parts: Receiver<ReadPart>,
    back: Sender<Staging>,
    status: Arc<Mutex<ExportStatus>>,
}

impl Export {
    fn run(self) {
        let Self { guest, path, status, .. } = &self;
        match caught(|| self.write(path)) {
            Ok(()) => {
                tracing::info!(guest, path = %path.display(), "Exported");
                set(status, |status| status.state = ExportState::Done);
            }
            Err(error) => {
                tracing::error!(guest, %error, "{NOT_EXPORTED}");
                set(status, |status| {
                    status.state = ExportState::Failed;
                    status.reason = error.to_string();
                });
            }
        }
    }

    fn write(&self, path: &Path) -> Result<(), Unwritten> {
        for _ in 0..STAGINGS {
            // Whoever takes none has refused, and said why.
            let _ = self.back.send(Staging::new(BATCH_ENTRIES_MAX));
        }
        let mut failed = None;
        // Not a pipe: a reader who stays away would make the kept epoch grow.
        let written = write_to(path, Allow::Files, |file| {
            self.write_parts(file).map_err(|error| match error {
                Interrupted::Io(error) => error,
                Interrupted::Unread(why) => io::Error::other(failed.insert(why).to_string()),
            })
        });
        match failed {
            Some(why) => Err(why),
            None => Ok(written?),
        }
    }

    fn write_parts(&self, file: &mut dyn Write) -> Result<(), Interrupted> {
        let mut buffer = Vec::new();
        let put = |file: &mut dyn Write, buffer: &mut Vec<u8>| {
            file.write_all(buffer)?;
            set(&self.status, |status| status.bytes += buffer.len() as u64);
            buffer.clear();
            io::Result::Ok(())
        };
        write_head(&mut buffer, &self.description);
        put(file, &mut buffer)?;
        loop {
            match self.parts.recv() {
                Ok(ReadPart::Begun(epoch)) => set(&self.status, |status| status.epoch = Some(epoch.0)),
                Ok(ReadPart::Frames(staging)) => {
                    write_staged(&mut buffer, &staging);
                    put(file, &mut buffer)?;
                    // Whoever does not take it is gone, which the next part tells.
                    let _ = self.back.send(staging);
                }
                Ok(ReadPart::State(state)) => {
                    write_state(&mut buffer, &state);
                    return Ok(put(file, &mut buffer)?);
                }
                Ok(ReadPart::Refused(error)) => return Err(Interrupted::Unread(error.into())),
                Err(_) => return Err(Interrupted::Unread(Unwritten::Gone)),
            }
        }
    }
}

/// What ends writing early.
enum Interrupted {
    Io(io::Error),
    Unread(Unwritten),
}

impl From<io::Error> for Interrupted {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_why_a_file_was_not_written() {
        let written = caught(|| panic!("as the test says"));
        assert!(matches!(written, Err(Unwritten::Panicked(words)) if words == "as the test says"));
    }
}
