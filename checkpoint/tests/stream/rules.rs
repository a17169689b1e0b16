//! Every rule is kept by sound streams, and noticed when it is broken, at the record that breaks it.

use crate::sample::{self, Piece, join, libxc, libxl, pages, params, piece, plain};
use std::collections::BTreeSet;
use understudy_checkpoint::PageType;
use understudy_checkpoint::domain::GuestKind::{self, Hvm, Pv, Pvh};
use understudy_checkpoint::stream::libxc::{
    GuestWidth, HvmContext, HvmParam, P2mFrames, Record, Vcpu, VcpuPart,
};
use understudy_checkpoint::stream::libxl::{self as libxl_layer, CheckpointState};
use understudy_checkpoint::stream::{OPTIONAL, Rule, verify};

#[test]
fn sound_streams_break_no_rule() {
    for (name, pieces) in sample::all() {
        let verdict = verify(&join(&pieces)[..]).unwrap();
        assert!(verdict.ok, "{name}: {:#?}", verdict.faults);
    }
}

pub(crate) type Pieces = Vec<Piece>;

fn at(pieces: &Pieces, name: &str) -> usize {
    pieces.iter().position(|piece| piece.name == name).unwrap_or_else(|| panic!("{name} is in the sample"))
}

/// Takes a piece out.
pub(crate) fn without(mut pieces: Pieces, name: &str) -> Pieces {
    let index = at(&pieces, name);
    pieces.remove(index);
    pieces
}

/// Puts another piece in its place.
pub(crate) fn with(mut pieces: Pieces, name: &str, other: Piece) -> Pieces {
    let index = at(&pieces, name);
    pieces[index] = other;
    pieces
}

/// Puts a piece before another.
pub(crate) fn before(mut pieces: Pieces, name: &str, other: Piece) -> Pieces {
    let index = at(&pieces, name);
    pieces.insert(index, other);
    pieces
}

/// Puts a piece in twice.
fn twice(pieces: Pieces, name: &str) -> Pieces {
    let again = pieces[at(&pieces, name)].clone();
    before(pieces, name, again)
}

/// Sets a byte of a piece.
fn poke(mut pieces: Pieces, name: &str, offset: usize, byte: u8) -> Pieces {
    let index = at(&pieces, name);
    pieces[index].bytes[offset] = byte;
    pieces
}

fn vcpu(blob: &[u8]) -> Piece {
    libxc("X86_PV_VCPU_BASIC", Record::Vcpu(Vcpu { vcpu_id: 0, part: VcpuPart::Basic, blob }))
}

fn vcpu_with(offset: usize, word: u64) -> Piece {
    let mut blob = sample::vcpu_basic();
    blob[offset..offset + 8].copy_from_slice(&word.to_le_bytes());
    vcpu(&blob)
}

fn context(blob: &[u8]) -> Piece {
    libxc("HVM_CONTEXT", Record::HvmContext(HvmContext { blob }))
}

fn p2m(end: u32, frames: &[u64]) -> Piece {
    let frames: Vec<_> = frames.iter().map(|pfn| (*pfn).into()).collect();
    libxc("X86_PV_P2M_FRAMES", Record::P2mFrames(P2mFrames { start: 0, end, frames: &frames }))
}

pub(crate) fn raw(kind: u32, body: &[u8]) -> Piece {
    piece("raw", |out| {
        out.extend_from_slice(&kind.to_le_bytes());
        out.extend_from_slice(&(body.len() as u32).to_le_bytes());
        out.extend_from_slice(body);
        out.resize(out.len().next_multiple_of(8), 0);
    })
}

pub(crate) fn remus(kind: GuestKind) -> Pieces {
    sample::checkpointed(kind, 2, false)
}

fn optional() -> Piece {
    libxc("optional", Record::Optional { kind: OPTIONAL | 7, body: &[1] })
}

