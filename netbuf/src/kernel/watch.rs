//! Judges notifications: which of them mean that an interface's output is not held, or may not be held.
//!
//! ```text
//!   vif:     XDP ─► tcx ─► [ priority 1: redirect ] ─► others' filters ─► bridge
//!   holder:  filters of transmitted frames ─► tap             filters of received frames: the way back
//! ```
//!
//! A change that lets frames by is a breach even if it is undone at once, because some may have left. Other changes
//! have to be examined ([`Breach::Doubted`]).
//!
//! Not here: examining ([`Redirect::inspect`](super::redirect::Redirect::inspect)) and repairing.

use super::breach::{Breach, ProgramKind};
use super::netlink::events::{Event, Events, SHARED_BLOCK};
use super::netlink::filter::{Filter, Hook};
use super::netlink::link::Link;
use super::netlink::{NetlinkError, qdisc};
use super::priority::{PRIORITY, PRIORITY_MAX};
use super::redirect::{self, Device};
use std::os::fd::{AsFd, BorrowedFd};

/// The devices to watch for one interface.
#[derive(Clone, Debug)]
pub(super) struct Watched {
    pub(super) vif: Device,
    /// `None`: the interface drops what it receives.
    pub(super) holder: Option<Holder>,
}

/// The device that holds output.
#[derive(Clone, Debug)]
pub(super) struct Holder {
    pub(super) device: Device,
    /// The MTU that it must keep; `None`: any.
    pub(super) mtu_bytes: Option<u32>,
}

/// What a notification means for an interface.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Notice {
    /// Something may be wrong.
    Breach(Breach),
    /// The interface does not exist any more.
    Gone,
}

/// A subscription to changes, from the moment it was opened.
#[derive(Debug)]
pub(super) struct Watch(Events);

impl Watch {
    /// Subscribes in the network namespace of the calling thread.
    pub(super) fn open() -> Result<Self, NetlinkError> {
        Events::open().map(Self)
    }

    /// Passes what happened to `watched` since the last call to `each`, with the index of the interface. Does not wait.
    /// Changes made through the connection with the port `own` are left out.
    pub(super) fn look(&mut self, own: u32, watched: &[Watched], mut each: impl FnMut(usize, Notice)) {
        self.0.drain(own, |event| {
            for (place, it) in watched.iter().enumerate() {
                it.judge(&event).into_iter().for_each(|notice| each(place, notice));
            }
        });
    }

    /// Discards the notifications so far.
    pub(super) fn forget(&mut self, own: u32) {
        self.0.drain(own, drop);
    }
}

impl AsFd for Watch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Watched {
    /// What `event` means for this interface.
    fn judge(&self, event: &Event) -> Option<Notice> {
        let of_vif = |index: u32| index == self.vif.index;
        let of_holder = |index: u32| self.holder.as_ref().is_some_and(|it| it.device.index == index);
        let breach = match event {
            Event::Link(link) if of_vif(link.index) && link.has_xdp => Breach::Program(ProgramKind::Xdp),
            // One that was moved away is back, or this one stands for another of its name.
            Event::Link(link) if link.name == self.vif.name && !of_vif(link.index) => Breach::Doubted,
            Event::Link(link) if of_vif(link.index) && self.holder.is_none() && link.up => Breach::Doubted,
            Event::Link(link) if of_holder(link.index) && self.is_holder_changed(link) => Breach::Doubted,
            Event::LinkGone(link) if of_vif(link.index) && link.has_moved => Breach::Moved,
            Event::LinkGone(link) if of_vif(link.index) => return Some(Notice::Gone),
            Event::LinkGone(link) if of_holder(link.index) => Breach::Doubted,
            Event::Qdisc(qdisc) if of_vif(qdisc.index) && qdisc.parent == qdisc::CLSACT_PARENT => {
                Breach::Removed
            }
            Event::Qdisc(qdisc) if of_holder(qdisc.index) => Breach::Doubted,
            Event::Filter { index, parent, filter } if of_vif(*index) => {
                return of_vifs_filter(*parent, filter).map(Notice::Breach);
            }
            Event::Filter { index, parent, .. } if of_holder(*index) => match *parent {
                parent if parent == Hook::Ingress.parent() => Breach::Doubted,
                // Of transmitted frames: at the hook, or at a qdisc or class of the queue.
                _ => Breach::Diverted,
            },
            Event::Filter { index: SHARED_BLOCK, .. } | Event::Action => Breach::Doubted,
            Event::Lost => Breach::Unknown,
            Event::Link(_) | Event::LinkGone(_) | Event::Qdisc(_) | Event::Filter { .. } => return None,
        };
        Some(Notice::Breach(breach))
    }

