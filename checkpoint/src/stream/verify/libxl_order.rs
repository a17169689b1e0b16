//! The order of libxl's records, and what each checkpoint must contain of the device model. The reader has already
//! refused records that no state of the stream allows.

use super::{Faults, GuestConfig};
use crate::domain::GuestKind;
use crate::stream::fault::Rule;
use crate::stream::libxc::{DomainType, LibxcHeader};
use crate::stream::libxl::{CheckpointState, Record, kind};

#[derive(Debug, Default)]
pub(super) struct LibxlOrder {
    guest_kind: Option<GuestKind>,
    context_seen: bool,
    /// The device model's state in this checkpoint.
    emulator_context: EmulatorContext,
}

/// The device model's state so far.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
enum EmulatorContext {
    #[default]
    Missing,
    /// A record with an empty state, from which no device model can start.
    Empty,
    Here,
}

impl LibxlOrder {
    /// Compares the kind of domain in the libxc stream with the guest's configuration.
    pub(super) fn libxc_header(&mut self, header: LibxcHeader, guest: &GuestConfig, faults: &mut Faults) {
        self.guest_kind = match (header.domain_type, guest.kind) {
            (DomainType::Pv, _) => Some(GuestKind::Pv),
            (DomainType::Hvm, kind) => kind,
        };
        let agree = match guest.kind {
            None => true,
            Some(GuestKind::Pv) => header.domain_type == DomainType::Pv,
            Some(GuestKind::Hvm | GuestKind::Pvh) => header.domain_type == DomainType::Hvm,
        };
        faults.note_if(
            !agree,
            Rule::GuestType,
            "The configuration's guest type is not that of the libxc stream",
        );
    }

    /// A new checkpoint needs the device model's state again.
    pub(super) fn checkpoint_begins(&mut self) {
        self.emulator_context = EmulatorContext::Missing;
    }

    /// A record whose body was refused. Its content is not reported as missing, too.
    pub(super) fn broken(&mut self, record_kind: u32) {
        self.context_seen |= record_kind == kind::LIBXC_CONTEXT;
        if record_kind == kind::EMULATOR_CONTEXT {
            self.emulator_context = EmulatorContext::Here;
        }
    }

    pub(super) fn record(&mut self, record: Record<'_>, faults: &mut Faults) {
        match record {
            Record::LibxcContext => self.context_seen = true,
            Record::EmulatorXenstoreData(_) => self.emulator(faults),
            Record::EmulatorContext { blob, .. } => {
                self.emulator(faults);
                let state = if blob.is_empty() { EmulatorContext::Empty } else { EmulatorContext::Here };
                let before = std::mem::replace(&mut self.emulator_context, state);
                let again = before != EmulatorContext::Missing;
                faults.note_if(again, Rule::Order, "The device model's state comes twice");
            }
            Record::End | Record::CheckpointEnd => {
                faults.note_if(!self.context_seen, Rule::Order, "The stream ends without a libxc stream");
                if self.guest_kind == Some(GuestKind::Hvm) {
                    self.check_emulator_context(faults);
                }
            }
            Record::CheckpointState(state) => {
                let wrong = state != CheckpointState::New;
                faults.note_if(wrong, Rule::CheckpointState, "A primary says nothing but NEW");
            }
        }
    }

    fn check_emulator_context(&self, faults: &mut Faults) {
        let detail = match self.emulator_context {
            EmulatorContext::Here => return,
            EmulatorContext::Missing => "The device model's state of an HVM guest is missing",
            EmulatorContext::Empty => "The device model's state of an HVM guest is empty",
        };
        faults.note(Rule::StateMissing, detail);
    }

    fn emulator(&self, faults: &mut Faults) {
        faults.note_if(!self.context_seen, Rule::Order, "Device model records come after the libxc stream");
        let forbidden = matches!(self.guest_kind, Some(GuestKind::Pv | GuestKind::Pvh));
        faults.note_if(forbidden, Rule::GuestType, "Only HVM guests have a device model");
    }
}
