//! The last resort for an interface whose output cannot be held: none of it gets any further.
//!
//! ```text
//!   vif receives ──► filter that drops      needs no tap, no program to load, no module but the classifier's
//!   vif is down                             where even that is refused
//! ```
//!
//! Not for holding: what is dropped here is lost. A queue that is attached later replaces the filter without a gap; if
//! this process dies, the filter stays and [`leftovers`](super::leftovers) finds it.

use super::netlink::{Connection, link};
use super::owner::Owner;
use super::redirect::{self, Device, Redirect, Way};
use super::{KernelError, NetlinkError};
use nix::errno::Errno;

/// An interface that receives nothing from its guest. Dropping this changes nothing: it stays cut off.
#[derive(Debug)]
pub struct CutOff {
    device: Device,
    owner: Owner,
    /// By a filter; otherwise by being down.
    is_filtered: bool,
}

impl CutOff {
    /// Cuts the interface `name` off, in the network namespace of the calling thread. Needs CAP_NET_ADMIN.
    pub fn new(name: &str) -> Result<Self, KernelError> {
        let mut connection = Connection::open()?;
        let device = Device::find(&mut connection, name)?;
        let owner = Owner::this_process()?;
        let drop = Redirect { from: device.clone(), way: Way::Nowhere };
        let is_filtered = redirect::install(&mut connection, &[drop], &owner).is_ok();
        if !is_filtered {
            set_up(&mut connection, &device, false)?;
        }
        Ok(Self { device, owner, is_filtered })
    }

    /// Sees to it that it stays so: others may set an interface up that is down.
    pub fn renew(&self) -> Result<(), KernelError> {
        let mut connection = Connection::open()?;
        if self.is_filtered {
            self.device.check(&mut connection)
        } else {
            set_up(&mut connection, &self.device, false)
        }
    }

    /// Whether the interface had to be set down for it, which others may undo.
    pub fn is_down(&self) -> bool {
        !self.is_filtered
    }

    /// Lets its output pass.
    pub fn lift(self) -> Result<(), KernelError> {
        let mut connection = Connection::open()?;
        redirect::remove(&mut connection, std::slice::from_ref(&self.device), &self.owner)?;
        self.set_up_again(&mut connection)
    }

    /// A queue of this process was attached, which has replaced the filter.
    pub fn replaced(self) -> Result<(), KernelError> {
        if self.is_filtered { Ok(()) } else { self.set_up_again(&mut Connection::open()?) }
    }

    fn set_up_again(&self, connection: &mut Connection) -> Result<(), KernelError> {
        if self.is_filtered { Ok(()) } else { set_up(connection, &self.device, true) }
    }
}

fn set_up(connection: &mut Connection, device: &Device, up: bool) -> Result<(), KernelError> {
    let change = link::Change { up: Some(up), ..Default::default() };
    match connection.all(&mut [link::change(device.index, &device.name, change)], |_| false) {
        Err(NetlinkError::Refused { errno: Errno::ENODEV, .. }) => {
            Err(KernelError::Gone { name: device.name.clone() })
        }
        done => Ok(done?),
    }
}
