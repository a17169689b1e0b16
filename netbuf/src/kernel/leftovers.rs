//! Finds, describes and removes what a dead engine left in the kernel.
//!
//! A leftover redirect drops every frame, because its tap died with its process. So killing the engine leaks nothing,
//! but it cuts the guest off until a new engine attaches (which replaces leftovers) or [`repair`] removes them.
//!
//! Repairing lets the guest's output pass. That is right only for a guest whose session agrees: one that is no longer
//! protected, or whose protection was given up with the witness's consent.

use super::KernelError;
use super::netlink::{Connection, link, qdisc};
use super::owner::Owner;
use super::redirect::{self, Device};
use std::fmt;
use std::io;

/// A redirect of ours, found in the kernel.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Leftover {
    device: Device,
    /// The device that the redirect leads to; `None` if that device is gone, or if the filter drops everything.
    to: Option<String>,
    owner: Owner,
}

impl Leftover {
    /// The interface that carries the redirect.
    pub fn interface(&self) -> &str {
        &self.device.name
    }

    /// The process that made the redirect.
    pub fn pid(&self) -> u32 {
        self.owner.pid
    }

    /// Whether that process still runs. Then this is no leftover. An error means that this is not known.
    pub fn in_use(&self) -> io::Result<bool> {
        self.owner.runs()
    }
}

impl fmt::Display for Leftover {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, pid) = (&self.device.name, self.owner.pid);
        match &self.to {
            Some(to) => write!(f, "{name}: output is redirected to {to}")?,
            None => write!(f, "{name}: output is dropped: what held it is gone, or nothing could hold it")?,
        }
        match self.in_use() {
            Ok(true) => write!(f, " (by running pid {pid})"),
            Ok(false) => write!(f, " (left by dead pid {pid})"),
            Err(why) => write!(f, " (by pid {pid}; whether that runs cannot be learnt: {why})"),
        }
    }
}

/// All redirects of ours in this network namespace, including those [in use](Leftover::in_use).
pub fn find(connection: &mut Connection) -> Result<Vec<Leftover>, KernelError> {
    let links = connection.ask(link::dump(), link::decode)?;
    let qdiscs = connection.ask(qdisc::dump(), qdisc::decode)?;
    let name_of = |index| links.iter().find(|link| link.index == index).map(|link| link.name.clone());
    let mut found = Vec::new();
    for link in links.iter().filter(|link| qdiscs.iter().any(|it| it.index == link.index && it.has_hooks())) {
        let device = Device { index: link.index, name: link.name.clone() };
        for filter in redirect::ours(connection, &device)? {
            let Some(owner) = redirect::owner_of(&filter) else { continue };
            found.push(Leftover { device: device.clone(), to: filter.target.and_then(name_of), owner });
        }
    }
    Ok(found)
}

/// Removes one leftover and returns what was done, in words for the operator. Refused unless its process is known to be dead.
pub fn repair(connection: &mut Connection, leftover: &Leftover) -> Result<String, KernelError> {
    let Leftover { device, owner, .. } = leftover;
    let runs = owner.runs().map_err(|source| KernelError::OwnerUnknown {
        name: device.name.clone(),
        pid: owner.pid,
        source,
    })?;
    if runs {
        return Err(KernelError::InUse { name: device.name.clone(), pid: owner.pid });
    }
    // The hooks stay: an engine that has just begun may be about to hang its own filter there.
    redirect::remove_filters(connection, device, owner)?;
    Ok(format!("{}: removed the redirect; its output passes unheld", device.name))
}
