//! What HVM and PVH guests must have at each checkpoint.

use super::Faults;
use super::frames::Frames;
use crate::PageType;
use crate::stream::fault::Rule;
use crate::stream::libxc::{HvmContext, HvmParam};

/// HVM context entry of a vCPU's registers.
const CPU_TYPECODE: u16 = 2;

/// Parameters without which a guest with a device model does not come back.
const EMULATOR_PARAMS: [u64; 4] =
    [HvmParam::STORE_PFN, HvmParam::IOREQ_PFN, HvmParam::BUFIOREQ_PFN, HvmParam::CONSOLE_PFN];

#[derive(Debug, Default)]
pub(super) struct HvmState {
    context_seen: bool,
    params_seen: bool,
    store_pfn: Option<u64>,
    console_pfn: Option<u64>,
}

impl HvmState {
    pub(super) fn context(&mut self, context: HvmContext<'_>, faults: &mut Faults) {
        self.context_seen = true;
        let mut cpus = 0;
        for entry in context.entries() {
            match entry {
                Ok(entry) => cpus += u32::from(entry.typecode == CPU_TYPECODE),
                Err(defect) => return faults.check(Err(defect)),
            }
        }
        faults.note_if(cpus == 0, Rule::HvmContext, "The HVM context holds no vCPU");
    }

    pub(super) fn params(&mut self, params: &[HvmParam], has_emulator: bool, faults: &mut Faults) {
        self.params_seen = true;
        let value_of = |index| params.iter().find(|it| it.index.get() == index).map(|it| it.value.get());
        self.store_pfn = value_of(HvmParam::STORE_PFN);
        self.console_pfn = value_of(HvmParam::CONSOLE_PFN);
        let mut indices: Vec<u64> = params.iter().map(|it| it.index.get()).collect();
        indices.sort_unstable();
        if let Some(pair) = indices.windows(2).find(|pair| pair[0] == pair[1]) {
            faults.note(Rule::HvmParams, format!("Parameter {} comes twice", pair[0]));
        }
        if !has_emulator {
            return;
        }
        for index in EMULATOR_PARAMS.iter().filter(|index| value_of(**index).is_none()) {
            faults
                .note(Rule::HvmParams, format!("Parameter {index}, which a device model needs, is missing"));
        }
    }

    pub(super) fn end_epoch(&self, frames: &Frames, faults: &mut Faults) {
        faults.note_if(!self.context_seen, Rule::StateMissing, "HVM_CONTEXT is missing");
        faults.note_if(!self.params_seen, Rule::StateMissing, "HVM_PARAMS is missing");
        for (ring, pfn) in [("xenstore", self.store_pfn), ("console", self.console_pfn)] {
            if let Some(pfn) = pfn
                && frames.get(pfn) != Some(PageType::Normal)
            {
                faults.note(Rule::Coverage, format!("Frame {pfn:#x} of the {ring} ring holds no plain page"));
            }
        }
    }
}
