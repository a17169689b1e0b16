//! The vCPU's registers: all of a guest that is not memory, and its form in a checkpoint's state.
//!
//! The state is a legal piece of a libxc stream, so that every tool for streams can read a lab guest's image:
//!
//! ```text
//!   X86_TSC_INFO │ mode 0, khz, guest time in ns, incarnation 0
//!   HVM_CONTEXT  │ HEADER (typecode 1, 24 bytes)
//!                │ LAB    (typecode 0x4C42): the registers, below
//!                │ END    (typecode 0, empty)
//!   HVM_PARAMS   │ store and console frames: the last two of memory
//!
//!   LAB: version u32 │ name (length u32, bytes) │ mac 6, ip 4 │ load: rate u64 (all ones: max), set u64,
//!        skew u8, content u8 │ twelve words of u64: the rest in the order of `words`
//! ```
//!
//! All numbers are little-endian.

use crate::load::{Content, Load, RATE_MAX, Rate};
use crate::random::Random;
use crate::wire::Mac;
use std::net::Ipv4Addr;
use understudy_checkpoint::domain::DomainState;

const RECORD_TSC_INFO: u32 = 0x08;
const RECORD_HVM_CONTEXT: u32 = 0x09;
const RECORD_HVM_PARAMS: u32 = 0x0A;
const CONTEXT_HEADER: u16 = 1;
const CONTEXT_END: u16 = 0;
/// Xen's typecodes end at 20 and grow by one at a time; this one stays out of their way.
const CONTEXT_LAB: u16 = 0x4C42;
const HVM_FILE_MAGIC: u32 = 0x5438_1286;
const HVM_PARAM_STORE_PFN: u64 = 1;
const HVM_PARAM_CONSOLE_PFN: u64 = 17;
/// The lab's clock counts nanoseconds.
const TSC_KHZ: u32 = 1_000_000;
const VERSION: u32 = 1;
/// Longest guest name.
pub const NAME_BYTES_MAX: usize = 64;
const WORDS: usize = 12;
/// No guest counts this far in its life; a register beyond it is damage, and below it no sum overflows.
const COUNT_MAX: u64 = 1 << 62;

/// Everything of a running guest that is not in its memory.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Registers {
    /// The guest's name.
    pub name: String,
    /// The NIC's address.
    pub mac: Mac,
    /// The stack's address.
    pub ip: Ipv4Addr,
    /// How memory is dirtied.
    pub load: Load,
    /// Frames of memory.
    pub page_count: u64,
    /// Guest time since its first start; stands still while it does not run.
    pub time_ns: u64,
    /// Random numbers of the load.
    pub random: Random,
    /// Frames written by the load so far.
    pub load_cursor: u64,
    /// Nanoseconds × rate not yet spent on writes; a write costs 10⁹.
    pub load_credit: u64,
    /// Gratuitous ARP announcements still to be sent.
    pub announcements_due: u64,
    /// Guest time of the next of them.
    pub announce_at_ns: u64,
    /// What the guest has done.
    pub counters: Counters,
}

/// What a guest has done since its first start.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counters {
    /// Frames that arrived.
    pub frames_received: u64,
    /// Frames that arrived and were not for this guest or not understood.
    pub frames_ignored: u64,
    /// Frames sent.
    pub frames_sent: u64,
    /// Key-value requests answered (or done, for `noreply`).
    pub requests: u64,
    /// Frames written by the load.
    pub load_pages: u64,
}

/// A state that is no lab guest's.
#[derive(thiserror::Error, Clone, PartialEq, Eq, Debug)]
pub enum StateError {
    /// The records end early, or lengths contradict each other.
    #[error("The state is cut short or damaged at byte {0}; it cannot be started from")]
    Damaged(usize),
    /// No record of the lab's own.
    #[error("The state has no lab registers; it belongs to another kind of guest")]
    NotLab,
    /// Written by another version of the lab.
    #[error(
        "The state has lab registers of version {0}, this lab reads version {VERSION}; start it with the understudy that wrote it"
    )]
    Version(u32),
    /// A register that no lab writes.
    #[error("The register \"{0}\" has a value that no lab writes; the state is damaged")]
    Value(&'static str),
}

