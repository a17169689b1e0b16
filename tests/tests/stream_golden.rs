//! Streams recorded from real Xen are read, and written again byte for byte.

use understudy_checkpoint::domain::{DomainError, DomainState, GuestKind, Source};
use understudy_checkpoint::epoch::{Image, Staging};
use understudy_checkpoint::pages::DirtyBitmap;
use understudy_checkpoint::stream::back::{Answer, BackKind, BackReader, BackStep};
use understudy_checkpoint::stream::{
    Content, Ending, Item, Reader, Recording, Step, libxc, write_restore_file, xl,
};
use understudy_checkpoint::{Pfn, domain::Sink};
use understudy_lab::Recorded;
use understudy_tests::golden;
use understudy_xen::twin::cancel_suspend;

/// Writes an item from its typed form.
fn rewrite(item: &Item<'_>, out: &mut Vec<u8>) {
    match item.content {
        Content::XlHeader(header) => header.write(out),
        Content::LibxlHeader(header) => header.write(out),
        Content::LibxcHeader(header) => header.write(out),
        Content::Libxl(_) => item.libxl().unwrap().unwrap().write(out),
        Content::Libxc(_) => item.libxc().unwrap().unwrap().write(out),
        Content::Go => out.extend_from_slice(xl::GO),
    }
}

/// Reads a whole stream and checks that each item, written again, is the same bytes.
fn rewritten_identically(stream: &[u8]) -> Ending {
    let mut reader = Reader::new();
    let mut rest = stream;
    let mut out = Vec::new();
    loop {
        match reader.next(rest).unwrap() {
            Step::Item(item) => {
                out.clear();
                rewrite(&item, &mut out);
                assert!(out == rest[..item.bytes.len()], "{} is written differently", item.place);
                rest = &rest[item.bytes.len()..];
            }
            Step::Need(_) | Step::End => return reader.finish(rest).unwrap(),
        }
    }
}

#[test]
fn every_recorded_stream_is_rewritten_byte_for_byte() {
    for name in golden::FORWARD {
        let ending = rewritten_identically(&golden::stream(name));
        let expected = if name.ends_with(".save") { Ending::Plain } else { Ending::Checkpoint };
        assert_eq!(ending, expected, "{name}");
    }
}

#[test]
fn a_migration_goes_on_into_its_handshake() {
    let mut stream = golden::stream("thvm.save");
    stream.extend_from_slice(xl::GO);
    assert_eq!(rewritten_identically(&stream), Ending::Plain);
}

#[test]
fn recorded_back_channels_hold_what_xl_says() {
    for (file, kind, expected) in [
        ("tpvh.migrate-back.bin", BackKind::Migrate, &[Answer::Banner, Answer::Ready, Answer::Report(0)][..]),
        ("tpvh.remus-back.bin", BackKind::Remus, &[Answer::Banner]),
    ] {
        let stream = std::fs::read(golden::path(file)).unwrap();
        let mut rest = &stream[..];
        let mut reader = BackReader::new(kind);
        let mut answers = Vec::new();
        while let BackStep::Answer { bytes, answer } = reader.next(rest).unwrap() {
            answers.push(answer);
            rest = &rest[bytes..];
        }
        assert_eq!(answers, expected, "{file}");
        assert!(rest.is_empty());
    }
}

/// The context in each of a stream's HVM records.
fn hvm_contexts(stream: &[u8]) -> Vec<Vec<u8>> {
    let mut contexts = Vec::new();
    let (mut reader, mut rest) = (Reader::new(), stream);
    while let Step::Item(item) = reader.next(rest).unwrap() {
        if let Some(Ok(libxc::Record::HvmContext(context))) = item.libxc() {
            contexts.push(context.blob.to_vec());
        }
        rest = &rest[item.bytes.len()..];
    }
    contexts
}

#[test]
fn in_a_recorded_context_one_register_says_that_the_suspend_was_cancelled() {
    // The CPU record of vCPU 0 is the second, behind a header of 24 bytes.
    let rax = (8 + 24) + 8 + 512;
    for name in ["tpvh.remus-fwd", "tpvh-4.20.remus-fwd"] {
        let contexts = hvm_contexts(&golden::stream(name));
        assert_eq!(contexts.len() as u64, golden::CHECKPOINTS, "{name}");
        for recorded in contexts {
            let mut context = recorded.clone();
            cancel_suspend(&mut context).unwrap();
            assert_eq!(context[rax..rax + 8], 1u64.to_le_bytes(), "{name}");
            context[rax..rax + 8].copy_from_slice(&recorded[rax..rax + 8]);
            assert!(context == recorded, "{name}: all else is as it was");
        }
    }
}

