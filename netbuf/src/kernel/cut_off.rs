//! The last resort for an interface whose output cannot be held: drop everything that the guest sends.
//!
//! ```text
//!   vif receives ──► filter that drops      needs no tap, no program to load, no module but the classifier's
//!   vif is down                             where even that is refused
//! ```
//!
//! Dropped frames are lost; nothing is held here. A queue that is attached later replaces the filter without a gap. If
//! this process dies, the filter stays and [`leftovers`](super::leftovers) finds it. If somebody removes the filter or
//! sets the interface up, [`leak`](CutOff::leak) reports it.

use super::breach::Breach;
use super::netlink::{Connection, link};
use super::owner::Owner;
use super::redirect::{self, Device, Redirect, Way};
use super::watch::{Notice, Watch, Watched};
use super::{KernelError, NetlinkError};
use nix::errno::Errno;
use parking_lot::Mutex;

/// An interface whose guest's output is dropped. The interface stays cut off when this value is dropped.
#[derive(Debug)]
pub struct CutOff {
    device: Device,
    owner: Owner,
    /// `true`: by a filter; `false`: by setting the interface down.
    is_filtered: bool,
    /// [`heard`](Self::heard) ignores changes made through this connection.
    connection: Mutex<Connection>,
    port: u32,
    heard: Mutex<Heard>,
}

#[derive(Debug)]
struct Heard {
    watch: Watch,
    leak: Option<Breach>,
    /// A queue of this process is about to replace the filter; changes of the filter are no leak meanwhile.
    is_replaced: bool,
}

impl CutOff {
    /// Cuts off the interface `name` in the network namespace of the calling thread. Needs CAP_NET_ADMIN.
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

    /// Restores the cut, in case somebody removed the filter or set the interface up. Waits for the kernel.
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

    /// Announces that a queue of this process is about to replace the filter, which is no leak. Leaks from before are
    /// still reported by [`leak`](Self::leak). [`renew`](Self::renew) ends this.
    pub fn make_way(&self) {
        self.leak();
        self.heard.lock().is_replaced = true;
    }

    /// What may have let a frame out since the interface was cut off, according to the notifications so far. Does not
    /// wait.
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

    /// Whether the interface is cut off by being down, which others may undo.
    pub fn is_down(&self) -> bool {
        !self.is_filtered
    }

    /// Lets output pass again. Waits for the kernel.
    pub fn lift(&self) -> Result<(), KernelError> {
        let mut connection = self.connection.lock();
        redirect::remove(&mut connection, std::slice::from_ref(&self.device), &self.owner)?;
        self.set_up_again(&mut connection)
    }

    /// Forgets the filter, which an attached queue of this process has replaced. Waits for the kernel.
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
