//! A guest with a disk on one host, and its disk on another: real files, real threads, no link.

use super::place::DiskPlace;
use super::{HeldDisks, LocalDisk};
use crate::guest::participant::DiskParticipant;
use parking_lot::Mutex;
use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use understudy_checkpoint::domain::{DomainState, Sink, Source};
use understudy_checkpoint::epoch::{EpochHead, Image, Staging, WritesEnd};
use understudy_checkpoint::pages::DirtyBitmap;
use understudy_checkpoint::{Epoch, EpochKind, Generation, Pfn};
use understudy_disk::record::Tagged;
use understudy_lab::memcached::{self, Request};
use understudy_lab::wire::{Body, Flow, Frame, Udp};
use understudy_lab::{Conditions, Devices, GuestConfig, LabGuest, Load, Mac, Port};

const G: Generation = Generation(1);
const DISK_BYTES: u64 = 256 << 10;
const GUEST: (Mac, Ipv4Addr) = (Mac([0x52, 0x54, 0, 0, 0, 1]), Ipv4Addr::new(10, 0, 0, 1));
const CLIENT: (Mac, Ipv4Addr) = (Mac([0x52, 0x54, 0, 0, 0, 2]), Ipv4Addr::new(10, 0, 0, 2));

#[derive(Default)]
struct Replies(Mutex<usize>);

impl Port for Replies {
    fn transmit(&self, frame: &[u8]) {
        if let Some(Frame { body: Body::Udp(..), .. }) = Frame::parse(frame) {
            *self.0.lock() += 1;
        }
    }
}

struct Running {
    guest: LabGuest,
    disk: Arc<LocalDisk>,
    replies: Arc<Replies>,
    asked: usize,
}

fn place(directory: &Path, host: &str) -> DiskPlace {
    DiskPlace::new(&directory.join(host), "g", DISK_BYTES)
}

impl Running {
    fn boot(place: &DiskPlace) -> Self {
        let disk = Arc::new(LocalDisk::start(place).unwrap());
        let replies = Arc::new(Replies::default());
        let config = GuestConfig {
            memory_bytes: 2 << 20,
            load: Load::IDLE,
            disk_bytes: Some(DISK_BYTES),
            ..GuestConfig::new("g", GUEST.0, GUEST.1)
        };
        let devices = Devices { port: replies.clone(), disk: Some(disk.clone()) };
        let guest = LabGuest::start_under(Conditions::NONE, &config, devices).unwrap();
        Self { guest, disk, replies, asked: 0 }
    }

    /// Sets a key, and waits for the reply: the write is recorded then, and on the disk.
    fn set(&mut self, key: u32) {
        let (key, mut payload, mut frame) = (key.to_string(), Vec::new(), Vec::new());
        memcached::write_header(1, &mut payload);
        Request::Set { key: key.as_bytes(), flags: 0, value: b"v", noreply: false }.write(&mut payload);
        let udp = Udp { src_port: 9, dst_port: memcached::PORT, payload: &payload };
        let body = Body::Udp(Flow { src: CLIENT.1, dst: GUEST.1 }, udp);
        Frame { dst: GUEST.0, src: CLIENT.0, body }.write(&mut frame);
        self.guest.inject(&frame);
        self.asked += 1;
        wait("a reply", || *self.replies.0.lock() == self.asked);
    }

    fn image(&self) -> Image {
        let mut source = self.guest.source();
        source.suspend().unwrap();
        let pages = source.describe().unwrap().page_count;
        let mut wanted = DirtyBitmap::new(pages);
        wanted.set_all();
        let (mut image, mut staging) = (Image::new(pages), Staging::new(pages as usize));
        assert_eq!(source.copy_pages(&wanted, Pfn(0), &mut staging, 1).unwrap(), None);
        for (entry, page) in staging.entries().iter().zip(staging.pages()) {
            image.apply_page(*entry, Some(page));
        }
        let mut state = DomainState::default();
        source.capture_state(&mut state).unwrap();
        image.apply_state(&state);
        image
    }
}

fn wait(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < Duration::from_secs(60), "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn begin(held: &mut HeldDisks, epoch: u64, kind: EpochKind) {
    let base = (kind == EpochKind::Delta).then(|| Epoch(epoch - 1));
    held.begin(&EpochHead { generation: G, epoch: Epoch(epoch), kind, base }).unwrap();
}

fn send(held: &mut HeldDisks, batches: &[Arc<Tagged>]) {
    batches.iter().for_each(|tagged| held.writes(G, tagged.tag, &tagged.batch).unwrap());
}

fn end(disk: &LocalDisk, held: &mut HeldDisks, epoch: u64) {
    let writes = disk.end(Epoch(epoch)).unwrap();
    send(held, &writes.batches);
    held.end(WritesEnd { generation: G, epoch: Epoch(epoch), summary: writes.summary }).unwrap();
    held.check_whole().unwrap();
    held.complete().unwrap();
}

