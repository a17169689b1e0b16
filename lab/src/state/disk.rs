//! The entry DISK of a state: what a guest knows of its disk, and the writes that nothing has answered.
//!
//! ```text
//!   0         4         8      16         24       32       40         48          56       64
//!   | version | waiting | size | last id  | loaded | stored | compared | differing | failed | of each that waits:
//!
//!   0    8       16       24   28    34     36        38     40     41     42
//!   | id | frame | number | ip | mac | port | request | mark | step | told |
//! ```
//!
//! All little-endian but ip and mac. Step: 1 writing, 2 writing forced, 3 flushing, 4 done, 5 failed. Told: 1 stored, 2 the number, 3 the value in slot *number*, 4 a miss; with 0x80 if the client wants no reply.

use super::{StateError, count};
use crate::disk_request::DISK_REQUESTS_MAX;
use crate::registers::{Client, DiskCounters, DiskRegisters, Said, Step, Waiting};
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

pub(super) const CONTEXT_DISK: u16 = 0x4C44;
const VERSION: u32 = 1;

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Head {
    version: U32,
    waiting: U32,
    size_bytes: U64,
    next_id: U64,
    loaded_frames: U64,
    stored: U64,
    compared: U64,
    differing: U64,
    failed: U64,
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Entry {
    id: U64,
    frame: U64,
    number: U64,
    ip: [u8; 4],
    mac: [u8; 6],
    port: U16,
    request: U16,
    mark: U16,
    step: u8,
    said: u8,
}

const STORED: u8 = 1;
const NUMBER: u8 = 2;
const VALUE: u8 = 3;
const MISS: u8 = 4;
/// Nobody is told.
const UNTOLD: u8 = 0x80;

pub(super) fn write(disk: &DiskRegisters) -> Vec<u8> {
    let DiskCounters { stored, compared, differing, failed } = disk.counters;
    let head = Head {
        version: U32::new(VERSION),
        waiting: U32::new(disk.waiting.len() as u32),
        size_bytes: U64::new(disk.size_bytes),
        next_id: U64::new(disk.next_id),
        loaded_frames: U64::new(disk.loaded_frames),
        stored: U64::new(stored),
        compared: U64::new(compared),
        differing: U64::new(differing),
        failed: U64::new(failed),
    };
    let mut bytes = head.as_bytes().to_vec();
    disk.waiting.iter().for_each(|waiting| bytes.extend_from_slice(entry(waiting).as_bytes()));
    bytes
}

fn entry(waiting: &Waiting) -> Entry {
    let (said, number) = match waiting.said {
        Said::Stored => (STORED, 0),
        Said::Number(number) => (NUMBER, number),
        Said::Value(slot) => (VALUE, slot.into()),
        Said::Miss => (MISS, 0),
    };
    let nobody = Client { mac: [0; 6], ip: [0; 4].into(), port: 0, request: 0, mark: 0 };
    let Client { mac, ip, port, request, mark } = waiting.client.unwrap_or(nobody);
    Entry {
        id: U64::new(waiting.id),
        frame: U64::new(waiting.frame),
        number: U64::new(number),
        ip: ip.octets(),
        mac,
        port: U16::new(port),
        request: U16::new(request),
        mark: U16::new(mark),
        step: match waiting.step {
            Step::Writing => 1,
            Step::WritingForced => 2,
            Step::Flushing => 3,
            Step::Done => 4,
            Step::Failed => 5,
        },
        said: if waiting.client.is_some() { said } else { said | UNTOLD },
    }
}

pub(super) fn read(data: &[u8]) -> Result<DiskRegisters, StateError> {
    let damaged = || StateError::Damaged("the registers of its disk are cut short".into());
    let (head, rest) = Head::ref_from_prefix(data).map_err(|_| damaged())?;
    if head.version.get() != VERSION {
        return Err(StateError::Version(head.version.get()));
    }
    let entries = <[Entry]>::ref_from_bytes(rest).map_err(|_| damaged())?;
    if entries.len() != head.waiting.get() as usize || entries.len() > DISK_REQUESTS_MAX {
        return Err(StateError::Value("disk writes"));
    }
    Ok(DiskRegisters {
        size_bytes: count(head.size_bytes, "disk size")?,
        next_id: count(head.next_id, "disk request")?,
        loaded_frames: count(head.loaded_frames, "disk frames")?,
        waiting: entries.iter().map(read_entry).collect::<Result<_, _>>()?,
        counters: DiskCounters {
            stored: count(head.stored, "disk stored")?,
            compared: count(head.compared, "disk compared")?,
            differing: count(head.differing, "disk differing")?,
            failed: count(head.failed, "disk failed")?,
        },
    })
}

fn read_entry(entry: &Entry) -> Result<Waiting, StateError> {
    let said = match entry.said & !UNTOLD {
        STORED => Said::Stored,
        NUMBER => Said::Number(entry.number.get()),
        VALUE => Said::Value(u8::try_from(entry.number.get()).map_err(|_| StateError::Value("disk slot"))?),
        MISS => Said::Miss,
        _ => return Err(StateError::Value("disk reply")),
    };
    let step = match entry.step {
        1 => Step::Writing,
        2 => Step::WritingForced,
        3 => Step::Flushing,
        4 => Step::Done,
        5 => Step::Failed,
        _ => return Err(StateError::Value("disk step")),
    };
    let client = Client {
        mac: entry.mac,
        ip: entry.ip.into(),
        port: entry.port.get(),
        request: entry.request.get(),
        mark: entry.mark.get(),
    };
    let is_told = entry.said & UNTOLD == 0;
    Ok(Waiting {
        id: count(entry.id, "disk request")?,
        frame: count(entry.frame, "disk frame")?,
        step,
        client: is_told.then_some(client),
        said,
    })
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::state) fn registers(words: [u64; 5]) -> DiskRegisters {
        let client = Client {
            mac: [2, 0, 0, 0, 0, 9],
            ip: [10, 0, 0, 2].into(),
            port: words[0] as u16,
            request: words[1] as u16,
            mark: 1,
        };
        let waiting = |id, frame, step, client, said| Waiting { id, frame, step, client, said };
        DiskRegisters {
            size_bytes: words[0],
            next_id: words[1],
            loaded_frames: words[2],
            waiting: vec![
                waiting(words[1], 7, Step::WritingForced, Some(client), Said::Stored),
                waiting(3, words[4], Step::Writing, None, Said::Number(words[3])),
                waiting(4, 1, Step::Flushing, Some(client), Said::Number(8)),
                waiting(5, 2, Step::Done, Some(client), Said::Value(2)),
                waiting(6, 3, Step::Failed, Some(client), Said::Miss),
            ],
            counters: DiskCounters { stored: 1, compared: 2, differing: 3, failed: 4 },
        }
    }

    #[test]
    fn an_entry_has_these_bytes() {
        let disk = registers([0x0102, 2, 3, 4, 5]);
        let bytes = write(&disk);
        assert_eq!(bytes.len(), 64 + 5 * 42);
        assert_eq!(bytes[..24], [1, 0, 0, 0, 5, 0, 0, 0, 2, 1, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0]);
        let second = &bytes[64 + 42..][..42];
        assert_eq!(second[..24], [3, 0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(second[40..], [1, NUMBER | UNTOLD]);
        assert_eq!(read(&bytes), Ok(disk));
    }

    #[test]
    fn more_writes_than_a_guest_has_are_no_state() {
        let mut disk = registers([1; 5]);
        disk.waiting = vec![disk.waiting[0].clone(); DISK_REQUESTS_MAX + 1];
        assert_eq!(read(&write(&disk)), Err(StateError::Value("disk writes")));
    }
}
