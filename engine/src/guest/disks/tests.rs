//! A guest with a disk on one host, and its disk on another: real files, real threads, no link.

mod look;

use super::place::DiskPlace;
use super::{HeldDisks, LocalDisk};
use crate::guest::disks::full_copy::CopyGoal;
use crate::guest::participant::{CopyNext, CopyStep, DiskParticipant, Participant};
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
use understudy_disk::sync::talk::{Ask, Say};
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
        Self::boot_with(place, DISK_BYTES)
    }

    fn boot_with(place: &DiskPlace, disk_bytes: u64) -> Self {
        let disk = Arc::new(LocalDisk::start(place, u64::MAX).unwrap());
        let replies = Arc::new(Replies::default());
        let config = GuestConfig {
            memory_bytes: 2 << 20,
            load: Load::IDLE,
            disk_bytes: Some(disk_bytes),
            ..GuestConfig::new("g", GUEST.0, GUEST.1)
        };
        let devices = Devices { port: replies.clone(), disk: Some(disk.clone()) };
        let guest = LabGuest::start_under(Conditions::NONE, &config, devices).unwrap();
        disk.pass();
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
    assert!(!held.complete().unwrap(), "it is only held");
}

/// A full copy while the guest writes, as this epoch; how many chunks of the disk came.
fn copy_as(running: &mut Running, held: &mut HeldDisks, epoch: (Generation, u64)) -> usize {
    let (generation, epoch) = (epoch.0, Epoch(epoch.1));
    running.disk.begin_copy(generation, epoch).unwrap();
    held.begin(&EpochHead { generation, epoch, kind: EpochKind::Seed, base: None }).unwrap();
    let (mut key, mut left, mut chunks) = (1000, running.disk.standing().left_bytes, 0);
    for goal in [CopyGoal::Near, CopyGoal::Even] {
        loop {
            let CopyStep { ready, ask, next } = running.disk.copy_on(goal).unwrap();
            ready.iter().for_each(|tagged| held.writes(generation, tagged.tag, &tagged.batch).unwrap());
            let now_left = running.disk.standing().left_bytes;
            chunks += usize::from(now_left < left);
            left = now_left;
            if let Some(ask) = ask {
                let said = held.ask(generation, epoch, &ask.encode()).unwrap();
                said.iter().for_each(|say| running.disk.hear(epoch, &say.encode()));
            } else if next == CopyNext::Done {
                break;
            } else if key < 1003 {
                running.set(key);
                key += 1;
            }
        }
    }
    assert!(running.disk.is_even());
    use crate::guest::participant::Participant;
    running.disk.cut(epoch).unwrap();
    let writes = running.disk.end(epoch).unwrap();
    writes.batches.iter().for_each(|tagged| held.writes(generation, tagged.tag, &tagged.batch).unwrap());
    held.end(WritesEnd { generation, epoch, summary: writes.summary }).unwrap();
    assert!(held.complete().unwrap());
    running.disk.hear(epoch, &Say::Applied.encode());
    chunks
}

fn copy(running: &mut Running, held: &mut HeldDisks) {
    copy_as(running, held, (G, 1));
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

    let taken_over = Arc::new(LocalDisk::start(&place(directory.path(), "b"), u64::MAX).unwrap());
    taken_over.pass();
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
    held.ask(G, Epoch(1), &Ask::Begin([7; 16]).encode()).unwrap();
    drop(held);
    let error = LocalDisk::start(&at, u64::MAX).unwrap_err().to_string();
    assert!(error.contains("was being overwritten"), "{error}");
    let larger = DiskPlace::new(&directory.path().join("b"), "g", 2 * DISK_BYTES);
    let error = LocalDisk::start(&larger, u64::MAX).unwrap_err().to_string();
    assert!(error.contains("a disk of 262144 bytes"), "{error}");
    std::fs::remove_file(directory.path().join("b/g/journal")).unwrap();
    let error = HeldDisks::open(&at).unwrap_err().to_string();
    assert!(error.contains("is missing beside other files"), "{error}");
}

