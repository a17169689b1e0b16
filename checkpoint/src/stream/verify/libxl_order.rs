//! What libxl's records may follow, and what each checkpoint must hold of the device model.
//! The reader has already refused records that no state of the stream allows.

use super::{Faults, GuestConfig};
use crate::domain::GuestKind;
use crate::stream::fault::Rule;
use crate::stream::libxc::{DomainType, LibxcHeader};
use crate::stream::libxl::{CheckpointState, Record, kind};

#[derive(Debug, Default)]
pub(super) struct LibxlOrder {
    guest_kind: Option<GuestKind>,
    context_seen: bool,
    emulator_context_seen: bool,
}

impl LibxlOrder {
    /// The libxc stream says what it carries; the configuration says what the guest is.
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

    /// A new checkpoint needs the device model's state anew.
    pub(super) fn checkpoint_begins(&mut self) {
        self.emulator_context_seen = false;
    }

    /// A record whose body was refused: what it would have brought is not reported as missing too.
    pub(super) fn broken(&mut self, record_kind: u32) {
        self.context_seen |= record_kind == kind::LIBXC_CONTEXT;
        self.emulator_context_seen |= record_kind == kind::EMULATOR_CONTEXT;
    }

    pub(super) fn record(&mut self, record: Record<'_>, faults: &mut Faults) {
        match record {
            Record::LibxcContext => self.context_seen = true,
            Record::EmulatorXenstoreData(_) => self.emulator(faults),
            Record::EmulatorContext { .. } => {
                self.emulator(faults);
                let again = std::mem::replace(&mut self.emulator_context_seen, true);
                faults.note_if(again, Rule::Order, "The device model's state comes twice");
            }
            Record::End | Record::CheckpointEnd => {
                faults.note_if(!self.context_seen, Rule::Order, "The stream ends without a libxc stream");
                let missing = self.guest_kind == Some(GuestKind::Hvm) && !self.emulator_context_seen;
                faults.note_if(
                    missing,
                    Rule::StateMissing,
                    "The device model's state of an HVM guest is missing",
                );
            }
            Record::CheckpointState(state) => {
                let wrong = state != CheckpointState::New;
                faults.note_if(wrong, Rule::CheckpointState, "A primary says nothing but NEW");
            }
        }
    }

    fn emulator(&self, faults: &mut Faults) {
        faults.note_if(!self.context_seen, Rule::Order, "Device model records come after the libxc stream");
        let forbidden = matches!(self.guest_kind, Some(GuestKind::Pv | GuestKind::Pvh));
        faults.note_if(forbidden, Rule::GuestType, "Only HVM guests have a device model");
    }
}
