//! A guest at rest: what a toolstack would read from Xen to save it.

use std::collections::BTreeMap;
use understudy_checkpoint::stream::libxc::{
    DomainType, GuestWidth, HvmContext, HvmParam, LibxcHeader, P2mFrames, Record, TscInfo, VcpuPart,
    write_page_data,
};
use understudy_checkpoint::stream::libxl::{self, EmulatorHeader, LibxlHeader};
use understudy_checkpoint::stream::{Content, Items, Reader};
use understudy_checkpoint::{Page, PageEntry, PageType, Pfn};
use zerocopy::FromZeros;
use zerocopy::little_endian::U64;

/// A vCPU of a PV guest.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Vcpu {
    /// Its registers.
    pub basic: Vec<u8>,
    /// Its extended context.
    pub extended: Option<Vec<u8>>,
    /// Its XSAVE area.
    pub xsave: Option<Vec<u8>>,
}

/// A guest.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Guest {
    /// Its kind.
    pub kind: DomainType,
    /// Its configuration: libxl's JSON with its NUL, or nothing.
    pub config: Vec<u8>,
    /// Its highest pfn and one.
    pub frames: u32,
    /// Its pages that are something.
    pub pages: BTreeMap<Pfn, (PageType, Option<Box<Page>>)>,
    /// PV: its word.
    pub width: GuestWidth,
    /// PV: where its P2M table lies.
    pub p2m_frames: Vec<u64>,
    /// PV: its vCPUs.
    pub vcpus: BTreeMap<u32, Vcpu>,
    /// PV: its shared info page.
    pub shared_info: Option<Box<Page>>,
    /// Its time stamp counter.
    pub tsc: TscInfo,
    /// HVM: its parameters.
    pub params: BTreeMap<u64, u64>,
    /// HVM: its context.
    pub context: Vec<u8>,
    /// HVM: its device model's state.
    pub emulator: Vec<u8>,
}

impl Guest {
    /// A guest that has nothing yet.
    pub fn new(kind: DomainType) -> Self {
        Self {
            kind,
            config: Vec::new(),
            frames: 0,
            pages: BTreeMap::new(),
            width: GuestWidth::Bits64,
            p2m_frames: Vec::new(),
            vcpus: BTreeMap::new(),
            shared_info: None,
            tsc: TscInfo::new_zeroed(),
            params: BTreeMap::new(),
            context: Vec::new(),
            emulator: Vec::new(),
        }
    }

    /// The guest that a plain stream of today brings.
    pub fn read(stream: &[u8]) -> Self {
        let mut guest = Self::new(DomainType::Hvm);
        let mut items = Items::new(stream, Reader::new());
        while let Some(item) = items.next_item().expect("the stream is whole") {
            match item.content {
                Content::XlHeader(header) => guest.config = header.config.unwrap_or_default().to_vec(),
                Content::LibxcHeader(header) => guest.kind = header.domain_type,
                Content::Libxc(_) => guest.take(item.libxc().unwrap().expect("the record is sound")),
                Content::Libxl(_) => {
                    if let Ok(libxl::Record::EmulatorContext { blob, .. }) = item.libxl().unwrap() {
                        guest.emulator = blob.to_vec();
                    }
                }
                Content::LibxlHeader(_) | Content::Go => {}
            }
        }
        guest
    }

    fn take(&mut self, record: Record<'_>) {
        match record {
            Record::PageData(data) => {
                for (entry, page) in data.iter().filter(|(entry, _)| entry.page_type() != PageType::Absent) {
                    self.frames = self.frames.max(entry.pfn().0 as u32 + 1);
                    self.pages.insert(entry.pfn(), (entry.page_type(), page.map(|page| Box::new(*page))));
                }
            }
            Record::PvInfo(width) => self.width = width,
            Record::P2mFrames(frames) => {
                self.frames = frames.end + 1;
                self.p2m_frames = frames.frames.iter().map(|pfn| pfn.get()).collect();
            }
            Record::Vcpu(vcpu) => {
                let known = self.vcpus.entry(vcpu.vcpu_id).or_default();
                match vcpu.part {
                    VcpuPart::Basic => known.basic = vcpu.blob.to_vec(),
                    VcpuPart::Extended => known.extended = Some(vcpu.blob.to_vec()),
                    VcpuPart::Xsave => known.xsave = Some(vcpu.blob.to_vec()),
                    VcpuPart::Msrs => {}
                }
            }
            Record::SharedInfo(page) => self.shared_info = Some(Box::new(*page)),
            Record::TscInfo(tsc) => self.tsc = tsc,
            Record::HvmContext(context) => self.context = context.blob.to_vec(),
            Record::HvmParams(params) => {
                self.params.extend(params.iter().map(|param| (param.index.get(), param.value.get())));
            }
            _ => {}
        }
    }

    /// A stream of today that brings the guest, as far as a legacy stream could have.
    pub fn write(&self) -> Vec<u8> {
        let mut out = Vec::new();
        LibxlHeader::default().write(&mut out);
        libxl::Record::LibxcContext.write(&mut out);
        LibxcHeader { version: 3, domain_type: self.kind, xen_version: (0, 1) }.write(&mut out);
        if self.kind == DomainType::Pv {
            Record::PvInfo(self.width).write(&mut out);
        }
        Record::StaticDataEnd.write(&mut out);
        if self.kind == DomainType::Pv {
            let frames: Vec<U64> = self.p2m_frames.iter().map(|pfn| (*pfn).into()).collect();
            Record::P2mFrames(P2mFrames { start: 0, end: self.frames - 1, frames: &frames }).write(&mut out);
        }
        let entries: Vec<PageEntry> =
            self.pages.iter().map(|(pfn, (kind, _))| PageEntry::new(*pfn, *kind)).collect();
        for batch in entries.chunks(1024) {
            write_page_data(&mut out, batch, |entry| {
                self.pages[&entry.pfn()].1.as_deref().expect("it has data")
            });
        }
        Record::TscInfo(self.tsc).write(&mut out);
        match self.kind {
            DomainType::Pv => self.write_pv(&mut out),
            DomainType::Hvm => {
                let params: Vec<HvmParam> =
                    self.params.iter().map(|(index, value)| HvmParam::new(*index, *value)).collect();
                Record::HvmParams(&params).write(&mut out);
                Record::HvmContext(HvmContext { blob: &self.context }).write(&mut out);
            }
        }
        Record::End.write(&mut out);
        if self.kind == DomainType::Hvm {
            let emulator = EmulatorHeader::new_zeroed();
            libxl::Record::EmulatorContext { emulator, blob: &self.emulator }.write(&mut out);
        }
        libxl::Record::End.write(&mut out);
        out
    }

    fn write_pv(&self, out: &mut Vec<u8>) {
        for (id, vcpu) in &self.vcpus {
            let parts = [
                (VcpuPart::Basic, Some(&vcpu.basic)),
                (VcpuPart::Extended, vcpu.extended.as_ref()),
                (VcpuPart::Xsave, vcpu.xsave.as_ref()),
            ];
            for (part, blob) in parts.into_iter().filter_map(|(part, blob)| Some((part, blob?))) {
                Record::Vcpu(understudy_checkpoint::stream::libxc::Vcpu { vcpu_id: *id, part, blob })
                    .write(out);
            }
        }
        Record::SharedInfo(self.shared_info.as_deref().expect("a PV guest has one")).write(out);
    }
}
