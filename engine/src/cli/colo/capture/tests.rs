//! Captures in every form, cut, changed and made up.

use super::*;
use proptest::prelude::*;
use std::io::Cursor;

/// Words of a file in its byte order.
#[derive(Clone, Copy)]
enum Order {
    Little,
    Big,
}

impl Order {
    fn u16(self, word: u16) -> [u8; 2] {
        if matches!(self, Self::Big) { word.to_be_bytes() } else { word.to_le_bytes() }
    }

    fn u32(self, word: u32) -> [u8; 4] {
        if matches!(self, Self::Big) { word.to_be_bytes() } else { word.to_le_bytes() }
    }
}

const BOTH: [Order; 2] = [Order::Little, Order::Big];

fn pcap_header(order: Order, magic: u32, link: u32) -> Vec<u8> {
    let mut file = order.u32(magic).to_vec();
    file.extend([order.u16(2), order.u16(4)].concat());
    file.extend([0, 0, 65_535, link].iter().flat_map(|word| order.u32(*word)));
    file
}

fn pcap_frame(order: Order, seconds: u32, units: u32, wire_bytes: u32, data: &[u8]) -> Vec<u8> {
    let words = [seconds, units, data.len() as u32, wire_bytes];
    [words.iter().flat_map(|word| order.u32(*word)).collect(), data.to_vec()].concat()
}

fn ng_block(order: Order, kind: u32, body: &[u8]) -> Vec<u8> {
    let padded = body.len().next_multiple_of(4);
    let total = order.u32(padded as u32 + 12);
    let mut block = [order.u32(kind), total].concat();
    block.extend(body);
    block.resize(8 + padded, 0);
    block.extend(total);
    block
}

fn ng_section(order: Order) -> Vec<u8> {
    let body = [&order.u32(0x1a2b_3c4d)[..], &order.u16(1), &order.u16(0), &[0xff; 8]].concat();
    ng_block(order, 0x0a0d_0d0a, &body)
}

fn ng_interface(order: Order, link: u16, options: &[(u16, &[u8])]) -> Vec<u8> {
    let mut body = [&order.u16(link)[..], &[0; 2], &order.u32(0)].concat();
    for (code, value) in options {
        body.extend([order.u16(*code), order.u16(value.len() as u16)].concat());
        body.extend(*value);
        body.resize(body.len().next_multiple_of(4), 0);
    }
    ng_block(order, 1, &body)
}

fn ng_frame(order: Order, interface: u32, units: u64, data: &[u8]) -> Vec<u8> {
    let words = [interface, (units >> 32) as u32, units as u32, data.len() as u32, data.len() as u32];
    ng_block(order, 6, &[words.iter().flat_map(|word| order.u32(*word)).collect(), data.to_vec()].concat())
}

/// All frames, and how it ended.
fn read(file: &[u8]) -> (Vec<Captured>, Result<(), CaptureError>) {
    let mut frames = Vec::new();
    let mut capture = match Capture::new(Cursor::new(file.to_vec())) {
        Ok(capture) => capture,
        Err(error) => return (frames, Err(error)),
    };
    loop {
        match capture.next() {
            Ok(Some(frame)) => frames.push(frame),
            Ok(None) => return (frames, Ok(())),
            Err(error) => return (frames, Err(error)),
        }
    }
}

fn whole(file: &[u8]) -> Vec<Captured> {
    let (frames, end) = read(file);
    end.unwrap();
    frames
}

fn frame(number: u64, at: Nanoseconds, bytes: &[u8]) -> Captured {
    Captured { number, at, bytes: bytes.to_vec(), missing_bytes: 0 }
}

#[test]
fn pcap_is_read_in_both_orders_and_both_precisions() {
    for order in BOTH {
        for (magic, ns) in [(0xa1b2_c3d4, 1000), (0xa1b2_3c4d, 1)] {
            let mut file = pcap_header(order, magic, 1);
            file.extend(pcap_frame(order, 7, 5, 14, &[1; 14]));
            file.extend(pcap_frame(order, 8, 6, 15, &[2; 15]));
            let expected =
                [frame(1, 7_000_000_000 + 5 * ns, &[1; 14]), frame(2, 8_000_000_000 + 6 * ns, &[2; 15])];
            assert_eq!(whole(&file), expected);
        }
    }
}

