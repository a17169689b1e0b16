//! What can be wrong with a legacy stream, where, and by which rule.

use crate::rules::rules;

rules! {
    /// A rule that legacy streams must keep. Its [`id`](Rule::id) is stable: programs may match on it.
    Rule {
        /// The first bytes are those of a legacy stream.
        Head = "legacy-head",
        /// What stands around the stream is known, whole, and can be passed on.
        Envelope = "legacy-envelope",
        /// What the operator, or the configuration, says of the stream is what its bytes say.
        Told = "legacy-told",
        /// The bytes alone tell what the stream is; where they do not, a person must.
        Question = "legacy-question",
        /// The input does not end within the stream.
        Truncated = "legacy-truncated",
        /// Extended info: known sizes, blocks that fill it exactly, one `vcpu` block.
        ExtendedInfo = "legacy-extended-info",
        /// Frames of the P2M table are within the guest.
        P2mFrames = "legacy-p2m-frames",
        /// Chunks are known, and have a place in this guest's stream.
        Chunk = "legacy-chunk",
        /// A batch has at most 1,024 entries.
        Batch = "legacy-batch",
        /// Page types are not the reserved 5..=8.
        PageType = "legacy-page-type",
        /// Pages are within the guest.
        PageRange = "legacy-page-range",
        /// Numbers of vCPUs are below 4,096.
        Vcpus = "legacy-vcpus",
        /// What libxl says of the device model's memory is of version 1, whole and terminated.
        Toolstack = "legacy-toolstack",
        /// Transcendent memory holds nothing, as it would be lost.
        Tmem = "legacy-tmem",
        /// Compressed pages: announced, within their limit, each a whole page, all pages and nothing more.
        Compressed = "legacy-compressed",
        /// A checkpoint after the first is one, and of a bearable size.
        Checkpoint = "legacy-checkpoint",
        /// No more pages are unmapped than there are.
        Unmapped = "legacy-unmapped",
        /// What XSAVE keeps of a vCPU has 16 bytes to 64 KiB.
        Xsave = "legacy-xsave",
        /// The HVM context has a size that one can have.
        HvmContext = "legacy-hvm-context",
        /// The device model's record has a known signature and a bearable size.
        Emulator = "legacy-device-model",
    }
}

/// A broken rule, not yet placed.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{detail} [{rule}]")]
pub struct Defect {
    /// The rule.
    pub rule: Rule,
    /// What was found, and what to do.
    pub detail: String,
}

impl Defect {
    pub(super) fn new(rule: Rule, detail: impl Into<String>) -> Self {
        Self { rule, detail: detail.into() }
    }

    pub(super) fn at(self, offset: u64) -> Fault {
        Fault { offset, rule: self.rule, detail: self.detail }
    }
}

/// A broken rule, and where.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("legacy stream at byte {offset}: {detail} [{rule}]")]
pub struct Fault {
    /// Byte of the input at which the broken part begins.
    pub offset: u64,
    /// The rule.
    pub rule: Rule,
    /// What was found, and what to do.
    pub detail: String,
}
