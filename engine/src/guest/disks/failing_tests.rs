//! Disks whose devices fail or are full, on either host, and disks of guests that may not run here: who is told, who waits, and what is
//! not believed any more.

use super::door::DiskAnswers;
use super::files::{DiskFiles, DiskStorage};
use super::full_copy::CopyPace;
use super::place::DiskPlace;
use super::{HeldDisks, LocalDisk};
use crate::guest::disks::full_copy::CopyGoal;
use crate::guest::participant::{CopyNext, CopyStep, DiskParticipant, Participant};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use understudy_checkpoint::epoch::{EpochHead, WritesEnd};
use understudy_checkpoint::time::Time;
use understudy_checkpoint::{Epoch, EpochKind, Generation};
use understudy_disk::storage::file::OpenError;
use understudy_disk::storage::simulated::{Fault, Machine, SimulatedDisk};
use understudy_disk::sync::talk::Say;
use understudy_lab::{DiskAnswer, DiskRequest, DiskWish};

const G: Generation = Generation(1);
const SIZE_BYTES: u64 = 256 << 10;

/// Files on a machine of its own.
#[derive(Debug, Default)]
struct Files {
    machine: Machine,
    files: Mutex<BTreeMap<String, SimulatedDisk>>,
}

impl DiskFiles for Files {
    fn path(&self, name: &str) -> PathBuf {
        name.into()
    }
    fn is_there(&self, name: &str) -> io::Result<bool> {
        Ok(self.files.lock().contains_key(name))
    }
    fn prepare(&self) -> io::Result<()> {
        Ok(())
    }
    fn create(&self, name: &str, size_bytes: u64) -> Result<DiskStorage, OpenError> {
        let disk = self.machine.disk(size_bytes);
        self.files.lock().insert(name.into(), disk.clone());
        Ok(DiskStorage::new(disk))
    }
    fn open(&self, name: &str) -> Result<DiskStorage, OpenError> {
        Ok(DiskStorage::new(self.files.lock()[name].clone()))
    }
    fn let_go_max(&self) -> Duration {
        Duration::ZERO
    }
    fn random(&self) -> Option<[u8; 16]> {
        Some([self.files.lock().len() as u8; 16])
    }
}

impl Files {
    fn next_fails(&self, fault: Fault) {
        self.machine.fail_at(self.machine.operations(), fault);
    }
}

/// A host's disk: its files, and the place that they are.
fn host() -> (Arc<Files>, DiskPlace) {
    let files = Arc::new(Files::default());
    (files.clone(), DiskPlace::on(files, "g", SIZE_BYTES, 128 << 10))
}

#[derive(Clone, Default)]
struct Answers(Arc<Mutex<Vec<DiskAnswer>>>);

impl DiskAnswers for Answers {
    fn answer(&self, answer: DiskAnswer) {
        self.0.lock().push(answer);
    }
}

/// The disk of a guest that was started here.
fn started(place: &DiskPlace) -> LocalDisk {
    let pace = CopyPace { bytes_per_s: u64::MAX, near_chunks: 1 };
    LocalDisk::stepped(place, pace, Box::new(|| Time(0))).unwrap()
}

/// The disk of a guest that may run here.
fn local(place: &DiskPlace) -> LocalDisk {
    let disk = started(place);
    disk.pass();
    disk
}

/// Writes, and says whether that was done.
fn write(disk: &LocalDisk, sector: u64) -> bool {
    let answers = Answers::default();
    let wish = DiskWish::Write { offset: sector * 512, data: vec![7; 512], is_forced: false };
    disk.submit_to(DiskRequest { id: sector, wish }, Box::new(answers.clone()));
    while disk.step() {}
    let answered = std::mem::take(&mut *answers.0.lock());
    answered.iter().any(|answer| answer.id == sector && answer.result.is_ok())
}

#[test]
fn a_guest_started_where_another_host_runs_it_writes_nothing_and_its_disk_follows_again() {
    let (here, there) = (host().1, host().1);
    let disk = local(&here);
    let mut held = HeldDisks::open(&there).unwrap();
    copy(&disk, &mut held, 1).unwrap();
    drop(held);
    // The host came back from a loss of power, and has started the guest.
    let stray = started(&there);
    assert!(!write(&stray, 3), "its write waits");
    stray.fence();
    assert!(!write(&stray, 4), "its write waits");
    drop(stray);
    let mut held = HeldDisks::open(&there).unwrap();
    copy(&disk, &mut held, 2).unwrap();
}

#[test]
fn what_a_guest_wanted_before_it_might_run_here_is_done_once_it_may() {
    let place = host().1;
    let disk = started(&place);
    let answers = Answers::default();
    for sector in 0..3 {
        let wish = DiskWish::Write { offset: sector * 512, data: vec![7; 512], is_forced: false };
        disk.submit_to(DiskRequest { id: sector, wish }, Box::new(answers.clone()));
    }
    while disk.step() {}
    assert!(answers.0.lock().is_empty());
    disk.pass();
    while disk.step() {}
    let answered: Vec<_> = answers.0.lock().iter().map(|answer| (answer.id, answer.result.is_ok())).collect();
    assert_eq!(answered, [(0, true), (1, true), (2, true)]);
    assert!(write(&disk, 5));
}

