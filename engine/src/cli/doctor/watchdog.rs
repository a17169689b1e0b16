//! Xen's watchdog, where an engine has set it and is gone: unless an engine is back in time, Xen resets this host.
//!
//! Nothing is repaired here: while a guest that needs fencing may run, another host counts on this one being reset. An engine
//! knows, and stops the watchdog as soon as that is safe.

use super::finding::{Code, Finding, unseen};
use crate::config::{CONFIG_PATH, STATE_PATH, Settings};
use crate::guest::{HostLock, watchdog_left};
use std::io;
use std::path::{Path, PathBuf};

/// Where this host's node keeps what outlives it.
pub(super) fn state() -> PathBuf {
    // A configuration that cannot be read is a finding of the node's; its default is as good a guess as any.
    let configured = Settings::read(Path::new(CONFIG_PATH)).ok().and_then(|settings| settings.state);
    configured.unwrap_or_else(|| STATE_PATH.into())
}

/// The watchdog that nobody sets anew.
pub(super) fn left_running(state: &Path) -> Option<Finding> {
    let is_alone = || -> io::Result<_> {
        let left = watchdog_left(state)?;
        Ok(if left.is_some() && HostLock::holder()?.is_none() { left } else { None })
    };
    match is_alone() {
        Ok(number) => number.map(|number| Finding {
            code: Code::WatchdogLeft,
            what: format!("Xen's watchdog timer {number} is set, and the engine that set it is gone: Xen is about to reset this host"),
            advice: "start the engine at once, `systemctl start understudy`: it sets the timer anew, and stops it once no guest here needs \
                     fencing"
                .into(),
            repaired: false,
        }),
        Err(error) => Some(unseen("Xen's watchdog", error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_timer_of_this_boot_that_no_engine_sets_is_found() {
        let state = tempfile::tempdir().unwrap();
        assert!(left_running(state.path()).is_none());
        let file = state.path().join("watchdog");
        fs::write(&file, "another-boot 1\n").unwrap();
        assert!(left_running(state.path()).is_none());
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
        fs::write(&file, format!("{} 2\n", boot.trim())).unwrap();
        let finding = left_running(state.path()).unwrap();
        assert!(finding.code == Code::WatchdogLeft && finding.what.contains("timer 2"), "{finding:?}");
        fs::remove_file(&file).unwrap();
        fs::create_dir(&file).unwrap();
        assert_eq!(left_running(state.path()).unwrap().code, Code::Unlearnt);
    }
}
