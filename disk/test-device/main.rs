//! For tests on a kernel that has nbd and device mapper: a device of this crate's server, and a program that uses it.
//!
//! ```text
//!   /dev/nbdN ═ pair of sockets ═ Server ─► disk (file), intent map (file), record ─► another disk (file)
//! ```
//!
//! Writes by direct access are read back and are on the disk's file; the record makes the same disk; a socket that is closed
//! in the midst of it costs no write an error. Ends with 0 and `nbd: right`, or panics. Then the same below device mapper
//! ([`mapped`]), which ends with `dm: right`.
//!
//! Not here: a guest, and speed.

mod mapped;

use std::io::{Read, Write as _};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use understudy_checkpoint::Epoch;
use understudy_checkpoint::time::Time;
use understudy_disk::batch::{BadBatch, Content, decode};
use understudy_disk::bits::Bits;
use understudy_disk::intent::{Intent, IntentFile, REGION_BYTES};
use understudy_disk::kernel::nbd::Control;
use understudy_disk::ledger::Ledger;
use understudy_disk::nbd::control::Connect;
use understudy_disk::nbd::{Command, Decoder, Errno, Offer};
use understudy_disk::record::Record;
use understudy_disk::server::{Action, Book, Job, Server};
use understudy_disk::storage::Storage;
use understudy_disk::storage::file::{Caching, FileStorage};
use understudy_disk::words::DiskNumber;

const SIZE: u64 = 4 * REGION_BYTES;
const WRITES: u64 = 400;

/// One disk, its files and its record, for one socket after the other.
struct Disk {
    server: Server<Vec<u8>>,
    record: Record,
    disk: FileStorage,
    map: IntentFile<FileStorage>,
    flushes: u64,
}

impl Disk {
    fn request(&mut self, cookie: u64, command: Result<Command, Errno>, data: &[u8]) {
        let data = (!data.is_empty()).then(|| data.to_vec());
        self.server.request(cookie, command, data, &mut Book::Record(&mut self.record));
    }

    fn done(&mut self, job: Job, result: Result<Option<Vec<u8>>, Errno>) {
        self.server.done(job, result, &mut Book::Record(&mut self.record), Time(0));
    }

    /// Does all that is to be done, one after the other, and answers if somebody listens.
    fn work(&mut self, mut socket: Option<&mut UnixStream>) -> std::io::Result<()> {
        while let Some(action) = self.server.next_action() {
            match action {
                Action::Read(job, extent) => {
                    let mut data = vec![0; extent.bytes() as usize];
                    let read = self.disk.read_at(extent.offset(), &mut data);
                    self.done(job, read.map(|()| Some(data)).map_err(|_| Errno::Io));
                }
                Action::Write { job, extent, data, is_forced } => {
                    let data = data.unwrap_or_else(|| vec![0; extent.bytes() as usize]);
                    let written = self.disk.write_at(extent.offset(), &data);
                    let flushed = written.and_then(|()| if is_forced { self.disk.flush() } else { Ok(()) });
                    self.done(job, flushed.map(|()| None).map_err(|_| Errno::Io));
                }
                Action::Flush(job) => {
                    self.flushes += 1;
                    let flushed = self.disk.flush();
                    self.done(job, flushed.map(|()| None).map_err(|_| Errno::Io));
                }
                Action::Mark(pending) => {
                    let is_written = self.map.write(&pending).is_ok();
                    self.server.marked(&pending, is_written, &mut Book::Record(&mut self.record), Time(0));
                }
                Action::Answer { reply, data } => {
                    if let Some(socket) = &mut socket {
                        socket.write_all(&reply.encode())?;
                        socket.write_all(&data.unwrap_or_default())?;
                    }
                }
                Action::Bulk { .. } | Action::End => {}
            }
        }
        Ok(())
    }
}

/// Serves a socket until it ends; `requests_max` requests at most, and then it is closed with whatever is in it.
fn serve(disk: Arc<Mutex<Disk>>, mut socket: UnixStream, requests_max: u64) -> JoinHandle<u64> {
    thread::spawn(move || {
        let mut decoder = Decoder::new(SIZE);
        let mut count = 0;
        loop {
            let space = decoder.space().expect("there is memory");
            match socket.read(space) {
                Ok(0) | Err(_) => return count,
                Ok(bytes) => decoder.filled(bytes),
            }
            let mut disk = disk.lock().expect("a panic ends the test");
            while let Some(request) = decoder.next_request().expect("the kernel sends requests") {
                disk.request(request.cookie, request.command, request.data);
                count += 1;
                if count == requests_max {
                    // Done and not answered: the kernel sends it again to the next socket.
                    disk.work(None).expect("nobody listens");
                    return count;
                }
            }
            if disk.work(Some(&mut socket)).is_err() {
                return count;
            }
        }
    })
}

fn device(index: Option<u32>, socket: &UnixStream) -> Connect {
    let offer = Offer { is_read_only: false, discards: true, has_sockets: false };
    let name = "understudy-test".into();
    Connect { index, size_bytes: SIZE, block_bytes: 512, offer, name, socket: socket.as_raw_fd() }
}

