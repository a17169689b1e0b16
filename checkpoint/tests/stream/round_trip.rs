//! What is written is read back the same: every record type, with any content that its type allows.

use proptest::collection::vec;
use proptest::prelude::*;
use understudy_checkpoint::stream::libxc::{
    CpuidLeaf, GuestWidth, HvmContext, HvmParam, MsrEntry, P2mFrames, Record, TscInfo, Vcpu, VcpuMsr,
    VcpuPart, write_page_data,
};
use understudy_checkpoint::stream::libxl::{self, CheckpointState, EmulatorHeader, XenstoreData};
use understudy_checkpoint::stream::xl::XlHeader;
use understudy_checkpoint::stream::{Content, Frame, Layer, OPTIONAL, Reader, Step};
use understudy_checkpoint::{PAGE_SIZE, Page, PageEntry, PageType, Pfn};
use zerocopy::little_endian::U64;
use zerocopy::{FromZeros, IntoBytes};

fn assert_libxc(record: Record<'_>) {
    let mut bytes = Vec::new();
    record.write(&mut bytes);
    assert_eq!(bytes.len() % 8, 0, "records are padded");
    let frame = Frame::read(&bytes).expect("a whole record");
    assert_eq!(Record::parse(frame), Ok(record));
}

fn assert_libxl(record: libxl::Record<'_>) {
    let mut bytes = Vec::new();
    record.write(&mut bytes);
    assert_eq!(bytes.len() % 8, 0, "records are padded");
    assert_eq!(libxl::Record::parse(Frame::read(&bytes).expect("a whole record")), Ok(record));
}

#[test]
fn records_without_content() {
    for record in [Record::End, Record::Verify, Record::Checkpoint, Record::StaticDataEnd] {
        assert_libxc(record);
    }
    assert_libxc(Record::PvInfo(GuestWidth::Bits32));
    assert_libxc(Record::PvInfo(GuestWidth::Bits64));
    assert_libxl(libxl::Record::End);
    assert_libxl(libxl::Record::LibxcContext);
    assert_libxl(libxl::Record::CheckpointEnd);
    use CheckpointState::{New, SecondaryReady, SecondaryResumed, SecondarySuspended};
    for state in [New, SecondarySuspended, SecondaryReady, SecondaryResumed] {
        assert_libxl(libxl::Record::CheckpointState(state));
    }
}

