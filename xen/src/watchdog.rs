//! [`Watchdog`]: a timer of Xen's that resets this host unless it is set anew in time. It is Xen's, so it also runs out if the
//! kernel of dom0 hangs.
//!
//! ```text
//!   arm(5 s) ──► 5 s ──── set(5 s) ──► 5 s ──── … nothing …  ──► Xen resets the host, with all guests on it
//!                            └─ disarm ──► nothing
//! ```
//!
//! A process that ends without [`Watchdog::disarm`] leaves the timer running, on purpose. A domain has two such timers;
//! `xenwatchdogd` of Xen's utilities takes one.
//!
//! Not here: when it is set (`session::lease`).

use crate::{Xen, XenError};
use nix::errno::Errno;
use std::num::NonZeroU32;

/// Why there is no timer.
#[derive(thiserror::Error, Debug)]
pub enum WatchdogError {
    /// Both timers of the domain are taken.
    #[error(
        "Both watchdog timers of this domain are taken; one may be xenwatchdogd's, and one that of an engine which ended. See \
         `systemctl status xenwatchdogd`. A timer that nobody sets anew resets this host"
    )]
    BothTaken,
    /// Xen does not know the timer any more.
    #[error("Xen does not know the watchdog timer {0} any more: somebody else has stopped it")]
    Stopped(NonZeroU32),
    /// Xen gave an answer that is no number of a timer.
    #[error("Xen answered {0} when it was asked for a watchdog timer")]
    NoNumber(u64),
    /// Anything else.
    #[error(transparent)]
    Xen(#[from] XenError),
}

/// An armed timer.
#[derive(Debug)]
#[must_use = "it resets the host unless it is set anew"]
pub struct Watchdog {
    xen: Xen,
    number: NonZeroU32,
}

impl Watchdog {
    /// Takes a timer of this domain that runs out after `seconds`.
    pub fn arm(xen: Xen, seconds: NonZeroU32) -> Result<Self, WatchdogError> {
        let answer = match xen.watchdog(0, seconds.get()) {
            Err(XenError::Hypercall { errno: Errno::ENOSPC, .. }) => return Err(WatchdogError::BothTaken),
            answer => answer?,
        };
        let number = u32::try_from(answer).ok().and_then(NonZeroU32::new);
        let number = number.ok_or(WatchdogError::NoNumber(answer))?;
        Ok(Self { xen, number })
    }

    /// The timer of this number, which a process that has ended took.
    pub fn of_number(xen: Xen, number: NonZeroU32) -> Self {
        Self { xen, number }
    }

    /// Its number.
    pub fn number(&self) -> NonZeroU32 {
        self.number
    }

    /// Lets it run out after `seconds` from now, and not before.
    pub fn set(&self, seconds: NonZeroU32) -> Result<(), WatchdogError> {
        self.ask(seconds.get())
    }

    /// Stops it.
    pub fn disarm(self) -> Result<(), WatchdogError> {
        self.ask(0)
    }

    fn ask(&self, seconds: u32) -> Result<(), WatchdogError> {
        match self.xen.watchdog(self.number.get(), seconds) {
            Err(XenError::Hypercall { errno: Errno::EINVAL, .. }) => Err(WatchdogError::Stopped(self.number)),
            answer => Ok(answer.map(drop)?),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::abi::sched;
    use crate::simulated::{Asked, Simulated};
    use std::sync::{Arc, Mutex};

    const WATCHDOG: Asked = Asked::Sched(sched::WATCHDOG);

    fn seconds(seconds: u32) -> NonZeroU32 {
        NonZeroU32::new(seconds).unwrap()
    }

    #[test]
    fn a_timer_is_taken_once_set_anew_and_stopped() {
        let hypervisor = Simulated::new();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let notes = asked.clone();
        hypervisor.answer(WATCHDOG, move |call| {
            let words: Vec<u32> = call.argument()[..8]
                .chunks(4)
                .map(|word| u32::from_ne_bytes(word.try_into().unwrap()))
                .collect();
            let is_new = words[0] == 0;
            notes.lock().unwrap().push((words[0], words[1]));
            Ok(if is_new { 2 } else { 0 })
        });
        let watchdog = Watchdog::arm(Xen::over(hypervisor.clone()).unwrap(), seconds(5)).unwrap();
        watchdog.set(seconds(4)).unwrap();
        watchdog.disarm().unwrap();
        let xen = Xen::over(hypervisor).unwrap();
        let left = Watchdog::arm(xen.clone(), seconds(5)).unwrap();
        let number = left.number();
        drop(left);
        assert_eq!(*asked.lock().unwrap(), [(0, 5), (2, 4), (2, 0), (0, 5)], "one that is dropped runs on");
        Watchdog::of_number(xen, number).set(seconds(3)).unwrap();
        assert_eq!(asked.lock().unwrap().last(), Some(&(2, 3)), "and another process goes on with it");
    }

    #[test]
    fn a_timer_that_cannot_be_had_or_is_gone_is_an_error_that_says_so() {
        let hypervisor = Simulated::new();
        hypervisor.answer(WATCHDOG, |_| Ok(1));
        let xen = Xen::over(hypervisor.clone()).unwrap();
        let watchdog = Watchdog::arm(xen.clone(), seconds(5)).unwrap();
        hypervisor.fail(WATCHDOG, &[Errno::EINVAL, Errno::ENOSPC, Errno::EPERM]);
        assert!(matches!(watchdog.set(seconds(5)), Err(WatchdogError::Stopped(number)) if number.get() == 1));
        assert!(matches!(Watchdog::arm(xen.clone(), seconds(5)), Err(WatchdogError::BothTaken)));
        assert!(matches!(Watchdog::arm(xen.clone(), seconds(5)), Err(WatchdogError::Xen(_))));
        hypervisor.answer(WATCHDOG, |_| Ok(0));
        assert!(matches!(Watchdog::arm(xen, seconds(5)), Err(WatchdogError::NoNumber(0))));
    }
}
