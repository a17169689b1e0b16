//! A batch of encoded pages, which is the content of one link frame. It can be decoded without any other batch, except
//! for the base pages that its deltas change.
//!
//! ```text
//!   batch    form u8 | raw_length varint | body (form 0: verbatim, form 1: one LZ4 block; 2 and 3: see `check`)
//!
//!   body     ops_length varint | runs_length varint | ops … | runs … | data …
//!
//!   op       one for each stretch of consecutive pfns of one encoding and type:
//!            head u8 | [nibble u8] | gap varint | [more varint]
//!              │ bits 0..1 kind: 0 zero, 1 whole, 2 delta, 3 no data
//!              │ bit  2    typed: a type nibble follows (else plain memory; for kind 3: absent)
//!              └ bits 3..7 pages − 1; 31: `more` follows, pages = 32 + more
//!            gap = first pfn − (last pfn of the op before + 1); ops ascend within a batch
//!
//!   runs     for each delta page: see `delta`
//!   data     for each whole page its 4096 bytes, for each delta page the bytes of its runs
//! ```
//!
//! Numbers come first and page bytes last, so that LZ4 finds similar bytes together. A whole batch is compressed at
//! once, because pages of one epoch resemble each other and a single page is too short to compress well.

use super::varint::{self, take_varint};
use crate::{PageType, Pfn};

/// Most raw bytes of a body, which a decoder has to hold. A body that is not yet full takes one page more, with an op
/// of at most 23 bytes and runs of less than half a page.
pub(super) const BODY_BYTES_MAX: usize = BODY_BYTES_FULL + 2 * crate::PAGE_SIZE;

/// A body with this many raw bytes is closed. Twice LZ4's window; a longer body gains nothing.
pub(super) const BODY_BYTES_FULL: usize = 128 * 1024;

/// Most bytes of a batch: a body that does not compress, with its head.
pub const BATCH_BYTES_MAX: usize = BODY_BYTES_MAX + 16;

pub(super) const FORM_STORED: u8 = 0;
pub(super) const FORM_LZ4: u8 = 1;

/// How the pages of an op are encoded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    /// All bytes zero.
    Zero,
    /// The page itself.
    Whole,
    /// Changes to the receiver's page.
    Delta,
    /// The type carries no data.
    NoData,
}

impl Kind {
    fn from_bits(bits: u8) -> Self {
        match bits & 3 {
            0 => Self::Zero,
            1 => Self::Whole,
            2 => Self::Delta,
            _ => Self::NoData,
        }
    }

    pub(super) fn untyped(self) -> PageType {
        if self == Self::NoData { PageType::Absent } else { PageType::Normal }
    }
}

/// A stretch of consecutive pfns of one encoding and type.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Op {
    pub(super) kind: Kind,
    pub(super) page_type: PageType,
    pub(super) first: Pfn,
    pub(super) pages: u64,
}

const TYPED: u8 = 1 << 2;
const PAGES_SHIFT: u32 = 3;
const PAGES_MORE: u64 = 31;

impl Op {
    /// The pfn after the last one.
    pub(super) fn end(&self) -> u64 {
        self.first.0 + self.pages
    }

    /// Whether the given page extends the stretch.
    pub(super) fn continues_with(&self, kind: Kind, page_type: PageType, pfn: Pfn) -> bool {
        self.kind == kind && self.page_type == page_type && self.end() == pfn.0
    }

    /// Appends the op. `cursor` is the end of the previous op.
    pub(super) fn write(&self, cursor: u64, out: &mut Vec<u8>) {
        debug_assert!(self.first.0 >= cursor && self.pages > 0);
        let typed = self.page_type != self.kind.untyped();
        let pages = (self.pages - 1).min(PAGES_MORE);
        out.push(self.kind as u8 | if typed { TYPED } else { 0 } | (pages as u8) << PAGES_SHIFT);
        if typed {
            out.push(self.page_type.nibble());
        }
        varint::put_varint(self.first.0 - cursor, out);
        if pages == PAGES_MORE {
            varint::put_varint(self.pages - 1 - PAGES_MORE, out);
        }
    }

    /// Decodes the first op of `ops` and removes it. `None` if it is truncated, has a reserved type or one that does
    /// not go with its kind, or reaches beyond `page_count`.
    pub(super) fn take(ops: &mut &[u8], cursor: u64, page_count: u64) -> Option<Self> {
        let head = take_byte(ops)?;
        let kind = Kind::from_bits(head);
        let page_type = match head & TYPED {
            0 => kind.untyped(),
            _ => PageType::from_nibble(take_byte(ops)?)?,
        };
        let first = cursor.checked_add(take_varint(ops)?)?;
        let short = u64::from(head >> PAGES_SHIFT);
        let more = if short == PAGES_MORE { take_varint(ops)? } else { 0 };
        let pages = short.checked_add(more)?.checked_add(1)?;
        let inside = first.checked_add(pages)? <= page_count;
        let fitting = page_type.has_data() != (kind == Kind::NoData);
        (inside && fitting).then_some(Self { kind, page_type, first: Pfn(first), pages })
    }
}

fn take_byte(bytes: &mut &[u8]) -> Option<u8> {
    let (first, rest) = bytes.split_first()?;
    *bytes = rest;
    Some(*first)
}

/// Encoded batches, stored one after the other in memory that is kept when they are cleared.
#[derive(Debug, Default)]
pub struct Batches {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Batches {
    /// No batches.
    pub fn new() -> Self {
        Self::default()
    }

    /// Removes all batches and keeps the memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
    }

    /// The batches in the order in which they must be decoded, each of at most [`BATCH_BYTES_MAX`] bytes.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(|(start, end)| &self.bytes[start..*end])
    }

    /// The number of batches.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there are no batches.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Bytes of all batches.
    pub fn byte_count(&self) -> usize {
        self.bytes.len()
    }

    /// The buffer for the next batch, which [`close`](Self::close) ends.
    pub(super) fn tail(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    pub(super) fn close(&mut self) {
        self.ends.push(self.bytes.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn an_op_reads_back(kind in 0u8..4, nibble in 0u8..16, cursor in 0u64..1000, gap in 0u64..1 << 40, pages in 1u64..5000) {
            let kind = Kind::from_bits(kind);
            let page_type = PageType::from_nibble(nibble).unwrap_or_default();
            prop_assume!(page_type.has_data() != (kind == Kind::NoData));
            let op = Op { kind, page_type, first: Pfn(cursor + gap), pages };
            let mut bytes = Vec::new();
            op.write(cursor, &mut bytes);
            prop_assert_eq!(Op::take(&mut bytes.as_slice(), cursor, op.end()), Some(op));
            prop_assert_eq!(Op::take(&mut bytes.as_slice(), cursor, op.end() - 1), None, "one frame too many");
            for cut in 0..bytes.len() {
                prop_assert_eq!(Op::take(&mut &bytes[..cut], cursor, op.end()), None);
            }
        }

        #[test]
        fn any_bytes_are_an_op_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..24), cursor in any::<u64>()) {
            if let Some(op) = Op::take(&mut bytes.as_slice(), cursor, 1 << 20) {
                prop_assert!(op.end() <= 1 << 20 && op.pages > 0);
            }
        }
    }
}
