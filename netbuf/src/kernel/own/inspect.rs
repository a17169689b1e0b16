//! Checks the wiring of one interface, and repairs it. Both wait for the kernel.
//!
//! ```text
//!   is the vif there? ─ no program in front? ─ tap there? ─ redirect first? ─ nothing takes from the tap? ─ way back?
//! ```
//!
//! Not here: when to check, and what a finding means for the guest ([`guard`](super::guard)).

use super::nic::{Nic, Parts};
use super::wiring::{TAP_MTU_BYTES, Wiring, prepare};
use crate::kernel::KernelError;
use crate::kernel::breach::{Breach, ProgramKind};
use crate::kernel::netlink::filter::Hook;
use crate::kernel::netlink::link::{self, Link};
use crate::kernel::netlink::{Connection, NetlinkError};
use crate::kernel::redirect::{self, Device};
use crate::kernel::sys::{self, TcxHook};
use crate::kernel::tap::{Offloads, Tap};
use nix::errno::Errno;

/// What a check finds.
pub(super) enum Sight {
    Whole,
    Wrong(Breach),
    /// The interface is not in this network namespace: it was deleted, or moved.
    Missing,
}

/// What was done about a breach.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Repair {
    /// The same devices, or nothing: the next check shows whether it helped.
    InPlace,
    /// Another tap, or another vif, takes part now.
    OtherDevices,
}

impl Wiring {
    /// `came_back`: the interface was in another network namespace since the last check.
    pub(super) fn inspect(
        &self,
        connection: &mut Connection,
        nic: &Nic,
        came_back: bool,
    ) -> Result<Sight, KernelError> {
        let parts = nic.parts();
        let Some(vif) = describe(connection, &parts.vif)? else { return Ok(Sight::Missing) };
        if came_back {
            // Its filters went when it left.
            return Ok(Sight::Wrong(Breach::Removed));
        }
        if vif.has_xdp {
            return Ok(Sight::Wrong(Breach::Program(ProgramKind::Xdp)));
        }
        if has_tcx(&parts.vif, TcxHook::Ingress)? {
            return Ok(Sight::Wrong(Breach::Program(ProgramKind::Tcx)));
        }
        // Before the redirects: a redirect to a device that is gone differs from what was set up, too, but it drops.
        let Some(tap) = describe(connection, &parts.tap_device)?.filter(|_| !parts.has_failed()) else {
            return Ok(Sight::Wrong(Breach::HolderGone));
        };
        nic.set_dropped_unread(tap.tx_dropped);
        let [way_back, way_in] = self.redirects(&parts);
        if let Some(breach) = way_in.inspect(connection, &self.owner)? {
            return Ok(Sight::Wrong(breach));
        }
        if !redirect::listed(connection, &parts.tap_device, Hook::Egress)?.is_empty()
            || !redirect::listed(connection, &parts.tap_device, Hook::Queue)?.is_empty()
            || has_tcx(&parts.tap_device, TcxHook::Egress)?
        {
            return Ok(Sight::Wrong(Breach::Diverted));
        }
        if !tap.up || tap.has_xdp || tap.mtu_bytes != TAP_MTU_BYTES || tap.address != vif.address {
            return Ok(Sight::Wrong(Breach::HolderChanged));
        }
        let back = way_back.inspect(connection, &self.owner)?;
        Ok(back.map_or(Sight::Whole, |_| Sight::Wrong(Breach::NoWayBack)))
    }

    /// Repairs `breach` if that can be done. `again`: the last repair of the same breach did not help.
    pub(super) fn repair(
        &self,
        connection: &mut Connection,
        nic: &Nic,
        breach: Breach,
        again: bool,
    ) -> Result<Repair, KernelError> {
        let parts = nic.parts();
        match breach {
            // Only its owner may detach a program.
            Breach::Program(_) | Breach::Doubted | Breach::Unknown => return Ok(Repair::InPlace),
            Breach::Moved => {
                let vif = Device::find(connection, nic.name())?;
                self.renew(connection, nic, vif)?;
            }
            Breach::Diverted | Breach::HolderGone => self.renew(connection, nic, parts.vif.clone())?,
            Breach::HolderChanged if !again => {
                prepare(connection, &parts.tap_device, &parts.vif)?;
                return Ok(Repair::InPlace);
            }
            Breach::HolderChanged => self.renew(connection, nic, parts.vif.clone())?,
            Breach::Removed | Breach::InFront { .. } | Breach::NoWayBack => {
                self.install(connection, &self.redirects(&parts))?;
                return Ok(Repair::InPlace);
            }
        }
        Ok(Repair::OtherDevices)
    }

    /// Replaces an interface's tap. What the guest sends before the redirect leads to the new one is dropped.
    fn renew(&self, connection: &mut Connection, nic: &Nic, vif: Device) -> Result<(), KernelError> {
        let old = nic.parts();
        let delete = link::delete(old.tap_device.index, &old.tap_device.name);
        connection.all(&mut [delete], |error| error.is(Errno::ENODEV))?;
        let tap = Tap::create(old.tap.name(), Offloads::All)?;
        let tap_device = Device::find(connection, tap.name())?;
        prepare(connection, &tap_device, &vif)?;
        nic.replace(Parts::new(vif, tap_device, tap));
        self.install(connection, &self.redirects(&nic.parts()))
    }
}

/// The kernel's description of `device`; `None` if it is gone.
pub(super) fn describe(connection: &mut Connection, device: &Device) -> Result<Option<Link>, KernelError> {
    match connection.ask(link::get_by_index(device.index, &device.name), link::decode) {
        Ok(links) => Ok(links.into_iter().next()),
        Err(NetlinkError::Refused { errno: Errno::ENODEV, .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Whether a program meets frames of the interface before any filter does.
pub(super) fn program_in_front(
    connection: &mut Connection,
    vif: &Device,
) -> Result<Option<ProgramKind>, KernelError> {
    if describe(connection, vif)?.is_some_and(|link| link.has_xdp) {
        return Ok(Some(ProgramKind::Xdp));
    }
    Ok(has_tcx(vif, TcxHook::Ingress)?.then_some(ProgramKind::Tcx))
}

fn has_tcx(device: &Device, hook: TcxHook) -> Result<bool, KernelError> {
    match sys::tcx_programs(device.index, hook) {
        Ok(programs) => Ok(programs > 0),
        // A kernel that has no such hook, or no such interface any more.
        Err(Errno::EINVAL | Errno::ENODEV) => Ok(false),
        Err(errno) => Err(KernelError::Programs(errno)),
    }
}