#[test]
fn pcapng_is_read_with_the_times_of_each_interface() {
    for order in BOTH {
        let offset = match order {
            Order::Little => 100i64.to_le_bytes(),
            Order::Big => 100i64.to_be_bytes(),
        };
        let mut file = ng_section(order);
        file.extend(ng_interface(order, 1, &[]));
        file.extend(ng_interface(order, 1, &[(9, &[9]), (14, &offset)]));
        file.extend(ng_interface(order, 1, &[(9, &[0x80 | 10])]));
        file.extend(ng_frame(order, 0, 1_000_007, &[1; 14]));
        file.extend(ng_block(order, 5, &[0; 12]));
        file.extend(ng_frame(order, 1, 5_000_000_003, &[2; 15]));
        file.extend(ng_frame(order, 2, 1536, &[3; 16]));
        // The next section forgets the interfaces of the one before, and may have another byte order.
        file.extend(ng_section(Order::Big));
        file.extend(ng_interface(Order::Big, 101, &[]));
        file.extend(ng_frame(Order::Big, 0, 1, &[0x45; 20]));
        let ip = [&[0; 12][..], &[8, 0], &[0x45; 20]].concat();
        let expected = [
            frame(1, 1_000_007_000, &[1; 14]),
            frame(2, 105_000_000_003, &[2; 15]),
            frame(3, 1_500_000_000, &[3; 16]),
            frame(4, 1000, &ip),
        ];
        assert_eq!(whole(&file), expected);
    }
}

#[test]
fn what_is_not_ethernet_is_made_ethernet() {
    let packet = [0x60; 40];
    let source = [2, 0, 0, 0, 0, 9];
    let expected = [&[0; 6][..], &source, &[0x86, 0xdd], &packet].concat();
    let cooked = [&[0, 4, 0, 1, 0, 6][..], &source, &[0, 0, 0x86, 0xdd], &packet].concat();
    let cooked_2 = [&[0x86, 0xdd, 0, 0, 0, 0, 0, 3, 0, 1, 4, 6][..], &source, &[0, 0], &packet].concat();
    for (link, data) in [(113, cooked), (276, cooked_2)] {
        let mut file = pcap_header(Order::Little, 0xa1b2_c3d4, link);
        file.extend(pcap_frame(Order::Little, 0, 0, data.len() as u32, &data));
        assert_eq!(whole(&file), [frame(1, 0, &expected)], "link type {link}");
    }
}

#[test]
fn a_frame_that_was_cut_by_the_capture_says_how_much_is_missing() {
    let mut file = pcap_header(Order::Little, 0xa1b2_c3d4, 1);
    file.extend(pcap_frame(Order::Little, 0, 0, 1514, &[0; 96]));
    assert_eq!(whole(&file)[0].missing_bytes, 1514 - 96);
}

#[test]
fn what_is_no_capture_or_of_no_use_is_said_with_its_reason() {
    let ends = |file: &[u8]| read(file).1.unwrap_err();
    assert!(matches!(ends(b""), CaptureError::NoCapture));
    assert!(matches!(ends(b"\x28\xb5\x2f\xfd compressed"), CaptureError::NoCapture));
    let wireless = pcap_header(Order::Little, 0xa1b2_c3d4, 105);
    assert!(matches!(ends(&wireless), CaptureError::LinkType(105)));
    let mut simple = [ng_section(Order::Little), ng_interface(Order::Little, 1, &[])].concat();
    simple.extend(ng_block(Order::Little, 3, &[14, 0, 0, 0, 1, 1, 1, 1]));
    assert!(matches!(ends(&simple), CaptureError::NoTime { .. }));
    let unknown = [ng_section(Order::Little), ng_frame(Order::Little, 0, 0, &[1; 14])].concat();
    assert!(matches!(ends(&unknown), CaptureError::Damaged { at: 28 }));
    let many = vec![ng_interface(Order::Little, 1, &[]); INTERFACES_MAX + 1].concat();
    assert!(matches!(ends(&[ng_section(Order::Little), many].concat()), CaptureError::Interfaces));
    let mut large = pcap_header(Order::Little, 0xa1b2_c3d4, 1);
    large.extend([0, 0, u32::MAX, u32::MAX].iter().flat_map(|word| word.to_le_bytes()));
    large.extend(vec![0; 2 * WINDOW_BYTES]);
    assert!(matches!(ends(&large), CaptureError::Damaged { at: 24 }));
}

