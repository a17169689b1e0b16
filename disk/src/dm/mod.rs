//! What the kernel's device mapper is told by ioctl, and what it says: bytes, and nothing that sends them.
//!
//! ```text
//!   0       12     16     20      24     28     32     36    40     48          176            305       312
//!   ┌───────┬──────┬──────┬───────┬──────┬──────┬──────┬─────┬──────┬────────────┬─────────────┬─────────┬──────────────┐
//!   │version│bytes │ data │targets│ open │flags │events│ 0   │device│ name, 0    │ uuid, 0     │ 0       │ data …       │
//!   └───────┴──────┴──────┴───────┴──────┴──────┴──────┴─────┴──────┴────────────┴─────────────┴─────────┴──────────────┘
//!   data of a table, for each target:   begin u64 │ length u64 │ status i32 │ next u32 │ kind, 16 bytes │ parameters, 0 …
//!   data of a list, for each device:    device u64 │ next u32 │ name, 0 …
//! ```
//!
//! Numbers are the machine's; a begin and a length are sectors of 512 bytes. Names are those of Linux's `dm-ioctl.h`, whose
//! numbers do not change. The kernel answers in the same bytes.
//!
//! Not here: the ioctl (`disk/src/kernel/dm.rs`).

use std::fmt;
use thiserror::Error;

/// What comes before the data.
pub const HEAD_BYTES: usize = 312;
/// The longest name of a device.
pub const NAME_BYTES_MAX: usize = 127;
/// The longest uuid of a device.
pub const UUID_BYTES_MAX: usize = 128;

const BYTES_AT: usize = 12;
const DATA_AT: usize = 16;
const TARGETS_AT: usize = 20;
const OPEN_AT: usize = 24;
const FLAGS_AT: usize = 28;
const DEVICE_AT: usize = 40;
const NAME_AT: usize = 48;
const UUID_AT: usize = 176;
const TARGET_BYTES: usize = 40;
const KIND_BYTES: usize = 16;

const SUSPEND: u32 = 1 << 1;
const STATUS_TABLE: u32 = 1 << 4;
const ACTIVE_PRESENT: u32 = 1 << 5;
const INACTIVE_PRESENT: u32 = 1 << 6;
const BUFFER_FULL: u32 = 1 << 8;
const SKIP_LOCKFS: u32 = 1 << 10;

/// What is asked for; the number is the ioctl's.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Order {
    /// Which version it speaks.
    Version = 0,
    /// All devices.
    List = 2,
    /// Make a device without a table.
    Create = 3,
    /// End a device that nobody has open.
    Remove = 4,
    /// Hold requests, or go on with the table that was loaded last.
    Suspend = 6,
    /// How a device stands.
    Status = 7,
    /// Load a table beside the one in use.
    Load = 9,
    /// Forget the table that was loaded and is not in use.
    Clear = 10,
    /// The table in use.
    Table = 12,
}

/// A block device by its number.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct DeviceNumber {
    /// The driver.
    pub major: u32,
    /// Which of its devices.
    pub minor: u32,
}

impl DeviceNumber {
    fn of(huge: u64) -> Self {
        // The number's bits, as the kernel packs them: minor 20..32, major, minor 0..8.
        let (low, high) = (huge & 0xFF, (huge >> 12) & !0xFF);
        Self { major: ((huge >> 8) & 0xFFF) as u32, minor: (low | high) as u32 }
    }
}

impl fmt::Display for DeviceNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.major, self.minor)
    }
}

/// A device that is another one from a sector on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Linear {
    /// Its sectors.
    pub sectors: u64,
    /// The other one.
    pub below: DeviceNumber,
    /// Where it begins there.
    pub from_sector: u64,
}

/// A part of a device's table.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Target {
    /// Where it begins.
    pub begin: u64,
    /// Its sectors.
    pub sectors: u64,
    /// What kind of target it is.
    pub kind: String,
    /// What that kind is told.
    pub parameters: String,
}