/// 16 chunks.
const LARGE_BYTES: u64 = 1 << 20;

fn large(directory: &Path, host: &str) -> DiskPlace {
    DiskPlace::new(&directory.join(host), "g", LARGE_BYTES)
}

fn write_at(directory: &Path, host: &str, offset: u64) {
    use std::os::unix::fs::FileExt;
    let path = directory.join(host).join("g").join("disk0");
    std::fs::File::options().write(true).open(path).unwrap().write_all_at(&[0xEE; 512], offset).unwrap();
}

#[test]
fn a_host_that_was_away_gets_what_was_written_since_and_no_more() {
    let directory = tempfile::tempdir().unwrap();
    let mut running = Running::boot_with(&large(directory.path(), "a"), LARGE_BYTES);
    let mut held = HeldDisks::open(&large(directory.path(), "b")).unwrap();
    assert!(copy_as(&mut running, &mut held, (G, 1)) >= 16, "a blank disk gets all");
    begin(&mut held, 2, EpochKind::Delta);
    running.set(7);
    cut(&running, 2);
    end(&running.disk, &mut held, 2);
    assert!(held.commit(G, Epoch(2)).unwrap());
    running.disk.hear(Epoch(2), &Say::Applied.encode());
    drop(held);
    running.set(8);
    let mut held = HeldDisks::open(&large(directory.path(), "b")).unwrap();
    let chunks = copy_as(&mut running, &mut held, (G, 9));
    assert!(chunks < 10, "{chunks} chunks");
    assert!(content(directory.path(), "a") == content(directory.path(), "b"));
}

#[test]
fn the_host_that_was_taken_over_from_loses_what_it_wrote_beyond_and_keeps_the_rest() {
    let directory = tempfile::tempdir().unwrap();
    let mut running = Running::boot_with(&large(directory.path(), "a"), LARGE_BYTES);
    let mut held = HeldDisks::open(&large(directory.path(), "b")).unwrap();
    copy_as(&mut running, &mut held, (G, 1));
    // Nobody hears of this any more.
    (20..24).for_each(|key| running.set(key));
    held.hand_over(Generation(2)).unwrap();
    drop(held);
    running.guest.stop();
    drop(running);
    let mut taken_over = Running::boot_with(&large(directory.path(), "b"), LARGE_BYTES);
    taken_over.set(30);
    assert!(content(directory.path(), "a") != content(directory.path(), "b"));
    let mut held = HeldDisks::open(&large(directory.path(), "a")).unwrap();
    copy_as(&mut taken_over, &mut held, (Generation(2), 2));
    assert!(content(directory.path(), "a") == content(directory.path(), "b"), "it is rolled back");
}

#[test]
fn a_disk_of_which_nothing_is_known_is_compared_and_only_what_differs_comes() {
    let directory = tempfile::tempdir().unwrap();
    let mut running = Running::boot_with(&large(directory.path(), "a"), LARGE_BYTES);
    let mut held = HeldDisks::open(&large(directory.path(), "b")).unwrap();
    copy_as(&mut running, &mut held, (G, 1));
    // A copy that ended in the midst.
    begin(&mut held, 2, EpochKind::Seed);
    running.disk.begin_copy(G, Epoch(2)).unwrap();
    held.ask(G, Epoch(2), &Ask::Begin([7; 16]).encode()).unwrap();
    drop(held);
    write_at(directory.path(), "b", 9 * (64 << 10));
    let mut held = HeldDisks::open(&large(directory.path(), "b")).unwrap();
    let before = running.disk.take_ready().len();
    assert_eq!(before, 0);
    copy_as(&mut running, &mut held, (G, 3));
    assert!(content(directory.path(), "a") == content(directory.path(), "b"));
}
