//! The hypercall of a watchdog timer. What it is good for: [`Watchdog`](crate::watchdog::Watchdog).

use super::Xen;
use crate::XenError;
use crate::abi::{hypercall, sched};

impl Xen {
    /// `SCHEDOP_watchdog` of this domain: `id` 0 takes a timer and answers its number; `timeout` 0 stops one.
    pub(crate) fn watchdog(&self, id: u32, timeout: u32) -> Result<u64, XenError> {
        let mut argument = sched::Watchdog { id, timeout };
        let call = (hypercall::SCHED_OP, sched::WATCHDOG);
        self.subcommand("Setting the watchdog", None, call, &mut argument, None)
    }
}
