//! The guard's look at one interface, and what it repairs. All of it waits for the kernel.
//!
//! ```text
//!   is the vif there? ─ no program in front? ─ tap there? ─ redirect first? ─ nothing takes from the tap? ─ way back?
//! ```

use super::guard::{Guard, Place, Sight};
use super::nic::{Nic, Parts};
use super::{Shared, prepare};
use crate::kernel::KernelError;
use crate::kernel::breach::{Breach, ProgramKind};
use crate::kernel::netlink::filter::Hook;
use crate::kernel::netlink::link::{self, Link};
use crate::kernel::netlink::{Connection, NetlinkError};
use crate::kernel::redirect::{self, Device};
use crate::kernel::sys::{self, TcxHook};
use crate::kernel::tap::{Offloads, Tap};
use nix::errno::Errno;

impl Guard {
    pub(super) fn inspect(
        &self,
        connection: &mut Connection,
        nic: &Nic,
        was: Place,
        shared: &Shared,
    ) -> Result<Sight, KernelError> {
        let parts = nic.parts();
        let Some(vif) = describe(connection, &parts.vif)? else {
            // By now the kernel has told where it went.
            self.look(&shared.nics);
            let has_moved = was.has_moved || self.has_moved(nic.name());
            return Ok(if has_moved { Sight::Wrong(Breach::Moved) } else { Sight::Gone });
        };
        if was.has_moved {
            // It is back: its filters went when it left.
            return Ok(Sight::Wrong(Breach::Removed));
        }
        if vif.has_xdp {
            return Ok(Sight::Wrong(Breach::Program(ProgramKind::Xdp)));
        }
        if has_tcx(&parts.vif, TcxHook::Ingress)? {
            return Ok(Sight::Wrong(Breach::Program(ProgramKind::Tcx)));
        }
        // First, for a redirect to a device that is gone is not as it was set up either; it drops.
        let Some(tap) = describe(connection, &parts.tap_device)?.filter(|_| !parts.has_failed()) else {
            return Ok(Sight::Wrong(Breach::HolderGone));
        };
        nic.set_dropped_unread(tap.tx_dropped);
        let [way_back, way_in] = self.both_ways(&parts);
        if let Some(breach) = way_in.inspect(connection, &self.owner)? {
            return Ok(Sight::Wrong(breach));
        }
        if !redirect::listed(connection, &parts.tap_device, Hook::Egress)?.is_empty()
            || has_tcx(&parts.tap_device, TcxHook::Egress)?
        {
            return Ok(Sight::Wrong(Breach::Diverted));
        }
        if !tap.up || tap.has_xdp || tap.mtu_bytes != super::TAP_MTU_BYTES || tap.address != vif.address {
            return Ok(Sight::Wrong(Breach::HolderChanged));
        }
        let back = way_back.inspect(connection, &self.owner)?;
        Ok(back.map_or(Sight::Whole, |_| Sight::Wrong(Breach::NoWayBack)))
    }

    /// Puts right what is wrong, if that can be done. Whether other devices take part now.
    pub(super) fn repair(
        &self,
        connection: &mut Connection,
        nic: &Nic,
        breach: Breach,
        was: Place,
    ) -> Result<bool, KernelError> {
        let parts = nic.parts();
        match breach {
            // A program is its owner's to detach.
            Breach::Program(_) | Breach::Doubted | Breach::Unknown => return Ok(false),
            Breach::Moved => {
                let vif = Device::find(connection, nic.name())?;
                self.renew(connection, nic, vif)?;
            }
            Breach::Diverted | Breach::HolderGone => self.renew(connection, nic, parts.vif.clone())?,
            Breach::HolderChanged if was.wrong != Some(breach) => {
                prepare(connection, &parts.tap_device, &parts.vif)?;
                return Ok(false);
            }
            Breach::HolderChanged => self.renew(connection, nic, parts.vif.clone())?,
            Breach::Removed | Breach::InFront { .. } | Breach::NoWayBack => {
                redirect::install(connection, &self.both_ways(&parts), &self.owner)?;
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Makes the tap of an interface anew. Until the redirect leads there what the guest sends is dropped.
    fn renew(&self, connection: &mut Connection, nic: &Nic, vif: Device) -> Result<(), KernelError> {
        let old = nic.parts();
        let delete = link::delete(old.tap_device.index, &old.tap_device.name);
        connection.all(&mut [delete], |error| error.is(Errno::ENODEV))?;
        let tap = Tap::create(old.tap.name(), Offloads::All)?;
        let tap_device = Device::find(connection, tap.name())?;
        prepare(connection, &tap_device, &vif)?;
        nic.replace(Parts::new(vif, tap_device, tap));
        redirect::install(connection, &self.both_ways(&nic.parts()), &self.owner)
    }
}

/// `None` if it is gone.
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
