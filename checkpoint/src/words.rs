//! The project's terms as types: a newtype for each number that must not be confused with another.

use std::fmt;

/// Bytes in a page frame (`page_shift` 12 is the only one Xen's x86 streams carry).
pub const PAGE_SIZE: usize = 4096;

/// The content of one page frame.
pub type Page = [u8; PAGE_SIZE];

/// A guest's page frame number (PV: pseudo-physical; HVM and PVH: guest physical, Xen calls it gfn).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Pfn(pub u64);

/// The stretch of guest execution between two checkpoints, numbered from 0. Checkpoint `n` is the state at the
/// end of epoch `n`. A number is used once in a generation; the numbers of the next generation follow the epoch
/// that was taken over.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Epoch(pub u64);

impl Epoch {
    /// The epoch that follows.
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// Increases at every change of authority over a guest: the fencing token.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Generation(pub u64);

impl Generation {
    /// The generation after the next change of authority.
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// The content of an epoch, and how it is applied.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum EpochKind {
    /// Every page of the guest: a full sync. It is applied as it arrives, because there is no image to keep; allowed
    /// only while the witness holds the copy *stale*.
    Seed,
    /// The changes since the previous epoch (or since `base` after a link flap). Buffered, then committed as a whole.
    Delta,
}

macro_rules! display_as_number {
    ($($word:ty),*) => {$(
        impl fmt::Display for $word {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    )*};
}
display_as_number!(Pfn, Epoch, Generation);

/// The type of a page frame, as in the four type bits of a PAGE_DATA entry (Xen: `XEN_DOMCTL_PFINFO_*`, libxc stream
/// specification, PAGE_DATA).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum PageType {
    /// Plain memory.
    #[default]
    Normal,
    /// A PV page table of level 1..=4; its frame numbers are pfns on the wire.
    Table {
        /// 1..=4
        level: u8,
        /// Pinned by the guest.
        pinned: bool,
    },
    /// Marked broken by the hypervisor; no data.
    Broken,
    /// Allocate only; no data (written by converters of legacy streams).
    AllocateOnly,
    /// No page here; no data.
    Absent,
}

impl fmt::Display for PageType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Normal => f.write_str("a plain page"),
            Self::Table { level, pinned: false } => write!(f, "a page table of level {level}"),
            Self::Table { level, pinned: true } => write!(f, "a pinned page table of level {level}"),
            Self::Broken => f.write_str("broken"),
            Self::AllocateOnly => f.write_str("allocated without content"),
            Self::Absent => f.write_str("absent"),
        }
    }
}

impl PageType {
    /// The type for a nibble (bits 63..60 of an entry); `None` for the reserved 5..=8.
    pub fn from_nibble(nibble: u8) -> Option<Self> {
        Some(match nibble {
            0 => Self::Normal,
            1..=4 => Self::Table { level: nibble, pinned: false },
            9..=0xC => Self::Table { level: nibble - 8, pinned: true },
            0xD => Self::Broken,
            0xE => Self::AllocateOnly,
            0xF => Self::Absent,
            _ => return None,
        })
    }

    /// The nibble for this type.
    pub fn nibble(self) -> u8 {
        match self {
            Self::Normal => 0,
            Self::Table { level, pinned } => level + if pinned { 8 } else { 0 },
            Self::Broken => 0xD,
            Self::AllocateOnly => 0xE,
            Self::Absent => 0xF,
        }
    }

    /// Whether a page of data follows an entry of this type.
    pub fn has_data(self) -> bool {
        matches!(self, Self::Normal | Self::Table { .. })
    }
}

/// A pfn with its type, as in a PAGE_DATA entry: bits 63..60 type, 59..52 zero, 51..0 pfn.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct PageEntry(u64);

impl PageEntry {
    const PFN_MASK: u64 = 0x000F_FFFF_FFFF_FFFF;

    /// An entry. Bits of `pfn` above 51 cannot be represented; callers limit pfns long before that.
    pub fn new(pfn: Pfn, page_type: PageType) -> Self {
        debug_assert_eq!(pfn.0 & !Self::PFN_MASK, 0, "a pfn has 52 bits");
        Self((pfn.0 & Self::PFN_MASK) | (u64::from(page_type.nibble()) << 60))
    }

    /// Decodes an entry; `None` if the type is reserved or a reserved bit is set.
    pub fn from_wire(word: u64) -> Option<Self> {
        let reserved = word & !Self::PFN_MASK & !(0xF << 60);
        PageType::from_nibble((word >> 60) as u8)?;
        (reserved == 0).then_some(Self(word))
    }

    /// The encoded entry.
    pub fn to_wire(self) -> u64 {
        self.0
    }

    /// The frame.
    pub fn pfn(self) -> Pfn {
        Pfn(self.0 & Self::PFN_MASK)
    }

    /// The type of the frame.
    pub fn page_type(self) -> PageType {
        PageType::from_nibble((self.0 >> 60) as u8).expect("both constructors admit only known types")
    }
}

impl fmt::Debug for PageEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}:{:?}", self.pfn().0, self.page_type())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_nibble_either_round_trips_or_is_refused() {
        for nibble in 0..=15u8 {
            match PageType::from_nibble(nibble) {
                Some(page_type) => assert_eq!(page_type.nibble(), nibble),
                None => assert!((5..=8).contains(&nibble)),
            }
        }
    }

    #[test]
    fn an_entry_with_reserved_bits_is_refused() {
        assert!(PageEntry::from_wire(1 << 52).is_none());
        assert!(PageEntry::from_wire(5 << 60).is_none());
        let entry = PageEntry::from_wire(0x9000_0000_0000_0007).unwrap();
        assert_eq!((entry.pfn(), entry.page_type()), (Pfn(7), PageType::Table { level: 1, pinned: true }));
        assert_eq!(PageEntry::new(entry.pfn(), entry.page_type()), entry);
    }
}
