//! What a dead engine left in the kernel: found, described, removed.
//!
//! Leftovers hold: a redirect whose tap died with its process drops every frame, and an ifb whose plug nobody
//! releases gathers until it is full. So a guest's output does not leak when its engine is killed, but it stays
//! cut off until a new engine attaches (which replaces leftovers by itself) or [`repair`] removes them.
//!
//! Repairing lets the guest's output pass again. That is right only for a guest whose session says so: one
//! that is not protected any more, or whose protection was given up with the witness's word.

use super::KernelError;
use super::netlink::{Connection, link, qdisc};
use super::owner::Owner;
use super::redirect::{self, Device};
use std::fmt;

/// What kind of thing was left.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Kind {
    /// A redirect of a guest's interface, to the device of this name; `None` if that is gone, or if everything is
    /// dropped because it could not be held.
    Redirect(Option<String>),
    /// A device that holds output, with the frames in it now.
    Intermediate {
        /// Frames that it holds.
        held_frames: u32,
    },
}

/// One thing of ours found in the kernel.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Leftover {
    device: Device,
    kind: Kind,
    owner: Owner,
}

impl Leftover {
    /// The interface it is, or is on.
    pub fn interface(&self) -> &str {
        &self.device.name
    }

    /// What it is.
    pub fn kind(&self) -> &Kind {
        &self.kind
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
        match &self.kind {
            Kind::Redirect(Some(to)) => write!(f, "{name}: output is redirected to {to}")?,
            Kind::Redirect(None) => {
                write!(f, "{name}: output is dropped: what held it is gone, or nothing could hold it")?
            }
            Kind::Intermediate { held_frames } => write!(f, "{name}: holds {held_frames} frames")?,
        }
        write!(f, " ({} pid {pid})", if self.in_use() { "by running" } else { "left by dead" })
    }
}

/// Everything of ours in this network namespace, redirects first. What is [in use](Leftover::in_use) is listed
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
            let kind = Kind::Redirect(filter.target.and_then(name_of));
            found.push(Leftover { device: device.clone(), kind, owner });
        }
    }
    for link in &links {
        let Some(owner) = Owner::from_alias(&link.alias) else { continue };
        let root = qdiscs.iter().find(|qdisc| qdisc.index == link.index && qdisc.is_root());
        let kind = Kind::Intermediate { held_frames: root.map_or(0, |qdisc| qdisc.held_frames) };
        let device = Device { index: link.index, name: link.name.clone() };
        found.push(Leftover { device, kind, owner });
    }
    Ok(found)
}

/// Removes one leftover and says what was done. Refused while its process runs.
///
/// Frames held in an intermediate device are thrown away, never let out: nobody knows whether their epoch was
/// acknowledged. TCP sends them again.
pub fn repair(connection: &mut Connection, leftover: &Leftover) -> Result<String, KernelError> {
    let Leftover { device, kind, owner } = leftover;
    if owner.runs() {
        return Err(KernelError::InUse { name: device.name.clone(), pid: owner.pid });
    }
    match kind {
        Kind::Redirect(_) => {
            // The hooks stay: an engine that has just begun may be about to hang its own filter there.
            redirect::remove_filters(connection, device, owner)?;
            Ok(format!("{}: removed the redirect; its output passes unheld", device.name))
        }
        Kind::Intermediate { held_frames } => {
            let request = link::delete(device.index, &device.name);
            connection.all(&mut [request], |error| error.is(nix::errno::Errno::ENODEV))?;
            Ok(format!("{}: removed, with {held_frames} frames that were held", device.name))
        }
    }
}