    /// Whether the device differs from what was set up. Notifications without a change, such as of its carrier, do not
    /// count.
    fn is_holder_changed(&self, link: &Link) -> bool {
        let mtu_bytes = self.holder.as_ref().and_then(|holder| holder.mtu_bytes);
        !link.up || link.has_xdp || mtu_bytes.is_some_and(|mtu_bytes| mtu_bytes != link.mtu_bytes)
    }
}

/// What the addition, change or removal of a filter of the interface means.
fn of_vifs_filter(parent: u32, filter: &Filter) -> Option<Breach> {
    if parent == Hook::Egress.parent() || filter.chain != 0 {
        return None;
    }
    match filter.priority {
        _ if redirect::owner_of(filter).is_some() => Some(Breach::Removed),
        // All of a priority at once are told without what they were.
        priority if priority <= PRIORITY && filter.handle == 0 => Some(Breach::Removed),
        // Ours stands there: what has the same one is another filter of the same classifier.
        priority if priority <= PRIORITY => Some(Breach::InFront { priority }),
        priority if priority <= PRIORITY_MAX => Some(Breach::Doubted),
        // Behind ours.
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::netlink::qdisc::Qdisc;
    use super::super::owner::Owner;
    use super::*;

    const EGRESS: u32 = 0xffff_fff3;
    const INGRESS: u32 = 0xffff_fff2;

    fn device(index: u32, name: &str) -> Device {
        Device { index, name: name.into() }
    }

    fn judged(event: &Event) -> Option<Notice> {
        let holder = Some(Holder { device: device(6, "us-vif1.0"), mtu_bytes: Some(9000) });
        Watched { vif: device(5, "vif1.0"), holder }.judge(event)
    }

    fn filter(index: u32, parent: u32, filter: Filter) -> Event {
        Event::Filter { index, parent, filter }
    }

    fn at(priority: u16) -> Filter {
        Filter { priority, handle: 1, ..Filter::default() }
    }

    #[test]
    fn what_lets_frames_by_is_a_breach() {
        let ours = Filter { cookie: Some(Owner::this_process().unwrap().cookie()), ..at(1) };
        let hooks = Qdisc { index: 5, parent: 0xffff_fff1, ..Qdisc::default() };
        let xdp = Link { index: 5, has_xdp: true, ..Link::default() };
        let moved = Link { index: 5, has_moved: true, ..Link::default() };
        for (event, breach) in [
            (filter(5, INGRESS, ours), Breach::Removed),
            (filter(5, INGRESS, at(1)), Breach::InFront { priority: 1 }),
            (Event::Qdisc(hooks), Breach::Removed),
            (Event::Link(xdp), Breach::Program(ProgramKind::Xdp)),
            (Event::LinkGone(moved), Breach::Moved),
            (filter(6, EGRESS, at(7)), Breach::Diverted),
            (filter(6, 0x0001_0000, at(7)), Breach::Diverted),
            (filter(6, 0x0001_0002, at(7)), Breach::Diverted),
            (Event::Lost, Breach::Unknown),
        ] {
            assert_eq!(judged(&event), Some(Notice::Breach(breach)));
            assert!(breach.leaks());
        }
    }

    #[test]
    fn what_may_is_doubted_and_an_unplugged_card_is_gone() {
        let down = Link { index: 6, ..Link::default() };
        let namesake = Link { index: 9, name: "vif1.0".into(), ..Link::default() };
        let doubted = [
            Event::Link(down.clone()),
            Event::LinkGone(down),
            Event::Link(namesake),
            Event::Action,
            filter(SHARED_BLOCK, 3, at(1)),
            filter(5, INGRESS, at(2)),
            filter(6, INGRESS, at(1)),
        ];
        for event in doubted {
            assert_eq!(judged(&event), Some(Notice::Breach(Breach::Doubted)), "{event:?}");
        }
        let unplugged = Link { index: 5, ..Link::default() };
        assert_eq!(judged(&Event::LinkGone(unplugged)), Some(Notice::Gone));
    }

    #[test]
    fn changes_that_do_not_affect_the_hold_are_ignored() {
        let up = Link { index: 5, up: true, name: "vif1.0".into(), ..Link::default() };
        let shaped = Qdisc { index: 5, parent: 0xffff_ffff, ..Qdisc::default() };
        let carrier = Link { index: 6, up: true, mtu_bytes: 9000, ..Link::default() };
        let harmless = [
            Event::Link(up),
            Event::Link(carrier),
            Event::Qdisc(shaped),
            filter(5, INGRESS, at(9)),
            filter(5, EGRESS, at(1)),
            filter(5, INGRESS, Filter { chain: 3, ..at(1) }),
            filter(77, INGRESS, at(1)),
            Event::LinkGone(Link { index: 77, ..Link::default() }),
        ];
        for event in harmless {
            assert_eq!(judged(&event), None, "{event:?}");
        }
    }
}
