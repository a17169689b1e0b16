//! The primary's encoder: staged pages in, batches out. One for each guest.
//!
//! The cheapest encoding that fits, page by page:
//!
//! ```text
//!   no data?  all zero?  as in the shadow?  in the shadow?                 else
//!      │          │             │                 │                          │
//!      ▼          ▼             ▼                 ▼                          ▼
//!    entry      entry      not sent at all    changed bytes ──┬──────── whole page ──┐
//!                                                             └─ LZ4 over the batch ─┴─► smaller? else raw
//! ```
//!
//! Not here: when an epoch is cut, and how batches travel.

use super::batch::{self, BODY_BYTES_FULL, BODY_BYTES_MAX, Batches, Kind, Op};
use super::delta::Runs;
use super::digest::{Digest, EpochSummary};
use super::shadow::{Put, Shadow};
use super::stats::EncodeStats;
use super::varint::put_varint;
use super::zero::is_zero;
use crate::epoch::Staging;
use crate::{Epoch, EpochKind, Page, PageEntry};
use lz4_flex::block::{CompressTable, compress_into_with_table, get_maximum_output_size};

/// A delta that costs more than this is sent as a whole page, on which LZ4 then does better than on scattered
/// pieces of it. Measured on recorded guests: between 2,000 and 3,000 hardly matters.
const DELTA_COST_BYTES_MAX: usize = 2560;

/// Bounds of an encoder.
#[derive(Clone, Copy, Debug)]
pub struct EncoderConfig {
    /// Memory for the shadow's pages. What does not fit travels whole each time.
    pub shadow_bytes_max: usize,
}

/// Encodes the pages of one guest's epochs and follows what the secondary has.
///
/// Everything encoded must be sent, in order; what was lost on the way must be told with
/// [`forget_after`](Self::forget_after) or [`reset`](Self::reset) before the next epoch.
#[derive(Debug)]
pub struct Encoder {
    shadow: Shadow,
    epoch: Epoch,
    kind: EpochKind,
    digest: Digest,
    runs: Runs,
    body: Body,
}

impl Encoder {
    /// An encoder whose peer has nothing yet. Shadow memory is taken as pages come.
    pub fn new(config: EncoderConfig) -> Self {
        Self {
            shadow: Shadow::new(config.shadow_bytes_max),
            epoch: Epoch(0),
            kind: EpochKind::Seed,
            digest: Digest::new(),
            runs: Runs::default(),
            body: Body::new(),
        }
    }

    /// Begins an epoch. A seed starts from nothing: the shadow is emptied.
    pub fn begin_epoch(&mut self, epoch: Epoch, kind: EpochKind) {
        if kind == EpochKind::Seed {
            self.shadow.clear();
        }
        self.epoch = epoch;
        self.kind = kind;
        self.digest = Digest::new();
    }

    /// Encodes all that is staged and appends it to `out`, in as many batches as it takes. May be called
    /// several times in an epoch; a page that comes again replaces what was sent before.
    pub fn encode(&mut self, staging: &Staging, out: &mut Batches) -> EncodeStats {
        let mut stats = EncodeStats::default();
        let before = out.byte_count();
        let mut pages = staging.pages().iter();
        for entry in staging.entries() {
            if self.body.is_full() || !self.body.can_take(*entry) {
                self.body.flush(out, &mut stats);
            }
            if entry.page_type().has_data() {
                let page = pages.next().expect("staging holds a page for each entry with data");
                self.encode_page(*entry, page, &mut stats);
            } else {
                self.shadow.remove(entry.pfn());
                self.digest.no_data(*entry);
                self.body.push(Kind::NoData, *entry);
                stats.no_data += 1;
            }
        }
        self.body.flush(out, &mut stats);
        stats.encoded_bytes = (out.byte_count() - before) as u64;
        stats
    }

    /// Ends the epoch: what its end on the link says.
    pub fn end_epoch(&mut self) -> EpochSummary {
        self.digest.summary()
    }

    /// What was sent in epochs after `base` may be lost: pages that changed since are not built upon. The next
    /// epoch must contain every page dirtied since `base` was captured.
    pub fn forget_after(&mut self, base: Epoch) {
        self.shadow.forget_after(base);
    }

    /// The peer has nothing any more.
    pub fn reset(&mut self) {
        self.shadow.clear();
    }

    fn encode_page(&mut self, entry: PageEntry, page: &Page, stats: &mut EncodeStats) {
        if is_zero(page) {
            self.shadow.remove(entry.pfn());
            self.digest.zero(entry);
            self.body.push(Kind::Zero, entry);
            stats.zero += 1;
            return;
        }
        let Some(held) = self.shadow.get(entry.pfn()) else {
            self.encode_whole(entry, page);
            let may_evict = self.kind == EpochKind::Delta;
            let put = self.shadow.put(entry.pfn(), entry.page_type(), page, self.epoch, may_evict);
            stats.evicted += u64::from(put == Put::KeptEvicting);
            return;
        };
        self.runs.compare(held.page, page);
        if self.runs.is_empty() && *held.page_type == entry.page_type() {
            stats.unchanged += 1;
            return;
        }
        *held.put = self.epoch;
        *held.page_type = entry.page_type();
        self.runs.copy(page, held.page);
        if self.runs.cost_bytes() > DELTA_COST_BYTES_MAX {
            self.encode_whole(entry, page);
            return;
        }
        self.digest.page(entry, page);
        self.body.push(Kind::Delta, entry);
        self.runs.write(page, &mut self.body.runs, &mut self.body.data);
        stats.delta += 1;
    }

    /// Counted as LZ4 or raw when its batch is closed.
    fn encode_whole(&mut self, entry: PageEntry, page: &Page) {
        self.digest.page(entry, page);
        self.body.push(Kind::Whole, entry);
        self.body.data.extend_from_slice(page);
        self.body.whole_pages += 1;
    }
}

/// The batch being filled.
struct Body {
    ops: Vec<u8>,
    runs: Vec<u8>,
    data: Vec<u8>,
    /// The stretch that may still grow; not yet in `ops`.
    open: Option<Op>,
    /// End of the last op in `ops`.
    cursor: u64,
    whole_pages: u64,
    /// The three parts in one piece, for LZ4.
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
    fn new() -> Self {
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

    fn is_full(&self) -> bool {
        self.ops.len() + self.runs.len() + self.data.len() >= BODY_BYTES_FULL
    }

    /// Whether the entry comes after all that are in: pfns ascend within a batch.
    fn can_take(&self, entry: PageEntry) -> bool {
        entry.pfn().0 >= self.open.map_or(self.cursor, |op| op.end())
    }

    fn push(&mut self, kind: Kind, entry: PageEntry) {
        let (page_type, pfn) = (entry.page_type(), entry.pfn());
        match &mut self.open {
            Some(op) if op.continues_with(kind, page_type, pfn) => op.pages += 1,
            _ => {
                self.close_op();
                self.open = Some(Op { kind, page_type, first: pfn, pages: 1 });
            }
        }
    }

    fn close_op(&mut self) {
        if let Some(op) = self.open.take() {
            op.write(self.cursor, &mut self.ops);
            self.cursor = op.end();
        }
    }

    /// Writes the batch, if anything is in it.
    fn flush(&mut self, out: &mut Batches, stats: &mut EncodeStats) {
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

    /// Writes the joined parts as LZ4, or as they are if that is not smaller.
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
