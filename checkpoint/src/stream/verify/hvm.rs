//! What HVM and PVH guests must have at each checkpoint.
//!
//! Parameters are judged as a receiver takes them: one by one, from as many records as there are, and the last value
//! counts. Xen accepts some of them only once; those are remembered across checkpoints.

use super::Faults;
use super::frames::Frames;
use crate::PageType;
use crate::stream::fault::Rule;
use crate::stream::libxc::{HvmContext, HvmParam};
use crate::stream::limits::HVM_PARAMS_MAX;
use std::collections::BTreeMap;

/// HVM context entry of a vCPU's registers.
const CPU_TYPECODE: u16 = 2;

/// Parameters without which a guest with a device model cannot be restored.
const EMULATOR_PARAMS: [u64; 4] =
    [HvmParam::STORE_PFN, HvmParam::IOREQ_PFN, HvmParam::BUFIOREQ_PFN, HvmParam::CONSOLE_PFN];

/// Parameters that Xen does not change once they are set: VIRIDIAN, IOREQ_SERVER_PFN, NR_IOREQ_SERVER_PAGES, ALTP2M,
/// MCA_CAP.
const PARAMS_SET_ONCE: [u64; 5] = [9, 32, 33, 35, 38];

#[derive(Debug, Default)]
pub(super) struct HvmState {
    context_seen: bool,
    params_seen: bool,
    /// Parameters that this epoch's records set, at most [`HVM_PARAMS_MAX`].
    params: BTreeMap<u64, u64>,
    /// Values of the parameters that can be set only once, from any epoch.
    set_once: BTreeMap<u64, u64>,
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

    pub(super) fn params(&mut self, params: &[HvmParam], faults: &mut Faults) {
        self.params_seen = true;
        for param in params {
            let (index, value) = (param.index.get(), param.value.get());
            if self.params.len() >= HVM_PARAMS_MAX && !self.params.contains_key(&index) {
                let detail = format!("An epoch sets more than {HVM_PARAMS_MAX} parameters");
                return faults.note(Rule::HvmParams, detail);
            }
            self.params.insert(index, value);
            if PARAMS_SET_ONCE.contains(&index) {
                self.check_set_once(index, value, faults);
            }
        }
    }

    fn check_set_once(&mut self, index: u64, value: u64, faults: &mut Faults) {
        let before = self.set_once.insert(index, value).filter(|before| *before != 0 && *before != value);
        if let Some(before) = before {
            let detail =
                format!("Parameter {index} is set to {value:#x} after {before:#x}; Xen takes one value");
            faults.note(Rule::HvmParams, detail);
        }
    }

    pub(super) fn end_epoch(&self, frames: &Frames, has_emulator: bool, faults: &mut Faults) {
        faults.note_if(!self.context_seen, Rule::StateMissing, "HVM_CONTEXT is missing");
        faults.note_if(!self.params_seen, Rule::StateMissing, "HVM_PARAMS is missing");
        if has_emulator && self.params_seen {
            for index in EMULATOR_PARAMS.iter().filter(|index| !self.params.contains_key(index)) {
                let detail = format!("Parameter {index}, which a device model needs, is missing");
                faults.note(Rule::HvmParams, detail);
            }
        }
        for (ring, index) in [("xenstore", HvmParam::STORE_PFN), ("console", HvmParam::CONSOLE_PFN)] {
            if let Some(pfn) = self.params.get(&index)
                && frames.get(*pfn) != Some(PageType::Normal)
            {
                faults.note(Rule::Coverage, format!("Frame {pfn:#x} of the {ring} ring holds no plain page"));
            }
        }
    }

    pub(super) fn next_epoch(&mut self) {
        self.context_seen = false;
        self.params_seen = false;
        self.params.clear();
    }
}