impl Registers {
    /// Appends the state's records to `into`.
    pub fn write_state(&self, into: &mut DomainState) {
        let out = &mut into.libxc;
        record(out, RECORD_TSC_INFO, |out| {
            out.extend_from_slice(&0u32.to_le_bytes());
            out.extend_from_slice(&TSC_KHZ.to_le_bytes());
            out.extend_from_slice(&self.time_ns.to_le_bytes());
            out.extend_from_slice(&[0; 8]);
        });
        record(out, RECORD_HVM_CONTEXT, |out| {
            context_entry(out, CONTEXT_HEADER, |out| {
                out.extend_from_slice(&HVM_FILE_MAGIC.to_le_bytes());
                out.extend_from_slice(&1u32.to_le_bytes());
                // Changeset and CPUID signature: there is no hypervisor build and no CPU to name.
                out.extend_from_slice(&[0; 12]);
                out.extend_from_slice(&TSC_KHZ.to_le_bytes());
            });
            context_entry(out, CONTEXT_LAB, |out| self.write_fields(out));
            context_entry(out, CONTEXT_END, |_| ());
        });
        record(out, RECORD_HVM_PARAMS, |out| {
            out.extend_from_slice(&2u64.to_le_bytes());
            let params =
                [(HVM_PARAM_STORE_PFN, self.page_count - 1), (HVM_PARAM_CONSOLE_PFN, self.page_count - 2)];
            for word in params.into_iter().flat_map(|(index, value)| [index, value]) {
                out.extend_from_slice(&word.to_le_bytes());
            }
        });
    }

    /// Reads the registers out of a state.
    pub fn read_state(state: &DomainState) -> Result<Self, StateError> {
        let mut records = Bytes { bytes: &state.libxc, at: 0 };
        while !records.is_empty() {
            let (record_type, length) = (records.u32()?, records.u32()? as usize);
            let body_at = records.at;
            let body = records.take(length)?;
            if record_type == RECORD_HVM_CONTEXT {
                return Self::read_context(Bytes {
                    bytes: &state.libxc[..body_at + body.len()],
                    at: body_at,
                });
            }
            records.take(length.next_multiple_of(8) - length)?;
        }
        Err(StateError::NotLab)
    }

    fn read_context(mut context: Bytes<'_>) -> Result<Self, StateError> {
        while !context.is_empty() {
            let (typecode, _instance) = (context.u16()?, context.u16()?);
            let length = context.u32()? as usize;
            let start = context.at;
            let end = start + context.take(length)?.len();
            if typecode == CONTEXT_LAB {
                return Self::read_fields(Bytes { bytes: &context.bytes[..end], at: start });
            }
        }
        Err(StateError::NotLab)
    }

