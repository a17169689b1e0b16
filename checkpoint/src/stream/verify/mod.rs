//! Judges a stream. Checks everything that Xen's own `verify-stream-v2` checks, and what it cannot: order, coverage,
//! completeness, the HVM context's chain, PV page tables, and whole checkpointed streams.
//!
//! ```text
//!   Reader ── items ─► Verifier ─┬─ order:  what may follow what, and what each checkpoint must contain
//!      │                         ├─ pages:  ranges, duplicates, page tables, the final type of each frame
//!      │                         └─ state:  frames that vCPUs, P2M table and parameters refer to
//!      └─ fault: broken framing ends the verification; after any other fault it continues
//! ```
//!
//! One pass, in memory bounded by half a byte for each named frame. A verdict without faults does not promise that a
//! guest can be restored, only that no check known to us fails.

mod frames;
mod hvm;
mod libxl_order;
mod order;
mod pages;
mod pv;
mod width;
mod written;

use super::config::GuestConfig;
use super::fault::{Defect, Fault, Layer, Place, Rule};
use super::input::{Items, StreamError};
use super::libxc::{self, Record};
use super::libxl;
use super::limits::FAULTS_KEPT;
use super::reader::{Content, Ending, Item, Reader};
use libxl_order::LibxlOrder;
use order::LibxcOrder;
use serde::Serialize;
use std::io::{self, Read};

pub use written::verify_restore_file;

/// The result of a verification.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Verdict {
    /// No fault was found.
    pub ok: bool,
    /// Bytes read.
    pub bytes: u64,
    /// Records read, of both layers.
    pub records: u64,
    /// Complete checkpoints.
    pub checkpoints: u64,
    /// How the stream ended; `None` if it is truncated or malformed.
    pub ending: Option<Ending>,
    /// Whether bytes follow the end. No receiver reads them.
    pub followed: bool,
    /// The number of faults.
    pub fault_count: u64,
    /// The first faults.
    pub faults: Vec<Fault>,
}

/// Collects faults together with the place of the present item.
#[derive(Debug)]
struct Faults {
    place: Place,
    count: u64,
    kept: Vec<Fault>,
}

impl Faults {
    fn keep(&mut self, fault: Fault) {
        self.count += 1;
        if self.kept.len() < FAULTS_KEPT {
            self.kept.push(fault);
        }
    }

    fn note(&mut self, rule: Rule, detail: impl Into<String>) {
        let fault = Defect::new(rule, detail).at(self.place);
        self.keep(fault);
    }

    fn note_if(&mut self, broken: bool, rule: Rule, detail: &str) {
        if broken {
            self.note(rule, detail);
        }
    }

    fn check(&mut self, result: Result<(), Defect>) {
        if let Err(defect) = result {
            let fault = defect.at(self.place);
            self.keep(fault);
        }
    }
}

/// Judges items one by one, in the order of the stream.
#[derive(Debug)]
pub struct Verifier {
    faults: Faults,
    records: u64,
    libxl: LibxlOrder,
    libxc: Option<LibxcOrder>,
    guest: GuestConfig,
}

impl Default for Verifier {
    fn default() -> Self {
        Self::new()
    }
}

impl Verifier {
    /// A verifier at the start of a stream.
    pub fn new() -> Self {
        let place = Place { offset: 0, record: None, layer: Layer::Xl, kind: None };
        Self {
            faults: Faults { place, count: 0, kept: Vec::new() },
            records: 0,
            libxl: LibxlOrder::default(),
            libxc: None,
            guest: GuestConfig::default(),
        }
    }

    /// Judges the next item.
    pub fn item(&mut self, item: &Item<'_>) {
        self.faults.place = item.place;
        self.records += u64::from(item.place.record.is_some());
        match item.content {
            Content::XlHeader(header) => {
                self.guest = GuestConfig::read(header.config.unwrap_or_default());
            }
            Content::LibxlHeader(_) | Content::Go => {}
            Content::LibxcHeader(header) => {
                self.libxl.libxc_header(header, &self.guest, &mut self.faults);
                self.libxc = Some(LibxcOrder::new(header, &self.guest));
            }
            Content::Libxl(frame) => match libxl::Record::parse(frame) {
                Ok(record) => self.libxl.record(record, &mut self.faults),
                Err(defect) => {
                    self.libxl.broken(frame.kind);
                    self.faults.check(Err(defect));
                }
            },
            Content::Libxc(frame) => match (libxc::Record::parse(frame), &mut self.libxc) {
                (Ok(record), Some(order)) => {
                    if matches!(record, Record::Checkpoint) {
                        self.libxl.checkpoint_begins();
                    }
                    order.record(record, &mut self.faults);
                }
                (Ok(_), None) => unreachable!("the reader gives libxc records after a libxc header"),
                (Err(defect), order) => {
                    self.faults.check(Err(defect));
                    // A broken body is not also a missing one.
                    if let Some(order) = order {
                        order.broken(frame.kind);
                    }
                }
            },
        }
    }

    /// The verdict. `end` is how the input ended: properly, or at a fault that stopped the reader.
    pub fn finish(mut self, reader: &Reader, end: Result<Ending, Fault>) -> Verdict {
        let ending = match end {
            Ok(ending) => Some(ending),
            Err(fault) => {
                self.faults.keep(fault);
                None
            }
        };
        Verdict {
            ok: self.faults.count == 0,
            bytes: reader.offset(),
            records: self.records,
            checkpoints: reader.checkpoints(),
            ending,
            followed: false,
            fault_count: self.faults.count,
            faults: self.faults.kept,
        }
    }
}

/// Verifies a whole stream of any layer. Fails only if `input` cannot be read.
pub fn verify(input: impl Read) -> io::Result<Verdict> {
    let mut items = Items::new(input, Reader::new());
    let mut verifier = Verifier::new();
    let end = loop {
        match items.next_item() {
            Ok(Some(item)) => verifier.item(&item),
            Ok(None) => break items.ending(),
            Err(StreamError::Fault(fault)) => break Err(fault),
            Err(StreamError::Io(error)) => return Err(error),
        }
    };
    Ok(Verdict { followed: items.is_followed(), ..verifier.finish(items.reader(), end) })
}