fn framing() -> Vec<(&'static str, Rule, Pieces)> {
    let last = |pieces: Pieces, bytes: &[u8]| [pieces, vec![piece("tail", |out| out.extend(bytes))]].concat();
    let mut cut = plain(Pvh, 3);
    cut.pop();
    vec![
        ("no magic", Rule::Magic, poke(plain(Pvh, 3), "xl", 3, b'!')),
        (
            "compressed",
            Rule::Compressed,
            vec![piece("zstd", |out| out.extend([0x28, 0xB5, 0x2F, 0xFD, 0, 0, 0, 0]))],
        ),
        ("big-endian xl", Rule::XlHeader, poke(plain(Pvh, 3), "xl", 32, 1)),
        ("unknown xl flag", Rule::XlHeader, poke(plain(Pvh, 3), "xl", 36, 7)),
        ("config longer than its data", Rule::XlHeader, poke(plain(Pvh, 3), "xl", 49, 0xFF)),
        ("legacy", Rule::Legacy, poke(plain(Pvh, 3), "xl", 36, 1)),
        ("libxl version", Rule::LibxlHeader, poke(plain(Pvh, 3), "libxl", 11, 3)),
        ("libxl option", Rule::LibxlHeader, poke(plain(Pvh, 3), "libxl", 15, 4)),
        ("libxc marker", Rule::ImageHeader, poke(plain(Pvh, 3), "libxc", 0, 0)),
        ("libxc version", Rule::ImageHeader, poke(plain(Pvh, 3), "libxc", 15, 4)),
        ("big-endian libxc", Rule::ImageHeader, poke(plain(Pvh, 3), "libxc", 17, 1)),
        ("reserved image field", Rule::ImageHeader, poke(plain(Pvh, 3), "libxc", 20, 1)),
        ("domain type", Rule::DomainHeader, poke(plain(Pvh, 3), "libxc", 24, 3)),
        ("page shift", Rule::DomainHeader, poke(plain(Pvh, 3), "libxc", 28, 13)),
        ("length", Rule::RecordLimit, poke(plain(Pvh, 3), "X86_TSC_INFO", 7, 1)),
        ("unknown mandatory", Rule::RecordType, before(plain(Pvh, 3), "PAGE_DATA", raw(0x13, &[]))),
        ("dead TOOLSTACK", Rule::RecordType, before(plain(Pvh, 3), "PAGE_DATA", raw(0x0B, &[]))),
        ("unknown optional", Rule::RecordType, before(plain(Pvh, 3), "PAGE_DATA", optional())),
        ("optional in libxl", Rule::RecordType, before(plain(Pvh, 3), "libxl END", optional())),
        ("dirty list forward", Rule::RecordPlace, before(plain(Pvh, 3), "PAGE_DATA", raw(0x0F, &[]))),
        ("second context", Rule::RecordPlace, before(plain(Pvh, 3), "libxl END", raw(1, &[]))),
        ("END in a checkpoint", Rule::RecordPlace, before(remus(Pvh), "CHECKPOINT_END", raw(0, &[]))),
        (
            "padding",
            Rule::Padding,
            before(plain(Hvm, 3), "PAGE_DATA", {
                let mut context = context(&[&sample::hvm_context()[..], &[0]].concat());
                *context.bytes.last_mut().unwrap() = 1;
                context
            }),
        ),
        ("cut", Rule::Truncated, cut),
        ("damaged handshake", Rule::Trailing, last(plain(Pvh, 3), b"domain is mine, you are not")),
    ]
}

