//! Faults of a stream: the rule that is broken, and where. Shared by reading and verifying.

use crate::rules::rules;
use serde::ser::SerializeStruct;
use serde::{Serialize, Serializer};
use std::fmt;

/// The protocol layer of a piece of a stream.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Layer {
    /// xl's header and handshake.
    Xl,
    /// libxl's header and records.
    Libxl,
    /// libxc's headers and records.
    Libxc,
}

impl fmt::Display for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Xl => "xl",
            Self::Libxl => "libxl",
            Self::Libxc => "libxc",
        })
    }
}

/// A place in a stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Place {
    /// The byte offset from the start of the stream.
    pub offset: u64,
    /// The number of the record, counted over both layers from 0; `None` for headers and handshakes.
    pub record: Option<u64>,
    /// The layer.
    pub layer: Layer,
    /// The record type, if the header of a record could be read.
    pub kind: Option<u32>,
}

impl Place {
    /// The name of the record type.
    pub fn kind_name(&self) -> Option<&'static str> {
        self.kind.map(|kind| match self.layer {
            Layer::Libxc => super::kinds::libxc::name(kind),
            Layer::Libxl | Layer::Xl => super::kinds::libxl::name(kind),
        })
    }
}

impl Serialize for Place {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut place = serializer.serialize_struct("Place", 4)?;
        place.serialize_field("offset", &self.offset)?;
        place.serialize_field("record", &self.record)?;
        place.serialize_field("layer", &self.layer)?;
        place.serialize_field("type", &self.kind_name())?;
        place.end()
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.record, self.kind_name()) {
            (Some(record), Some(name)) => {
                write!(f, "{} record {record} ({name}) at byte {}", self.layer, self.offset)
            }
            (Some(record), None) => write!(f, "{} record {record} at byte {}", self.layer, self.offset),
            (None, _) => write!(f, "{} header at byte {}", self.layer, self.offset),
        }
    }
}

rules! {
    /// A rule for streams. Its [`id`](Rule::id) is stable, so programs may match on it.
    Rule {
        /// The stream begins with a known magic.
        Magic = "magic",
        /// The input is not compressed.
        Compressed = "compressed",
        /// The xl header's byte order, flags and optional data are ones that xl writes.
        XlHeader = "xl-header",
        /// The stream is not a legacy (pre-v2) one.
        Legacy = "legacy",
        /// libxl's header: ident, version 2, little-endian, reserved bits clear.
        LibxlHeader = "libxl-header",
        /// libxc's image header: marker, id, version 2 or 3, little-endian, reserved bits clear.
        ImageHeader = "image-header",
        /// libxc's domain header: type 1 or 2, page shift 12, reserved bits clear.
        DomainHeader = "domain-header",
        /// A record is not longer than its type's limit.
        RecordLimit = "record-limit",
        /// A record's type is known; libxc tolerates unknown ones with bit 31 set, libxl none.
        RecordType = "record-type",
        /// A record stands in the layer and direction it belongs to.
        RecordPlace = "record-place",
        /// Padding is zero.
        Padding = "padding",
        /// Reserved fields are zero.
        Reserved = "reserved",
        /// A body has the length its type and its own fields give.
        BodyLength = "body-length",
        /// The stream ends at the end of a stream or of a checkpoint, not within.
        Truncated = "truncated",
        /// xl's handshake after the end is whole. (What else stands there is not the stream's.)
        Trailing = "trailing",
        /// PAGE_DATA holds at least one entry and no more than the limit.
        PageCount = "page-count",
        /// Page types are not the reserved 5..=8; bits 59..52 are zero.
        PageType = "page-type",
        /// Pfns are within the guest (PV: at most max_pfn) and the limit.
        PageRange = "page-range",
        /// A pfn comes once in a PAGE_DATA record.
        PageDuplicate = "page-duplicate",
        /// X86_PV_INFO comes once and holds one of the pairs (4, 3) and (8, 4).
        PvInfo = "pv-info",
        /// X86_PV_P2M_FRAMES: start not above end, as many frames as that range takes, each within the guest.
        P2mFrames = "p2m-frames",
        /// vCPU records name a vCPU below the limit and hold a blob of a size that their type allows.
        Vcpu = "vcpu",
        /// TSC modes are 0..=3.
        Tsc = "tsc",
        /// The HVM context is a chain from HEADER to END that fills the record.
        HvmContext = "hvm-context",
        /// HVM_PARAMS: as many as counted; those that Xen takes once have one value; those that a device model needs are
        /// present in the epoch's records.
        HvmParams = "hvm-params",
        /// CPUID and MSR policies: v3 only, not empty, whole elements; present in v3 of a Xen that has them (4.14 and later;
        /// a converter has none).
        Policy = "policy",
        /// Device model keys and values are terminated, keys relative and not empty.
        XenstoreData = "xenstore-data",
        /// Device model ids are 0, 1 or 2.
        EmulatorId = "emulator-id",
        /// Control ids are 0..=3.
        CheckpointState = "checkpoint-state",
        /// STATIC_DATA_END comes once, in v3 only, before memory.
        StaticData = "static-data",
        /// Records come in an order a receiver can follow.
        Order = "order",
        /// PV records in PV streams only, HVM records in HVM streams only, emulator records for HVM guests only.
        GuestType = "guest-type",
        /// Each checkpoint, and the end, carries the whole state.
        StateMissing = "state-missing",
        /// Frames that the state refers to hold pages of the right type in the final view.
        Coverage = "coverage",
        /// Present entries of PV page tables hold pfns within the guest, and no superpages.
        PageTable = "page-table",
        /// The memory of the image does not exceed what the guest's configuration allows.
        ImageSize = "image-size",
    }
}

impl Serialize for Rule {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.id())
    }
}

/// A broken rule in a body, without its place.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{detail} [{rule}]")]
pub struct Defect {
    /// The rule.
    pub rule: Rule,
    /// What was found and what was expected.
    pub detail: String,
}

impl Defect {
    pub(super) fn new(rule: Rule, detail: impl Into<String>) -> Self {
        Self { rule, detail: detail.into() }
    }

    pub(super) fn at(self, place: Place) -> Fault {
        Fault { place, rule: self.rule, detail: self.detail }
    }
}

/// A broken rule and its place.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error, Serialize)]
#[error("{place}: {detail} [{rule}]")]
pub struct Fault {
    /// The place in the stream.
    #[serde(flatten)]
    pub place: Place,
    /// The rule.
    pub rule: Rule,
    /// What was found and what was expected.
    pub detail: String,
}
