//! A guest's table is on its disk: what a client was told is there, and memory and disk of the same moment agree.

mod common;

use common::{Collector, answer, config, image_of, request_frame};
use proptest::prelude::*;
use std::sync::Arc;
use std::time::{Duration, Instant};
use understudy_lab::memcached::Request;
use understudy_lab::{
    Conditions, Devices, Disk, DiskAnswer, DiskFailed, DiskRequest, DiskWish, Guest, GuestConfig, Inlet,
    LabCopy, LabGuest, Load, RestoreError,
};

const DISK_BYTES: u64 = 128 << 10;

fn with_disk() -> GuestConfig {
    GuestConfig { disk_bytes: Some(DISK_BYTES), ..config(Load::IDLE, 1) }
}

fn set(key: &[u8], value: &[u8]) -> Vec<u8> {
    request_frame(1, &Request::Set { key, flags: 0, value, noreply: false })
}

/// Does a request at once.
fn perform(content: &mut [u8], request: DiskRequest) -> DiskAnswer {
    let range = |offset: u64, bytes: usize| offset as usize..offset as usize + bytes;
    let data = match request.wish {
        DiskWish::Read { offset, bytes } => content[range(offset, bytes as usize)].to_vec(),
        DiskWish::Write { offset, data, .. } => {
            content[range(offset, data.len())].copy_from_slice(&data);
            Vec::new()
        }
        DiskWish::Flush => Vec::new(),
    };
    DiskAnswer { id: request.id, result: Ok(data) }
}

/// Everything that the guest wants of its disk, until it wants no more.
fn settle(guest: &mut Guest, content: &mut [u8], port: &Collector) {
    while let Some(request) = guest.next_disk_request() {
        guest.disk_answered(perform(content, request), port);
    }
}

fn booted(content: &mut [u8]) -> Guest {
    let mut guest = Guest::boot(&with_disk()).unwrap();
    assert!(!guest.takes_frames(), "it has not read its disk yet");
    settle(&mut guest, content, &Collector::default());
    assert!(guest.takes_frames());
    guest
}

#[test]
fn a_client_hears_of_a_set_once_it_is_on_the_media_and_of_a_sum_once_it_was_flushed() {
    let (mut content, port) = (vec![0; DISK_BYTES as usize], Collector::default());
    let mut guest = booted(&mut content);
    guest.deliver(&set(b"n", b"41"), &port);
    let write = guest.next_disk_request().unwrap();
    assert!(matches!(write.wish, DiskWish::Write { is_forced: true, .. }));
    assert!(port.take().is_empty());
    guest.disk_answered(perform(&mut content, write), &port);
    assert_eq!(answer(&port.take()[0]).unwrap().1, b"STORED\r\n");

    guest.deliver(&request_frame(2, &Request::Incr { key: b"n", by: 1, noreply: false }), &port);
    let write = guest.next_disk_request().unwrap();
    assert!(matches!(write.wish, DiskWish::Write { is_forced: false, .. }));
    guest.disk_answered(perform(&mut content, write), &port);
    assert!(port.take().is_empty());
    let flush = guest.next_disk_request().unwrap();
    assert_eq!(flush.wish, DiskWish::Flush);
    guest.disk_answered(perform(&mut content, flush), &port);
    assert_eq!(answer(&port.take()[0]).unwrap(), (2, b"42\r\n".to_vec()));
}

#[test]
fn nobody_is_told_what_is_not_on_the_disk_yet_and_replies_keep_their_order() {
    let (mut content, port) = (vec![0; DISK_BYTES as usize], Collector::default());
    let mut guest = booted(&mut content);
    guest.deliver(&set(b"a", b"1"), &port);
    guest.deliver(&set(b"b", b"2"), &port);
    guest.deliver(&request_frame(7, &Request::Get { key: b"b" }), &port);
    guest.deliver(&request_frame(8, &Request::Get { key: b"none" }), &port);
    let requests: Vec<_> = std::iter::from_fn(|| guest.next_disk_request()).collect();
    assert_eq!(requests.len(), 2);
    for request in requests.into_iter().rev() {
        assert!(port.take().is_empty(), "the second is done, the first is not");
        guest.disk_answered(perform(&mut content, request), &port);
    }
    let said: Vec<_> = port.take().iter().map(|frame| answer(frame).unwrap()).collect();
    let stored = (1, b"STORED\r\n".to_vec());
    let value = (7, b"VALUE b 0 1\r\n2\r\nEND\r\n".to_vec());
    assert_eq!(said, [stored.clone(), stored, value, (8, b"END\r\n".to_vec())]);
}

