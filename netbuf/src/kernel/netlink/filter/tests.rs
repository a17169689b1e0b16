//! Tests of filters' messages: golden bytes, and hostile ones.

use super::wire::tests_support::bytes;
use super::*;
use proptest::prelude::*;

/// tcmsg of a filter on interface 5, ingress, priority 0x5553.
const FIXED: &str = "00 000000 05000000 00000000 f2ffffff 00035355";
/// ACT { [1] { "mirred", { PARMS }, COOKIE } } to interface 6, without ACT's own header.
const ACTION: &str = "4800 0100 0b00 0100 6d697272656400 00 \
                      2400 0200 2000 0200 00000000 00000000 04000000 00000000 00000000 01000000 06000000 \
                      1400 0600 75736479 75736479 75736479 75736479";
const COOKIE: [u8; 16] = *b"usdyusdyusdyusdy";

fn golden(matcher: Matcher) -> Vec<u8> {
    let target = Target::TransmitOn(6);
    add((5, "vif1"), 0x5553, matcher, target, COOKIE).encode(1).to_vec()
}

fn expected(kind: &str, options: &str) -> Vec<u8> {
    let body = bytes(&format!("{FIXED} {kind} {options} {ACTION}"));
    let mut message = bytes("00000000 2c00 0506 01000000 00000000");
    message.extend_from_slice(&body);
    let length = u32::try_from(message.len()).unwrap();
    message[..4].copy_from_slice(&length.to_le_bytes());
    message
}

#[test]
fn golden_unmarked_by_bpf() {
    let program = "0600 0400 0400 0000 2400 0500 \
                   2000 00 00 14f0ffff 1500 00 01 42420000 0600 00 00 00000000 0600 00 00 ffffffff \
                   1800 0700 756e6465727374756479 20756e6d61726b656400";
    let wanted = expected("0800 0100 62706600", &format!("9400 0200 {program} 4c00 0100"));
    assert_eq!(golden(Matcher::Unmarked(0x4242)), wanted);
}

#[test]
fn golden_drop() {
    let wanted = "6c000000 2c00 0506 01000000 00000000 00 000000 05000000 00000000 f2ffffff 00035355 \
                  0800 0100 62706600 4000 0200 0600 0400 0500 0000 2c00 0500 \
                  0000 00 00 75736479 0000 00 00 75736479 0000 00 00 75736479 0000 00 00 75736479 \
                  0600 00 00 02000000 0800 0800 01000000";
    let message = add_drop((5, "vif1"), 0x5553, COOKIE).encode(1).to_vec();
    assert_eq!(message, bytes(wanted));
    let read = decode(&message[wire::HEADER_BYTES..]).unwrap();
    assert_eq!((read.priority, read.cookie, read.target), (0x5553, Some(COOKIE), None));
}

#[test]
fn what_was_added_is_read_back() {
    for matcher in [Matcher::Unmarked(0x4242), Matcher::Program(3)] {
        let message = golden(matcher);
        let read = decode(&message[wire::HEADER_BYTES..]).unwrap();
        assert_eq!((read.priority, read.cookie, read.target), (0x5553, Some(COOKIE), Some(6)));
        assert_eq!((read.protocol, read.chain, read.way), (ETH_P_ALL, 0, Some((1, TC_ACT_STOLEN))));
    }
}

proptest! {
    #[test]
    fn hostile_descriptions_never_panic(body in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = decode(&body);
    }

    /// Real descriptions with one byte changed reach the inner levels.
    #[test]
    fn broken_descriptions_never_panic(at in 0usize..200, byte in any::<u8>(), length in 0usize..200) {
        let mut message = golden(Matcher::Unmarked(0x4242))[wire::HEADER_BYTES..].to_vec();
        message.truncate(length);
        if let Some(place) = message.get_mut(at) {
            *place = byte;
        }
        let _ = decode(&message);
    }
}
