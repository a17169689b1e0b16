//! Xen's record stream: anything may come from a file or a stranger.
//!
//! Whatever it is, it ends in a verdict; its items are the same however it is split; a record that parses is
//! written back as the same bytes; a stream found sound can be materialized and is sound again.
//!
//! The input is taken twice: as a stream, and as edits of a sound checkpointed one, three bytes each.

#![no_main]

use libfuzzer_sys::fuzz_target;
use understudy_checkpoint::domain::{Description, GuestKind};
use understudy_checkpoint::stream::back::{BackKind, BackReader, BackStep};
use understudy_checkpoint::stream::{
    Content, Item, Reader, Recording, Step, libxc, libxl, verify, verify_restore_file, write_head, write_restore_file,
};
use understudy_checkpoint::{PAGE_SIZE, PageEntry, PageType, Pfn};

fuzz_target!(|data: &[u8]| {
    judge(data);
    judge(&edited(data));
});

fn judge(data: &[u8]) {
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
        assert_eq!(verify_restore_file(&description, &image), again, "what is judged before is what is written");
    }
    for kind in [BackKind::Migrate, BackKind::Remus, BackKind::Colo] {
        back(kind, data);
    }
}

/// A sound stream of a PVH guest with one page and two checkpoints. Returns where its first page begins, too.
fn sound() -> (Vec<u8>, usize) {
    let entry = |typecode: u8, data: &[u8]| [&[typecode, 0, 0, 0, data.len() as u8, 0, 0, 0], data].concat();
    let mut header = [0; 24];
    header[..8].copy_from_slice(&[0x86, 0x12, 0x38, 0x54, 1, 0, 0, 0]);
    let context = [entry(1, &header), entry(2, &[9; 5]), entry(0, &[])].concat();
    let mut state = Vec::new();
    libxc::Record::TscInfo(libxc::TscInfo {
        mode: 0.into(),
        khz: 1.into(),
        nsec: 2.into(),
        incarnation: 3.into(),
        reserved: 0.into(),
    })
    .write(&mut state);
    libxc::Record::HvmContext(libxc::HvmContext { blob: &context }).write(&mut state);
    libxc::Record::HvmParams(&[libxc::HvmParam::new(19, 0)]).write(&mut state);
    libxc::Record::Checkpoint.write(&mut state);
    libxl::Record::CheckpointEnd.write(&mut state);

    let mut stream = Vec::new();
    let what = Description {
        kind: GuestKind::Pvh,
        page_count: 1,
        libxc_version: 2,
        xen_version: (4, 17),
        config: b"{\"c_info\": {\"type\": \"pvh\"}}\0".to_vec(),
        static_records: Vec::new(),
        disks_bytes: Vec::new(),
    };
    write_head(&mut stream, &what);
    let page_at = stream.len() + 24;
    libxc::write_page_data(&mut stream, &[PageEntry::new(Pfn(0), PageType::Normal)], |_| &[7; PAGE_SIZE]);
    stream.extend_from_slice(&state);
    libxc::write_page_data(&mut stream, &[PageEntry::new(Pfn(0), PageType::Absent)], |_| &[7; PAGE_SIZE]);
    libxc::write_page_data(&mut stream, &[PageEntry::new(Pfn(0), PageType::Broken)], |_| &[7; PAGE_SIZE]);
    stream.extend_from_slice(&state);
    (stream, page_at)
}

/// The sound stream with bytes set, everywhere but in its page.
fn edited(data: &[u8]) -> Vec<u8> {
    let (mut stream, page_at) = sound();
    for edit in data.chunks_exact(3) {
        let offset = usize::from(u16::from_le_bytes([edit[0], edit[1]])) % (stream.len() - PAGE_SIZE);
        stream[if offset < page_at { offset } else { offset + PAGE_SIZE }] = edit[2];
    }
    stream
}

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