#[test]
fn a_guest_that_boots_anew_serves_what_its_disk_has() {
    let (mut content, port) = (vec![0; DISK_BYTES as usize], Collector::default());
    let mut first = booted(&mut content);
    first.deliver(&set(b"kept", b"v"), &port);
    settle(&mut first, &mut content, &port);
    let mut second = booted(&mut content);
    port.take();
    second.deliver(&request_frame(3, &Request::Get { key: b"kept" }), &port);
    assert_eq!(answer(&port.take()[0]).unwrap().1, b"VALUE kept 0 1\r\nv\r\nEND\r\n");
}

#[test]
fn a_disk_that_fails_is_told_to_the_client_and_is_not_asked_for_ever() {
    let (mut content, port) = (vec![0; DISK_BYTES as usize], Collector::default());
    let mut guest = booted(&mut content);
    guest.deliver(&set(b"k", b"v"), &port);
    let id = guest.next_disk_request().unwrap().id;
    guest.disk_answered(DiskAnswer { id, result: Err(DiskFailed) }, &port);
    assert_eq!(answer(&port.take()[0]).unwrap().1, b"SERVER_ERROR the disk failed\r\n");

    let mut blind = Guest::boot(&with_disk()).unwrap();
    let id = blind.next_disk_request().unwrap().id;
    blind.disk_answered(DiskAnswer { id, result: Err(DiskFailed) }, &port);
    assert!(blind.next_disk_request().is_none() && !blind.takes_frames());
}

#[test]
fn no_more_is_taken_in_than_can_be_under_way() {
    let (mut content, port) = (vec![0; DISK_BYTES as usize], Collector::default());
    let mut guest = booted(&mut content);
    let mut sets = 0;
    while guest.takes_frames() {
        guest.deliver(&set(b"k", b"v"), &port);
        sets += 1;
    }
    assert!(sets < understudy_lab::DISK_REQUESTS_MAX, "one that overtakes has room");
    settle(&mut guest, &mut content, &port);
    assert!(guest.takes_frames());
    assert_eq!(port.take().len(), sets);
}

/// What happens to a guest with a disk.
#[derive(Clone, Debug)]
enum Happening {
    Set(u8, Vec<u8>),
    Incr(u8),
    /// The disk does and answers the oldest request.
    Answer,
}

fn happening() -> impl Strategy<Value = Happening> {
    prop_oneof![
        (0u8..12, proptest::collection::vec(b'0'..=b'9', 1..9))
            .prop_map(|(key, value)| Happening::Set(key, value)),
        (0u8..12).prop_map(Happening::Incr),
        Just(Happening::Answer),
        Just(Happening::Answer),
    ]
}