    fn write_fields(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&VERSION.to_le_bytes());
        out.extend_from_slice(&(self.name.len() as u32).to_le_bytes());
        out.extend_from_slice(self.name.as_bytes());
        out.extend_from_slice(&self.mac.0);
        out.extend_from_slice(&self.ip.octets());
        let rate = match self.load.rate {
            Rate::PagesPerSecond(rate) => rate,
            Rate::Max => u64::MAX,
        };
        out.extend_from_slice(&rate.to_le_bytes());
        out.extend_from_slice(&self.load.set_pages.to_le_bytes());
        out.extend_from_slice(&[self.load.skew_percent, self.load.content.code()]);
        for word in self.words() {
            out.extend_from_slice(&word.to_le_bytes());
        }
    }

    fn words(&self) -> [u64; WORDS] {
        [
            self.page_count,
            self.time_ns,
            self.random.0,
            self.load_cursor,
            self.load_credit,
            self.announcements_due,
            self.announce_at_ns,
            self.counters.frames_received,
            self.counters.frames_ignored,
            self.counters.frames_sent,
            self.counters.requests,
            self.counters.load_pages,
        ]
    }

    fn read_fields(mut fields: Bytes<'_>) -> Result<Self, StateError> {
        let version = fields.u32()?;
        if version != VERSION {
            return Err(StateError::Version(version));
        }
        let name_bytes = fields.u32()? as usize;
        if name_bytes > NAME_BYTES_MAX {
            return Err(StateError::Value("name"));
        }
        let name = std::str::from_utf8(fields.take(name_bytes)?).map_err(|_| StateError::Value("name"))?;
        let mac = Mac(fields.array()?);
        let ip = Ipv4Addr::from(fields.array::<4>()?);
        let load = read_load(&mut fields)?;
        let mut words = [0; WORDS];
        for word in &mut words {
            *word = fields.u64()?;
        }
        if !fields.is_empty() {
            return Err(StateError::Damaged(fields.at));
        }
        let [
            page_count,
            time_ns,
            random,
            load_cursor,
            load_credit,
            announcements_due,
            announce_at_ns,
            counters @ ..,
        ] = words;
        let counts = [page_count, time_ns, load_cursor, load_credit, announcements_due, announce_at_ns];
        if counts.iter().chain(&counters).any(|count| *count > COUNT_MAX) {
            return Err(StateError::Value("a counter"));
        }
        let [frames_received, frames_ignored, frames_sent, requests, load_pages] = counters;
        Ok(Self {
            name: name.to_owned(),
            mac,
            ip,
            load,
            page_count,
            time_ns,
            random: Random(random),
            load_cursor,
            load_credit,
            announcements_due,
            announce_at_ns,
            counters: Counters { frames_received, frames_ignored, frames_sent, requests, load_pages },
        })
    }
}

fn read_load(fields: &mut Bytes<'_>) -> Result<Load, StateError> {
    let rate = match fields.u64()? {
        u64::MAX => Rate::Max,
        rate if rate <= RATE_MAX => Rate::PagesPerSecond(rate),
        _ => return Err(StateError::Value("load rate")),
    };
    let set_pages = fields.u64()?;
    let [skew_percent, content] = fields.array()?;
    if set_pages == 0 || skew_percent > 99 {
        return Err(StateError::Value("load set or skew"));
    }
    let content = Content::from_code(content).ok_or(StateError::Value("load content"))?;
    Ok(Load { rate, set_pages, skew_percent, content })
}

/// Appends a libxc record: type, length, body, zeros up to a multiple of 8.
pub(crate) fn record(out: &mut Vec<u8>, record_type: u32, body: impl FnOnce(&mut Vec<u8>)) {
    out.extend_from_slice(&record_type.to_le_bytes());
    let length_at = out.len();
    out.extend_from_slice(&[0; 4]);
    body(out);
    let length = out.len() - length_at - 4;
    out[length_at..length_at + 4].copy_from_slice(&(length as u32).to_le_bytes());
    out.resize(out.len() + length.next_multiple_of(8) - length, 0);
}

/// Appends an entry of an HVM context: typecode, instance 0, length, body; not padded.
fn context_entry(out: &mut Vec<u8>, typecode: u16, body: impl FnOnce(&mut Vec<u8>)) {
    out.extend_from_slice(&typecode.to_le_bytes());
    out.extend_from_slice(&[0; 2]);
    let length_at = out.len();
    out.extend_from_slice(&[0; 4]);
    body(out);
    let length = (out.len() - length_at - 4) as u32;
    out[length_at..length_at + 4].copy_from_slice(&length.to_le_bytes());
}

/// Bytes read from front to back; running out of them is an error that names the place.
struct Bytes<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Bytes<'a> {
    fn is_empty(&self) -> bool {
        self.at == self.bytes.len()
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], StateError> {
        let end = self.at.checked_add(length).ok_or(StateError::Damaged(self.at))?;
        let taken = self.bytes.get(self.at..end).ok_or(StateError::Damaged(self.at))?;
        self.at = end;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], StateError> {
        Ok(self.take(N)?.try_into().expect("as many bytes as were taken"))
    }

    fn u16(&mut self) -> Result<u16, StateError> {
        self.array().map(u16::from_le_bytes)
    }

    fn u32(&mut self) -> Result<u32, StateError> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, StateError> {
        self.array().map(u64::from_le_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

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
        assert_eq!(Registers::read_state(&state), Err(StateError::Damaged(40)));
    }
}