/// Page types and content of two images are the same, and so is their state.
fn assert_same(one: &Image, other: &Image) {
    assert_eq!(one.page_count(), other.page_count());
    assert!(one.entries().eq(other.entries()), "the same frames are there");
    assert!(
        one.entries().all(|entry| one.page(entry.pfn()) == other.page(entry.pfn())),
        "with the same pages"
    );
    assert_eq!(one.state(), other.state());
}

/// Checkpoints a source into an image of its own, as the engine would; returns how many checkpoints it had.
fn checkpoint_all(source: &mut impl Source, image: &mut Image) -> u64 {
    let mut dirty = DirtyBitmap::new(image.page_count());
    let mut staging = Staging::new(4096);
    let mut state = DomainState::default();
    source.begin_log_dirty().unwrap();
    dirty.set_all();
    for checkpoints in 0.. {
        match source.suspend() {
            Ok(()) => {}
            Err(DomainError::EndOfRecording) => return checkpoints,
            Err(error) => panic!("{error}"),
        }
        source.drain_dirty(&mut dirty).unwrap();
        let mut from = Some(Pfn(0));
        while let Some(pfn) = from {
            staging.clear();
            from = source.copy_pages(&dirty, pfn, &mut staging, 2).unwrap();
            let mut pages = staging.pages().iter();
            for entry in staging.entries() {
                image.apply_page(*entry, entry.page_type().has_data().then(|| pages.next().unwrap()));
            }
        }
        source.capture_state(&mut state).unwrap();
        image.apply_state(&state);
        source.resume().unwrap();
        dirty.clear();
    }
    unreachable!()
}

#[test]
fn a_recording_played_as_a_guest_ends_at_its_last_complete_epoch() {
    for (name, kind) in [("tpv.remus-fwd", GuestKind::Pv), ("tpvh-4.20.remus-fwd", GuestKind::Pvh)] {
        let stream = golden::stream(name);
        // The last epoch is incomplete by one byte: it must not be seen.
        let mut source = Recorded::new(&stream[..stream.len() - 1]);
        let description = source.describe().unwrap();
        assert_eq!(description.kind, kind);
        let mut played = Image::new(description.page_count);
        assert_eq!(checkpoint_all(&mut source, &mut played), golden::CHECKPOINTS - 1);

        let mut recording = Recording::new(&stream[..]);
        let (same, mut image) = recording.first_copy().unwrap();
        assert_eq!(same, description);
        let mut epoch = Default::default();
        for _ in 1..golden::CHECKPOINTS - 1 {
            assert!(recording.next_epoch(&mut epoch).unwrap());
            epoch.apply_to(&mut image);
        }
        assert_same(&played, &image);
        assert!(recording.next_epoch(&mut epoch).unwrap());
        assert!(!recording.next_epoch(&mut epoch).unwrap(), "there is no further epoch");
    }
}

#[test]
fn a_materialized_epoch_holds_the_image_it_was_made_of() {
    for name in golden::FORWARD {
        let (description, image) = Recording::new(&golden::stream(name)[..]).first_copy().unwrap();
        let mut file = Vec::new();
        write_restore_file(&mut file, &description, &image).unwrap();
        assert_eq!(rewritten_identically(&file), Ending::Plain);
        let (description_again, mut image_again) = Recording::new(&file[..]).first_copy().unwrap();
        image_again.grow(image.page_count());
        assert_same(&image, &image_again);
        assert_eq!(description_again.config, description.config);
        assert_eq!(description_again.static_records, description.static_records);
        assert_blocks_are_whole(&file);
    }
}

/// Receivers populate a superpage only for an aligned block that comes whole in one record.
fn assert_blocks_are_whole(file: &[u8]) {
    let mut reader = Reader::new();
    let mut rest = file;
    let mut block_seen = None;
    while let Step::Item(item) = reader.next(rest).unwrap() {
        if let Some(Ok(libxc::Record::PageData(data))) = item.libxc() {
            assert!(data.entry_count() <= 1024);
            let blocks: Vec<u64> = data.entries().map(|entry| entry.pfn().0 / 512).collect();
            assert!(Some(blocks[0]) > block_seen, "a block of 2 MiB is split over records");
            block_seen = blocks.last().copied();
        }
        rest = &rest[item.bytes.len()..];
    }
}
