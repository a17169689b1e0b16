//! Installs, inspects, replaces and removes redirects on interfaces.
//!
//! ```text
//!   priority 1 (2 to 8 while one is replaced):  matcher ─► mirred ─► target    the first match takes the frame
//!                                               or everything dropped
//! ```
//!
//! To replace a redirect, the new one is added at a free [`priority`](super::priority) before the old one is removed,
//! so that no frame finds the interface without one. The new one ends at priority 1, before every filter that anybody
//! adds later. If another program's filter has one of our priorities, installing fails ([`KernelError::NotHeld`]). Our
//! redirects are known by their cookie ([`Owner`]); other filters are not touched. The hook is never removed: another
//! process may have attached a redirect to it since we looked.

use super::KernelError;
use super::breach::Breach;
use super::netlink::filter::{self, Filter, Hook, Matcher, Target};
use super::netlink::wire::Request;
use super::netlink::{Connection, link, qdisc};
use super::owner::Owner;
use super::priority::{PRIORITY, first_free};
use nix::errno::Errno;

/// Prefix of the names of our taps.
const PREFIX: &str = "us-";
/// Longest name of an interface: `IFNAMSIZ` is 16, with the NUL.
pub(super) const NAME_BYTES_MAX: usize = 15;

/// An interface, by its number, which survives a rename, and by the name it had.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Device {
    pub(super) index: u32,
    pub(super) name: String,
}

impl Device {
    pub(super) fn find(connection: &mut Connection, name: &str) -> Result<Self, KernelError> {
        match find_link(connection, name)? {
            Some(link) => Ok(Self { index: link.index, name: link.name }),
            None => Err(KernelError::Gone { name: name.into() }),
        }
    }

    /// The name of the tap that holds this interface's output.
    pub(super) fn intermediate_name(&self) -> String {
        if PREFIX.len() + self.name.len() <= NAME_BYTES_MAX {
            format!("{PREFIX}{}", self.name)
        } else {
            format!("{PREFIX}{}", self.index)
        }
    }

    /// Fails if the interface is gone.
    pub(super) fn check(&self, connection: &mut Connection) -> Result<(), KernelError> {
        match connection.ask(link::get_by_index(self.index, &self.name), link::decode) {
            Ok(_) => Ok(()),
            Err(error) if error.is(Errno::ENODEV) => Err(KernelError::Gone { name: self.name.clone() }),
            Err(error) => Err(error.into()),
        }
    }

    pub(super) fn as_pair(&self) -> (u32, &str) {
        (self.index, &self.name)
    }
}

