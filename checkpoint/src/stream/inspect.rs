//! Describes a stream: records by type, checkpoints, sizes, page types. Does not judge it; a malformed stream is
//! described up to its fault.

use super::config::GuestConfig;
use super::fault::{Fault, Layer};
use super::input::{Items, StreamError};
use super::libxc::{DomainType, LibxcHeader, PageData, Record};
use super::libxl;
use super::limits::EPOCHS_LISTED;
use super::reader::{Content, Ending, Item, Reader};
use crate::PageType;
use crate::domain::GuestKind;
use serde::Serialize;
use std::collections::BTreeMap;
use std::io::{self, Read};

/// The number of records of a type, and their bytes including headers and padding.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct RecordCount {
    /// The layer.
    pub layer: Layer,
    /// The name of the type.
    #[serde(rename = "type")]
    pub name: &'static str,
    /// How many.
    pub count: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// Entries of PAGE_DATA records, by type.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
pub struct PageCounts {
    /// Plain pages.
    pub normal: u64,
    /// PV page tables by level 1..=4.
    pub tables: [u64; 4],
    /// Pinned ones among the page tables.
    pub pinned: u64,
    /// Entries without data: no page here.
    pub absent: u64,
    /// Entries without data: allocate only.
    pub allocate_only: u64,
    /// Entries without data: broken.
    pub broken: u64,
}

impl PageCounts {
    fn add(&mut self, data: &PageData<'_>) {
        for entry in data.entries() {
            match entry.page_type() {
                PageType::Normal => self.normal += 1,
                PageType::Table { level, pinned } => {
                    self.tables[usize::from(level) - 1] += 1;
                    self.pinned += u64::from(pinned);
                }
                PageType::Absent => self.absent += 1,
                PageType::AllocateOnly => self.allocate_only += 1,
                PageType::Broken => self.broken += 1,
            }
        }
    }

    /// Entries that carry data.
    pub fn data_pages(&self) -> u64 {
        self.normal + self.tables.iter().sum::<u64>()
    }
}

/// One complete checkpoint, or a plain stream as a whole.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct EpochSummary {
    /// The number of the checkpoint in the stream, from 0.
    pub epoch: u64,
    /// The offset of its first byte.
    pub offset: u64,
    /// Its bytes.
    pub bytes: u64,
    /// Its PAGE_DATA entries.
    pub pages: PageCounts,
}

/// The content of a stream.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Inspection {
    /// The outermost layer.
    pub layer: Option<Layer>,
    /// `pv`, `hvm` or `pvh`. `hvm` also stands for PVH if there is no configuration, because libxc does not distinguish
    /// them.
    pub guest: Option<&'static str>,
    /// The guest's name, if the stream has its configuration.
    pub name: Option<String>,
    /// The memory that the guest may have, in KiB, if the stream has its configuration.
    pub memory_kib_max: Option<u64>,
    /// Version of the libxc stream.
    pub libxc_version: Option<u32>,
    /// Version of the Xen that wrote it; a major of 0 means a converted legacy stream.
    pub xen_version: Option<String>,
    /// Bytes read.
    pub bytes: u64,
    /// Records by layer and type.
    pub records: Vec<RecordCount>,
    /// PAGE_DATA entries of the whole stream.
    pub pages: PageCounts,
    /// The highest pfn in the stream.
    pub pfn_max: Option<u64>,
    /// Complete checkpoints; 1 for a plain stream.
    pub epoch_count: u64,
    /// The first checkpoints.
    pub epochs: Vec<EpochSummary>,
    /// How the stream ended; `None` if it is truncated or malformed.
    pub ending: Option<Ending>,
    /// Whether bytes follow the end. No receiver reads them.
    pub followed: bool,
    /// The fault, if the stream is malformed.
    pub fault: Option<Fault>,
}

