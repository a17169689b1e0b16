//! Why a domain did not become a guest.

use super::{BadContext, GrantInUse, Unlike};
use crate::xenstore::StoreError;
use crate::{DomId, XenError};
use std::io;
use understudy_checkpoint::OutOfMemory;

/// Why a domain did not become a guest.
#[derive(thiserror::Error, Debug)]
#[non_exhaustive]
pub enum TwinError {
    /// There is no such domain.
    #[error("there is no domain {domain} (any more)")]
    Absent {
        /// The number.
        domain: DomId,
    },
    /// A PV domain.
    #[error("domain {domain} is a PV guest; only PVH guests have twins")]
    Kind {
        /// The domain.
        domain: DomId,
    },
    /// Grant table entries of another layout.
    #[error("domain {domain} uses grant tables of version {version}, and only version 1 can be copied")]
    GrantVersion {
        /// The domain.
        domain: DomId,
        /// The layout.
        version: u32,
    },
    /// More event channels than are looked through.
    #[error(
        "domain {domain} uses event channel port {port}; whether events are queued is known of the first 256 only"
    )]
    ManyPorts {
        /// The domain.
        domain: DomId,
        /// Its highest port.
        port: u32,
    },
    /// A device other than a network card.
    #[error("domain {domain} has a device of the kind {kind}; a twin may have network cards only")]
    Device {
        /// The domain.
        domain: DomId,
        /// As libxl calls it.
        kind: String,
    },
    /// A card that dom0's netback does not serve alone.
    #[error("card {device} of domain {domain} is emulated, or served by another domain than 0")]
    CardElsewhere {
        /// The domain.
        domain: DomId,
        /// The card's number.
        device: u32,
    },
    /// A card whose frontend is not connected.
    #[error("card {device} of domain {domain} is not connected (yet), so its rings cannot be taken over")]
    CardNotConnected {
        /// The domain.
        domain: DomId,
        /// The card's number.
        device: u32,
    },
    /// Other cards, or cards with other queues.
    #[error("the cards of domain {domain}, or their queues, are not those of the guest")]
    Cards {
        /// The domain that was to be overwritten.
        domain: DomId,
    },
    /// It is not the twin of this guest.
    #[error("domain {domain} is no twin of the guest: {why}")]
    Unlike {
        /// The domain.
        domain: DomId,
        /// What differs.
        #[source]
        why: Unlike,
    },
    /// It has given or taken memory since its layout was looked at.
    #[error("domain {domain} has {now} pages, and had {before} when it was looked where; it balloons")]
    Ballooned {
        /// The domain.
        domain: DomId,
        /// Pages then.
        before: u64,
        /// Pages now.
        now: u64,
    },
    /// The guest must be suspended, by its own doing.
    #[error("domain {domain} is not suspended")]
    NotSuspended {
        /// The domain.
        domain: DomId,
    },
    /// The twin did not stop.
    #[error("domain {domain} does not stop, though Xen was told to shut it down")]
    DoesNotStop {
        /// The domain.
        domain: DomId,
    },
    /// Events are queued in the image, and Xen's part of the queue is elsewhere.
    #[error(
        "the guest was suspended while an event of port {port} was queued; another copy of it may be without"
    )]
    Queued {
        /// The port.
        port: u32,
    },
    /// A backend uses a grant that the guest has for something else.
    #[error("domain {domain} cannot be overwritten: {why}")]
    Grant {
        /// The domain.
        domain: DomId,
        /// The grant that is in use.
        #[source]
        why: GrantInUse,
    },
    /// The context is not whole.
    #[error("the guest's state is damaged: {0}")]
    Context(#[from] BadContext),
    /// A page of the twin cannot be mapped.
    #[error("frame {frame:#x} of domain {domain} cannot be mapped, though it was there a moment ago")]
    NoFrame {
        /// The domain.
        domain: DomId,
        /// The frame.
        frame: u64,
    },
    /// The copy of the guest lacks a page.
    #[error("the guest's copy has no page {pfn:#x}, and domain {domain} has one")]
    NoPage {
        /// The domain.
        domain: DomId,
        /// The page.
        pfn: u64,
    },
    /// The kernel did not detach or attach a card.
    #[error(
        "netback does not {word} card {device} of domain {domain}: {source}. Is xen-netback loaded, and the card its?"
    )]
    Netback {
        /// The domain.
        domain: DomId,
        /// The card's number.
        device: u32,
        /// `bind` or `unbind`.
        word: &'static str,
        /// The kernel's answer.
        source: io::Error,
    },
    /// No interface appeared.
    #[error("netback has made no interface {name} for domain {domain}")]
    NoInterface {
        /// The domain.
        domain: DomId,
        /// The interface.
        name: String,
    },
    /// The interface is not in its bridge.
    #[error(
        "interface {name} of domain {domain} cannot be plugged into {bridge}: {why}. Does the bridge exist?"
    )]
    Bridge {
        /// The domain.
        domain: DomId,
        /// The interface.
        name: String,
        /// The bridge.
        bridge: String,
        /// Why, in the words of `ip`.
        why: String,
    },
    /// There is no memory for the copy.
    #[error(transparent)]
    Room(#[from] OutOfMemory),
    /// Xen failed.
    #[error(transparent)]
    Xen(#[from] XenError),
    /// Xenstore failed.
    #[error(transparent)]
    Xenstore(#[from] StoreError),
}
