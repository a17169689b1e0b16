//! The three kinds of frame number, which look alike and must not be confused.
//!
//! ```text
//!                    HVM, PVH                          PV
//!   Pfn   the guest's own count of its memory: 0, 1, 2 …, the same on every host
//!   Gfn   the number in Xen's calls on the domain:
//!                    the pfn                           the mfn
//!   Mfn   memory of this host; differs after each restore
//!                    the guest never sees it           the guest's page tables hold it
//! ```
//!
//! [`Pfn`] comes with the stream (`understudy_checkpoint`). A [`Gfn`] is made from one of the others, by a function
//! whose name says for which kind of guest that is right.
//!
//! Not here: the frame of a pfn (`domain::frames`, `domain::pv`, `restore::memory`).

use serde::{Deserialize, Serialize};
use std::fmt;
use understudy_checkpoint::{PAGE_SIZE, Pfn};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// A frame of a domain, as Xen's calls on that domain name it (`gfn_t`).
#[repr(transparent)]
#[derive(
    Serialize,
    Deserialize,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Debug,
    FromBytes,
    IntoBytes,
    Immutable,
    KnownLayout,
)]
pub struct Gfn(pub u64);

impl Gfn {
    /// The gfn of an HVM or PVH guest's pfn: the same number.
    pub const fn of_hvm(pfn: Pfn) -> Self {
        Self(pfn.0)
    }

    /// The gfn of a PV guest's machine frame, or of one of Xen's own ([`DomId::XEN`](crate::DomId::XEN)): the same
    /// number.
    pub const fn of_pv(mfn: Mfn) -> Self {
        Self(mfn.0)
    }

    /// The machine frame, if the guest is PV.
    pub const fn pv_mfn(self) -> Mfn {
        Mfn(self.0)
    }
}

impl fmt::LowerHex for Gfn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A machine frame of this host (`mfn_t`).
#[repr(transparent)]
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct Mfn(pub u64);

impl Mfn {
    /// The frame that contains a machine address.
    pub const fn at(address: u64) -> Self {
        Self(address / PAGE_SIZE as u64)
    }

    /// The machine address of its first byte.
    pub const fn address(self) -> u64 {
        self.0 * PAGE_SIZE as u64
    }
}

impl fmt::LowerHex for Mfn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A [`Gfn`] or none, in the eight bytes that arrays for Xen and the kernel use. All ones means no frame
/// (`INVALID_GFN`), and never maps.
#[repr(transparent)]
#[derive(Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct GfnSlot(u64);

impl GfnSlot {
    /// The slot of a pfn without a frame.
    pub const EMPTY: Self = Self(u64::MAX);

    /// The frame; `None` if the slot is empty.
    pub const fn get(self) -> Option<Gfn> {
        if self.0 == Self::EMPTY.0 { None } else { Some(Gfn(self.0)) }
    }

    /// Whether there is a frame.
    pub const fn is_filled(self) -> bool {
        self.0 != Self::EMPTY.0
    }
}

impl From<Gfn> for GfnSlot {
    fn from(gfn: Gfn) -> Self {
        Self(gfn.0)
    }
}

impl From<Option<Gfn>> for GfnSlot {
    fn from(gfn: Option<Gfn>) -> Self {
        gfn.map_or(Self::EMPTY, Self::from)
    }
}

impl fmt::Debug for GfnSlot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.get().fmt(f)
    }
}

impl fmt::LowerHex for GfnSlot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_has_a_gfn_or_all_ones() {
        assert_eq!(GfnSlot::from(Gfn(7)).get(), Some(Gfn(7)));
        assert_eq!(GfnSlot::from(None).get(), None);
        assert_eq!(GfnSlot::from(Gfn(7)).as_bytes(), 7u64.to_ne_bytes());
        assert_eq!(GfnSlot::EMPTY.as_bytes(), [0xFF; 8]);
        assert!(GfnSlot::from(Gfn(0)).is_filled() && !GfnSlot::EMPTY.is_filled());
        assert_eq!(format!("{:#x} {:#x}", Gfn(16), GfnSlot::from(Gfn(17))), "0x10 0x11");
    }

    #[test]
    fn a_machine_address_lies_in_its_frame() {
        assert_eq!((Mfn::at(0x5FFF), Mfn(5).address()), (Mfn(5), 0x5000));
        assert_eq!(Gfn::of_pv(Mfn(5)).pv_mfn(), Mfn(5));
    }
}
