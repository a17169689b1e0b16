//! Encodes the registers in a checkpoint's state.
//!
//! The encoding is a valid part of a libxc stream, so that every tool for streams can read a lab guest's image:
//!
//! ```text
//!   X86_TSC_INFO │ mode 0, khz, guest time in ns, incarnation 0
//!   HVM_CONTEXT  │ HEADER (typecode 1)
//!                │ LAB    (typecode 0x4C42): the registers, as `LabEntry` lays them out
//!                │ DISK   (typecode 0x4C44): of a guest with a disk, what it knows of it ([`disk`](self::disk))
//!                │ END    (typecode 0)
//!   HVM_PARAMS   │ store and console frames: the last two of memory
//! ```

mod disk;

use crate::load::{Content, Load, RATE_MAX, Rate};
use crate::mac::Mac;
use crate::random::Random;
use crate::registers::{Counters, Registers};
use understudy_checkpoint::domain::DomainState;
use understudy_checkpoint::stream::libxc::{HvmContext, HvmParam, Record, TscInfo};
use understudy_checkpoint::stream::{Defect, FRAME_HEADER_BYTES, Frame};
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

const CONTEXT_HEADER: u16 = 1;
const CONTEXT_END: u16 = 0;
/// Typecode of the lab's entry. Xen's end at 20 and grow by one at a time.
const CONTEXT_LAB: u16 = 0x4C42;
const HVM_FILE_MAGIC: u32 = 0x5438_1286;
const HVM_FILE_VERSION: u32 = 1;
/// The lab's clock counts nanoseconds.
const TSC_KHZ: u32 = 1_000_000;
const VERSION: u32 = 1;
/// Longest guest name.
pub const NAME_BYTES_MAX: usize = 64;
/// The encoding of the rate `max`.
const RATE_IS_MAX: u64 = u64::MAX;
/// No guest counts this far; a larger register is damaged. Below it no sum overflows.
const COUNT_MAX: u64 = 1 << 62;

/// The state is not a lab guest's.
#[derive(thiserror::Error, Clone, PartialEq, Eq, Debug)]
pub enum StateError {
    /// The records are truncated or contradict each other.
    #[error("The state is damaged and cannot be started from: {0}")]
    Damaged(String),
    /// There is no entry of the lab.
    #[error("The state has no lab registers; it belongs to another kind of guest")]
    NotLab,
    /// Written by another version of the lab.
    #[error(
        "The state has lab registers of version {0}, this lab reads version {VERSION}; start it with the understudy that wrote it"
    )]
    Version(u32),
    /// A register has a value that no lab guest writes.
    #[error("The register \"{0}\" has a value that no lab writes; the state is damaged")]
    Value(&'static str),
}

impl From<Defect> for StateError {
    fn from(defect: Defect) -> Self {
        Self::Damaged(defect.detail)
    }
}

/// The descriptor in front of each entry of an HVM context.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Descriptor {
    typecode: U16,
    instance: U16,
    length: U32,
}

/// The entry HEADER. Changeset and CPUID signature are 0, because there is neither a hypervisor build nor a CPU.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct HeaderEntry {
    magic: U32,
    version: U32,
    changeset: U64,
    cpuid: U32,
    gtsc_khz: U32,
}

/// The entry LAB.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct LabEntry {
    version: U32,
    name_bytes: U32,
    name: [u8; NAME_BYTES_MAX],
    mac: [u8; 6],
    ip: [u8; 4],
    load_skew_percent: u8,
    load_content: u8,
    load_rate: U64,
    load_set_pages: U64,
    random: U64,
    page_count: U64,
    time_ns: U64,
    load_cursor: U64,
    load_credit: U64,
    announcements_due: U64,
    announce_at_ns: U64,
    frames_received: U64,
    frames_ignored: U64,
    frames_sent: U64,
    requests: U64,
    load_pages: U64,
}

