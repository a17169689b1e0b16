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
use std::fs;
use std::io::{self, ErrorKind};
use std::num::NonZeroU32;
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
        let boot = fs::read_to_string(BOOT)?.trim().to_owned();
        let number = match fs::read_to_string(&path) {
            Ok(text) => number_in(&text, &boot),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => return Err(format!("{} cannot be read: {error}", path.display()).into()),
        };
        let timer = number.map(|number| Timer::of_number(xen.clone(), number));
        Ok(Self { xen, path, boot, timer })
    }

    fn note(&self, number: NonZeroU32) -> io::Result<()> {
        self.path.parent().map_or(Ok(()), fs::create_dir_all)?;
        fs::write(&self.path, format!("{} {number}\n", self.boot))
    }
}

/// Whether a timer of this boot was left running.
pub(super) fn is_left(path: &Path) -> bool {
    left_in(path).is_ok_and(|number| number.is_some())
}

/// The timer of this boot that an engine with this `--state` has set and not stopped.
pub fn watchdog_left(state: &Path) -> io::Result<Option<NonZeroU32>> {
    left_in(&state.join("watchdog"))
}

fn left_in(path: &Path) -> io::Result<Option<NonZeroU32>> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(number_in(&text, fs::read_to_string(BOOT)?.trim())),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// The number of a timer that was taken in this boot.
fn number_in(text: &str, boot: &str) -> Option<NonZeroU32> {
    let (of, number) = text.trim().split_once(' ')?;
    number.parse().ok().filter(|_| of == boot)
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
        let noted = self.note(timer.number());
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

    #[test]
    fn a_number_is_of_one_boot() {
        let number = |text| number_in(text, "b-1").map(NonZeroU32::get);
        assert_eq!(number("b-1 2\n"), Some(2));
        for text in ["b-2 2\n", "b-1 0\n", "b-1\n", "", "b-1 x"] {
            assert_eq!(number(text), None, "{text:?}");
        }
    }
}
