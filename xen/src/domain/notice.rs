//! Word of a guest's suspend, for us alone.
//!
//! ```text
//!   guest: SCHEDOP_shutdown(suspend) ──► Xen ─┬─ subscribed:  the guest's port ═══ ours ──► readable
//!                                             └─ otherwise:   VIRQ_DOM_EXC ─► xenstored ─► @releaseDomain ─► everyone
//! ```
//!
//! Without it every checkpoint would wake xenstored and all toolstacks; and the `xl` that watches over the guest takes a
//! suspend for the end of its watch: nobody would restart the guest when it reboots (seen with xl 4.17).
//!
//! The guest's port is made on its behalf; the guest knows nothing of it. It outlives us, so its number is kept with the
//! domain for whoever comes next. While nobody listens the subscription must not stay: stock `xl save` would wait for a
//! word that never comes.

use crate::xenstore::Xenstore;
use crate::{DomId, Evtchn, Xen, XenError};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::os::fd::AsFd;
use std::time::Duration;

/// No port: the virtual interrupt is sent again.
const NONE: u32 = 0;

/// A subscription; it ends when this is dropped.
pub(super) struct Notice {
    xen: Xen,
    domain: DomId,
    evtchn: Evtchn,
}

fn path(domain: DomId) -> String {
    format!("/local/domain/{domain}/understudy/suspend-port")
}

impl Notice {
    /// Subscribes to the suspends of `domain`.
    pub(super) fn subscribe(xen: Xen, store: &mut Xenstore, domain: DomId) -> Result<Self, XenError> {
        let evtchn = Evtchn::open()?;
        let kept = store.read(&path(domain)).ok().flatten().and_then(|port| port.parse().ok());
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

    /// Waits for word, at most `timeout`. It may be of an earlier suspend: look at the domain.
    pub(super) fn wait(&self, timeout: Duration) -> Result<(), XenError> {
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
