//! The batch that is being filled. Its three parts grow separately and are compressed together when it is closed.
//!
//! ```text
//!   push …  ─► ops  ┐
//!           ─► runs ├─ flush ─► joined ─► LZ4 ─► smaller? otherwise uncompressed ─► Batches
//!           ─► data ┘
//! ```
//!
//! `batch` draws the format. Not here: choosing the encoding of a page.

use super::batch::{self, BODY_BYTES_FULL, BODY_BYTES_MAX, Batches, Kind, Op};
use super::delta::Runs;
use super::stats::EncodeStats;
use super::varint::put_varint;
use crate::{Page, PageEntry};
use lz4_flex::block::{CompressTable, compress_into_with_table, get_maximum_output_size};

/// The batch that is being filled.
pub(super) struct Body {
    ops: Vec<u8>,
    runs: Vec<u8>,
    data: Vec<u8>,
    /// The last stretch, which may still grow; not yet in `ops`.
    open: Option<Op>,
    /// The end of the last op in `ops`.
    cursor: u64,
    whole_pages: u64,
    /// The three parts concatenated, for LZ4.
    joined: Vec<u8>,
    packed: Vec<u8>,
    table: CompressTable,
}

impl std::fmt::Debug for Body {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Body({} ops, {} runs, {} data bytes)", self.ops.len(), self.runs.len(), self.data.len())
    }
}

impl Body {
    pub(super) fn new() -> Self {
        Self {
            ops: Vec::new(),
            runs: Vec::new(),
            data: Vec::new(),
            open: None,
            cursor: 0,
            whole_pages: 0,
            joined: Vec::with_capacity(BODY_BYTES_MAX),
            packed: vec![0; get_maximum_output_size(BODY_BYTES_MAX)],
            table: CompressTable::large(),
        }
    }

    pub(super) fn is_full(&self) -> bool {
        self.ops.len() + self.runs.len() + self.data.len() >= BODY_BYTES_FULL
    }

    /// Whether the entry comes after all others in the batch: pfns ascend.
    pub(super) fn can_take(&self, entry: PageEntry) -> bool {
        entry.pfn().0 >= self.open.map_or(self.cursor, |op| op.end())
    }

    /// Adds an entry that needs no data.
    pub(super) fn push(&mut self, kind: Kind, entry: PageEntry) {
        let (page_type, pfn) = (entry.page_type(), entry.pfn());
        match &mut self.open {
            Some(op) if op.continues_with(kind, page_type, pfn) => op.pages += 1,
            _ => {
                self.close_op();
                self.open = Some(Op { kind, page_type, first: pfn, pages: 1 });
            }
        }
    }

    pub(super) fn push_whole(&mut self, entry: PageEntry, page: &Page) {
        self.push(Kind::Whole, entry);
        self.data.extend_from_slice(page);
        self.whole_pages += 1;
    }

    /// Adds the changes that turn the receiver's page into `page`.
    pub(super) fn push_delta(&mut self, entry: PageEntry, runs: &Runs, page: &Page) {
        self.push(Kind::Delta, entry);
        runs.write(page, &mut self.runs, &mut self.data);
    }

    fn close_op(&mut self) {
        if let Some(op) = self.open.take() {
            op.write(self.cursor, &mut self.ops);
            self.cursor = op.end();
        }
    }

    /// Writes the batch, unless it is empty.
    pub(super) fn flush(&mut self, out: &mut Batches, stats: &mut EncodeStats) {
        self.close_op();
        if self.ops.is_empty() {
            return;
        }
        self.joined.clear();
        put_varint(self.ops.len() as u64, &mut self.joined);
        put_varint(self.runs.len() as u64, &mut self.joined);
        for part in [&mut self.ops, &mut self.runs, &mut self.data] {
            self.joined.append(part);
        }
        self.cursor = 0;
        let whole_pages = std::mem::take(&mut self.whole_pages);
        if self.write_compressed(out) {
            stats.lz4 += whole_pages
        } else {
            stats.raw += whole_pages
        }
        out.close();
    }

    /// Writes the joined parts compressed, or verbatim if LZ4 does not make them smaller. Returns whether it did.
    fn write_compressed(&mut self, out: &mut Batches) -> bool {
        debug_assert!(self.joined.len() <= BODY_BYTES_MAX);
        let packed = compress_into_with_table(&self.joined, &mut self.packed, &mut self.table)
            .expect("there is room for the worst case");
        let compressed = packed < self.joined.len();
        let (form, body) = match compressed {
            true => (batch::FORM_LZ4, &self.packed[..packed]),
            false => (batch::FORM_STORED, self.joined.as_slice()),
        };
        let out = out.tail();
        out.push(form);
        put_varint(self.joined.len() as u64, out);
        out.extend_from_slice(body);
        compressed
    }
}
