//! Redirects on interfaces: set up, replaced without a gap, removed.
//!
//! ```text
//!   priority 0x5553 or 0x5554:  matcher ─► mirred ─► target        first match wins, and it takes the frame
//!                               or everything dropped
//! ```
//!
//! A redirect is replaced by adding the new one at the free priority and removing the old one then: no frame
//! meets an interface without one. Ours are known by their cookie ([`Owner`]); others' filters are not touched,
//! but one with a smaller priority comes first and may take frames away from us.

use super::KernelError;
use super::netlink::filter::{self, Filter, Hook, Matcher, Target};
use super::netlink::wire::Request;
use super::netlink::{Connection, link, qdisc};
use super::owner::Owner;
use nix::errno::Errno;

/// Priorities of our redirects; the kernel's automatic ones are 0xc000 and above.
const PRIORITIES: [u16; 2] = [0x5553, 0x5554];

/// Prefix of intermediate devices.
const PREFIX: &str = "us-";
/// Longest name of an interface: `IFNAMSIZ` with its NUL is 16.
pub(super) const NAME_BYTES_MAX: usize = 15;

/// An interface by number, which a rename does not change, and by the name it had.
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

    /// The name of the device that holds this one's output.
    pub(super) fn intermediate_name(&self) -> String {
        if PREFIX.len() + self.name.len() <= NAME_BYTES_MAX {
            format!("{PREFIX}{}", self.name)
        } else {
            format!("{PREFIX}{}", self.index)
        }
    }

    /// An error unless the interface is still there.
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