fn make(directory: &Path, name: &str, bytes: u64) -> FileStorage {
    FileStorage::create(&directory.join(name), bytes, Caching::PageCache).expect("a file")
}

/// A disk with its map in `directory`.
fn disk_on(disk: FileStorage, directory: &Path) -> Disk {
    let history = [7; 16];
    let map = make(directory, "intent", IntentFile::<FileStorage>::bytes(SIZE));
    let map = IntentFile::create(map, history, SIZE).expect("a map");
    let intent = Intent::new(Bits::try_new(SIZE / REGION_BYTES).expect("memory")).expect("memory");
    let server = Server::new(DiskNumber(0), intent, Ledger::new(SIZE, 1000).expect("memory"));
    Disk { server, record: Record::new(Epoch(1), 64 << 20), disk, map, flushes: 0 }
}

/// Serves `disk` as a device: one that is made, or the one of this index, which has lost its server.
fn connected(
    control: &mut Control,
    disk: &Arc<Mutex<Disk>>,
    index: Option<u32>,
    requests_max: u64,
) -> (JoinHandle<u64>, u32) {
    let (ours, theirs) = UnixStream::pair().expect("a pair of sockets");
    let server = serve(disk.clone(), ours, requests_max);
    let device = device(index, &theirs);
    let index = match index {
        Some(index) => control.reconnect(&device).map(|()| index).expect("another socket"),
        None => control.connect(&device).expect("a device"),
    };
    (server, index)
}

/// What write `n` of a round writes.
fn content(n: u64, round: u64) -> Vec<u8> {
    [n.to_le_bytes(), round.to_le_bytes()].concat().repeat(256)
}

/// Writes blocks all over the device, and flushes now and then; gives the longest wait.
fn write(path: &str, round: u64) -> Duration {
    let mut device = FileStorage::open(Path::new(path), Caching::Direct).expect("the device");
    assert_eq!(device.size_bytes(), SIZE);
    let mut longest = Duration::ZERO;
    for n in 0..WRITES {
        let began = Instant::now();
        device.write_at(offset(n), &content(n, round)).expect("no write fails");
        if n % 16 == 0 {
            device.flush().expect("no flush fails");
        }
        longest = longest.max(began.elapsed());
    }
    device.flush().expect("no flush fails");
    for n in 0..WRITES {
        let mut seen = vec![0; 4096];
        device.read_at(offset(n), &mut seen).expect("no read fails");
        assert!(seen == content(n, round), "write {n} is read back");
    }
    longest
}

/// Where write `n` goes: all over the device, each to a block of its own.
fn offset(n: u64) -> u64 {
    n * 37 % (SIZE / 4096) * 4096
}

fn main() {
    let directory = std::env::args().nth(1).expect("usage: disk-test-device DIRECTORY");
    let directory = Path::new(&directory);
    alone(directory);
    mapped::run(directory);
}

/// A device by itself.
fn alone(directory: &Path) {
    let disk = Arc::new(Mutex::new(disk_on(make(directory, "disk", SIZE), directory)));
    let mut control = Control::open().expect("the kernel has nbd");
    let (first, index) = connected(&mut control, &disk, None, WRITES / 20);
    let path = format!("/dev/nbd{index}");
    println!("nbd: {path}");

    // The first server ends in the midst of it; another one takes its place.
    let writer = thread::spawn({
        let path = path.clone();
        move || write(&path, 1)
    });
    let count = first.join().expect("the first server ends in order");
    thread::sleep(Duration::from_millis(300));
    let (second, _) = connected(&mut control, &disk, Some(index), u64::MAX);
    let longest = writer.join().expect("the writer saw no error");
    println!("nbd: {count} requests, another socket, no error; the longest write took {longest:?}");

    check(&disk, directory);
    control.disconnect(index).expect("it ends");
    second.join().expect("the second server ends in order");
    println!("nbd: right");
}

/// The disk's file has what was written, and the record makes the same disk.
fn check(disk: &Mutex<Disk>, directory: &Path) {
    let mut disk = disk.lock().expect("a panic ends the test");
    assert!(disk.flushes > 0, "the kernel was told that there is something to flush");
    let mut other = FileStorage::create(&directory.join("other"), SIZE, Caching::PageCache).expect("a file");
    disk.record.cut(Epoch(2));
    let mut batches = 0;
    while let Some(tagged) = disk.record.next_batch() {
        batches += 1;
        decode::<BadBatch>(&tagged.batch, &mut Vec::new(), |write| {
            let zeros = vec![0; write.extent.bytes() as usize];
            let data = if let Content::Data(data) = write.content { data } else { &zeros };
            other.write_at(write.extent.offset(), data).expect("a write");
            Ok(())
        })
        .expect("whole batches");
    }
    for n in 0..WRITES {
        for storage in [&mut disk.disk, &mut other] {
            let mut seen = vec![0; 4096];
            storage.read_at(offset(n), &mut seen).expect("a read");
            assert!(seen == content(n, 1), "write {n} is on both disks");
        }
    }
    println!("nbd: {WRITES} blocks on both disks, {batches} batches, {} flushes", disk.flushes);
}