impl Registers {
    /// Appends the state's records to `into`.
    pub fn write_state(&self, into: &mut DomainState) {
        let out = &mut into.libxc;
        let tsc = TscInfo {
            mode: U32::new(0),
            khz: U32::new(TSC_KHZ),
            nsec: U64::new(self.time_ns),
            incarnation: U32::new(0),
            reserved: U32::new(0),
        };
        Record::TscInfo(tsc).write(out);

        let header = HeaderEntry {
            magic: U32::new(HVM_FILE_MAGIC),
            version: U32::new(HVM_FILE_VERSION),
            changeset: U64::new(0),
            cpuid: U32::new(0),
            gtsc_khz: U32::new(TSC_KHZ),
        };
        let mut blob = Vec::with_capacity(
            3 * size_of::<Descriptor>() + size_of::<HeaderEntry>() + size_of::<LabEntry>(),
        );
        write_entry(&mut blob, CONTEXT_HEADER, header.as_bytes());
        write_entry(&mut blob, CONTEXT_LAB, self.entry().as_bytes());
        if let Some(disk) = &self.disk {
            write_entry(&mut blob, disk::CONTEXT_DISK, &disk::write(disk));
        }
        write_entry(&mut blob, CONTEXT_END, &[]);
        Record::HvmContext(HvmContext { blob: &blob }).write(out);

        let params = [
            HvmParam::new(HvmParam::STORE_PFN, self.page_count - 1),
            HvmParam::new(HvmParam::CONSOLE_PFN, self.page_count - 2),
        ];
        Record::HvmParams(&params).write(out);
    }

    /// Decodes the registers in a state.
    pub fn read_state(state: &DomainState) -> Result<Self, StateError> {
        let mut rest = &state.libxc[..];
        while !rest.is_empty() {
            let frame =
                Frame::read(rest).ok_or_else(|| StateError::Damaged("a record is cut short".into()))?;
            rest = &rest[FRAME_HEADER_BYTES + frame.body.len() + frame.padding.len()..];
            if let Record::HvmContext(context) = Record::parse(frame)? {
                return Self::read_context(context);
            }
        }
        Err(StateError::NotLab)
    }

    fn read_context(context: HvmContext<'_>) -> Result<Self, StateError> {
        let (mut registers, mut of_disk) = (None, None);
        for entry in context.entries() {
            let entry = entry?;
            match entry.typecode {
                CONTEXT_LAB => registers = Some(Self::read_entry(entry.data)?),
                disk::CONTEXT_DISK => of_disk = Some(disk::read(entry.data)?),
                _ => (),
            }
        }
        let registers = registers.ok_or(StateError::NotLab)?;
        Ok(Self { disk: of_disk, ..registers })
    }

    fn entry(&self) -> LabEntry {
        let mut name = [0; NAME_BYTES_MAX];
        name[..self.name.len()].copy_from_slice(self.name.as_bytes());
        LabEntry {
            version: U32::new(VERSION),
            name_bytes: U32::new(self.name.len() as u32),
            name,
            mac: self.mac.0,
            ip: self.ip.octets(),
            load_skew_percent: self.load.skew_percent,
            load_content: self.load.content.code(),
            load_rate: U64::new(match self.load.rate {
                Rate::PagesPerSecond(rate) => rate,
                Rate::Max => RATE_IS_MAX,
            }),
            load_set_pages: U64::new(self.load.set_pages),
            random: U64::new(self.random.0),
            page_count: U64::new(self.page_count),
            time_ns: U64::new(self.time_ns),
            load_cursor: U64::new(self.load_cursor),
            load_credit: U64::new(self.load_credit),
            announcements_due: U64::new(self.announcements_due),
            announce_at_ns: U64::new(self.announce_at_ns),
            frames_received: U64::new(self.counters.frames_received),
            frames_ignored: U64::new(self.counters.frames_ignored),
            frames_sent: U64::new(self.counters.frames_sent),
            requests: U64::new(self.counters.requests),
            load_pages: U64::new(self.counters.load_pages),
        }
    }