/// The interface `name`, if there is one.
pub(super) fn find_link(connection: &mut Connection, name: &str) -> Result<Option<link::Link>, KernelError> {
    match connection.ask(link::get(name), link::decode) {
        Ok(links) => Ok(links.into_iter().next()),
        Err(error) if error.is(Errno::ENODEV) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// A redirect to set up.
#[derive(Clone, Debug)]
pub(super) struct Redirect {
    pub(super) from: Device,
    pub(super) way: Way,
}

/// What becomes of what arrives.
#[derive(Clone, Copy, Debug)]
pub(super) enum Way {
    /// What matches goes there.
    To(Matcher, Target),
    /// Everything is dropped.
    Nowhere,
}

impl Redirect {
    fn add(&self, priority: u16, owner: &Owner) -> Request {
        match self.way {
            Way::To(matcher, target) => {
                filter::add(self.from.as_pair(), priority, matcher, target, owner.cookie())
            }
            Way::Nowhere => filter::add_drop(self.from.as_pair(), priority, owner.cookie()),
        }
    }
}

/// Sets all redirects up in two batches: hooks, then filters. Redirects of ours that were there before, from
/// whichever process, are replaced. If one is refused, the new ones are removed and the old ones stay: what they
/// held or dropped does not leak because a new process failed.
pub(super) fn install(
    connection: &mut Connection,
    redirects: &[Redirect],
    owner: &Owner,
) -> Result<(), KernelError> {
    let mut added = Vec::new();
    let stale = match add_all(connection, redirects, owner, &mut added) {
        Ok(stale) => stale,
        Err(error) => {
            for Redirect { from, .. } in redirects {
                let is_new = |it: &Filter| added.contains(&(from.index, it.priority));
                remove_if(connection, from, |it| is_new(it) && owner_of(it) == Some(*owner))?;
            }
            return Err(error);
        }
    };
    let mut stale: Vec<_> =
        stale.iter().map(|(from, priority)| filter::delete(from.as_pair(), *priority)).collect();
    Ok(connection.all(&mut stale, |error| error.is(Errno::ENOENT))?)
}

/// Adds all redirects, which `added` names by interface and priority whatever becomes of them. Those that they replace.
fn add_all(
    connection: &mut Connection,
    redirects: &[Redirect],
    owner: &Owner,
    added: &mut Vec<(u32, u16)>,
) -> Result<Vec<(Device, u16)>, KernelError> {
    let mut hooks: Vec<_> =
        redirects.iter().map(|it| qdisc::add_clsact(it.from.index, &it.from.name)).collect();
    connection.all(&mut hooks, |error| error.is(Errno::EEXIST))?;
    let (mut adds, mut stale) = (Vec::new(), Vec::new());
    for redirect in redirects {
        let from = &redirect.from;
        let ours = ours(connection, from)?;
        let is_taken = |priority: &u16| ours.iter().any(|filter| filter.priority == *priority);
        let free = PRIORITIES.iter().find(|priority| !is_taken(priority));
        // Both are taken only if a process died between adding and removing; either is good to go.
        let priority = free.copied().unwrap_or(PRIORITIES[1]);
        if free.is_none() {
            connection.all(&mut [filter::delete(from.as_pair(), priority)], |_| false)?;
        }
        adds.push(redirect.add(priority, owner));
        added.push((from.index, priority));
        let old = ours.iter().filter(|filter| filter.priority != priority);
        stale.extend(old.map(|filter| (from.clone(), filter.priority)));
    }
    connection.all(&mut adds, |_| false)?;
    Ok(stale)
}

/// Removes `owner`'s redirects of `devices`, and the hooks if nothing hangs on them then. An interface that is
/// gone has none.
pub(super) fn remove(
    connection: &mut Connection,
    devices: &[Device],
    owner: &Owner,
) -> Result<(), KernelError> {
    devices.iter().try_for_each(|device| remove_if(connection, device, |it| owner_of(it) == Some(*owner)))
}

fn remove_if(
    connection: &mut Connection,
    device: &Device,
    goes: impl Fn(&Filter) -> bool,
) -> Result<(), KernelError> {
    let arriving = filters(connection, device, Hook::Ingress)?;
    let leaving = filters(connection, device, Hook::Egress)?;
    let (going, staying): (Vec<_>, Vec<_>) = arriving.iter().partition(|filter| goes(filter));
    let mut deletes: Vec<_> =
        going.iter().map(|filter| filter::delete(device.as_pair(), filter.priority)).collect();
    if staying.is_empty() && leaving.is_empty() {
        deletes.push(qdisc::delete_hooks(device.index, &device.name));
    }
    Ok(connection.all(&mut deletes, is_gone)?)
}

/// Our redirects of what arrives at an interface, one for each priority.
pub(super) fn ours(connection: &mut Connection, device: &Device) -> Result<Vec<Filter>, KernelError> {
    let mut filters = filters(connection, device, Hook::Ingress)?;
    filters.retain(|filter| owner_of(filter).is_some());
    Ok(filters)
}

/// Whose redirect it is, if it is one of ours.
pub(super) fn owner_of(filter: &Filter) -> Option<Owner> {
    filter.cookie.as_ref().and_then(Owner::from_cookie)
}

fn filters(connection: &mut Connection, device: &Device, hook: Hook) -> Result<Vec<Filter>, KernelError> {
    let mut filters = match connection.ask(filter::dump(device.as_pair(), hook), filter::decode) {
        Ok(filters) => filters,
        Err(error) if is_gone(&error) => Vec::new(),
        Err(error) => return Err(error.into()),
    };
    // A classifier is listed once for itself and once for each filter in it; u32 adds its tables.
    filters.sort_by_key(|filter| (filter.priority, owner_of(filter).is_none()));
    filters.dedup_by_key(|filter| filter.priority);
    Ok(filters)
}

/// What the kernel says of filters and hooks whose interface or hook is not there: ENODEV, EINVAL for a parent
/// that is no qdisc, ENOENT.
fn is_gone(error: &super::NetlinkError) -> bool {
    [Errno::ENODEV, Errno::ENOENT, Errno::EINVAL].into_iter().any(|errno| error.is(errno))
}