#[test]
fn a_label_that_cannot_say_whose_the_disk_is_keeps_the_guest_waiting_and_somebody_is_told() {
    let (files, place) = host();
    let disk = started(&place);
    files.next_fails(Fault::Device);
    disk.pass();
    assert!(!write(&disk, 3), "its write waits");
    assert!(disk.standing().fault.is_some(), "and somebody is told");
}

/// A full copy, which ends as this epoch.
fn copy(disk: &LocalDisk, held: &mut HeldDisks, epoch: u64) -> Result<(), String> {
    let words = |error: &dyn ToString| error.to_string();
    disk.begin_copy(G, Epoch(epoch)).map_err(|error| words(&error))?;
    let head = EpochHead { generation: G, epoch: Epoch(epoch), kind: EpochKind::Seed, base: None };
    held.begin(&head).map_err(|error| words(&error))?;
    loop {
        let CopyStep { ready, ask, next } = disk.copy_on(CopyGoal::Even).map_err(|error| words(&error))?;
        for tagged in ready {
            held.writes(G, tagged.tag, &tagged.batch).map_err(|error| words(&error))?;
        }
        if let Some(ask) = ask {
            let said = held.ask(G, Epoch(epoch), &ask.encode()).map_err(|error| words(&error))?;
            said.iter().for_each(|say| disk.hear(Epoch(epoch), &say.encode()));
        } else if next == CopyNext::Done {
            break;
        }
    }
    end(disk, held, epoch)?;
    held.complete().map_err(|error| words(&error))?;
    disk.hear(Epoch(epoch), &Say::Applied.encode());
    while disk.step() {}
    Ok(())
}

fn end(disk: &LocalDisk, held: &mut HeldDisks, epoch: u64) -> Result<(), String> {
    disk.cut(Epoch(epoch)).map_err(|error| error.to_string())?;
    let writes = disk.end(Epoch(epoch)).map_err(|error| error.to_string())?;
    for tagged in writes.batches {
        held.writes(G, tagged.tag, &tagged.batch).map_err(|error| error.to_string())?;
    }
    let end = WritesEnd { generation: G, epoch: Epoch(epoch), summary: writes.summary };
    held.end(end).map_err(|error| error.to_string())
}

fn delta(disk: &LocalDisk, held: &mut HeldDisks, epoch: u64) -> Result<(), String> {
    let base = Some(Epoch(epoch - 1));
    let head = EpochHead { generation: G, epoch: Epoch(epoch), kind: EpochKind::Delta, base };
    held.begin(&head).map_err(|error| error.to_string())?;
    end(disk, held, epoch)?;
    held.complete().map_err(|error| error.to_string())?;
    held.commit(G, Epoch(epoch)).map(|_| ()).map_err(|error| error.to_string())
}

#[test]
fn a_guest_is_told_that_its_disk_fails_and_so_is_the_operator_and_no_later_write_is_called_done() {
    let (files, place) = host();
    let disk = local(&place);
    assert!(write(&disk, 3));
    assert_eq!(disk.standing().fault, None);
    files.next_fails(Fault::Device);
    assert!(!write(&disk, 4), "the device said no");
    let fault = disk.standing().fault.expect("it is told");
    assert!(fault.contains("writing 512 bytes at 2048 failed"), "{fault}");
    assert!(!write(&disk, 5), "what it holds since then nobody knows");
    assert_eq!(disk.standing().fault, Some(fault), "the first error says what is wrong");
}

#[test]
fn what_the_other_disk_lacks_is_told_and_no_more_once_it_is_applied() {
    let ((_, here), (_, there)) = (host(), host());
    let disk = local(&here);
    let mut held = HeldDisks::open(&there).unwrap();
    assert_eq!((disk.standing().left_bytes, disk.standing().behind_bytes), (None, 0));
    assert!(write(&disk, 3));
    copy(&disk, &mut held, 1).unwrap();
    assert_eq!((disk.standing().left_bytes, disk.standing().behind_bytes), (Some(0), 0));
    assert!(write(&disk, 4) && write(&disk, 5) && write(&disk, 300));
    assert_eq!(disk.standing().behind_bytes, 2 << 16, "two chunks");
    delta(&disk, &mut held, 2).unwrap();
    disk.hear(Epoch(2), &Say::Applied.encode());
    while disk.step() {}
    assert_eq!(disk.standing().behind_bytes, 0);
}

#[test]
fn a_full_device_of_the_copy_stops_the_copy_and_not_the_guest_and_is_overcome_by_the_next_full_copy() {
    let ((_, here), (files, there)) = (host(), host());
    let disk = local(&here);
    let mut held = HeldDisks::open(&there).unwrap();
    copy(&disk, &mut held, 1).unwrap();
    assert!(write(&disk, 3));
    files.next_fails(Fault::Full);
    let why = delta(&disk, &mut held, 2).unwrap_err();
    assert!(why.contains("full") && why.contains("make room"), "{why}");
    assert!(write(&disk, 4), "the guest goes on");
    assert!(delta(&disk, &mut held, 3).is_err(), "nothing is believed of that storage any more");
    drop(held);
    let mut held = HeldDisks::open(&there).unwrap();
    copy(&disk, &mut held, 4).unwrap();
    assert!(write(&disk, 5));
    delta(&disk, &mut held, 5).unwrap();
}
