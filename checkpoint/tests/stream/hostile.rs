//! Input that means harm: sizes that lie, bytes that are wrong. It ends in a verdict, not in a panic, and
//! takes no memory for what never arrives.

use crate::sample::{self, Piece, join, piece};
use proptest::prelude::*;
use std::io::Read;
use understudy_checkpoint::domain::GuestKind;
use understudy_checkpoint::epoch::Image;
use understudy_checkpoint::stream::{Reader, RecordedEpoch, Recording, Rule, Step, inspect, verify};

/// A header that announces `length` bytes of body, and none of them.
fn announcing(kind: u32, length: u32) -> Piece {
    piece("hostile", |out| {
        out.extend_from_slice(&kind.to_le_bytes());
        out.extend_from_slice(&length.to_le_bytes());
    })
}

#[test]
fn a_length_beyond_the_limit_is_refused_before_its_body_is_waited_for() {
    let headers = join(&sample::headers(GuestKind::Pvh, 3));
    for (kind, length) in
        [(1, 0x0800_0001), (1, u32::MAX), (8, 65_537), (9, 0x0400_0001), (0x8000_0000, u32::MAX)]
    {
        let stream = [&headers[..], &announcing(kind, length).bytes].concat();
        let verdict = verify(&stream[..]).unwrap();
        assert_eq!(verdict.faults[0].rule, Rule::RecordLimit, "type {kind} of {length} bytes");
    }
    let before_libxc = join(&sample::headers(GuestKind::Hvm, 3)[..2]);
    for (kind, length) in [(3, u32::MAX), (2, 1 << 21), (0, 1 << 17)] {
        let stream = [&before_libxc[..], &announcing(kind, length).bytes].concat();
        assert_eq!(verify(&stream[..]).unwrap().faults[0].rule, Rule::RecordLimit, "type {kind}");
    }
}

/// Counts how large a piece it was ever asked for at once.
struct Asked<'a> {
    rest: &'a [u8],
    most: &'a mut usize,
}

impl Read for Asked<'_> {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        *self.most = (*self.most).max(into.len());
        self.rest.read(into)
    }
}

#[test]
fn an_announced_length_within_the_limit_takes_no_memory_until_bytes_arrive() {
    let headers = join(&sample::headers(GuestKind::Pvh, 3));
    let stream = [&headers[..], &announcing(1, 0x0800_0000).bytes, &[1; 1000]].concat();
    let mut most = 0;
    let verdict = verify(Asked { rest: &stream, most: &mut most }).unwrap();
    assert_eq!(verdict.faults[0].rule, Rule::Truncated);
    assert!(most <= 2 << 20, "a buffer of {most} bytes was made for 1,000");
}

#[test]
fn counts_and_pfns_beyond_the_limits_are_refused() {
    let body = |count: u32, entry: u64| {
        piece("hostile", |out| {
            out.extend_from_slice(&[1, 0, 0, 0, 16, 0, 0, 0]);
            out.extend_from_slice(&count.to_le_bytes());
            out.extend_from_slice(&[0; 4]);
            out.extend_from_slice(&entry.to_le_bytes());
        })
    };
    let headers = join(&sample::headers(GuestKind::Pvh, 3));
    for (count, entry, rule) in [
        (0, 0xF << 60, Rule::PageCount),
        (u32::MAX, 0xF << 60, Rule::PageCount),
        (2, 0xF << 60, Rule::BodyLength),
        (1, 0, Rule::BodyLength),
        (1, 0xF << 60 | 1 << 28, Rule::PageRange),
        (1, 5 << 60, Rule::PageType),
        (1, 0xF << 60 | 1 << 52, Rule::PageType),
    ] {
        let stream = [&headers[..], &body(count, entry).bytes].concat();
        assert_eq!(verify(&stream[..]).unwrap().faults[0].rule, rule, "count {count}, entry {entry:#x}");
    }
}

