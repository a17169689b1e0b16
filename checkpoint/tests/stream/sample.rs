//! Small streams of each kind, as lists of items so that tests can take them apart.

use understudy_checkpoint::domain::GuestKind;
use understudy_checkpoint::stream::libxc::{
    self, CpuidLeaf, DomainType, GuestWidth, HvmContext, HvmParam, LibxcHeader, MsrEntry, P2mFrames, TscInfo,
    Vcpu, VcpuPart, write_page_data,
};
use understudy_checkpoint::stream::libxl::{
    self, CheckpointState, EmulatorHeader, LibxlHeader, XenstoreData,
};
use understudy_checkpoint::stream::xl::XlHeader;
use understudy_checkpoint::{PAGE_SIZE, Page, PageEntry, PageType, Pfn};
use zerocopy::FromZeros;

/// An item of a stream with a name to find it by.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Piece {
    pub(crate) name: &'static str,
    pub(crate) bytes: Vec<u8>,
}

pub(crate) fn piece(name: &'static str, write: impl FnOnce(&mut Vec<u8>)) -> Piece {
    let mut bytes = Vec::new();
    write(&mut bytes);
    Piece { name, bytes }
}

pub(crate) fn libxc(name: &'static str, record: libxc::Record<'_>) -> Piece {
    piece(name, |out| record.write(out))
}

pub(crate) fn libxl(name: &'static str, record: libxl::Record<'_>) -> Piece {
    piece(name, |out| record.write(out))
}

pub(crate) fn join(pieces: &[Piece]) -> Vec<u8> {
    pieces.iter().flat_map(|piece| piece.bytes.iter().copied()).collect()
}

