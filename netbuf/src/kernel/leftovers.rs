//! What a dead engine left in the kernel: found, described, removed.
//!
//! Leftovers hold: a redirect whose tap died with its process drops every frame. So a guest's output does not leak when
//! its engine is killed, but it stays cut off until a new engine attaches (which replaces leftovers by itself) or [`repair`] removes them.
//!
//! Repairing lets the guest's output pass again. That is right only for a guest whose session says so: one
//! that is not protected any more, or whose protection was given up with the witness's word.

use super::KernelError;
use super::netlink::{Connection, link, qdisc};
use super::owner::Owner;
use super::redirect::{self, Device};
use std::fmt;

/// A redirect of ours found in the kernel.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Leftover {
    device: Device,
    /// The device that it leads to; `None` if that is gone, or if everything is dropped because it could not be held.
    to: Option<String>,
    owner: Owner,
}

impl Leftover {
    /// The interface that it is on.
    pub fn interface(&self) -> &str {
        &self.device.name
    }

    /// The process that made it.
    pub fn pid(&self) -> u32 {
        self.owner.pid
    }

    /// Whether that process still runs; then it is no leftover but in use.
    pub fn in_use(&self) -> bool {
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
        write!(f, " ({} pid {pid})", if self.in_use() { "by running" } else { "left by dead" })
    }
}

/// All redirects of ours in this network namespace. What is [in use](Leftover::in_use) is listed
/// too.
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

/// Removes one leftover and says what was done. Refused while its process runs.
pub fn repair(connection: &mut Connection, leftover: &Leftover) -> Result<String, KernelError> {
    let Leftover { device, owner, .. } = leftover;
    if owner.runs() {
        return Err(KernelError::InUse { name: device.name.clone(), pid: owner.pid });
    }
    // The hooks stay: an engine that has just begun may be about to hang its own filter there.
    redirect::remove_filters(connection, device, owner)?;
    Ok(format!("{}: removed the redirect; its output passes unheld", device.name))
}
