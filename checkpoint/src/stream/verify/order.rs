//! The order of libxc's records, and what each checkpoint and the end must contain.
//!
//! ```text
//!   PV:   PV_INFO, [CPUID], [MSR], STATIC_DATA_END, P2M_FRAMES, PAGE_DATA…, { TSC, SHARED_INFO, vCPUs }, end
//!   HVM:           [CPUID], [MSR], STATIC_DATA_END,             PAGE_DATA…, { TSC, CONTEXT, PARAMS },    end
//! ```
//!
//! v2 has neither policies nor STATIC_DATA_END. The order within braces is free, and a record there may come again: a
//! receiver takes the last. What is required depends on the stream's writer: a converter has no policies, Xen since
//! 4.14 always has.

use super::hvm::HvmState;
use super::pages::Pages;
use super::pv::PvState;
use super::width::Width;
use super::{Faults, GuestConfig};
use crate::domain::GuestKind;
use crate::stream::fault::Rule;
use crate::stream::libxc::{DomainType, GuestWidth, LibxcHeader, P2mFrames, PageData, Record, kind};

/// The first Xen that writes policies into a stream.
const POLICIES_SINCE: (u32, u32) = (4, 14);

#[derive(Debug)]
pub(super) struct LibxcOrder {
    header: LibxcHeader,
    has_emulator: bool,
    image_bytes_max: u64,
    statics: Statics,
    checkpoints: u64,
    /// No record has come since the last CHECKPOINT.
    epoch_empty: bool,
    /// A body of this epoch was malformed, so its content may be missing without a fault of its own.
    epoch_broken: bool,
    comparing: bool,
    tsc_seen: bool,
    pages: Pages,
    pv: PvState,
    hvm: HvmState,
}

/// Records that come once, before memory.
#[derive(Debug, Default)]
struct Statics {
    width: Width,
    cpuid_seen: bool,
    msr_seen: bool,
    end_seen: bool,
    policy_broken: bool,
}

impl LibxcOrder {
    pub(super) fn new(header: LibxcHeader, guest: &GuestConfig) -> Self {
        let mut pages = Pages::default();
        pages.set_converted(is_converted(&header));
        Self {
            header,
            has_emulator: guest.kind == Some(GuestKind::Hvm),
            image_bytes_max: guest.image_bytes_max(),
            statics: Statics::default(),
            checkpoints: 0,
            epoch_empty: true,
            epoch_broken: false,
            comparing: false,
            tsc_seen: false,
            pages,
            pv: PvState::default(),
            hvm: HvmState::default(),
        }
    }

    /// A record whose body was refused. Its content is not reported as missing, too.
    pub(super) fn broken(&mut self, record_kind: u32) {
        self.epoch_empty = false;
        self.epoch_broken = true;
        match record_kind {
            kind::X86_PV_INFO => self.statics.width = Width::Broken,
            kind::X86_CPUID_POLICY | kind::X86_MSR_POLICY => self.statics.policy_broken = true,
            kind::STATIC_DATA_END => self.statics.end_seen = true,
            kind::X86_PV_P2M_FRAMES => self.pages.any_pfn(),
            _ => {}
        }
    }

    pub(super) fn record(&mut self, record: Record<'_>, faults: &mut Faults) {
        self.check_guest_type(&record, faults);
        let epoch_was_empty = std::mem::replace(&mut self.epoch_empty, false);
        match record {
            Record::PvInfo(width) => self.pv_info(width, faults),
            Record::CpuidPolicy(_) => {
                let again = std::mem::replace(&mut self.statics.cpuid_seen, true);
                self.policy(again, faults);
            }
            Record::MsrPolicy(_) => {
                let again = std::mem::replace(&mut self.statics.msr_seen, true);
                self.policy(again, faults);
            }
            Record::StaticDataEnd => self.static_data_end(faults),
            Record::P2mFrames(frames) => self.p2m_frames(&frames, faults),
            Record::PageData(data) => self.page_data(&data, faults),
            Record::TscInfo(_) => self.tsc_seen = true,
            Record::SharedInfo(_) => self.pv.shared_info(self.statics.width, faults),
            Record::Vcpu(vcpu) => {
                let taken = self.pv.vcpu(vcpu, self.statics.width);
                self.epoch_broken |= taken.is_err();
                faults.check(taken);
            }
            Record::HvmContext(context) => self.hvm.context(context, faults),
            Record::HvmParams(params) => self.hvm.params(params, faults),
            Record::Verify => {
                faults.note_if(self.checkpoints > 0, Rule::Order, "VERIFY has no place between checkpoints");
                self.comparing = true;
            }
            Record::Checkpoint => {
                faults.note_if(self.comparing, Rule::Order, "CHECKPOINT has no place after VERIFY");
                self.end_epoch(faults);
                self.checkpoints += 1;
            }
            Record::End => {
                // After a checkpoint a receiver takes END at once and stands at that checkpoint.
                if self.checkpoints == 0 || !epoch_was_empty {
                    self.end_epoch(faults);
                }
            }
            Record::Optional { .. } => {
                let detail = "An optional record of unknown type: Xen's verifier refuses it everywhere, \
                              its receivers after the first checkpoint";
                faults.note(Rule::RecordType, detail);
            }
        }
    }

