//! [`Before`]: what a frame held at a kept epoch, for a frame that has changed since.
//!
//! ```text
//!   the frame's first change after kept epoch 12     ─► Whole, as nothing is known yet of what it will become
//!   the next epoch is kept (17)                      ─► Nothing | Zero | Changes, from its content at 17 | Packed
//! ```
//!
//! Not here: which frames have changed ([`KeptEpochs`](super::KeptEpochs)).

use crate::epoch::buffer::ZERO_PAGE;
use crate::pages::{Runs, apply_runs, is_zero};
use crate::room::{OutOfMemory, reserve_exact};
use crate::{PAGE_SIZE, Page};
use lz4_flex::block::{CompressTable, compress_into_with_table, decompress_into, get_maximum_output_size};

/// A delta that costs more than this is compared with the whole page compressed.
const CHANGES_BYTES_MAX: usize = PAGE_SIZE / 8;

/// Bytes of a [`Before`] and its place in a map, besides what it points to.
const PLACE_BYTES: usize = 64;

/// A frame's former content.
#[derive(Debug)]
pub(super) enum Before {
    /// Its type carried no data.
    Nothing,
    Zero,
    Whole(Box<[Page]>),
    /// Compressed by LZ4.
    Packed(Box<[u8]>),
    /// Runs that turn the frame's content at the next kept epoch into this one.
    Changes(Changes),
}

/// The runs of a page, and their bytes: `runs_bytes` of the one, then the other.
#[derive(Debug)]
pub(super) struct Changes {
    runs_bytes: usize,
    bytes: Box<[u8]>,
}

/// Buffers for [`Before::pack`], kept from page to page.
pub(super) struct Packer {
    runs: Runs,
    ops: Vec<u8>,
    data: Vec<u8>,
    packed: Vec<u8>,
    table: CompressTable,
}

impl std::fmt::Debug for Packer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Packer")
    }
}

impl Default for Packer {
    fn default() -> Self {
        Self {
            runs: Runs::default(),
            ops: Vec::new(),
            data: Vec::new(),
            packed: vec![0; get_maximum_output_size(PAGE_SIZE)],
            table: CompressTable::default(),
        }
    }
}

fn boxed<T: Clone>(from: &[T]) -> Result<Box<[T]>, OutOfMemory> {
    let mut copy = Vec::new();
    reserve_exact(&mut copy, from.len())?;
    copy.extend_from_slice(from);
    Ok(copy.into_boxed_slice())
}

impl Before {
    /// A copy of what a frame holds; `None` if its type carries no data.
    pub(super) fn of(page: Option<&Page>) -> Result<Self, OutOfMemory> {
        Ok(match page {
            None => Self::Nothing,
            Some(page) if is_zero(page) => Self::Zero,
            Some(page) => Self::Whole(boxed(std::slice::from_ref(page))?),
        })
    }

    /// Bytes of memory.
    pub(super) fn bytes(&self) -> usize {
        PLACE_BYTES
            + match self {
                Self::Nothing | Self::Zero => 0,
                Self::Whole(_) => PAGE_SIZE,
                Self::Packed(bytes) => bytes.len(),
                Self::Changes(changes) => changes.bytes.len(),
            }
    }

    /// Makes a whole page smaller, now that its successor is known: the frame's content at the next kept epoch.
    pub(super) fn pack(&mut self, successor: Option<&Page>, with: &mut Packer) -> Result<(), OutOfMemory> {
        let Self::Whole(page) = self else { return Ok(()) };
        let page = &page[0];
        let Packer { runs, ops, data, packed, table } = with;
        if let Some(successor) = successor {
            runs.compare(successor, page);
        }
        let changes_bytes = successor.map_or(usize::MAX, |_| runs.cost_bytes());
        let packed_bytes = match changes_bytes {
            0..=CHANGES_BYTES_MAX => usize::MAX,
            _ => compress_into_with_table(page, packed, table).expect("there is room for the worst case"),
        };
        if changes_bytes <= packed_bytes && changes_bytes < PAGE_SIZE {
            ops.clear();
            data.clear();
            runs.write(page, ops, data);
            let runs_bytes = ops.len();
            ops.append(data);
            *self = Self::Changes(Changes { runs_bytes, bytes: boxed(ops)? });
        } else if packed_bytes < PAGE_SIZE {
            *self = Self::Packed(boxed(&packed[..packed_bytes])?);
        }
        Ok(())
    }

    /// Reads the content into `page`; returns whether there is any. [`Changes`](Self::Changes) are applied to what
    /// `successor` puts there: the frame's content at the next kept epoch.
    pub(super) fn read(&self, page: &mut Page, successor: impl FnOnce(&mut Page) -> bool) -> bool {
        match self {
            Self::Nothing => return false,
            Self::Zero => *page = ZERO_PAGE,
            Self::Whole(whole) => *page = whole[0],
            Self::Packed(packed) => {
                let size = decompress_into(packed, page);
                assert_eq!(size.ok(), Some(PAGE_SIZE), "what was packed here is unpacked here");
            }
            Self::Changes(Changes { runs_bytes, bytes }) => {
                assert!(successor(page), "changes are kept only where the next content is a page");
                let (mut runs, mut data) = bytes.split_at(*runs_bytes);
                apply_runs(&mut runs, &mut data, page).expect("these runs were written here");
            }
        }
        true
    }
}