#[test]
fn an_input_that_fails_is_told_as_the_system_tells_it() {
    struct Fails;
    impl Read for Fails {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::from_raw_os_error(5))
        }
    }
    let begin = pcap_header(Order::Little, 0xa1b2_c3d4, 1);
    assert!(
        matches!(Capture::new(Fails), Err(CaptureError::Unreadable(error)) if error.raw_os_error() == Some(5))
    );
    let frames = (0..2000).flat_map(|_| pcap_frame(Order::Little, 0, 0, 1000, &[0; 1000]));
    let file = begin.into_iter().chain(frames).collect::<Vec<u8>>();
    let mut capture = Capture::new(Cursor::new(file).chain(Fails)).unwrap();
    let end = std::iter::repeat_with(|| capture.next()).find_map(|frame| frame.err());
    assert!(matches!(end, Some(CaptureError::Unreadable(error)) if error.raw_os_error() == Some(5)));
}

/// Bytes at a time, as a pipe gives them.
struct Slow(Cursor<Vec<u8>>, usize);

impl Read for Slow {
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        let count = self.1.min(room.len());
        self.0.read(&mut room[..count])
    }
}

#[test]
fn more_than_the_window_goes_through_it_whatever_the_reads_are() {
    let mut file = pcap_header(Order::Big, 0xa1b2_c3d4, 1);
    let sizes: Vec<usize> = (0..300).map(|n| 14 + n * 7919 % 60_000).collect();
    for size in &sizes {
        file.extend(pcap_frame(Order::Big, 1, 2, *size as u32, &vec![*size as u8; *size]));
    }
    assert!(file.len() > 4 * WINDOW_BYTES);
    let mut capture = Capture::new(Slow(Cursor::new(file), 4093)).unwrap();
    for size in sizes {
        assert_eq!(capture.next().unwrap().unwrap().bytes, vec![size as u8; size]);
    }
    assert!(capture.next().unwrap().is_none());
}

/// A file of each format with a few frames in it.
fn samples() -> Vec<Vec<u8>> {
    let pcap = |order| {
        let frames = (0..4u32).flat_map(move |n| pcap_frame(order, n, n, 60, &[n as u8; 60]));
        pcap_header(order, 0xa1b2_c3d4, 1).into_iter().chain(frames).collect()
    };
    let ng = |order| {
        let frames = (0..4u32).flat_map(move |n| ng_frame(order, 0, n.into(), &[n as u8; 60]));
        let begin = [ng_section(order), ng_interface(order, 1, &[(9, &[9])])].concat();
        begin.into_iter().chain(frames).collect()
    };
    BOTH.into_iter().flat_map(|order| [pcap(order), ng(order)]).collect()
}

#[test]
fn a_capture_that_was_cut_gives_the_frames_before_and_says_so() {
    for file in samples() {
        let all = whole(&file);
        for length in 0..file.len() {
            let (frames, end) = read(&file[..length]);
            assert_eq!(frames, all[..frames.len()], "cut at {length}");
            // A cut between two frames is a capture with fewer frames.
            match end {
                Ok(()) => assert!(frames.len() < all.len()),
                Err(CaptureError::EndsEarly { at }) => assert!(at < length as u64),
                Err(CaptureError::NoCapture) => assert!(frames.is_empty()),
                Err(error) => panic!("cut at {length}: {error}"),
            }
        }
    }
}

proptest! {
    #[test]
    fn no_file_makes_it_panic_or_read_for_ever(mut file in prop::sample::select(samples()),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..8),
        tail in prop::collection::vec(any::<u8>(), 0..64)) {
        for (place, value) in changes {
            let place = place.index(file.len());
            file[place] = value;
        }
        file.extend(tail);
        let (frames, _) = read(&file);
        prop_assert!(frames.len() <= file.len() / 16);
    }

    #[test]
    fn no_bytes_behind_a_beginning_make_it_panic(begin in prop::sample::select(samples()),
        bytes in prop::collection::vec(any::<u8>(), 0..512)) {
        let _ = read(&[&begin[..28], &bytes].concat());
        let _ = read(&bytes);
    }
}