    fn check_guest_type(&self, record: &Record<'_>, faults: &mut Faults) {
        let expected = match record {
            Record::PvInfo(_) | Record::P2mFrames(_) | Record::SharedInfo(_) | Record::Vcpu(_) => {
                DomainType::Pv
            }
            Record::HvmContext(_) | Record::HvmParams(_) => DomainType::Hvm,
            _ => return,
        };
        let detail = "A record of PV guests in an HVM stream, or of HVM guests in a PV stream";
        faults.note_if(self.header.domain_type != expected, Rule::GuestType, detail);
    }

    fn pv_info(&mut self, width: GuestWidth, faults: &mut Faults) {
        let again = self.statics.width != Width::Untold;
        faults.note_if(again, Rule::PvInfo, "X86_PV_INFO comes twice");
        faults.note_if(self.statics.end_seen, Rule::Order, "X86_PV_INFO comes after STATIC_DATA_END");
        self.statics.width = Width::Told(width);
        self.pages.set_width(width);
    }

    fn policy(&self, again: bool, faults: &mut Faults) {
        faults.note_if(self.header.version < 3, Rule::Policy, "Policies exist from libxc version 3 on");
        faults.note_if(again, Rule::Policy, "The policy comes twice");
        faults.note_if(self.statics.end_seen, Rule::Order, "A policy comes after STATIC_DATA_END");
    }

    /// Whether the stream's writer had policies to write. A receiver invents the policies of older guests.
    fn writer_has_policies(&self) -> bool {
        self.header.xen_version >= POLICIES_SINCE
    }

    fn static_data_end(&mut self, faults: &mut Faults) {
        faults.note_if(self.header.version < 3, Rule::StaticData, "STATIC_DATA_END exists from version 3 on");
        let again = std::mem::replace(&mut self.statics.end_seen, true);
        faults.note_if(again, Rule::StaticData, "STATIC_DATA_END comes twice");
        let statics = &self.statics;
        let policies_complete = statics.policy_broken || statics.cpuid_seen && statics.msr_seen;
        let policies_missing = self.writer_has_policies() && !policies_complete;
        faults.note_if(policies_missing, Rule::Policy, "The CPUID or the MSR policy is missing");
        let is_pv = self.header.domain_type == DomainType::Pv;
        let info_missing = is_pv && statics.width == Width::Untold;
        faults.note_if(info_missing, Rule::Order, "X86_PV_INFO is missing before STATIC_DATA_END");
    }

    fn before_memory(&mut self, faults: &mut Faults) {
        if self.header.version >= 3 && !self.statics.end_seen {
            faults.note(Rule::StaticData, "STATIC_DATA_END is missing before memory");
            self.statics.end_seen = true; // said once
        }
    }

    fn p2m_frames(&mut self, frames: &P2mFrames<'_>, faults: &mut Faults) {
        self.before_memory(faults);
        faults.note_if(self.checkpoints > 0, Rule::Order, "X86_PV_P2M_FRAMES comes again after a checkpoint");
        match self.statics.width {
            Width::Told(width) => self.pv.p2m_frames(frames, width, faults),
            Width::Broken => {}
            Width::Untold => faults.note(Rule::Order, "X86_PV_P2M_FRAMES comes before X86_PV_INFO"),
        }
        self.pages.raise_pfn_max(frames.end.into());
    }

    fn page_data(&mut self, data: &PageData<'_>, faults: &mut Faults) {
        self.before_memory(faults);
        self.pages.data(data, self.header.domain_type, !self.comparing, faults);
    }

    /// Checks that everything a receiver needs at a checkpoint, or at the end, has come.
    fn end_epoch(&mut self, faults: &mut Faults) {
        if !self.epoch_broken {
            // A guest that was saved before Xen 4.0 has none; a receiver leaves the new domain's.
            let tsc_missing = !self.tsc_seen && !is_converted(&self.header);
            faults.note_if(tsc_missing, Rule::StateMissing, "X86_TSC_INFO is missing");
            match self.header.domain_type {
                DomainType::Pv if self.statics.width == Width::Broken => {}
                DomainType::Pv => self.pv.end_epoch(self.pages.frames(), self.pages.pfn_max(), faults),
                DomainType::Hvm => {
                    self.hvm.end_epoch(self.pages.frames(), self.has_emulator, faults);
                }
            }
        }
        self.pages.check_size(self.image_bytes_max, faults);
        self.epoch_empty = true;
        self.epoch_broken = false;
        self.tsc_seen = false;
        self.pv.next_epoch();
        self.hvm.next_epoch();
    }
}

/// Converters of legacy streams write version 0.x for the Xen that saved the guest.
fn is_converted(header: &LibxcHeader) -> bool {
    header.xen_version.0 == 0
}