fn bodies() -> Vec<(&'static str, Rule, Pieces)> {
    let wrong_chain = |blob: &[u8]| with(plain(Pvh, 3), "HVM_CONTEXT", context(blob));
    let chain = sample::hvm_context();
    vec![
        ("reserved", Rule::Reserved, poke(plain(Pvh, 3), "X86_TSC_INFO", 8 + 20, 1)),
        ("reserved MSR flags", Rule::Reserved, poke(plain(Pvh, 3), "X86_MSR_POLICY", 8 + 4, 1)),
        ("TSC of 16 bytes", Rule::BodyLength, with(plain(Pvh, 3), "X86_TSC_INFO", raw(8, &[0; 16]))),
        ("END with a body", Rule::BodyLength, with(plain(Pvh, 3), "libxl END", raw(0, &[0; 8]))),
        ("no pages", Rule::PageCount, with(plain(Pvh, 3), "PAGE_DATA", raw(1, &[0; 8]))),
        ("reserved page type", Rule::PageType, poke(plain(Pvh, 3), "PAGE_DATA", 8 + 8 + 7, 0x50)),
        (
            "pfn above PV's last",
            Rule::PageRange,
            before(plain(Pv, 3), "X86_TSC_INFO", pages(&[(16, PageType::Normal)])),
        ),
        (
            "pfn twice",
            Rule::PageDuplicate,
            before(
                plain(Pvh, 3),
                "PAGE_DATA",
                pages(&[(2, PageType::Normal), (1, PageType::Normal), (2, PageType::Normal)]),
            ),
        ),
        ("PV pair (8, 3)", Rule::PvInfo, poke(plain(Pv, 3), "X86_PV_INFO", 9, 3)),
        ("PV_INFO twice", Rule::PvInfo, twice(plain(Pv, 3), "X86_PV_INFO")),
        (
            "P2M range",
            Rule::P2mFrames,
            with(plain(Pv, 3), "X86_PV_P2M_FRAMES", raw(3, &[1, 0, 0, 0, 0, 0, 0, 0])),
        ),
        ("P2M count", Rule::P2mFrames, with(plain(Pv, 3), "X86_PV_P2M_FRAMES", p2m(15, &[3, 4]))),
        ("P2M frame", Rule::P2mFrames, with(plain(Pv, 3), "X86_PV_P2M_FRAMES", p2m(15, &[16]))),
        ("registers' size", Rule::Vcpu, with(plain(Pv, 3), "X86_PV_VCPU_BASIC", vcpu(&[0; 2800]))),
        ("vCPU number", Rule::Vcpu, poke(plain(Pv, 3), "X86_PV_VCPU_BASIC", 9, 0x20)),
        ("GDT entries", Rule::Vcpu, with(plain(Pv, 3), "X86_PV_VCPU_BASIC", vcpu_with(4960, 7169))),
        ("TSC mode", Rule::Tsc, poke(plain(Pvh, 3), "X86_TSC_INFO", 8, 4)),
        ("chain without END", Rule::HvmContext, wrong_chain(&chain[..chain.len() - 8])),
        ("chain without HEADER", Rule::HvmContext, wrong_chain(&chain[32..])),
        ("chain cut", Rule::HvmContext, wrong_chain(&chain[..chain.len() - 10])),
        ("chain with a tail", Rule::HvmContext, wrong_chain(&[&chain[..], &[0; 8]].concat())),
        ("chain without vCPU", Rule::HvmContext, wrong_chain(&[&chain[..32], &[0; 8]].concat())),
        (
            "param set once, with two values",
            Rule::HvmParams,
            with(plain(Pvh, 3), "HVM_PARAMS", {
                let set_once = [HvmParam::new(9, 1), HvmParam::new(9, 3)];
                libxc("p", Record::HvmParams(&[&params(&[1, 17])[..], &set_once].concat()))
            }),
        ),
        (
            "param missing",
            Rule::HvmParams,
            with(plain(Hvm, 3), "HVM_PARAMS", libxc("p", Record::HvmParams(&params(&[1, 5, 17])))),
        ),
        ("empty policy", Rule::Policy, with(plain(Pvh, 3), "X86_CPUID_POLICY", raw(0x11, &[]))),
        (
            "unterminated value",
            Rule::XenstoreData,
            with(plain(Hvm, 3), "EMULATOR_XENSTORE_DATA", raw(2, b"\x02\0\0\0\0\0\0\0key\0value")),
        ),
        (
            "climbing key",
            Rule::XenstoreData,
            with(plain(Hvm, 3), "EMULATOR_XENSTORE_DATA", raw(2, b"\x02\0\0\0\0\0\0\0a/../b\0v\0")),
        ),
        ("device model id", Rule::EmulatorId, poke(plain(Hvm, 3), "EMULATOR_CONTEXT", 8, 3)),
        (
            "control id",
            Rule::CheckpointState,
            poke(sample::checkpointed(Hvm, 2, true), "CHECKPOINT_STATE", 8, 4),
        ),
        (
            "secondary's word",
            Rule::CheckpointState,
            with(
                sample::checkpointed(Hvm, 2, true),
                "CHECKPOINT_STATE",
                libxl("s", libxl_layer::Record::CheckpointState(CheckpointState::SecondaryReady)),
            ),
        ),
    ]
}