#[test]
fn an_image_larger_than_its_guest_is_refused_and_a_scattered_one_is_not() {
    use understudy_checkpoint::PageType;
    let headers = join(&sample::headers(GuestKind::Pvh, 3));
    let batch = |pfns: &mut dyn Iterator<Item = u64>| {
        sample::pages(&pfns.map(|pfn| (pfn, PageType::Normal)).collect::<Vec<_>>()).bytes
    };
    // The guest may have 4 MiB and the slack of 256: one batch more than that.
    let batches = (0..65 + 1).map(|number| batch(&mut (number * 1024..(number + 1) * 1024)));
    let mut stream = headers.clone();
    stream.extend(batches.flatten());
    let error = Recording::new(&stream[..]).first_copy().unwrap_err().to_string();
    assert!(error.contains("[image-size]"), "{error}");

    // A page in each of 1,000 blocks of 2 MiB.
    let mut stream = [headers, batch(&mut (0..1000).map(|block| block * 512))].concat();
    stream.extend(sample::state(GuestKind::Pvh).iter().flat_map(|piece| &piece.bytes));
    stream.extend([[0; 16]].concat());
    let (_, image) = Recording::new(&stream[..]).first_copy().unwrap();
    assert_eq!(image.resident_bytes(), 1000 * 4096);
}

/// Everything that reads a stream reads this one; nothing may panic.
fn swallow(stream: &[u8]) {
    let verdict = verify(stream).unwrap();
    assert_eq!(verdict.ok, verdict.fault_count == 0);
    assert!(inspect(stream).unwrap().bytes <= verdict.bytes, "inspecting ends at the first fault");
    let mut recording = Recording::new(stream);
    if let Ok((_, mut image)) = recording.first_copy() {
        let mut epoch = RecordedEpoch::default();
        while let Ok(true) = recording.next_epoch(&mut epoch) {
            epoch.apply_to(&mut image);
        }
        drop::<Image>(image);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn wrong_bytes_end_in_a_verdict(
        which in 0..7usize,
        edits in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let pieces = &sample::all()[which].1;
        let mut stream = join(pieces);
        for (at, byte) in edits {
            // Mostly outside of pages, where bytes mean something.
            let piece = at.get(pieces);
            let offset = stream.windows(piece.bytes.len()).position(|window| window == piece.bytes);
            let at = offset.unwrap_or(0) + at.index(piece.bytes.len().min(96));
            stream[at] = byte;
        }
        swallow(&stream);
    }

    #[test]
    fn noise_ends_in_a_verdict(noise in proptest::collection::vec(any::<u8>(), 0..600), start in 0..4usize) {
        let head: &[u8] = [&b""[..], b"LibxlFmt\0\0\0\x02\0\0\0\0", &[0xFF; 8], b"Xen saved domain, xl format\n \0 \r"][start];
        swallow(&[head, &noise].concat());
    }
}

#[test]
fn what_is_no_stream_is_told_what_it_is() {
    let first = |bytes: &[u8]| verify(bytes).unwrap().faults[0].clone();
    let compressed = first(&[0x28, 0xB5, 0x2F, 0xFD, 0, 0, 0, 0, 0]);
    assert_eq!(compressed.rule, Rule::Compressed);
    assert!(compressed.detail.contains("zstd -dc --long=27"));
    assert_eq!(first(b"\x7fELF\x02\x01\x01\0\0").rule, Rule::Magic);
    assert!(first(b"xl migration receiver ready, send binary").detail.contains("back direction"));
    assert_eq!(first(b"").rule, Rule::Truncated);
    let Err(fault) = Reader::new().next(b"garbage!") else { panic!("garbage is no stream") };
    assert_eq!((fault.rule, fault.place.offset), (Rule::Magic, 0));
    assert_eq!(Reader::new().next(b"Xen"), Ok(Step::Need(8)));
}

#[test]
fn a_stream_that_ends_before_its_libxc_part_is_no_recording() {
    let mut pieces = sample::headers(GuestKind::Pvh, 2);
    pieces.truncate(2);
    pieces.push(sample::libxl("END", understudy_checkpoint::stream::libxl::Record::End));
    let stream = join(&pieces);
    assert!(!verify(&stream[..]).unwrap().ok);
    let error = Recording::new(&stream[..]).first_copy().unwrap_err();
    assert!(error.to_string().contains("libxc header"), "{error}");
}
