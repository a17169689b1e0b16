//! [`XenWatchdog`]: Xen's timer for this host, whose number outlives the engine.
//!
//! ```text
//!   engine 1: arm ─► Xen says: timer 1 ─► STATE/watchdog "BOOT 1" ── ends, the timer runs on
//!   engine 2: STATE/watchdog says 1, of this boot ─► sets timer 1 anew
//! ```
//!
//! A number of another boot means nothing. One that Xen does not know any more was stopped, and a new timer is taken.

use crate::guest::machine::HostError;
use crate::guest::watchdog::Watchdog;
use std::fs::{self, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::num::NonZeroU32;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use understudy_xen::Xen;
use understudy_xen::watchdog::{Watchdog as Timer, WatchdogError};

/// Where Linux says which boot this is.
const BOOT: &str = "/proc/sys/kernel/random/boot_id";

/// Xen's timer.
#[derive(Debug)]
pub(super) struct XenWatchdog {
    xen: Xen,
    /// Where its number is kept.
    path: PathBuf,
    boot: String,
    timer: Option<Timer>,
}

impl XenWatchdog {
    /// The timer that an engine before this one took, if there is one; else one that is taken when it is set first.
    pub(super) fn open(xen: Xen, path: PathBuf) -> Result<Self, HostError> {
        let boot = this_boot()?;
        let timer = noted(&path, &boot)?.map(|number| Timer::of_number(xen.clone(), number));
        Ok(Self { xen, path, boot, timer })
    }
}

fn this_boot() -> io::Result<String> {
    Ok(fs::read_to_string(BOOT)?.trim().to_owned())
}

/// The timer of this boot that an engine with this `--state` has set and not stopped.
pub fn watchdog_left(state: &Path) -> io::Result<Option<NonZeroU32>> {
    noted(&state.join("watchdog"), &this_boot()?)
}

/// The number that was noted in this boot. A file that says something else is an error: a timer that runs and is not set anew
/// resets the host.
fn noted(path: &Path, boot: &str) -> io::Result<Option<NonZeroU32>> {
    let text = match fs::read_to_string(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(unread(path, &error)),
        Ok(text) => text,
    };
    let words: Vec<&str> = text.split_whitespace().collect();
    match words[..] {
        [of, number] => {
            let number = number.parse().map_err(|error| unread(path, &error))?;
            Ok((of == boot).then_some(number))
        }
        _ => Err(unread(path, &"it is not a boot and the number of a timer")),
    }
}

fn unread(path: &Path, why: &dyn std::fmt::Display) -> io::Error {
    io::Error::other(format!(
        "{} cannot be read: {why}; if this host has been booted since it was written, delete it",
        path.display()
    ))
}

/// Notes the number so that an engine which is killed meanwhile leaves either the former note or this. It is for this boot only,
/// so nothing is flushed.
fn note(path: &Path, boot: &str, number: NonZeroU32) -> io::Result<()> {
    path.parent().map_or(Ok(()), fs::create_dir_all)?;
    let fresh = path.with_extension("new");
    match fs::remove_file(&fresh) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&fresh)?;
    writeln!(file, "{boot} {number}")?;
    fs::rename(fresh, path)
}

impl Watchdog for XenWatchdog {
    fn set(&mut self, seconds: NonZeroU32) -> Result<(), HostError> {
        if let Some(timer) = &self.timer {
            match timer.set(seconds) {
                Err(WatchdogError::Stopped(number)) => {
                    tracing::warn!(
                        number,
                        "The watchdog timer was stopped by somebody; another one is taken"
                    );
                }
                result => return Ok(result?),
            }
        }
        let timer = Timer::arm(self.xen.clone(), seconds)?;
        let noted = note(&self.path, &self.boot, timer.number());
        // Without its number the next engine could not set it anew, and it would reset the host.
        if let Err(error) = noted {
            timer.disarm()?;
            return Err(format!("{} cannot be written: {error}", self.path.display()).into());
        }
        self.timer = Some(timer);
        Ok(())
    }

    fn disarm(&mut self) -> Result<(), HostError> {
        match self.timer.take().map(Timer::disarm) {
            None => return Ok(()),
            Some(Ok(()) | Err(WatchdogError::Stopped(_))) => {}
            Some(Err(error)) => return Err(error.into()),
        }
        match fs::remove_file(&self.path) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(format!("{} cannot be removed: {error}", self.path.display()).into())
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn a_number_is_of_one_boot() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("state/watchdog");
        assert_eq!(noted(&path, "b-1").unwrap(), None);
        let number = NonZeroU32::new(2).unwrap();
        note(&path, "b-1", number).unwrap();
        assert_eq!((noted(&path, "b-1").unwrap(), noted(&path, "b-2").unwrap()), (Some(number), None));
    }

    #[test]
    fn what_cannot_be_read_is_not_taken_for_no_timer() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("watchdog");
        for text in ["b-1 0\n", "b-1\n", "", "b-1 x", "b-1 2 3"] {
            fs::write(&path, text).unwrap();
            noted(&path, "b-1").expect_err(text);
        }
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        noted(&path, "b-1").unwrap_err();
    }

    #[test]
    fn a_note_goes_through_no_link() {
        let directory = tempfile::tempdir().unwrap();
        let (path, theirs) = (directory.path().join("watchdog"), directory.path().join("theirs"));
        for link in ["watchdog", "watchdog.new"] {
            fs::write(&theirs, "theirs").unwrap();
            symlink(&theirs, directory.path().join(link)).unwrap();
            note(&path, "b-1", NonZeroU32::MIN).unwrap();
            assert_eq!(fs::read_to_string(&theirs).unwrap(), "theirs");
            assert_eq!(noted(&path, "b-1").unwrap(), Some(NonZeroU32::MIN));
            fs::remove_file(&path).unwrap();
        }
    }
}