/// A full copy while the guest writes, as epoch 1.
fn copy(running: &mut Running, held: &mut HeldDisks) {
    running.disk.begin_copy(Epoch(1));
    begin(held, 1, EpochKind::Seed);
    let mut key = 1000;
    while let Some(ready) = running.disk.copy_on().unwrap() {
        send(held, &ready);
        running.set(key);
        key += 1;
    }
    cut(running, 1);
    end(&running.disk, held, 1);
}

fn cut(running: &Running, epoch: u64) {
    use crate::guest::participant::Participant;
    running.disk.cut(Epoch(epoch)).unwrap();
}

fn content(directory: &Path, host: &str) -> Vec<u8> {
    std::fs::read(directory.join(host).join("g").join("disk0")).unwrap()
}

#[test]
fn a_copy_follows_epoch_by_epoch_and_the_guest_finds_its_memory_s_disk_there() {
    let directory = tempfile::tempdir().unwrap();
    let mut running = Running::boot(&place(directory.path(), "a"));
    (0..40).for_each(|key| running.set(key));
    let mut held = HeldDisks::open(&place(directory.path(), "b")).unwrap();
    copy(&mut running, &mut held);
    assert!(content(directory.path(), "a") == content(directory.path(), "b"), "a full copy is the disk");

    (40..50).for_each(|key| running.set(key));
    let before = content(directory.path(), "b");
    begin(&mut held, 2, EpochKind::Delta);
    cut(&running, 2);
    let image = running.image();
    end(&running.disk, &mut held, 2);
    assert!(content(directory.path(), "b") == before, "what is not committed is held");
    running.guest.source().resume().unwrap();
    // This host has told of it, and nobody else has it.
    running.set(99);
    held.commit(G, Epoch(2)).unwrap();
    held.hand_over(Generation(2)).unwrap();
    drop(held);

    let taken_over = Arc::new(LocalDisk::go_on(&place(directory.path(), "b")).unwrap());
    let devices = Devices { port: Arc::new(Replies::default()), disk: Some(taken_over) };
    let guest = LabGuest::restore_under(Conditions::NONE, image, devices).unwrap();
    wait("the comparison", || guest.is_compared());
    let counters = guest.disk_counters().unwrap();
    assert_eq!((counters.differing, counters.compared, counters.failed), (0, DISK_BYTES / 4096, 0));
    // The one that ran before goes back to it by a full copy in the other direction: this one is not at that moment.
    assert!(content(directory.path(), "a") != content(directory.path(), "b"));
}

#[test]
fn an_epoch_whose_writes_are_not_all_there_is_not_taken_and_is_sent_again() {
    let directory = tempfile::tempdir().unwrap();
    let mut running = Running::boot(&place(directory.path(), "a"));
    let mut held = HeldDisks::open(&place(directory.path(), "b")).unwrap();
    copy(&mut running, &mut held);
    running.set(1);
    begin(&mut held, 2, EpochKind::Delta);
    cut(&running, 2);
    let writes = running.disk.end(Epoch(2)).unwrap();
    assert!(!writes.batches.is_empty());
    assert!(held.check_whole().is_err(), "its end is missing");
    let lost = WritesEnd { generation: G, epoch: Epoch(2), summary: writes.summary };
    assert!(held.end(lost).is_err(), "its writes are missing");
    held.drop_after(Some(Epoch(1)));

    running.disk.go_back_to(Epoch(1)).unwrap();
    running.set(2);
    begin(&mut held, 3, EpochKind::Delta);
    cut(&running, 3);
    end(&running.disk, &mut held, 3);
    held.commit(G, Epoch(3)).unwrap();
    assert!(content(directory.path(), "a") == content(directory.path(), "b"));
}

#[test]
fn a_disk_that_a_copy_was_overwriting_starts_no_guest_and_another_guest_s_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let at = place(directory.path(), "b");
    let mut held = HeldDisks::open(&at).unwrap();
    begin(&mut held, 1, EpochKind::Seed);
    drop(held);
    let error = LocalDisk::start(&at).unwrap_err().to_string();
    assert!(error.contains("was being overwritten"), "{error}");
    let larger = DiskPlace::new(&directory.path().join("b"), "g", 2 * DISK_BYTES);
    let error = LocalDisk::start(&larger).unwrap_err().to_string();
    assert!(error.contains("a disk of 262144 bytes"), "{error}");
    std::fs::remove_file(directory.path().join("b/g/journal")).unwrap();
    let error = HeldDisks::open(&at).unwrap_err().to_string();
    assert!(error.contains("is missing beside other files"), "{error}");
}
