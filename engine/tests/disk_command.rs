//! `understudy disk` as an operator runs it, on disks that no node uses.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use understudy::guest::DiskPlace;
use understudy_checkpoint::Generation;

const SIZE_BYTES: u64 = 5 << 20;

fn disk(words: &[&str], directory: &Path) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_understudy"));
    command.arg("disk").args(words).arg("--lab-disks").arg(directory).output().unwrap()
}

fn ended(output: &Output) -> (Option<i32>, String) {
    let said = [&output.stdout[..], &output.stderr[..]].concat();
    (output.status.code(), String::from_utf8(said).unwrap())
}

/// A disk on which a guest ran in this generation.
fn make(directory: &Path, guest: &str) {
    let mut opened = DiskPlace::new(directory, guest, SIZE_BYTES).open().unwrap();
    opened.applier.own(Generation(3)).unwrap();
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

#[test]
fn each_disk_is_told_and_one_that_cannot_be_read_does_not_hide_the_others() {
    let directory = tempfile::tempdir().unwrap();
    let here = directory.path();
    assert_eq!(
        ended(&disk(&["status"], here)),
        (Some(0), format!("no guest has a disk in {}\n", here.display()))
    );
    make(here, "db");
    let opened = DiskPlace::new(here, "web", SIZE_BYTES).open().unwrap();
    let (code, said) = ended(&disk(&["status"], here));
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("db: disk of 5.0 MiB: the guest's own, which ran here in generation 3"), "{said}");
    assert!(said.contains("is in use by a node"), "{said}");
    assert_eq!(ended(&disk(&["status", "web"], here)).0, Some(6), "asked for by name it is refused");
    drop(opened);

    let output = disk(&["status", "web", "--output", "json"], here);
    let said: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&said[0]["worth"], &said[0]["size_bytes"]), (&"blank".into(), &SIZE_BYTES.into()));
    fs::write(here.join("web").join("disk0.label"), vec![1; 8192]).unwrap();
    let (code, said) = ended(&disk(&["status"], here));
    assert_eq!(code, Some(4), "{said}");
    assert!(said.contains("db: disk of 5.0 MiB"), "{said}");
    assert_eq!(ended(&disk(&["status", "mail"], here)).0, Some(4));
}

#[test]
fn the_disks_of_two_hosts_are_compared_by_a_file() {
    let directory = tempfile::tempdir().unwrap();
    let (here, there) = (directory.path().join("here"), directory.path().join("there"));
    make(&here, "db");
    copy(&here.join("db"), &there.join("db"));
    let file = directory.path().join("db.json");
    let written = disk(&["verify", "db", "--output", "json"], &there);
    assert!(written.status.success());
    fs::write(&file, written.stdout).unwrap();
    let against = ["verify", "db", "--against", file.to_str().unwrap()];
    assert_eq!(ended(&disk(&against, &here)), (Some(0), "db: both disks are the same\n".into()));

    let mut content = fs::read(here.join("db").join("disk0")).unwrap();
    content[(4 << 20) + 5] ^= 1;
    fs::write(here.join("db").join("disk0"), content).unwrap();
    let (code, said) = ended(&disk(&against, &here));
    assert_eq!(code, Some(3), "{said}");
    assert!(
        said.contains("regions of 4 MiB that differ where no guest wrote: 1, the first at byte 4194304"),
        "{said}"
    );

    fs::write(&file, "{}").unwrap();
    assert_eq!(ended(&disk(&against, &here)).0, Some(4));
}