pub(crate) fn config(kind: GuestKind) -> Vec<u8> {
    let kind = format!("{kind:?}").to_lowercase();
    let json =
        format!(r#"{{"c_info": {{"type": "{kind}", "name": "small"}}, "b_info": {{"max_memkb": 4096}}}}"#);
    [json.as_bytes(), &[0]].concat()
}

pub(crate) const XENSTORE: &[u8] = b"physmap/f0/size\x0010\0physmap/f0/name\0vga\0";

/// The last pfn of the PV guest.
pub(crate) const PV_PFN_MAX: u64 = 15;
pub(crate) const P2M_PFN: u64 = 3;
pub(crate) const START_INFO_PFN: u64 = 4;
pub(crate) const ROOT_PFN: u64 = 5;
pub(crate) const GDT_PFN: u64 = 6;

pub(crate) fn pages(entries: &[(u64, PageType)]) -> Piece {
    let entries: Vec<PageEntry> =
        entries.iter().map(|(pfn, kind)| PageEntry::new(Pfn(*pfn), *kind)).collect();
    let content = |entry: PageEntry| -> Page {
        let mut page = [entry.pfn().0 as u8; PAGE_SIZE];
        if let PageType::Table { .. } = entry.page_type() {
            page = [0; PAGE_SIZE];
            page[..8].copy_from_slice(&(7u64 << 12 | 1).to_le_bytes());
        }
        page
    };
    let stored: Vec<(PageEntry, Page)> = entries.iter().map(|entry| (*entry, content(*entry))).collect();
    piece("PAGE_DATA", |out| {
        write_page_data(out, &entries, |wanted| {
            &stored.iter().find(|(entry, _)| *entry == wanted).expect("stored above").1
        });
    })
}

pub(crate) fn tsc() -> Piece {
    let mut tsc = TscInfo::new_zeroed();
    tsc.khz = 2_000_000.into();
    tsc.nsec = 123.into();
    tsc.incarnation = 1.into();
    libxc("X86_TSC_INFO", libxc::Record::TscInfo(tsc))
}

pub(crate) fn hvm_context() -> Vec<u8> {
    let entry = |typecode: u16, data: &[u8]| {
        [&typecode.to_le_bytes()[..], &[0, 0], &(data.len() as u32).to_le_bytes(), data].concat()
    };
    let mut header = [0; 24];
    header[..8].copy_from_slice(&[0x86, 0x12, 0x38, 0x54, 1, 0, 0, 0]);
    [entry(1, &header), entry(2, &[9; 5]), entry(0, &[])].concat()
}

pub(crate) fn params(indices: &[u64]) -> Vec<HvmParam> {
    indices.iter().map(|index| HvmParam::new(*index, if *index == 17 { 2 } else { 1 })).collect()
}

/// Registers of vCPU 0 of the 64-bit PV guest.
pub(crate) fn vcpu_basic() -> Vec<u8> {
    let mut blob = vec![0; GuestWidth::Bits64.vcpu_basic_bytes()];
    let mut put = |offset: usize, word: u64| blob[offset..offset + 8].copy_from_slice(&word.to_le_bytes());
    put(616, START_INFO_PFN);
    put(4832, GDT_PFN);
    put(4960, 512);
    put(4984 + 24, ROOT_PFN << 12);
    blob
}

fn static_records(kind: GuestKind, version: u32) -> Vec<Piece> {
    let mut leaf = CpuidLeaf::new_zeroed();
    leaf.subleaf = u32::MAX.into();
    let mut pieces = Vec::new();
    if kind == GuestKind::Pv {
        pieces.push(libxc("X86_PV_INFO", libxc::Record::PvInfo(GuestWidth::Bits64)));
    }
    if version >= 3 {
        pieces.push(libxc("X86_CPUID_POLICY", libxc::Record::CpuidPolicy(&[leaf])));
        pieces.push(libxc("X86_MSR_POLICY", libxc::Record::MsrPolicy(&[MsrEntry::new_zeroed()])));
        pieces.push(libxc("STATIC_DATA_END", libxc::Record::StaticDataEnd));
    }
    if kind == GuestKind::Pv {
        let frames = [P2M_PFN.into()];
        let frames = P2mFrames { start: 0, end: PV_PFN_MAX as u32, frames: &frames };
        pieces.push(libxc("X86_PV_P2M_FRAMES", libxc::Record::P2mFrames(frames)));
    }
    pieces
}

pub(crate) fn headers(kind: GuestKind, version: u32) -> Vec<Piece> {
    let config = config(kind);
    let xl = XlHeader { json: true, optional_flags: 0, config: Some(&config), extra: &[] };
    let domain_type = if kind == GuestKind::Pv { DomainType::Pv } else { DomainType::Hvm };
    let mut pieces = vec![
        piece("xl", |out| xl.write(out)),
        piece("libxl", |out| LibxlHeader::default().write(out)),
        libxl("LIBXC_CONTEXT", libxl::Record::LibxcContext),
        piece("libxc", |out| LibxcHeader { version, domain_type, xen_version: (4, 17) }.write(out)),
    ];
    pieces.extend(static_records(kind, version));
    pieces
}

/// All memory of the guest.
pub(crate) fn memory(kind: GuestKind) -> Piece {
    let root = PageType::Table { level: 4, pinned: true };
    match kind {
        GuestKind::Pv => {
            let entry = |pfn| (pfn, if pfn == ROOT_PFN { root } else { PageType::Normal });
            pages(&(0..=7).map(entry).chain([(9, PageType::Absent)]).collect::<Vec<_>>())
        }
        GuestKind::Hvm | GuestKind::Pvh => pages(&[
            (0, PageType::Normal),
            (1, PageType::Normal),
            (2, PageType::Normal),
            (3, PageType::Absent),
        ]),
    }
}

/// What every checkpoint carries of the libxc layer besides pages.
pub(crate) fn state(kind: GuestKind) -> Vec<Piece> {
    match kind {
        GuestKind::Pv => {
            let vcpu = |part, blob| Vcpu { vcpu_id: 0, part, blob };
            vec![
                tsc(),
                libxc("SHARED_INFO", libxc::Record::SharedInfo(&[1; PAGE_SIZE])),
                libxc("X86_PV_VCPU_BASIC", libxc::Record::Vcpu(vcpu(VcpuPart::Basic, &vcpu_basic()))),
                libxc("X86_PV_VCPU_EXTENDED", libxc::Record::Vcpu(vcpu(VcpuPart::Extended, &[2; 64]))),
            ]
        }
        GuestKind::Hvm | GuestKind::Pvh => {
            let indices: &[u64] = if kind == GuestKind::Hvm { &[1, 5, 6, 17] } else { &[1, 17] };
            let context = hvm_context();
            vec![
                tsc(),
                libxc("HVM_CONTEXT", libxc::Record::HvmContext(HvmContext { blob: &context })),
                libxc("HVM_PARAMS", libxc::Record::HvmParams(&params(indices))),
            ]
        }
    }
}

/// The device model's records; only HVM guests have any.
pub(crate) fn emulator(kind: GuestKind) -> Vec<Piece> {
    if kind != GuestKind::Hvm {
        return Vec::new();
    }
    let emulator = EmulatorHeader::qemu();
    let keys = XenstoreData::new(emulator, XENSTORE).unwrap();
    vec![
        libxl("EMULATOR_XENSTORE_DATA", libxl::Record::EmulatorXenstoreData(keys)),
        libxl("EMULATOR_CONTEXT", libxl::Record::EmulatorContext { emulator, blob: b"QEVMdata" }),
    ]
}

/// A saved guest.
pub(crate) fn plain(kind: GuestKind, version: u32) -> Vec<Piece> {
    let mut pieces = headers(kind, version);
    pieces.push(memory(kind));
    pieces.extend(state(kind));
    pieces.push(libxc("END", libxc::Record::End));
    pieces.extend(emulator(kind));
    pieces.push(libxl("libxl END", libxl::Record::End));
    pieces
}

/// A checkpointed guest; COLO says NEW before each later epoch.
pub(crate) fn checkpointed(kind: GuestKind, checkpoints: usize, colo: bool) -> Vec<Piece> {
    let mut pieces = headers(kind, 3);
    for checkpoint in 0..checkpoints {
        if checkpoint == 0 {
            pieces.push(memory(kind));
        } else {
            let new = libxl::Record::CheckpointState(CheckpointState::New);
            pieces.extend(colo.then(|| libxl("CHECKPOINT_STATE", new)));
            pieces.push(pages(&[(2, PageType::Normal)]));
        }
        pieces.extend(state(kind));
        pieces.push(libxc("CHECKPOINT", libxc::Record::Checkpoint));
        pieces.extend(emulator(kind));
        pieces.push(libxl("CHECKPOINT_END", libxl::Record::CheckpointEnd));
    }
    pieces
}

/// One stream of each kind, with its name.
pub(crate) fn all() -> Vec<(&'static str, Vec<Piece>)> {
    vec![
        ("a saved PV guest", plain(GuestKind::Pv, 3)),
        ("a saved PVH guest", plain(GuestKind::Pvh, 3)),
        ("a saved HVM guest", plain(GuestKind::Hvm, 3)),
        ("a saved HVM guest of Xen 4.13", plain(GuestKind::Hvm, 2)),
        ("a PV guest under Remus", checkpointed(GuestKind::Pv, 3, false)),
        ("an HVM guest under Remus", checkpointed(GuestKind::Hvm, 3, false)),
        ("an HVM guest under COLO", checkpointed(GuestKind::Hvm, 3, true)),
    ]
}
