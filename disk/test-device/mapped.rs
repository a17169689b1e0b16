//! A disk as a guest has it: a device of device mapper, with another device below, or ours.
//!
//! ```text
//!   writer ─► dm ──► /dev/ram0                                          1 nobody protects the guest
//!                └─► /dev/nbdN ═ Server ─► /dev/ram0, record            2 protected; the server ends in the midst
//!                └─► /dev/nbdN ═ another one, that found it by dm       3 the writer went on
//!                └─► /dev/ram0                                          4 and nobody again
//! ```
//!
//! The writer sees no error at any time, and all of it is on `/dev/ram0`.

use super::{Disk, SIZE, connected, content, disk_on, offset};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use understudy_disk::dm::{DeviceNumber, Linear};
use understudy_disk::kernel::dm::{MapError, Mapper};
use understudy_disk::kernel::nbd::Control;
use understudy_disk::storage::Storage;
use understudy_disk::storage::file::{Caching, FileStorage};

const NAME: &str = "understudy-test-xvda";
const BELOW: DeviceNumber = DeviceNumber { major: 1, minor: 0 };
const NBD_MAJOR: u32 = 43;
const BLOCKS: u64 = SIZE / 4096;
/// Writes between two changes.
const WRITES_BETWEEN: u64 = 200;

fn to(below: DeviceNumber) -> Linear {
    Linear { sectors: SIZE / 512, below, from_sector: 0 }
}

/// The disk itself.
fn ram() -> FileStorage {
    FileStorage::open(Path::new("/dev/ram0"), Caching::Direct).expect("the disk")
}

/// Writes and reads back until it is told to stop.
struct Writer {
    count: Arc<AtomicU64>,
    stops: Arc<AtomicBool>,
    thread: JoinHandle<(u64, Duration)>,
}

impl Writer {
    fn begin(path: &str) -> Self {
        let mut device = FileStorage::open(Path::new(path), Caching::Direct).expect("the device");
        let (count, stops) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let thread = thread::spawn({
            let (count, stops) = (count.clone(), stops.clone());
            move || {
                let (mut n, mut longest) = (0, Duration::ZERO);
                while !stops.load(Ordering::Relaxed) {
                    let began = Instant::now();
                    device.write_at(offset(n), &content(n, 0)).expect("no write fails");
                    if n % 16 == 0 {
                        device.flush().expect("no flush fails");
                    }
                    let mut seen = vec![0; 4096];
                    device.read_at(offset(n), &mut seen).expect("no read fails");
                    assert!(seen == content(n, 0), "write {n} is read back");
                    longest = longest.max(began.elapsed());
                    n += 1;
                    count.store(n, Ordering::Relaxed);
                }
                (n, longest)
            }
        });
        Self { count, stops, thread }
    }

    fn goes_on(&self) {
        let until = self.count.load(Ordering::Relaxed) + WRITES_BETWEEN;
        while self.count.load(Ordering::Relaxed) < until {
            assert!(!self.thread.is_finished(), "the writer saw an error");
            thread::sleep(Duration::from_millis(1));
        }
    }
}

/// What an engine that begins finds of the one before: the nbd below a device of ours.
fn found(mapper: &Mapper) -> u32 {
    let devices = mapper.list().expect("a list");
    let ours: Vec<_> = devices.iter().filter(|(name, _)| name.starts_with("understudy-")).collect();
    let [(name, _)] = &ours[..] else { panic!("one device: {devices:?}") };
    let table = mapper.table(name).expect("a table");
    let below = table[0].linear().expect("a linear target").below;
    assert_eq!((table.len(), below.major), (1, NBD_MAJOR), "{table:?}");
    below.minor
}

pub(super) fn run(directory: &Path) {
    let mapper = Mapper::open().expect("the kernel has device mapper");
    assert!(matches!(mapper.standing(NAME), Err(MapError::Missing(_))), "nothing is there yet");
    // Not another disk in memory: those are made when they are asked for.
    let nowhere = DeviceNumber { major: 200, minor: 0 };
    assert!(mapper.create(NAME, NAME, to(nowhere)).is_err(), "nothing is there");
    assert!(matches!(mapper.standing(NAME), Err(MapError::Missing(_))), "what failed leaves nothing");
    let number = mapper.create(NAME, NAME, to(BELOW)).expect("a device");
    assert!(matches!(mapper.create(NAME, NAME, to(BELOW)), Err(MapError::Busy { .. })), "one of a name");
    let writer = Writer::begin(&format!("/dev/dm-{}", number.minor));
    writer.goes_on();

    // Protected, and the server ends after some requests, with its answers.
    let disk = |name: &str| {
        let directory = directory.join(name);
        std::fs::create_dir(&directory).expect("a directory");
        Arc::new(Mutex::new(disk_on(ram(), &directory)))
    };
    let mut control = Control::open().expect("the kernel has nbd");
    let served = disk("first");
    let (first, index) = connected(&mut control, &served, None, 3 * WRITES_BETWEEN);
    let below = DeviceNumber { major: NBD_MAJOR, minor: index };
    let began = Instant::now();
    mapper.swap(NAME, to(below)).expect("a swap");
    println!("dm: ours below it in {:?}", began.elapsed());
    let count = first.join().expect("the first server ends in order");
    drop(served);
    thread::sleep(Duration::from_millis(300));
    assert!(mapper.swap(NAME, to(nowhere)).is_err(), "nothing is there");
    let standing = mapper.standing(NAME).expect("it is there");
    assert!(!standing.is_suspended && standing.has_table && !standing.has_loaded, "{standing:?}");
    assert!(matches!(mapper.remove(NAME), Err(MapError::Busy { .. })), "the writer has it open");

    // Another one begins, and finds it by what device mapper says.
    let served = disk("second");
    assert_eq!(found(&mapper), index);
    let (second, _) = connected(&mut control, &served, Some(index), u64::MAX);
    writer.goes_on();
    let began = Instant::now();
    mapper.swap(NAME, to(BELOW)).expect("a swap");
    println!("dm: the disk itself below it in {:?}", began.elapsed());
    control.disconnect(index).expect("it ends");
    second.join().expect("the second server ends in order");
    let recorded = recorded(&served);
    drop(served);
    writer.goes_on();
    writer.stops.store(true, Ordering::Relaxed);
    let (writes, longest) = writer.thread.join().expect("the writer saw no error");
    println!("dm: {count} requests, another server, which recorded {recorded} batches");
    println!("dm: {writes} writes, no error; the longest took {longest:?}");

    let mut ram = ram();
    for n in writes.saturating_sub(BLOCKS)..writes {
        let mut seen = vec![0; 4096];
        ram.read_at(offset(n), &mut seen).expect("a read");
        assert!(seen == content(n, 0), "write {n} is on the disk");
    }
    mapper.remove(NAME).expect("nobody has it open");
    println!("dm: right");
}

fn recorded(disk: &Mutex<Disk>) -> u64 {
    let mut disk = disk.lock().expect("a panic ends the test");
    disk.record.cut(understudy_checkpoint::Epoch(2));
    let mut batches = 0;
    while disk.record.next_batch().is_some() {
        batches += 1;
    }
    assert!(batches > 0, "what the writer wrote then is in the record");
    batches
}