/// Describes a stream of any layer. Fails only if `input` cannot be read.
pub fn inspect(input: impl Read) -> io::Result<Inspection> {
    let mut items = Items::new(input, Reader::new());
    let mut inspector = Inspector::default();
    let end = loop {
        let before = items.reader().checkpoints();
        match items.next_item() {
            Ok(Some(item)) => {
                if let Err(fault) = inspector.item(&item) {
                    break Err(fault);
                }
            }
            Ok(None) => break items.ending(),
            Err(StreamError::Fault(fault)) => break Err(fault),
            Err(StreamError::Io(error)) => return Err(error),
        }
        if items.reader().checkpoints() > before {
            inspector.epoch_ends(items.reader().offset());
        }
    };
    Ok(Inspection { followed: items.is_followed(), ..inspector.finish(items.reader(), end) })
}

#[derive(Default)]
struct Inspector {
    found: Inspection,
    records: BTreeMap<(Layer, u32), (u64, u64)>,
    epoch: EpochSummary,
    config_kind: Option<GuestKind>,
}

impl Inspector {
    fn item(&mut self, item: &Item<'_>) -> Result<(), Fault> {
        self.found.layer.get_or_insert(item.place.layer);
        if let Some(kind) = item.place.kind {
            let (count, bytes) =
                self.records.entry((item.place.layer, known(item.place.layer, kind))).or_default();
            *count += 1;
            *bytes += item.bytes.len() as u64;
        }
        match item.content {
            Content::XlHeader(header) => {
                let config = GuestConfig::read(header.config.unwrap_or_default());
                self.config_kind = config.kind;
                self.found.name = config.name;
                self.found.memory_kib_max = config.memory_kib_max;
            }
            Content::LibxcHeader(header) => self.libxc_header(header),
            Content::LibxlHeader(_) | Content::Go => {}
            Content::Libxl(_) => {
                item.libxl().transpose()?;
            }
            Content::Libxc(_) => {
                if let Some(Record::PageData(data)) = item.libxc().transpose()? {
                    self.epoch.pages.add(&data);
                    self.found.pages.add(&data);
                    let highest = data.entries().map(|entry| entry.pfn().0).max();
                    self.found.pfn_max = self.found.pfn_max.max(highest);
                }
            }
        }
        Ok(())
    }

    fn libxc_header(&mut self, header: LibxcHeader) {
        self.found.guest = Some(match (header.domain_type, self.config_kind) {
            (DomainType::Pv, _) => "pv",
            (DomainType::Hvm, Some(GuestKind::Pvh)) => "pvh",
            (DomainType::Hvm, _) => "hvm",
        });
        self.found.libxc_version = Some(header.version);
        self.found.xen_version = Some(format!("{}.{}", header.xen_version.0, header.xen_version.1));
    }

    fn epoch_ends(&mut self, offset: u64) {
        let mut epoch = std::mem::take(&mut self.epoch);
        epoch.epoch = self.found.epoch_count;
        epoch.bytes = offset - epoch.offset;
        self.epoch.offset = offset;
        self.found.epoch_count += 1;
        if self.found.epochs.len() < EPOCHS_LISTED {
            self.found.epochs.push(epoch);
        }
    }

    fn finish(mut self, reader: &Reader, end: Result<Ending, Fault>) -> Inspection {
        if end == Ok(Ending::Plain) && self.found.epoch_count == 0 {
            self.epoch_ends(reader.offset());
        }
        let mut found = self.found;
        found.bytes = reader.offset();
        found.records = self
            .records
            .into_iter()
            .map(|((layer, kind), (count, bytes))| RecordCount {
                layer,
                name: name(layer, kind),
                count,
                bytes,
            })
            .collect();
        match end {
            Ok(ending) => found.ending = Some(ending),
            Err(fault) => found.fault = Some(fault),
        }
        found
    }
}

/// Merges all unknown optional types into one: there are two thousand million of them.
fn known(layer: Layer, kind: u32) -> u32 {
    if layer == Layer::Libxc && kind & super::OPTIONAL != 0 { super::OPTIONAL } else { kind }
}

fn name(layer: Layer, kind: u32) -> &'static str {
    match layer {
        Layer::Libxc => super::libxc::kind_name(kind),
        Layer::Libxl | Layer::Xl => libxl::kind_name(kind),
    }
}