impl Target {
    /// What the target is, if it is a linear one at a device's begin.
    pub fn linear(&self) -> Option<Linear> {
        let (device, from_sector) = self.parameters.split_once(' ')?;
        let (major, minor) = device.split_once(':')?;
        let below = DeviceNumber { major: major.parse().ok()?, minor: minor.parse().ok()? };
        let linear = Linear { sectors: self.sectors, below, from_sector: from_sector.trim().parse().ok()? };
        (self.kind == "linear" && self.begin == 0).then_some(linear)
    }
}

/// How a device stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Standing {
    /// Which it is.
    pub device: DeviceNumber,
    /// How many have it open.
    pub open_count: u32,
    /// Its requests are held.
    pub is_suspended: bool,
    /// It has a table.
    pub has_table: bool,
    /// A table is loaded that is not in use.
    pub has_loaded: bool,
}

/// A name or uuid that no device can have.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
#[error("'{0}' is no name for a device: it has 1 to {NAME_BYTES_MAX} bytes, and neither a slash nor a zero")]
pub struct BadName(pub String);

/// The kernel's answer is none.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
#[error("device mapper's answer cannot be read ({0}); please report the kernel's version")]
pub struct BadAnswer(&'static str);

/// A request about a device, with room for an answer of so many bytes.
fn request(name: &str, flags: u32, room_bytes: usize) -> Result<Vec<u8>, BadName> {
    let is_name = name.len() <= NAME_BYTES_MAX && !name.contains(['/', '\0']);
    if !is_name {
        return Err(BadName(name.to_owned()));
    }
    let mut out = vec![0; HEAD_BYTES + room_bytes];
    let bytes = out.len() as u32;
    put(&mut out, 0, 4);
    put(&mut out, BYTES_AT, bytes);
    put(&mut out, DATA_AT, HEAD_BYTES as u32);
    put(&mut out, FLAGS_AT, flags);
    out[NAME_AT..NAME_AT + name.len()].copy_from_slice(name.as_bytes());
    Ok(out)
}

fn put(out: &mut [u8], at: usize, number: u32) {
    out[at..at + 4].copy_from_slice(&number.to_ne_bytes());
}

/// Asks about no device: the version, or the list.
pub fn ask(room_bytes: usize) -> Vec<u8> {
    request("", 0, room_bytes).expect("no name is asked for")
}

/// Asks about a device: how it stands; to remove it; to forget what was loaded; to go on.
pub fn about(name: &str) -> Result<Vec<u8>, BadName> {
    named(name, 0, 0)
}

fn named(name: &str, flags: u32, room_bytes: usize) -> Result<Vec<u8>, BadName> {
    if name.is_empty() { Err(BadName(String::new())) } else { request(name, flags, room_bytes) }
}

/// Asks for a device's table in use.
pub fn ask_table(name: &str, room_bytes: usize) -> Result<Vec<u8>, BadName> {
    named(name, STATUS_TABLE, room_bytes)
}

/// Makes a device.
pub fn create(name: &str, uuid: &str) -> Result<Vec<u8>, BadName> {
    let mut out = named(name, 0, 0)?;
    if uuid.is_empty() || uuid.len() > UUID_BYTES_MAX || uuid.contains('\0') {
        return Err(BadName(uuid.to_owned()));
    }
    out[UUID_AT..UUID_AT + uuid.len()].copy_from_slice(uuid.as_bytes());
    Ok(out)
}

/// Has a device hold its requests once those under way are over. File systems on it are not asked to write: the guest's are not
/// this kernel's.
pub fn suspend(name: &str) -> Result<Vec<u8>, BadName> {
    named(name, SUSPEND | SKIP_LOCKFS, 0)
}

/// Loads a table of one linear target.
pub fn load(name: &str, linear: Linear) -> Result<Vec<u8>, BadName> {
    let parameters = format!("{} {}\0", linear.below, linear.from_sector);
    let bytes = (TARGET_BYTES + parameters.len()).next_multiple_of(8);
    let mut out = named(name, 0, bytes)?;
    put(&mut out, TARGETS_AT, 1);
    let target = &mut out[HEAD_BYTES..];
    target[8..16].copy_from_slice(&linear.sectors.to_ne_bytes());
    target[20..24].copy_from_slice(&(bytes as u32).to_ne_bytes());
    target[24..30].copy_from_slice(b"linear");
    target[TARGET_BYTES..TARGET_BYTES + parameters.len()].copy_from_slice(parameters.as_bytes());
    Ok(out)
}

fn number(answer: &[u8], at: usize) -> Result<u32, BadAnswer> {
    let bytes = answer.get(at..).and_then(<[u8]>::first_chunk).ok_or(BadAnswer("it is cut off"))?;
    Ok(u32::from_ne_bytes(*bytes))
}

fn long(answer: &[u8], at: usize) -> Result<u64, BadAnswer> {
    let bytes = answer.get(at..).and_then(<[u8]>::first_chunk).ok_or(BadAnswer("it is cut off"))?;
    Ok(u64::from_ne_bytes(*bytes))
}

fn text(bytes: &[u8]) -> Result<String, BadAnswer> {
    let end = bytes.iter().position(|byte| *byte == 0).ok_or(BadAnswer("a text has no end"))?;
    String::from_utf8(bytes[..end].to_vec()).map_err(|_| BadAnswer("a text is no text"))
}

/// The version that the kernel speaks.
pub fn version(answer: &[u8]) -> Result<(u32, u32, u32), BadAnswer> {
    Ok((number(answer, 0)?, number(answer, 4)?, number(answer, 8)?))
}

/// How a device stands.
pub fn standing(answer: &[u8]) -> Result<Standing, BadAnswer> {
    let flags = number(answer, FLAGS_AT)?;
    Ok(Standing {
        device: DeviceNumber::of(long(answer, DEVICE_AT)?),
        open_count: number(answer, OPEN_AT)?,
        is_suspended: flags & SUSPEND != 0,
        has_table: flags & ACTIVE_PRESENT != 0,
        has_loaded: flags & INACTIVE_PRESENT != 0,
    })
}

/// The data of an answer; `None` if they had not enough room.
fn data(answer: &[u8]) -> Result<Option<&[u8]>, BadAnswer> {
    if number(answer, FLAGS_AT)? & BUFFER_FULL != 0 {
        return Ok(None);
    }
    let (from, to) = (number(answer, DATA_AT)? as usize, number(answer, BYTES_AT)? as usize);
    let data = answer.get(from..to.min(answer.len()));
    data.filter(|_| from >= HEAD_BYTES).map(Some).ok_or(BadAnswer("its data are nowhere"))
}

/// A device's table; `None` if it had not enough room.
pub fn table(answer: &[u8]) -> Result<Option<Vec<Target>>, BadAnswer> {
    let Some(data) = data(answer)? else { return Ok(None) };
    let (mut targets, mut at) = (Vec::new(), 0);
    for _ in 0..number(answer, TARGETS_AT)? {
        let target = data.get(at..).ok_or(BadAnswer("a target is beyond the data"))?;
        let next = number(target, 20)? as usize;
        let rest = target.get(TARGET_BYTES..).ok_or(BadAnswer("a target is cut off"))?;
        targets.push(Target {
            begin: long(target, 0)?,
            sectors: long(target, 8)?,
            kind: text(&target[TARGET_BYTES - KIND_BYTES..TARGET_BYTES])?,
            parameters: text(rest)?,
        });
        // From the begin of the data, unlike in a table that is loaded. Behind the last one it leads nowhere.
        at = next.max(at + TARGET_BYTES);
    }
    Ok(Some(targets))
}

/// All devices by name; `None` if they had not enough room.
pub fn list(answer: &[u8]) -> Result<Option<Vec<(String, DeviceNumber)>>, BadAnswer> {
    let Some(data) = data(answer)? else { return Ok(None) };
    let (mut devices, mut at) = (Vec::new(), 0);
    loop {
        let entry = data.get(at..).ok_or(BadAnswer("a device is beyond the data"))?;
        let device = long(entry, 0)?;
        // So is said that there is none.
        if device == 0 {
            return Ok(Some(devices));
        }
        let next = number(entry, 8)? as usize;
        devices.push((text(&entry[12..])?, DeviceNumber::of(device)));
        match next {
            0 => return Ok(Some(devices)),
            1..12 => return Err(BadAnswer("a device is within another one")),
            _ => {}
        }
        at = at.checked_add(next).ok_or(BadAnswer("a device is beyond the data"))?;
    }
}

#[cfg(all(test, target_endian = "little"))]
mod tests;