fn entries() -> impl Strategy<Value = Vec<PageEntry>> {
    let page_type =
        prop_oneof![Just(0u8), 1..=4u8, 9..=15u8].prop_map(|it| PageType::from_nibble(it).unwrap());
    vec((0..1u64 << 28, page_type).prop_map(|(pfn, kind)| PageEntry::new(Pfn(pfn), kind)), 1..40)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn pages(entries in entries(), seed: u8) {
        let content: Vec<Page> = (0..entries.len()).map(|it| [seed.wrapping_add(it as u8); PAGE_SIZE]).collect();
        let next = std::cell::Cell::new(0);
        let mut bytes = Vec::new();
        write_page_data(&mut bytes, &entries, |_| &content[next.replace(next.get() + 1)]);
        let Ok(Record::PageData(data)) = Record::parse(Frame::read(&bytes).unwrap()) else {
            panic!("written pages are read");
        };
        prop_assert!(data.entries().eq(entries.iter().copied()));
        prop_assert_eq!(data.pages(), &content[..next.get()]);
        prop_assert!(data.iter().all(|(entry, page)| page.is_some() == entry.page_type().has_data()));
        assert_libxc(Record::PageData(data));
    }

    #[test]
    fn pv_state(vcpu_id in 0..8192u32, blob in vec(any::<u8>(), 0..128), msrs in vec(any::<(u32, u64)>(), 0..20)) {
        fn vcpu(vcpu_id: u32, part: VcpuPart, blob: &[u8]) -> Record<'_> {
            Record::Vcpu(Vcpu { vcpu_id, part, blob })
        }
        for width in [GuestWidth::Bits32, GuestWidth::Bits64] {
            assert_libxc(vcpu(vcpu_id, VcpuPart::Basic, &vec![blob.len() as u8; width.vcpu_basic_bytes()]));
        }
        assert_libxc(vcpu(vcpu_id, VcpuPart::Basic, &[]));
        assert_libxc(vcpu(vcpu_id, VcpuPart::Extended, &blob));
        assert_libxc(vcpu(vcpu_id, VcpuPart::Xsave, &[&[0; 16], &blob[..]].concat()));
        let msr = |(index, value): &(u32, u64)| VcpuMsr {
            index: (*index).into(),
            reserved: 0.into(),
            value: (*value).into(),
        };
        let msrs: Vec<VcpuMsr> = msrs.iter().map(msr).collect();
        let record = Vcpu { vcpu_id, part: VcpuPart::Msrs, blob: msrs.as_bytes() };
        prop_assert_eq!(record.msrs(), &msrs[..]);
        assert_libxc(Record::Vcpu(record));
        assert_libxc(Record::SharedInfo(&[vcpu_id as u8; PAGE_SIZE]));
    }

    #[test]
    fn p2m_frames(start in 0..1u32 << 28, count in 0..3000u32, frames in vec(any::<u64>(), 0..8)) {
        let end = (start + count).min((1 << 28) - 1);
        let frames: Vec<U64> = frames.into_iter().map(U64::new).collect();
        assert_libxc(Record::P2mFrames(P2mFrames { start, end, frames: &frames }));
    }

    #[test]
    fn hvm_state(blob in vec(any::<u8>(), 1..200), params in vec(any::<(u64, u64)>(), 0..40), tsc: (u32, u64), mode in 0..4u32) {
        assert_libxc(Record::HvmContext(HvmContext { blob: &blob }));
        let params: Vec<HvmParam> = params.into_iter().map(|(index, value)| HvmParam::new(index, value)).collect();
        assert_libxc(Record::HvmParams(&params));
        let mut info = TscInfo::new_zeroed();
        (info.mode, info.khz, info.nsec, info.incarnation) = (mode.into(), tsc.0.into(), tsc.1.into(), 7.into());
        assert_libxc(Record::TscInfo(info));
    }

    #[test]
    fn policies(leaves in vec(any::<[u32; 6]>(), 1..40), entries in vec(any::<(u32, u64)>(), 1..40)) {
        let leaf = |words: &[u32; 6]| CpuidLeaf {
            leaf: words[0].into(),
            subleaf: words[1].into(),
            registers: [words[2], words[3], words[4], words[5]].map(Into::into),
        };
        assert_libxc(Record::CpuidPolicy(&leaves.iter().map(leaf).collect::<Vec<_>>()));
        let entry = |(index, value): &(u32, u64)| MsrEntry {
            index: (*index).into(),
            flags: 0.into(),
            value: (*value).into(),
        };
        assert_libxc(Record::MsrPolicy(&entries.iter().map(entry).collect::<Vec<_>>()));
    }

    #[test]
    fn optional_records_of_unknown_types_are_kept(kind in OPTIONAL.., body in vec(any::<u8>(), 0..64)) {
        assert_libxc(Record::Optional { kind, body: &body });
    }

    #[test]
    fn device_models(blob in vec(any::<u8>(), 0..64), pairs in vec(("[a-z0-9]{1,8}(/[a-z]{1,8}){0,3}", "[ -~]{0,16}"), 0..6)) {
        let emulator = EmulatorHeader::qemu();
        assert_libxl(libxl::Record::EmulatorContext { emulator, blob: &blob });
        let packed: Vec<u8> = pairs.iter().flat_map(|(key, value)| format!("{key}\0{value}\0").into_bytes()).collect();
        let data = XenstoreData::new(emulator, &packed).unwrap();
        let seen: Vec<_> = data.pairs().collect();
        let expected: Vec<_> = pairs.iter().map(|(key, value)| (key.as_bytes(), value.as_bytes())).collect();
        prop_assert_eq!(seen, expected);
        assert_libxl(libxl::Record::EmulatorXenstoreData(data));
    }

    #[test]
    fn xl_headers(config in proptest::option::of(vec(any::<u8>(), 0..200)), json: bool, optional_flags: u32) {
        let header = XlHeader { json, optional_flags, config: config.as_deref(), extra: &[] };
        let mut bytes = Vec::new();
        header.write(&mut bytes);
        let Ok(Step::Item(item)) = Reader::at(Layer::Xl).next(&bytes) else { panic!("a whole header") };
        prop_assert_eq!(item.content, Content::XlHeader(header));
    }
}
