//! Bytes that Xen's own verifier accepts, written out by hand from the specification.

use crate::sample;
use understudy_checkpoint::stream::libxc::{self, DomainType, HvmParam, LibxcHeader};
use understudy_checkpoint::stream::libxl::{self, CheckpointState, EmulatorHeader, LibxlHeader};
use understudy_checkpoint::{PAGE_SIZE, PageType};

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex.bytes().filter(u8::is_ascii_hexdigit).collect();
    let pair = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.chunks(2).map(pair).collect()
}

fn written(write: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    sample::piece("", write).bytes
}

#[test]
fn headers_are_those_of_stock_xen() {
    let libxc = LibxcHeader { version: 3, domain_type: DomainType::Hvm, xen_version: (4, 17) };
    let expected =
        "ffffffffffffffff 58454e46 00000003 0000 0000 00000000 02000000 0c00 0000 04000000 11000000";
    assert_eq!(written(|out| libxc.write(out)), bytes(expected));
    let libxl = LibxlHeader::default();
    assert_eq!(written(|out| libxl.write(out)), bytes("4c6962786c466d74 00000002 00000000"));
}

#[test]
fn records_are_those_of_stock_xen() {
    let libxc = |record: libxc::Record<'_>| written(|out| record.write(out));
    let libxl = |record: libxl::Record<'_>| written(|out| record.write(out));
    assert_eq!(libxc(libxc::Record::StaticDataEnd), bytes("10000000 00000000"));
    assert_eq!(libxc(libxc::Record::Checkpoint), bytes("0e000000 00000000"));
    assert_eq!(libxc(libxc::Record::End), [0; 8]);
    assert_eq!(libxl(libxl::Record::End), [0; 8]);
    assert_eq!(libxl(libxl::Record::LibxcContext), bytes("01000000 00000000"));
    assert_eq!(libxl(libxl::Record::CheckpointEnd), bytes("04000000 00000000"));
    let state = libxl::Record::CheckpointState(CheckpointState::SecondarySuspended);
    assert_eq!(libxl(state), bytes("05000000 04000000 01000000 00000000"));
    let emulator = libxl::Record::EmulatorContext { emulator: EmulatorHeader::qemu(), blob: b"QEVMdata" };
    assert_eq!(libxl(emulator), bytes("03000000 10000000 02000000 00000000 5145564d64617461"));
    let expected = "08000000 18000000 00000000 80841e00 7b00000000000000 01000000 00000000";
    assert_eq!(sample::tsc().bytes, bytes(expected));
    let params = [HvmParam::new(1, 0xfeffc)];
    let expected = "0a000000 18000000 01000000 00000000 0100000000000000 fcef0f0000000000";
    assert_eq!(libxc(libxc::Record::HvmParams(&params)), bytes(expected));
}

#[test]
fn pages_are_those_of_stock_xen() {
    let mut expected = bytes("01000000 18100000 02000000 00000000 0500000000000000 06000000000000f0");
    expected.extend([5; PAGE_SIZE]);
    assert_eq!(sample::pages(&[(5, PageType::Normal), (6, PageType::Absent)]).bytes, expected);
}