/// The interface `name`, if it exists.
pub(super) fn find_link(connection: &mut Connection, name: &str) -> Result<Option<link::Link>, KernelError> {
    match connection.ask(link::get(name), link::decode) {
        Ok(links) => Ok(links.into_iter().next()),
        Err(error) if error.is(Errno::ENODEV) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// A redirect to install.
#[derive(Clone, Debug)]
pub(super) struct Redirect {
    pub(super) from: Device,
    pub(super) way: Way,
}

/// What happens to arriving frames.
#[derive(Clone, Copy, Debug)]
pub(super) enum Way {
    /// Matching frames are redirected.
    To(Matcher, Target),
    /// All frames are dropped.
    Drop,
}

impl Redirect {
    /// What is wrong with the redirect. It must be as it was installed, alone at its priority, and first in line.
    pub(super) fn inspect(
        &self,
        connection: &mut Connection,
        owner: &Owner,
    ) -> Result<Option<Breach>, KernelError> {
        let mut there = listed(connection, &self.from, Hook::Ingress)?;
        // Frames come to other chains only from filters of this one, and u32 lists its tables, too.
        there.retain(|it| it.chain == 0 && it.handle != 0 && !it.is_table());
        let Some(priority) = there.iter().map(|it| it.priority).min() else {
            return Ok(Some(Breach::Removed));
        };
        let wanted = Filter::added_by(&mut self.add(priority, owner));
        let (first, later): (Vec<_>, Vec<_>) = there.iter().partition(|it| it.priority == priority);
        let is_ours = |it: &&Filter| it.is_as(&wanted);
        Ok(match &first[..] {
            [it] if is_ours(it) => None,
            _ if first.iter().any(is_ours) || later.iter().any(|it| owner_of(it) == Some(*owner)) => {
                Some(Breach::InFront { priority })
            }
            _ => Some(Breach::Removed),
        })
    }

    fn add(&self, priority: u16, owner: &Owner) -> Request {
        match self.way {
            Way::To(matcher, target) => {
                filter::add(self.from.as_pair(), priority, matcher, target, owner.cookie())
            }
            Way::Drop => filter::add_drop(self.from.as_pair(), priority, owner.cookie()),
        }
    }
}

/// Installs all redirects: hooks first, then filters, each in one batch. Replaces redirects that any process of ours
/// left. If one is refused, the new ones are removed and the old ones stay, so that a process that fails to start leaks
/// nothing.
pub(super) fn install(
    connection: &mut Connection,
    redirects: &[Redirect],
    owner: &Owner,
) -> Result<(), KernelError> {
    let added = put_before_others(connection, redirects, owner)?;
    let displaced = redirects.iter().zip(added).filter(|(_, priority)| *priority != PRIORITY);
    let displaced: Vec<_> = displaced.map(|(redirect, _)| redirect.clone()).collect();
    // To where later ones cannot come before it. If that fails it holds from where it is.
    if !displaced.is_empty() {
        let _ = put_before_others(connection, &displaced, owner);
    }
    Ok(())
}

/// Adds the redirects, removes those that they replace, and returns the priority of each.
fn put_before_others(
    connection: &mut Connection,
    redirects: &[Redirect],
    owner: &Owner,
) -> Result<Vec<u16>, KernelError> {
    let mut added = Vec::new();
    let stale = match add_all(connection, redirects, owner, &mut added) {
        Ok(stale) => stale,
        Err(error) => {
            for (redirect, priority) in redirects.iter().zip(added) {
                let is_new = |it: &Filter| it.priority == priority && owner_of(it) == Some(*owner);
                remove_if(connection, &redirect.from, is_new)?;
            }
            return Err(error);
        }
    };
    let mut stale: Vec<_> =
        stale.iter().map(|(from, priority)| filter::delete(from.as_pair(), *priority)).collect();
    connection.all(&mut stale, |error| error.is(Errno::ENOENT))?;
    Ok(added)
}

/// Adds all redirects, and returns those that they replace. `added` gets their priorities even if adding fails.
fn add_all(
    connection: &mut Connection,
    redirects: &[Redirect],
    owner: &Owner,
    added: &mut Vec<u16>,
) -> Result<Vec<(Device, u16)>, KernelError> {
    let mut hooks: Vec<_> =
        redirects.iter().map(|it| qdisc::add_clsact(it.from.index, &it.from.name)).collect();
    connection.all(&mut hooks, |error| error.is(Errno::EEXIST))?;
    let (mut adds, mut stale, mut priorities) = (Vec::new(), Vec::new(), Vec::new());
    for redirect in redirects {
        let from = &redirect.from;
        let there = filters(connection, from, Hook::Ingress)?;
        let priority = first_free(&there, |filter| owner_of(filter).is_some()).map_err(|priority| {
            KernelError::NotHeld { name: from.name.clone(), breach: Breach::InFront { priority } }
        })?;
        adds.push(redirect.add(priority, owner));
        priorities.push(priority);
        let ours = there.iter().filter(|filter| owner_of(filter).is_some());
        stale.extend(ours.map(|filter| (from.clone(), filter.priority)));
    }
    // From here on they may be there.
    added.extend(priorities);
    connection.all(&mut adds, |_| false)?;
    Ok(stale)
}

/// Removes `owner`'s redirects from `devices` but leaves the hooks. An interface that is gone has none.
pub(super) fn remove(
    connection: &mut Connection,
    devices: &[Device],
    owner: &Owner,
) -> Result<(), KernelError> {
    devices.iter().try_for_each(|device| remove_if(connection, device, |it| owner_of(it) == Some(*owner)))
}

/// Removes `owner`'s redirects from one device but leaves the hooks.
pub(super) fn remove_filters(
    connection: &mut Connection,
    device: &Device,
    owner: &Owner,
) -> Result<(), KernelError> {
    let mut arriving = filters(connection, device, Hook::Ingress)?;
    arriving.retain(|filter| owner_of(filter) == Some(*owner));
    let delete = |filter: &Filter| filter::delete(device.as_pair(), filter.priority);
    let mut deletes: Vec<_> = arriving.iter().map(delete).collect();
    Ok(connection.all(&mut deletes, is_gone)?)
}

fn remove_if(
    connection: &mut Connection,
    device: &Device,
    goes: impl Fn(&Filter) -> bool,
) -> Result<(), KernelError> {
    let there = filters(connection, device, Hook::Ingress)?;
    let going = there.iter().filter(|filter| goes(filter));
    let mut deletes: Vec<_> = going.map(|filter| filter::delete(device.as_pair(), filter.priority)).collect();
    Ok(connection.all(&mut deletes, is_gone)?)
}

/// Our redirects of the frames that arrive at an interface, one for each priority.
pub(super) fn ours(connection: &mut Connection, device: &Device) -> Result<Vec<Filter>, KernelError> {
    let mut filters = filters(connection, device, Hook::Ingress)?;
    filters.retain(|filter| owner_of(filter).is_some());
    Ok(filters)
}

/// The owner of a redirect, if it is one of ours.
pub(super) fn owner_of(filter: &Filter) -> Option<Owner> {
    filter.cookie.as_ref().and_then(Owner::from_cookie)
}

fn filters(connection: &mut Connection, device: &Device, hook: Hook) -> Result<Vec<Filter>, KernelError> {
    let mut filters = listed(connection, device, hook)?;
    filters.retain(|filter| filter.chain == 0);
    // A classifier is listed once for itself and once for each filter in it; u32 adds its tables.
    filters.sort_by_key(|filter| (filter.priority, owner_of(filter).is_none()));
    filters.dedup_by_key(|filter| filter.priority);
    Ok(filters)
}

/// The filters of a hook, as the kernel lists them; none if the interface or the hook is gone.
pub(super) fn listed(
    connection: &mut Connection,
    device: &Device,
    hook: Hook,
) -> Result<Vec<Filter>, KernelError> {
    match connection.ask(filter::dump(device.as_pair(), hook), filter::decode) {
        Ok(filters) => Ok(filters),
        Err(error) if is_gone(&error) => Ok(Vec::new()),
        Err(error) => Err(error.into()),
    }
}

/// Whether the error means that the interface or the hook does not exist: ENODEV, ENOENT, or EINVAL for a parent that
/// is not a qdisc.
fn is_gone(error: &super::NetlinkError) -> bool {
    [Errno::ENODEV, Errno::ENOENT, Errno::EINVAL].into_iter().any(|errno| error.is(errno))
}
