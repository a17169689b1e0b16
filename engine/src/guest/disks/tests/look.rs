//! What is found of disks that no node uses, and that nothing is changed by it.

use super::*;
use crate::guest::disks::look::{Look, LookError};
use crate::guest::disks::prints::{Difference, NotAlike, Worth};
use std::collections::BTreeMap;
use std::path::PathBuf;
use understudy_disk::intent::REGION_BYTES;

/// Three regions and a part of one.
const LARGE_BYTES: u64 = 3 * REGION_BYTES + 4096;

fn large(directory: &Path, host: &str) -> DiskPlace {
    DiskPlace::new(&directory.join(host), "g", LARGE_BYTES)
}

/// Once who had the files has let them go.
fn look(directory: &Path, host: &str) -> Look {
    let mut found = None;
    wait("files that nobody uses", || match Look::at(&directory.join(host), "g") {
        Err(LookError::InUse(_)) => false,
        looked => {
            found = Some(looked.unwrap());
            true
        }
    });
    found.unwrap()
}

fn files(directory: &Path, host: &str) -> BTreeMap<PathBuf, Vec<u8>> {
    let entries = std::fs::read_dir(directory.join(host).join("g")).unwrap();
    entries
        .map(|entry| entry.unwrap().path())
        .map(|path| (path.clone(), std::fs::read(path).unwrap()))
        .collect()
}

fn flip(directory: &Path, host: &str, offset: u64) {
    use std::os::unix::fs::FileExt;
    let path = directory.join(host).join("g").join("disk0");
    let file = std::fs::OpenOptions::new().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, offset).unwrap();
    file.write_all_at(&[!byte[0]], offset).unwrap();
}

fn difference(directory: &Path) -> Difference {
    let [here, there] = ["a", "b"].map(|host| look(directory, host).prints(|_| {}).unwrap());
    let difference = here.against(&there).unwrap();
    assert_eq!(there.against(&here), Ok(difference.clone()), "both hosts find the same");
    difference
}

#[test]
fn a_disk_is_found_as_a_node_would_find_it_and_stays_as_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    let mut running = Running::boot_with(&large(directory, "a"), LARGE_BYTES);
    (0..20).for_each(|key| running.set(key));
    let mut held = HeldDisks::open(&large(directory, "b")).unwrap();
    assert!(matches!(Look::at(&directory.join("a"), "g"), Err(LookError::InUse(_))));
    copy(&mut running, &mut held);
    begin(&mut held, 2, EpochKind::Delta);
    running.set(20);
    cut(&running, 2);
    end(&running.disk, &mut held, 2);
    held.commit(G, Epoch(2)).unwrap();
    drop(held);
    let epoch = look(directory, "b").worth();
    assert_eq!(epoch, Worth::Epoch { generation: 1, epoch: 2 });
    // Nobody else has this one.
    running.set(21);
    drop(running);

    let here = look(directory, "a");
    assert!(matches!(here.worth(), Worth::Owned { generation: 1, .. }), "{:?}", here.worth());
    let marked = here.marked().unwrap();
    drop(here);
    let unmarked =
        (0..3).find(|region| !marked.contains(region)).expect("a few keys have no place everywhere");
    let before = ["a", "b"].map(|host| files(directory, host));
    let found = difference(directory);
    assert_eq!((found.written.len(), &found.damaged[..]), (1, &[][..]), "{found:?}");
    assert!(["a", "b"].map(|host| files(directory, host)) == before, "nothing is changed");

    flip(directory, "b", unmarked * REGION_BYTES + 77);
    assert_eq!(difference(directory), Difference { damaged: vec![unmarked], ..found });
}

#[test]
fn disks_that_say_nothing_of_each_other_are_told_apart_from_equal_ones() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    assert!(matches!(Look::at(directory, "g"), Err(LookError::Nothing(_))));
    assert_eq!(std::fs::read_dir(directory).unwrap().count(), 0, "nothing is made");

    let mut running = Running::boot_with(&large(directory, "a"), LARGE_BYTES);
    running.set(1);
    running.disk.begin_copy(G, Epoch(1)).unwrap();
    drop(HeldDisks::open(&large(directory, "b")).unwrap());
    let mut blank = look(directory, "b");
    assert_eq!(blank.worth(), Worth::Blank);
    let blank_prints = blank.prints(|_| {}).unwrap();
    drop(blank);

    let mut held = HeldDisks::open(&large(directory, "b")).unwrap();
    held.begin(&EpochHead { generation: G, epoch: Epoch(1), kind: EpochKind::Seed, base: None }).unwrap();
    held.ask(G, Epoch(1), &Ask::Begin([7; 16]).encode()).unwrap();
    drop(held);
    let mut broken_off = look(directory, "b");
    assert_eq!(broken_off.worth(), Worth::Nothing);
    assert!(matches!(broken_off.prints(|_| {}), Err(LookError::NoEpoch)));

    drop(running);
    let here = look(directory, "a").prints(|_| {}).unwrap();
    assert_eq!(here.against(&blank_prints), Err(NotAlike::Of("the history")));
    let mut there = here.clone();
    assert_eq!(here.against(&there), Ok(Difference::default()));
    let Worth::Owned { peer_generation, peer_epoch, .. } = here.worth else { panic!("{:?}", here.worth) };
    let (mut told, mut copy) = (here.clone(), here.clone());
    told.worth = Worth::Owned { generation: peer_generation, peer_generation, peer_epoch: peer_epoch + 7 };
    copy.worth = Worth::Epoch { generation: peer_generation, epoch: peer_epoch + 6 };
    let older = Err(NotAlike::Older { generation: peer_generation, epoch: peer_epoch + 6 });
    assert_eq!((told.against(&copy), copy.against(&told)), (older.clone(), older));
    copy.worth = Worth::Epoch { generation: peer_generation, epoch: peer_epoch + 7 };
    assert_eq!(told.against(&copy), Ok(Difference::default()));
    there.regions.pop();
    assert_eq!(here.against(&there), Err(NotAlike::NoPrints(LARGE_BYTES)));
    there.worth = Worth::Blank;
    assert_eq!(here.against(&there), Err(NotAlike::Worthless));
}

#[test]
fn a_map_that_cannot_be_read_is_no_map_without_marks() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    let mut running = Running::boot_with(&large(directory, "a"), LARGE_BYTES);
    running.set(1);
    drop(running);
    drop(look(directory, "a"));
    let map = directory.join("a").join("g").join("disk0.map");
    let bytes = std::fs::read(&map).unwrap().len();
    std::fs::write(&map, vec![1; bytes]).unwrap();
    let mut found = look(directory, "a");
    assert!(matches!(found.marked(), Err(LookError::Unmarked(_))));
    assert!(matches!(found.prints(|_| {}), Err(LookError::Unmarked(_))));
}
