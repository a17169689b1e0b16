//! Takes streams apart, and writes legacy ones, for `tests/peer-verify`, `tests/peer-legacy` and the rig.
//!
//! ```text
//!   stream-parts rewrite IN OUT    every item read and written again from its typed form
//!   stream-parts libxc   IN OUT    the libxc layer alone, of all epochs, with an END if it has none
//!   stream-parts sample  OUT       a small saved HVM guest; prints where its parts begin
//!   stream-parts legacy  IN OUT 32|64 [bare]    a saved guest, as a toolstack of Xen 4.5 with such words saved it
//!   stream-parts large   OUT       a legacy stream of an HVM guest, 1 GiB of pages
//! ```

use std::fs::File;
use std::io::{BufWriter, Error, Result, Write};
use std::path::Path;
use understudy_checkpoint::domain::{Description, DomainState, GuestKind, Sink};
use understudy_checkpoint::epoch::Image;
use understudy_checkpoint::legacy::WordSize;
use understudy_checkpoint::stream::libxc::{
    CpuidLeaf, DomainType, HvmContext, HvmParam, MsrEntry, Record, TscInfo,
};
use understudy_checkpoint::stream::{Content, Item, Items, Reader, libxc, libxl, write_restore_file, xl};
use understudy_checkpoint::{PAGE_SIZE, Page, PageEntry, PageType, Pfn};
use understudy_tests::legacy::{Guest, Sender, Xen, plain};

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["rewrite", from, to] => copy(from, to, rewrite, |_, _| {}),
        ["libxc", from, to] => copy(from, to, libxc_alone, end_libxc),
        ["sample", to] => sample(to),
        ["legacy", from, to, bits] => legacy(from, to, bits, false),
        ["legacy", from, to, bits, "bare"] => legacy(from, to, bits, true),
        ["large", to] => large(to),
        _ => Err(Error::other(
            "usage: stream-parts rewrite IN OUT | libxc IN OUT | sample OUT | legacy IN OUT 32|64 [bare] | large OUT",
        )),
    }
}

