//! Records and leases over restarts, beside another witness, and on a disk that damages or refuses them.

use super::*;
use understudy_checkpoint::Generation;
use understudy_session::Copy;
use understudy_session::lease::Standing;

fn record(revision: u64) -> Record {
    let owner = NodeName("a".into());
    Record { revision, generation: Generation(1), owner, copy: Copy::Stale }
}

#[test]
fn records_are_there_after_a_restart_and_half_written_ones_are_not() {
    let directory = tempfile::tempdir().unwrap();
    let (store, records, _) = Store::open(directory.path()).unwrap();
    assert_eq!(records, []);
    store.put("g1", &record(1)).unwrap();
    store.put("g2", &record(1)).unwrap();
    store.put("g1", &record(2)).unwrap();
    fs::write(directory.path().join("g2.new"), "underst").unwrap();
    drop(store);
    let (_, mut records, _) = Store::open(directory.path()).unwrap();
    records.sort_by(|one, other| one.0.cmp(&other.0));
    assert_eq!(records, [("g1".to_owned(), record(2)), ("g2".to_owned(), record(1))]);
    assert!(!directory.path().join("g2.new").exists());
}

#[test]
fn a_link_in_the_directory_leads_to_no_file_of_others() {
    let directory = tempfile::tempdir().unwrap();
    let theirs = directory.path().join("theirs");
    fs::write(&theirs, "theirs").unwrap();
    let state = directory.path().join("state");
    let (store, ..) = Store::open(&state).unwrap();
    for name in ["g1.new", "g1.record", "probe.new"] {
        std::os::unix::fs::symlink(&theirs, state.join(name)).unwrap();
    }
    store.put("g1", &record(1)).unwrap();
    store.probe().unwrap();
    assert_eq!(fs::read_to_string(&theirs).unwrap(), "theirs");
    drop(store);
    fs::remove_file(state.join("lock")).unwrap();
    std::os::unix::fs::symlink(&theirs, state.join("lock")).unwrap();
    assert!(matches!(Store::open(&state), Err(StoreError::Io { .. })));
}

#[test]
fn records_are_looked_at_beside_a_witness_and_forgotten_without_one() {
    let directory = tempfile::tempdir().unwrap();
    let (store, ..) = Store::open(directory.path()).unwrap();
    store.put("g2", &record(1)).unwrap();
    store.put("g1", &record(3)).unwrap();
    let names: Vec<_> = Store::look(directory.path()).unwrap().into_iter().map(|it| it.0).collect();
    assert_eq!(names, ["g1", "g2"]);
    let forget = |guests: &[&str]| {
        let guests: Vec<String> = guests.iter().map(ToString::to_string).collect();
        Store::forget(directory.path(), &guests)
    };
    assert!(matches!(forget(&["g1"]), Err(StoreError::InUse(_))));
    store.put("g4", &record(1)).unwrap();
    drop(store);
    assert!(matches!(forget(&["g1", "g3"]), Err(StoreError::Unknown { guest, .. }) if guest == "g3"));
    assert!(matches!(forget(&["../g1"]), Err(StoreError::Unknown { .. })));
    let forgotten = [("g1".to_owned(), record(3)), ("g4".to_owned(), record(1))];
    assert_eq!(forget(&["g1", "g4", "g1"]).unwrap(), forgotten);
    assert_eq!(Store::open(directory.path()).unwrap().1.len(), 1);
}

#[test]
fn a_full_disk_is_told_from_one_that_cannot_be_trusted() {
    let error = |attempt, kind: io::Error| StoreError::Io { attempt, path: "x".into(), source: kind };
    let eio = || io::Error::from_raw_os_error(nix::errno::Errno::EIO as i32);
    assert!(error(MAKE_STABLE, eio()).is_unreliable() && error("write", eio()).is_unreliable());
    assert!(error(MAKE_STABLE, io::ErrorKind::Other.into()).is_unreliable());
    for attempt in [MAKE_STABLE, "write", "create"] {
        assert!(!error(attempt, io::ErrorKind::StorageFull.into()).is_unreliable());
    }
    assert!(!error("create", io::ErrorKind::ReadOnlyFilesystem.into()).is_unreliable());
}

#[test]
fn one_directory_serves_one_witness() {
    let directory = tempfile::tempdir().unwrap();
    let first = Store::open(directory.path()).unwrap();
    assert!(matches!(Store::open(directory.path()), Err(StoreError::InUse(_))));
    drop(first);
    assert!(Store::open(directory.path()).is_ok());
}

#[test]
fn a_record_that_is_damaged_or_misnamed_keeps_the_witness_from_starting() {
    let directory = tempfile::tempdir().unwrap();
    let (store, ..) = Store::open(directory.path()).unwrap();
    store.put("g1", &record(5)).unwrap();
    drop(store);
    let path = directory.path().join("g1.record");
    let whole = fs::read(&path).unwrap();
    let damaged = |content: &[u8]| {
        fs::write(&path, content).unwrap();
        matches!(Store::open(directory.path()), Err(StoreError::Damaged(_)))
    };
    assert!(damaged(b""));
    assert!(damaged(&whole[..whole.len() - 1]));
    assert!(damaged(&[0xFF; 50]));
    assert!(damaged(&whole.repeat(50)));
    assert!(!damaged(&whole));
    fs::rename(&path, directory.path().join("g2.record")).unwrap();
    assert!(matches!(Store::open(directory.path()), Err(StoreError::Damaged(_))));
}

#[test]
fn leases_are_there_after_a_restart_and_a_damaged_one_keeps_the_witness_from_starting() {
    let directory = tempfile::tempdir().unwrap();
    let (store, ..) = Store::open(directory.path()).unwrap();
    let host = NodeName("g1".into());
    let lease = |number| Lease::of_numbers(number, Standing::Held, 5_000).unwrap();
    // A guest may be called as a host is.
    store.put("g1", &record(1)).unwrap();
    store.put_lease(&host, &lease(1)).unwrap();
    store.put_lease(&host, &lease(2)).unwrap();
    drop(store);
    let (store, records, leases) = Store::open(directory.path()).unwrap();
    assert_eq!((records, leases), (vec![("g1".to_owned(), record(1))], vec![(host.clone(), lease(2))]));
    assert_eq!(Store::look_at_leases(directory.path()).unwrap(), [(host, lease(2))]);
    drop(store);
    let path = directory.path().join("g1.lease");
    fs::copy(&path, directory.path().join("b.lease")).unwrap();
    assert!(matches!(Store::open(directory.path()), Err(StoreError::DamagedLease(_))), "it is misnamed");
    fs::remove_file(directory.path().join("b.lease")).unwrap();
    fs::write(&path, [0xFF; 50]).unwrap();
    assert!(matches!(Store::open(directory.path()), Err(StoreError::DamagedLease(_))));
}
