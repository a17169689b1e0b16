//! Xen's record stream: anything may come from a file or a stranger.
//!
//! Whatever it is, it ends in a verdict; its items are the same however it is split; a record that parses is
//! written back as the same bytes; a stream found sound can be materialized and is sound again.

#![no_main]

use libfuzzer_sys::fuzz_target;
use understudy_checkpoint::stream::back::{BackKind, BackReader, BackStep};
use understudy_checkpoint::stream::{
    Content, Item, Reader, Recording, Step, libxc, libxl, verify, write_restore_file,
};

fuzz_target!(|data: &[u8]| {
    let seen = items(data, data.len().max(1));
    assert_eq!(seen, items(data, 7), "any split gives the same items");
    let verdict = verify(data).expect("a slice can be read");
    assert_eq!(verdict.ok, verdict.faults.is_empty());
    if let Ok((description, image)) = Recording::new(data).first_copy()
        && image.resident_bytes() <= 64 << 20
    {
        let mut file = Vec::new();
        write_restore_file(&mut file, &description, &image).expect("a vector takes everything");
        let again = verify(&file[..]).expect("a slice can be read");
        assert!(!verdict.ok || verdict.checkpoints > 0 || again.ok, "{:?}", again.faults);
    }
    for kind in [BackKind::Migrate, BackKind::Remus, BackKind::Colo] {
        back(kind, data);
    }
});

/// Offsets and lengths of the items, with the input arriving `step` bytes at a time.
fn items(data: &[u8], step: usize) -> Vec<(u64, usize)> {
    let mut reader = Reader::new();
    let (mut start, mut end) = (0, step.min(data.len()));
    let mut seen = Vec::new();
    loop {
        match reader.next(&data[start..end]) {
            Ok(Step::Item(item)) => {
                check_rewritten(&item);
                seen.push((item.place.offset, item.bytes.len()));
                start += item.bytes.len();
            }
            Ok(Step::Need(_) | Step::End) if end < data.len() => end = (end + step).min(data.len()),
            Ok(Step::Need(_) | Step::End) | Err(_) => return seen,
        }
    }
}

/// A record that parses is written as it was, but for a CHECKPOINT_STATE of 8 bytes, which is written as 4.
fn check_rewritten(item: &Item<'_>) {
    let mut out = Vec::new();
    match item.content {
        Content::Libxl(frame) => match libxl::Record::parse(frame) {
            Ok(libxl::Record::CheckpointState(_)) | Err(_) => return,
            Ok(record) => record.write(&mut out),
        },
        Content::Libxc(frame) => match libxc::Record::parse(frame) {
            Ok(record) => record.write(&mut out),
            Err(_) => return,
        },
        Content::XlHeader(header) => header.write(&mut out),
        Content::LibxlHeader(header) => header.write(&mut out),
        Content::LibxcHeader(header) => header.write(&mut out),
        Content::Go => return,
    }
    assert_eq!(out, item.bytes);
}

fn back(kind: BackKind, data: &[u8]) {
    let mut reader = BackReader::new(kind);
    let mut rest = data;
    loop {
        match reader.next(rest) {
            Ok(BackStep::Answer { bytes, .. }) => rest = &rest[bytes..],
            Ok(BackStep::Undecided(_)) => reader.assume_right(),
            Ok(BackStep::Need(_) | BackStep::End) | Err(_) => return,
        }
    }
}