    fn read_entry(data: &[u8]) -> Result<Self, StateError> {
        let version = U32::read_from_prefix(data).map_or(0, |(version, _)| version.get());
        if version != VERSION {
            return Err(StateError::Version(version));
        }
        let entry = LabEntry::ref_from_bytes(data).map_err(|_| {
            StateError::Damaged(format!(
                "lab registers have {} bytes, not {}",
                data.len(),
                size_of::<LabEntry>()
            ))
        })?;
        let name = entry.name.get(..entry.name_bytes.get() as usize).ok_or(StateError::Value("name"))?;
        let name = std::str::from_utf8(name).map_err(|_| StateError::Value("name"))?;
        Ok(Self {
            name: name.to_owned(),
            mac: Mac(entry.mac),
            ip: entry.ip.into(),
            load: read_load(entry)?,
            page_count: count(entry.page_count, "page_count")?,
            time_ns: count(entry.time_ns, "time_ns")?,
            random: Random(entry.random.get()),
            load_cursor: count(entry.load_cursor, "load_cursor")?,
            load_credit: count(entry.load_credit, "load_credit")?,
            announcements_due: count(entry.announcements_due, "announcements_due")?,
            announce_at_ns: count(entry.announce_at_ns, "announce_at_ns")?,
            counters: Counters {
                frames_received: count(entry.frames_received, "frames_received")?,
                frames_ignored: count(entry.frames_ignored, "frames_ignored")?,
                frames_sent: count(entry.frames_sent, "frames_sent")?,
                requests: count(entry.requests, "requests")?,
                load_pages: count(entry.load_pages, "load_pages")?,
            },
            disk: None,
        })
    }
}

fn read_load(entry: &LabEntry) -> Result<Load, StateError> {
    let rate = match entry.load_rate.get() {
        RATE_IS_MAX => Rate::Max,
        rate if rate <= RATE_MAX => Rate::PagesPerSecond(rate),
        _ => return Err(StateError::Value("load rate")),
    };
    let (set_pages, skew_percent) = (entry.load_set_pages.get(), entry.load_skew_percent);
    if set_pages == 0 || skew_percent > 99 {
        return Err(StateError::Value("load set or skew"));
    }
    let content = Content::from_code(entry.load_content).ok_or(StateError::Value("load content"))?;
    Ok(Load { rate, set_pages, skew_percent, content })
}

fn count(value: U64, register: &'static str) -> Result<u64, StateError> {
    if value.get() > COUNT_MAX { Err(StateError::Value(register)) } else { Ok(value.get()) }
}

fn write_entry(blob: &mut Vec<u8>, typecode: u16, data: &[u8]) {
    let descriptor = Descriptor {
        typecode: U16::new(typecode),
        instance: U16::new(0),
        length: U32::new(data.len() as u32),
    };
    blob.extend_from_slice(descriptor.as_bytes());
    blob.extend_from_slice(data);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::net::Ipv4Addr;

    fn registers(mut words: [u64; 5]) -> Registers {
        words.iter_mut().for_each(|word| *word %= COUNT_MAX);
        Registers {
            name: "web-1".into(),
            mac: Mac([0, 0x16, 0x3e, 1, 2, 3]),
            ip: Ipv4Addr::new(10, 0, 0, 9),
            load: Load::MIXED,
            page_count: 65536,
            time_ns: words[0],
            random: Random(words[1]),
            load_cursor: words[2],
            load_credit: words[3],
            announcements_due: 3,
            announce_at_ns: words[4],
            counters: Counters {
                frames_received: 1,
                frames_ignored: 2,
                frames_sent: 3,
                requests: 4,
                load_pages: 5,
            },
            disk: words[0].is_multiple_of(2).then(|| disk::tests::registers(words)),
        }
    }

    proptest! {
        #[test]
        fn registers_read_back_from_the_state(words: [u64; 5]) {
            let mut state = DomainState::default();
            registers(words).write_state(&mut state);
            prop_assert_eq!(state.libxc.len() % 8, 0);
            prop_assert_eq!(Registers::read_state(&state), Ok(registers(words)));
        }

        #[test]
        fn a_damaged_state_is_an_error_or_other_registers_but_never_a_panic(words: [u64; 5], at: prop::sample::Index, byte: u8, cut: prop::sample::Index) {
            let mut state = DomainState::default();
            registers(words).write_state(&mut state);
            let at = at.index(state.libxc.len());
            state.libxc[at] = byte;
            let _ = Registers::read_state(&state);
            state.libxc.truncate(cut.index(state.libxc.len()));
            let _ = Registers::read_state(&state);
        }
    }

    #[test]
    fn a_cut_state_and_another_guests_state_are_told_apart() {
        let mut state = DomainState::default();
        assert_eq!(Registers::read_state(&state), Err(StateError::NotLab));
        registers([0; 5]).write_state(&mut state);
        state.libxc.truncate(60);
        assert_eq!(Registers::read_state(&state), Err(StateError::Damaged("a record is cut short".into())));
    }
}
