//! The last resort for an interface whose output cannot be held: none of it gets any further.
//!
//! ```text
//!   vif receives ──► filter that drops      needs no tap, no program to load, no module but the classifier's
//!   vif is down                             where even that is refused
//! ```
//!
//! Not for holding: what is dropped here is lost. A queue that is attached later replaces the filter without a gap; if
//! this process dies, the filter stays and [`leftovers`](super::leftovers) finds it. Whoever takes the filter away, or
//! sets the interface up, is heard of by [`leak`](CutOff::leak).

use super::breach::Breach;
use super::netlink::{Connection, link};
use super::owner::Owner;
use super::redirect::{self, Device, Redirect, Way};
use super::watch::{Notice, Watch, Watched};
use super::{KernelError, NetlinkError};
use nix::errno::Errno;
use parking_lot::Mutex;

/// An interface that receives nothing from its guest. Dropping this changes nothing: it stays cut off.
#[derive(Debug)]
pub struct CutOff {
    device: Device,
    owner: Owner,
    /// By a filter; otherwise by being down.
    is_filtered: bool,
    /// Asked and changed by it is what [`heard`](Self::heard) leaves out.
    connection: Mutex<Connection>,
    port: u32,
    heard: Mutex<Heard>,
}

#[derive(Debug)]
struct Heard {
    watch: Watch,
    leak: Option<Breach>,
    /// A queue of this process is about to take its place: what happens to the filter is its doing.
    is_replaced: bool,
}

impl CutOff {
    /// Cuts the interface `name` off, in the network namespace of the calling thread. Needs CAP_NET_ADMIN.
    pub fn new(name: &str) -> Result<Self, KernelError> {
        let mut connection = Connection::open()?;
        let device = Device::find(&mut connection, name)?;
        let owner = Owner::this_process()?;
        let mut watch = Watch::open()?;
        let is_filtered = redirect::install(&mut connection, &[drop_all(&device)], &owner).is_ok();
        if !is_filtered {
            set_up(&mut connection, &device, false)?;
            // That it went down is told as well.
            watch.forget(connection.port());
        }
        let (port, connection) = (connection.port(), Mutex::new(connection));
        let heard = Mutex::new(Heard { watch, leak: None, is_replaced: false });
        Ok(Self { device, owner, is_filtered, connection, port, heard })
    }

    /// Sees to it that it stays so: others may remove a filter, or set an interface up. It waits for the kernel.
    pub fn renew(&self) -> Result<(), KernelError> {
        let mut connection = self.connection.lock();
        if !self.is_filtered {
            return set_up(&mut connection, &self.device, false);
        }
        self.device.check(&mut connection)?;
        let wanted = drop_all(&self.device);
        if let Some(breach) = wanted.inspect(&mut connection, &self.owner)? {
            self.heard.lock().leak.get_or_insert(breach);
            redirect::install(&mut connection, &[wanted], &self.owner)?;
        }
        let mut heard = self.heard.lock();
        if std::mem::take(&mut heard.is_replaced) {
            // The queue came to nothing; what it did is no news.
            heard.watch.forget(self.port);
        }
        Ok(())
    }

    /// A queue of this process is about to be attached, which replaces the filter: that is no leak. What was one before
    /// is told by [`leak`](Self::leak) all the same; [`renew`](Self::renew) ends this.
    pub fn make_way(&self) {
        self.leak();
        self.heard.lock().is_replaced = true;
    }

    /// What may have let something out since it was cut off, as far as was heard. It does not wait.
    pub fn leak(&self) -> Option<Breach> {
        let watched = [Watched { vif: self.device.clone(), holder: None }];
        let Heard { watch, leak, is_replaced } = &mut *self.heard.lock();
        if *is_replaced {
            return *leak;
        }
        watch.look(self.port, &watched, |_, notice| match notice {
            // It is up, and was to be down.
            Notice::Breach(Breach::Doubted) if !self.is_filtered => drop(leak.get_or_insert(Breach::Removed)),
            Notice::Breach(breach) if breach.leaks() => drop(leak.get_or_insert(breach)),
            Notice::Breach(_) | Notice::Gone => {}
        });
        *leak
    }

    /// Whether the interface had to be set down for it, which others may undo.
    pub fn is_down(&self) -> bool {
        !self.is_filtered
    }

    /// Lets its output pass. It waits for the kernel.
    pub fn lift(&self) -> Result<(), KernelError> {
        let mut connection = self.connection.lock();
        redirect::remove(&mut connection, std::slice::from_ref(&self.device), &self.owner)?;
        self.set_up_again(&mut connection)
    }

    /// A queue of this process was attached, which has replaced the filter. It waits for the kernel.
    pub fn replaced(&self) -> Result<(), KernelError> {
        self.set_up_again(&mut self.connection.lock())
    }

    fn set_up_again(&self, connection: &mut Connection) -> Result<(), KernelError> {
        if self.is_filtered { Ok(()) } else { set_up(connection, &self.device, true) }
    }
}

fn drop_all(device: &Device) -> Redirect {
    Redirect { from: device.clone(), way: Way::Drop }
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