/// A guest and its disk after `happenings`, and the requests that nothing has answered.
fn lived(happenings: &[Happening]) -> (Guest, Vec<u8>, Vec<DiskRequest>) {
    let (mut content, port) = (vec![0; DISK_BYTES as usize], Collector::default());
    let (mut guest, mut under_way) = (booted(&mut content), Vec::<DiskRequest>::new());
    for what in happenings {
        match what {
            Happening::Answer if under_way.is_empty() => (),
            Happening::Answer => {
                let done = perform(&mut content, under_way.remove(0));
                guest.disk_answered(done, &port);
            }
            _ if !guest.takes_frames() => (),
            Happening::Set(key, value) => guest.deliver(&set(&[b'a' + key], value), &port),
            Happening::Incr(key) => {
                let incr = Request::Incr { key: &[b'a' + key], by: 1, noreply: true };
                guest.deliver(&request_frame(0, &incr), &port);
            }
        }
        under_way.extend(std::iter::from_fn(|| guest.next_disk_request()));
    }
    (guest, content, under_way)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn memory_and_disk_of_a_moment_agree_whatever_was_done_of_what_is_unanswered(
        happenings in proptest::collection::vec(happening(), 0..120),
        done in proptest::collection::vec(any::<bool>(), 64),
    ) {
        let (guest, mut content, under_way) = lived(&happenings);
        // Those that overlap are done in their order, so what is done of a frame are the first ones.
        let mut stopped = std::collections::HashSet::new();
        for (request, done) in under_way.into_iter().zip(done) {
            if let DiskWish::Write { offset, .. } = request.wish
                && (!done || stopped.contains(&offset))
            {
                stopped.insert(offset);
                continue;
            }
            perform(&mut content, request);
        }
        let port = Collector::default();
        let mut restored = Guest::from_image(image_of(&guest)).unwrap();
        prop_assert!(!restored.is_compared());
        settle(&mut restored, &mut content, &port);
        prop_assert!(restored.is_compared());
        let disk = restored.registers().disk.clone().unwrap();
        prop_assert_eq!((disk.counters.differing, disk.counters.compared), (0, DISK_BYTES / 4096));
        prop_assert!(disk.waiting.is_empty());
    }
}

#[test]
fn a_disk_of_another_moment_is_noticed() {
    let (guest, content, _) = lived(&[Happening::Set(1, b"1".to_vec()), Happening::Answer]);
    for (mut other, differs) in [(content, 0), (vec![0; DISK_BYTES as usize], 1)] {
        let mut restored = Guest::from_image(image_of(&guest)).unwrap();
        settle(&mut restored, &mut other, &Collector::default());
        assert_eq!(restored.registers().disk.as_ref().unwrap().counters.differing, differs);
    }
}

/// A disk that does everything at once.
struct AtOnce(parking_lot::Mutex<Vec<u8>>);

impl Disk for AtOnce {
    fn submit(&self, request: DiskRequest, guest: &Inlet) {
        guest.answer(perform(&mut self.0.lock(), request));
    }
}

#[test]
fn a_running_guest_is_served_by_its_disk_and_without_one_it_does_not_start() {
    let port = Arc::new(Collector::default());
    let disk = Arc::new(AtOnce(parking_lot::Mutex::new(vec![0; DISK_BYTES as usize])));
    assert!(LabGuest::start(&with_disk(), port.clone()).unwrap_err().to_string().contains("has none for it"));
    let devices = Devices { port: port.clone(), disk: Some(disk.clone()) };
    let guest = LabGuest::start_under(Conditions::NONE, &with_disk(), devices.clone()).unwrap();
    guest.inject(&set(b"k", b"v"));
    let begun = Instant::now();
    while !port.0.lock().iter().any(|frame| answer(frame).is_some_and(|(_, text)| text == b"STORED\r\n")) {
        assert!(begun.elapsed() < Duration::from_secs(20), "no answer");
        std::thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(guest.disk_counters().unwrap().stored, 1);

    let mut content = vec![0; DISK_BYTES as usize];
    let image = || image_of(&lived(&[Happening::Set(1, b"1".to_vec())]).0);
    let refused = LabGuest::restore(image(), port.clone()).unwrap_err();
    assert_eq!(refused, RestoreError::NoDisk(DISK_BYTES));
    let copy = LabCopy::new(Conditions::NONE, image(), port.clone());
    assert_eq!(copy.unwrap_err(), RestoreError::CopyWithDisk);

    *disk.0.lock() = std::mem::take(&mut content);
    disk.0.lock().resize(DISK_BYTES as usize, 0);
    let restored = LabGuest::restore_under(Conditions::NONE, image(), devices).unwrap();
    while !restored.is_compared() {
        assert!(begun.elapsed() < Duration::from_secs(20), "it does not compare");
        std::thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(restored.disk_counters().unwrap().differing, 0);
}

#[test]
fn something_that_is_not_a_disk_is_refused() {
    for bytes in [0, 4096, DISK_BYTES + 512, 2 << 40] {
        let config = GuestConfig { disk_bytes: Some(bytes), ..with_disk() };
        assert!(config.check().is_err(), "{bytes}");
    }
}