fn sequence() -> Vec<(&'static str, Rule, Pieces)> {
    let pv_info = || libxc("X86_PV_INFO", Record::PvInfo(GuestWidth::Bits64));
    let superpage = {
        let mut table = pages(&[(5, PageType::Table { level: 4, pinned: false })]);
        table.bytes[8 + 8 + 8] |= 1 << 7;
        table
    };
    let far_table = {
        let mut table = pages(&[(8, PageType::Table { level: 1, pinned: false })]);
        table.bytes[8 + 8 + 8 + 2] = 1;
        table
    };
    let emulator_first = {
        let context = sample::emulator(Hvm).remove(1);
        before(without(plain(Hvm, 3), "EMULATOR_CONTEXT"), "LIBXC_CONTEXT", context)
    };
    let many: Vec<_> = (0..70_000).map(|pfn| (pfn, PageType::Normal)).collect();
    let mut large = plain(Pvh, 3);
    many.chunks(1024)
        .for_each(|chunk| large = before(std::mem::take(&mut large), "X86_TSC_INFO", pages(chunk)));
    vec![
        ("policy missing", Rule::Policy, without(plain(Pvh, 3), "X86_MSR_POLICY")),
        ("policy in v2", Rule::Policy, before(plain(Pvh, 2), "PAGE_DATA", raw(0x11, &[0; 24]))),
        ("static data end missing", Rule::StaticData, without(plain(Pvh, 3), "STATIC_DATA_END")),
        ("static data end twice", Rule::StaticData, twice(plain(Pvh, 3), "STATIC_DATA_END")),
        ("static data end in v2", Rule::StaticData, before(plain(Pvh, 2), "PAGE_DATA", raw(0x10, &[]))),
        ("policy late", Rule::Order, before(plain(Pvh, 3), "PAGE_DATA", raw(0x11, &[0; 24]))),
        ("PV_INFO late", Rule::Order, before(without(plain(Pv, 3), "X86_PV_INFO"), "PAGE_DATA", pv_info())),
        ("pages before P2M", Rule::Order, without(plain(Pv, 3), "X86_PV_P2M_FRAMES")),
        ("VERIFY in a checkpoint", Rule::Order, {
            let mut pieces = remus(Pvh);
            let last = pieces.len() - 2;
            pieces.insert(last, libxc("VERIFY", Record::Verify));
            pieces
        }),
        ("device model first", Rule::Order, emulator_first),
        ("device model twice", Rule::Order, twice(plain(Hvm, 3), "EMULATOR_CONTEXT")),
        ("PV record in HVM", Rule::GuestType, before(plain(Pvh, 3), "X86_TSC_INFO", raw(7, &[0; 4096]))),
        (
            "HVM record in PV",
            Rule::GuestType,
            before(plain(Pv, 3), "X86_TSC_INFO", context(&sample::hvm_context())),
        ),
        (
            "device model of PVH",
            Rule::GuestType,
            before(plain(Pvh, 3), "libxl END", sample::emulator(Hvm).remove(1)),
        ),
        (
            "config of another type",
            Rule::GuestType,
            with(plain(Pvh, 3), "xl", sample::headers(Pv, 3).remove(0)),
        ),
        ("TSC missing", Rule::StateMissing, without(plain(Pvh, 3), "X86_TSC_INFO")),
        ("context missing", Rule::StateMissing, without(plain(Pvh, 3), "HVM_CONTEXT")),
        ("params missing", Rule::StateMissing, without(remus(Pvh), "HVM_PARAMS")),
        ("vCPU 0 missing", Rule::StateMissing, without(remus(Pv), "X86_PV_VCPU_BASIC")),
        ("shared info missing", Rule::StateMissing, without(plain(Pv, 3), "SHARED_INFO")),
        ("device model missing", Rule::StateMissing, without(remus(Hvm), "EMULATOR_CONTEXT")),
        (
            "device model empty",
            Rule::StateMissing,
            with(remus(Hvm), "EMULATOR_CONTEXT", raw(3, b"\x02\0\0\0\0\0\0\0")),
        ),
        (
            "ring uncovered",
            Rule::Coverage,
            before(plain(Pvh, 3), "X86_TSC_INFO", pages(&[(1, PageType::Absent)])),
        ),
        ("P2M frame uncovered", Rule::Coverage, with(plain(Pv, 3), "X86_PV_P2M_FRAMES", p2m(15, &[14]))),
        ("root uncovered", Rule::Coverage, with(plain(Pv, 3), "X86_PV_VCPU_BASIC", vcpu_with(5008, 7 << 12))),
        (
            "user root uncovered",
            Rule::Coverage,
            with(plain(Pv, 3), "X86_PV_VCPU_BASIC", vcpu_with(4992, 7 << 12 | 1)),
        ),
        ("start info uncovered", Rule::Coverage, with(plain(Pv, 3), "X86_PV_VCPU_BASIC", vcpu_with(616, 14))),
        ("GDT uncovered", Rule::Coverage, with(plain(Pv, 3), "X86_PV_VCPU_BASIC", vcpu_with(4832, 1 << 40))),
        ("superpage", Rule::PageTable, before(plain(Pv, 3), "X86_TSC_INFO", superpage)),
        ("PTE beyond the guest", Rule::PageTable, before(plain(Pv, 3), "X86_TSC_INFO", far_table)),
        ("more than the guest may have", Rule::ImageSize, large),
    ]
}