/// Reads all items and writes what `take` makes of each, then what `end` makes of the last one.
fn copy(
    from: &str,
    to: &str,
    take: fn(&Item<'_>, &mut Vec<u8>) -> Result<()>,
    end: fn(Option<u32>, &mut Vec<u8>),
) -> Result<()> {
    let mut items = Items::new(File::open(from)?, Reader::new());
    let mut out = BufWriter::new(File::create(to)?);
    let mut buffer = Vec::new();
    let mut last_libxc = None;
    while let Some(item) = items.next_item().map_err(Error::other)? {
        buffer.clear();
        take(&item, &mut buffer)?;
        out.write_all(&buffer)?;
        if let Content::Libxc(frame) = item.content {
            last_libxc = Some(frame.kind);
        }
    }
    buffer.clear();
    end(last_libxc, &mut buffer);
    out.write_all(&buffer)?;
    out.flush()
}

fn rewrite(item: &Item<'_>, out: &mut Vec<u8>) -> Result<()> {
    match item.content {
        Content::XlHeader(header) => header.write(out),
        Content::LibxlHeader(header) => header.write(out),
        Content::LibxcHeader(header) => header.write(out),
        Content::Libxl(frame) => libxl::Record::parse(frame).map_err(Error::other)?.write(out),
        Content::Libxc(frame) => libxc::Record::parse(frame).map_err(Error::other)?.write(out),
        Content::Go => out.extend_from_slice(xl::GO),
    }
    Ok(())
}

fn libxc_alone(item: &Item<'_>, out: &mut Vec<u8>) -> Result<()> {
    match item.content {
        Content::LibxcHeader(_) | Content::Libxc(_) => rewrite(item, out),
        _ => Ok(()),
    }
}

fn end_libxc(last: Option<u32>, out: &mut Vec<u8>) {
    if last != Some(libxc::kind::END) {
        Record::End.write(out);
    }
}

/// Bytes with the places where each part begins.
#[derive(Default)]
struct Parts {
    bytes: Vec<u8>,
    begins: Vec<(&'static str, usize)>,
}

impl Parts {
    fn add(&mut self, name: &'static str, record: Record<'_>) {
        self.begins.push((name, self.bytes.len()));
        record.write(&mut self.bytes);
    }
}

fn sample(to: impl AsRef<Path>) -> Result<()> {
    let mut statics = Parts::default();
    let leaf = CpuidLeaf { leaf: 0.into(), subleaf: u32::MAX.into(), registers: [0.into(); 4] };
    let msr = MsrEntry { index: 0xCE.into(), flags: 0.into(), value: 0.into() };
    statics.add("X86_CPUID_POLICY", Record::CpuidPolicy(&[leaf]));
    statics.add("X86_MSR_POLICY", Record::MsrPolicy(&[msr]));
    statics.add("STATIC_DATA_END", Record::StaticDataEnd);
    let mut state = Parts::default();
    let tsc = TscInfo {
        mode: 0.into(),
        khz: 2_000_000.into(),
        nsec: 123.into(),
        incarnation: 1.into(),
        reserved: 0.into(),
    };
    state.add("X86_TSC_INFO", Record::TscInfo(tsc));
    state.add("HVM_CONTEXT", Record::HvmContext(HvmContext { blob: &hvm_context() }));
    state.begins.push(("HVM_PADDING", state.bytes.len() - 1));
    let params = [(1, 1), (5, 2), (6, 2), (17, 2)].map(|(index, value)| HvmParam::new(index, value));
    state.add("HVM_PARAMS", Record::HvmParams(&params));
    let mut emulator = Vec::new();
    let qemu = libxl::EmulatorHeader::qemu();
    libxl::Record::EmulatorContext { emulator: qemu, blob: b"QEVMdata" }.write(&mut emulator);

    let mut image = Image::new(3);
    for pfn in 0..3 {
        image.apply_page(PageEntry::new(Pfn(pfn), PageType::Normal), Some(&[pfn as u8; PAGE_SIZE]));
    }
    image.apply_state(&DomainState { libxc: state.bytes, libxl: emulator });
    let what = Description {
        kind: GuestKind::Hvm,
        page_count: 3,
        libxc_version: 3,
        xen_version: (4, 17),
        config: b"{\"c_info\": {\"type\": \"hvm\"}}\0".to_vec(),
        static_records: statics.bytes,
        disks_bytes: Vec::new(),
    };
    let mut file = Vec::new();
    write_restore_file(&mut file, &what, &image)?;
    std::fs::write(to, &file)?;
    tell_offsets(&file, &state.begins)
}

/// Prints where headers and records of the file begin, and the places within the state.
fn tell_offsets(file: &[u8], state: &[(&str, usize)]) -> Result<()> {
    let mut items = Items::new(file, Reader::new());
    while let Some(item) = items.next_item().map_err(Error::other)? {
        let name = item.place.kind_name().map_or_else(|| item.place.layer.to_string(), str::to_string);
        println!("{name} {}", item.place.offset);
        if name == "X86_TSC_INFO" {
            let within = state.iter().filter(|(name, _)| *name == "HVM_PADDING");
            within.for_each(|(name, offset)| println!("{name} {}", item.place.offset as usize + offset));
        }
    }
    Ok(())
}

/// HEADER, a vCPU of 5 bytes (so that the record is padded), END.
fn hvm_context() -> Vec<u8> {
    let entry = |typecode: u16, data: &[u8]| {
        [&typecode.to_le_bytes()[..], &[0, 0], &(data.len() as u32).to_le_bytes(), data].concat()
    };
    let mut header = [0; 24];
    header[..8].copy_from_slice(&[0x86, 0x12, 0x38, 0x54, 1, 0, 0, 0]);
    [entry(1, &header), entry(2, &[9; 5]), entry(0, &[])].concat()
}

fn legacy(from: &str, to: &str, bits: &str, bare: bool) -> Result<()> {
    let word = match bits {
        "32" => WordSize::Four,
        "64" => WordSize::Eight,
        _ => return Err(Error::other("words have 32 or 64 bits")),
    };
    let mut guest = Guest::read(&std::fs::read(from)?);
    if bare {
        guest.config.clear();
    }
    std::fs::write(to, plain(&guest, word, Xen::V4_5))
}

/// Pages of the large guest: 1 GiB.
const LARGE_PAGES: u64 = 1 << 18;

fn large(to: &str) -> Result<()> {
    let mut guest = Guest::new(DomainType::Hvm);
    guest.frames = LARGE_PAGES as u32;
    guest.context = vec![1; 4112];
    guest.emulator = [&b"QEVM"[..], &[2; 6000]].concat();
    let pages: Vec<Page> = (0..1024).map(|seed| [seed as u8; PAGE_SIZE]).collect();
    let mut out = BufWriter::new(File::create(to)?);
    let mut sender = Sender::new(WordSize::Eight, Xen::V4_5);
    sender.head(&guest);
    sender.tsc(&guest);
    for first in (0..LARGE_PAGES).step_by(pages.len()) {
        let item = |(index, page)| (Pfn(first + index), PageType::Normal, Some(page));
        sender.batch(&(0..).zip(&pages).map(item).collect::<Vec<_>>());
        out.write_all(&std::mem::take(&mut sender.out))?;
    }
    sender.end_body(&guest, true, false);
    sender.tail(&guest);
    out.write_all(&sender.out)?;
    out.flush()
}
