//! What a body and its tail bring beside pages, and the records that they become.

use super::chunk::Chunk;
use super::fault::Defect;
use super::item::Item;
use super::options::Layer;
use super::toolstack;
use super::word_size::WordSize;
use crate::stream::libxc::{DomainType, HvmContext, HvmParam, Record, Vcpu};
use crate::stream::libxl::{self, EmulatorHeader, XenstoreData};
use zerocopy::FromZeros;

/// Parameters for the frames of the rings, in the order in which the tail has these.
const RING_PARAMS: [u64; 3] = [HvmParam::IOREQ_PFN, HvmParam::BUFIOREQ_PFN, HvmParam::STORE_PFN];

/// A body as it is read.
#[derive(Debug, Default)]
pub(super) struct Body {
    pub(super) has_begun: bool,
    pub(super) has_vcpu_info: bool,
    tail: Tail,
}

/// What remains of a body and its tail.
#[derive(Debug, Default)]
pub(super) struct Tail {
    pub(super) is_last: bool,
    pub(super) announces_compression: bool,
    pub(super) shows_xen_4_1: bool,
    params: Vec<HvmParam>,
    /// Records of libxc.
    state: Vec<u8>,
    /// Keys of the device model.
    keys: Vec<u8>,
    emulator: Option<Emulator>,
}

#[derive(Debug)]
struct Emulator {
    record: Vec<u8>,
    /// Bytes of the record before its state.
    state_at: usize,
}

impl Body {
    /// Takes what a chunk brings beside pages.
    pub(super) fn take_chunk(&mut self, chunk: &Chunk<'_>, word: WordSize) -> Result<(), Defect> {
        self.has_begun = true;
        let tail = &mut self.tail;
        tail.shows_xen_4_1 |= chunk.shows_xen_4_1();
        match chunk {
            Chunk::VcpuInfo { .. } => self.has_vcpu_info = true,
            Chunk::LastCheckpoint => tail.is_last = true,
            Chunk::EnableCompression => tail.announces_compression = true,
            Chunk::Param(param) => {
                // The last counts, in its own place.
                tail.params.retain(|known| known.index != param.index);
                tail.params.push(*param);
            }
            Chunk::Toolstack(data) => tail.keys = toolstack::keys(data, word)?,
            _ => {}
        }
        Ok(())
    }

    /// Takes a part of the tail.
    pub(super) fn take_tail(&mut self, item: &Item<'_>) {
        let state = &mut self.tail.state;
        match item {
            Item::Rings(frames) => {
                let params: Vec<HvmParam> = RING_PARAMS
                    .iter()
                    .zip(frames)
                    .map(|(index, frame)| HvmParam::new(*index, *frame))
                    .collect();
                Record::HvmParams(&params).write(state);
            }
            Item::Context(blob) => Record::HvmContext(HvmContext { blob }).write(state),
            Item::Vcpu { id, part, blob } => {
                Record::Vcpu(Vcpu { vcpu_id: *id, part: *part, blob }).write(state);
            }
            Item::SharedInfo(page) => Record::SharedInfo(page).write(state),
            Item::Emulator { record, state } => {
                let state_at = record.len() - state.len();
                self.tail.emulator = Some(Emulator { record: record.to_vec(), state_at });
            }
            _ => unreachable!("no part of a tail"),
        }
    }

    pub(super) fn into_tail(self) -> Tail {
        self.tail
    }
}

impl Tail {
    /// Appends all that stands behind the pages.
    pub(super) fn write(&self, guest: DomainType, layer: Layer, out: &mut Vec<u8>) {
        if !self.params.is_empty() {
            Record::HvmParams(&self.params).write(out);
        }
        out.extend_from_slice(&self.state);
        Record::End.write(out);
        if let Layer::Libxc { .. } = layer {
            out.extend(self.emulator.iter().flat_map(|emulator| &emulator.record));
            return;
        }
        let emulator = EmulatorHeader::new_zeroed();
        if !self.keys.is_empty() && guest == DomainType::Hvm {
            let data =
                XenstoreData::new(emulator, &self.keys).expect("keys are built terminated and relative");
            libxl::Record::EmulatorXenstoreData(data).write(out);
        }
        if let Some(Emulator { record, state_at }) = &self.emulator {
            libxl::Record::EmulatorContext { emulator, blob: &record[*state_at..] }.write(out);
        }
        libxl::Record::End.write(out);
    }
}
