//! Receives a guest's suspend event on a private channel.
//!
//! ```text
//!   guest: SCHEDOP_shutdown(suspend) ──► Xen ─┬─ subscribed:  the guest's port ═══ ours ──► readable
//!                                             └─ otherwise:   VIRQ_DOM_EXC ─► xenstored ─► @releaseDomain ─► everyone
//! ```
//!
//! Without the channel every checkpoint would wake xenstored and all toolstacks. Worse, the `xl` process that watches
//! the guest would take a suspend for the guest's end, and nobody would restart the guest when it reboots (seen with xl
//! 4.17).
//!
//! The guest's port is allocated on the guest's behalf, without its knowledge. The port outlives this process, so its
//! number is kept in the domain's xenstore for the next engine. The subscription must end with the guest's protection, and
//! with this process: stock `xl save` would wait for an event that never comes.

use crate::xenstore::{StoreError, Xenstore};
use crate::{DomId, Evtchn, Xen, XenError, calls};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::os::fd::AsFd;
use std::time::Duration;

/// The port that ends a subscription. Xen then sends the virtual interrupt again.
const NONE: u32 = 0;

/// A subscription. Dropping it ends it.
pub(super) struct Notice {
    xen: Xen,
    domain: DomId,
    evtchn: Evtchn,
}

fn path(domain: DomId) -> String {
    format!("/local/domain/{domain}/understudy/suspend-port")
}

/// The guest's port for its suspends, of which the guest does not know; `None` if it has none.
pub(crate) fn suspend_port(store: &mut Xenstore, domain: DomId) -> Result<Option<u32>, StoreError> {
    Ok(store.read(&path(domain))?.and_then(|port| port.parse().ok()))
}

impl Notice {
    /// Subscribes to the suspends of `domain`.
    pub(super) fn subscribe(xen: Xen, store: &mut Xenstore, domain: DomId) -> Result<Self, XenError> {
        let evtchn = Evtchn::open()?;
        let kept = suspend_port(store, domain).ok().flatten();
        let port = match kept.filter(|port| evtchn.bind_interdomain(domain, *port).is_ok()) {
            Some(port) => port,
            None => {
                let port = xen.offer_port_of(domain)?;
                evtchn.bind_interdomain(domain, port)?;
                // Not kept, the next engine makes another: a guest has thousands.
                let _ = store.write(&path(domain), &port.to_string());
                port
            }
        };
        xen.subscribe_suspend(domain, port)?;
        Ok(Self { xen, domain, evtchn })
    }

    /// Waits for an event, at most `timeout`. The event may be of an earlier suspend, so ask Xen about the domain.
    pub(super) fn wait(&self, timeout: Duration) -> Result<(), XenError> {
        calls::wait();
        let timeout = PollTimeout::try_from(timeout).unwrap_or(PollTimeout::MAX);
        let mut wait = [PollFd::new(self.evtchn.as_fd(), PollFlags::POLLIN)];
        match poll(&mut wait, timeout) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => {
                return Err(XenError::Hypercall {
                    what: "Waiting for a suspend",
                    domain: Some(self.domain),
                    errno,
                });
            }
        }
        while let Some(port) = self.evtchn.pending()? {
            self.evtchn.unmask(port)?;
        }
        Ok(())
    }
}

impl Drop for Notice {
    fn drop(&mut self) {
        // A domain that is gone has no subscription either.
        let _ = self.xen.subscribe_suspend(self.domain, NONE);
    }
}