#[test]
fn every_rule_is_noticed_where_it_is_broken() {
    let cases: Vec<_> = [framing(), bodies(), sequence()].into_iter().flatten().collect();
    for (name, rule, pieces) in &cases {
        let verdict = verify(&join(pieces)[..]).unwrap();
        let rules: Vec<&str> = verdict.faults.iter().map(|fault| fault.rule.id()).collect();
        assert!(rules.contains(&rule.id()), "{name}: {rule} is broken, noticed was {rules:?}");
        let starts: BTreeSet<u64> = pieces
            .iter()
            .scan(0, |end, piece| {
                *end += piece.bytes.len() as u64;
                Some(*end - piece.bytes.len() as u64)
            })
            .chain([verdict.bytes])
            .collect();
        for fault in &verdict.faults {
            assert!(starts.contains(&fault.place.offset), "{name}: {fault} names the start of an item");
        }
    }
    let broken: BTreeSet<Rule> = cases.iter().map(|(_, rule, _)| *rule).collect();
    let all: BTreeSet<Rule> = Rule::ALL.iter().copied().collect();
    assert_eq!(broken, all, "there is a case for each rule");
}

#[test]
fn one_broken_body_is_one_fault() {
    for (name, rule, pieces) in bodies() {
        let verdict = verify(&join(&pieces)[..]).unwrap();
        let same = verdict.faults.iter().filter(|fault| fault.rule == rule).count();
        assert_eq!((same, verdict.fault_count), (1, 1), "{name}: {:#?}", verdict.faults);
    }
}
