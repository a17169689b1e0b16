//! Judges both disks of each guest at a round's end: each has what the clients were told last, and they are the same.
//!
//! ```text
//!   clients: last reads ──► told ─┐
//!   A.disks/GUEST/disk0 ──────────┼─► the same value on both, and both the same byte for byte
//!   B.disks/GUEST/disk0 ──────────┘
//! ```
//!
//! The reads were answered after their epoch was acked, and the copy's disk follows an ack soon: it is waited for. Which host runs the
//! guest is not asked, and nothing is asked of the engine.

use super::client::value_of;
use super::error::DrillError;
use super::history::{Baseline, Key, Moment};
use super::sightings::HostId;
use super::watch::Watch;
use std::path::Path;
use std::time::Duration;
use understudy_lab::value_on_disk;

/// How long a disk may take to follow.
const FOLLOWS_WITHIN: Duration = Duration::from_secs(20);
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// A guest and what is known of it.
#[derive(Clone, Copy, Debug)]
pub struct Told<'a> {
    pub guest: &'a str,
    /// What its keys hold, as the clients read last.
    pub values: &'a Baseline,
    /// What its table was made for.
    pub memory_bytes: u64,
}

/// Says what is wrong with the two disks; nothing if all is well within some time.
pub fn check(told: Told<'_>, directory: &Path, watch: &mut Watch) -> Result<Vec<String>, DrillError> {
    let began = Moment::now();
    loop {
        let found = look(told, directory)?;
        if found.is_empty() || Moment::now().since(began) > FOLLOWS_WITHIN {
            return Ok(found);
        }
        watch.rest("waiting until both disks have what was told", LOOK_EVERY)?;
    }
}

fn look(told: Told<'_>, directory: &Path) -> Result<Vec<String>, DrillError> {
    let mut found = Vec::new();
    let read = |host: HostId| {
        let path = directory.join(format!("{host}.disks")).join(told.guest).join("disk0");
        std::fs::read(path).map_err(DrillError::system("read a guest's disk"))
    };
    let (a, b) = (read(HostId::A)?, read(HostId::B)?);
    for (host, disk) in [(HostId::A, &a), (HostId::B, &b)] {
        found.extend(differing(told, disk)?.map(|(key, value)| {
            format!("Disk: {key} of {} is not {value} on {host}'s disk, as clients were told", told.guest)
        }));
    }
    if a != b {
        found.push(format!("Disk: those of {} are not the same on both hosts", told.guest));
    }
    Ok(found)
}

/// The first key whose value is another one on this disk.
fn differing(told: Told<'_>, disk: &[u8]) -> Result<Option<(Key, u64)>, DrillError> {
    for (key, value) in told.values {
        let on_disk = value_on_disk(disk, told.memory_bytes, key.to_string().as_bytes())
            .map_err(|error| DrillError::system("read a guest's disk")(std::io::Error::other(error)))?;
        let expected = match key {
            Key::Counter(_) => value.to_string().into_bytes(),
            Key::Register(_) => value_of(*value),
        };
        if on_disk.as_ref() != Some(&expected) {
            return Ok(Some((*key, *value)));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    const MEMORY_BYTES: u64 = 1 << 20;

    /// A slot of the table with this value, where its key belongs.
    fn disk_with(key: &str, value: &[u8]) -> Vec<u8> {
        let mut disk = vec![0; 128 << 10];
        let frames = MEMORY_BYTES / 4096 / 8;
        let hash = key.bytes().fold(0xCBF2_9CE4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01B3)
        });
        let slot = &mut disk[(hash % frames) as usize * 4096..];
        (slot[0], slot[1]) = (1, key.len() as u8);
        slot[2..4].copy_from_slice(&(value.len() as u16).to_le_bytes());
        slot[8..][..key.len()].copy_from_slice(key.as_bytes());
        slot[264..][..value.len()].copy_from_slice(value);
        disk
    }

    fn look_at(a: &[u8], b: &[u8]) -> Vec<String> {
        let directory = tempfile::tempdir().unwrap();
        for (host, disk) in [("A", a), ("B", b)] {
            let at = directory.path().join(format!("{host}.disks")).join("g0");
            std::fs::create_dir_all(&at).unwrap();
            std::fs::write(at.join("disk0"), disk).unwrap();
        }
        let values = BTreeMap::from([(Key::Counter(0), 7)]);
        let told = Told { guest: "g0", values: &values, memory_bytes: MEMORY_BYTES };
        look(told, directory.path()).unwrap()
    }

    #[test]
    fn a_disk_that_lacks_what_was_told_is_noticed_and_so_are_disks_that_differ() {
        let good = disk_with("counter0", b"7");
        assert_eq!(look_at(&good, &good), Vec::<String>::new());
        let behind = disk_with("counter0", b"6");
        let found = look_at(&good, &behind);
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[0].contains("counter0 of g0 is not 7 on B's disk"), "{found:?}");
        let mut other = good.clone();
        other[100_000] = 1;
        let found = look_at(&other, &good);
        assert!(found.len() == 1 && found[0].contains("not the same"), "{found:?}");
        assert_eq!(look_at(&behind, &behind).len(), 2, "both lack it");
    }
}
