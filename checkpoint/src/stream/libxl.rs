//! libxl stream v2: its header and records. Around a libxc stream it carries the device model's state and, in
//! checkpointed streams, the ends of checkpoints.
//!
//! ```text
//!   header (big-endian):  | "LibxlFmt" 8 | version 4 | options 4 |
//!   records:              as in [`frame`](super::frame), little-endian
//! ```

pub use super::kinds::libxl as kind;
pub use super::kinds::libxl::name as kind_name;

use super::fault::{Defect, Rule};
use super::frame::{self, Frame};
use super::limits::{EMULATOR_CONTEXT_BYTES_MAX, SMALL_RECORD_BYTES_MAX, XENSTORE_BYTES_MAX};
use zerocopy::little_endian::U32;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned, big_endian};

/// Bytes of the header.
pub const HEADER_BYTES: usize = 16;

/// The first bytes of the header.
pub const IDENT: &[u8; 8] = b"LibxlFmt";

const VERSION: u32 = 2;
const OPTION_BIG_ENDIAN: u32 = 1 << 0;
const OPTION_LEGACY: u32 = 1 << 1;

/// Most body bytes of a record type. libxl's own reader accepts up to 4 GiB.
pub(super) fn body_bytes_max(kind: u32) -> usize {
    match kind {
        kind::EMULATOR_XENSTORE_DATA => XENSTORE_BYTES_MAX,
        kind::EMULATOR_CONTEXT => EMULATOR_CONTEXT_BYTES_MAX,
        _ => SMALL_RECORD_BYTES_MAX,
    }
}

/// Fails for unknown types. libxl refuses them all, even optional ones, although its specification says otherwise.
pub(super) fn check_kind(kind: u32) -> Result<(), Defect> {
    if kind <= kind::CHECKPOINT_STATE {
        return Ok(());
    }
    Err(Defect::new(Rule::RecordType, format!("libxl knows no record type {kind:#x}")))
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct WireHeader {
    ident: [u8; 8],
    version: big_endian::U32,
    options: big_endian::U32,
}

/// libxl's header: version 2, little-endian.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct LibxlHeader {
    /// Set by converters of legacy streams.
    pub converted: bool,
}

impl LibxlHeader {
    pub(super) fn read(input: &[u8]) -> Result<Self, Defect> {
        let header: &WireHeader = frame::exactly(input, "libxl header")?;
        let refuse = |detail: String| Err(Defect::new(Rule::LibxlHeader, detail));
        if header.ident != *IDENT {
            return refuse(format!("Ident is {:02x?}, not LibxlFmt", header.ident));
        }
        if header.version.get() != VERSION {
            return refuse(format!("Version is {}; only {VERSION} is known", header.version));
        }
        let options = header.options.get();
        if options & OPTION_BIG_ENDIAN != 0 {
            return refuse("The stream is big-endian; x86 streams are little-endian".into());
        }
        if options & !OPTION_LEGACY != 0 {
            return refuse(format!("Reserved options are set: {options:#x}"));
        }
        Ok(Self { converted: options & OPTION_LEGACY != 0 })
    }

    /// Appends the header.
    pub fn write(&self, out: &mut Vec<u8>) {
        let options = if self.converted { OPTION_LEGACY } else { 0 };
        let header = WireHeader { ident: *IDENT, version: VERSION.into(), options: options.into() };
        out.extend_from_slice(header.as_bytes());
    }
}

/// Names the device model that a record belongs to.
#[derive(Clone, Copy, PartialEq, Eq, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct EmulatorHeader {
    /// 0 unknown (converted streams), 1 qemu-traditional, 2 upstream QEMU.
    pub id: U32,
    /// Number of the device model; always 0 so far.
    pub index: U32,
}

impl EmulatorHeader {
    /// Upstream QEMU, the only device model since Xen 4.21.
    pub fn qemu() -> Self {
        Self { id: U32::new(2), index: U32::new(0) }
    }

    fn check(&self) -> Result<(), Defect> {
        match self.id.get() {
            0..=2 => Ok(()),
            id => Err(Defect::new(Rule::EmulatorId, format!("Device model {id} is unknown"))),
        }
    }
}

/// COLO's control messages, by their wire numbers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub enum CheckpointState {
    /// Primary: begin a new checkpoint.
    New = 0,
    /// Secondary: its guest is suspended.
    SecondarySuspended = 1,
    /// Secondary: its guest is ready to run.
    SecondaryReady = 2,
    /// Secondary: its guest runs.
    SecondaryResumed = 3,
}

impl CheckpointState {
    fn parse(body: &[u8]) -> Result<Self, Defect> {
        // Four bytes on the wire; the specification draws eight.
        let (id, rest): (&U32, _) = frame::prefix(body, "CHECKPOINT_STATE")?;
        if !(rest.is_empty() || rest.len() == 4) {
            let detail = format!("CHECKPOINT_STATE has {} bytes, not 4 or 8", body.len());
            return Err(Defect::new(Rule::BodyLength, detail));
        }
        match id.get() {
            0 => Ok(Self::New),
            1 => Ok(Self::SecondarySuspended),
            2 => Ok(Self::SecondaryReady),
            3 => Ok(Self::SecondaryResumed),
            id => Err(Defect::new(Rule::CheckpointState, format!("Control id {id} is unknown"))),
        }
    }
}

/// The keys and values of a device model, `key NUL value NUL …`, validated.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct XenstoreData<'a> {
    /// The device model.
    pub emulator: EmulatorHeader,
    blob: &'a [u8],
}

impl<'a> XenstoreData<'a> {
    /// Parses `key NUL value NUL …`. Refuses unterminated strings, and keys that are empty, absolute or leave the
    /// device model's own directory (`..`; stock libxl would follow them).
    pub fn new(emulator: EmulatorHeader, blob: &'a [u8]) -> Result<Self, Defect> {
        let refuse = |detail: &str| Err(Defect::new(Rule::XenstoreData, detail));
        let mut rest = blob;
        while !rest.is_empty() {
            let Some((key, after)) = split_string(rest) else { return refuse("A key is not terminated") };
            let Some((_, after)) = split_string(after) else { return refuse("A value is not terminated") };
            if key.is_empty() || key.starts_with(b"/") {
                return refuse("A key is empty or absolute");
            }
            if key.split(|byte| *byte == b'/').any(|part| part == b"..") {
                return refuse("A key climbs out of its directory");
            }
            rest = after;
        }
        Ok(Self { emulator, blob })
    }

    /// The keys with their values, without NULs.
    pub fn pairs(&self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> + use<'a> {
        let mut rest = self.blob;
        std::iter::from_fn(move || {
            let (key, after) = split_string(rest)?;
            let (value, after) = split_string(after)?;
            rest = after;
            Some((key, value))
        })
    }
}

fn split_string(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = bytes.iter().position(|byte| *byte == 0)?;
    Some((&bytes[..end], &bytes[end + 1..]))
}

/// A libxl record with its body. libxl refuses all other types, even optional ones.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Record<'a> {
    /// Ends a plain stream.
    End,
    /// The libxc stream follows.
    LibxcContext,
    /// The device model's keys in xenstore.
    EmulatorXenstoreData(XenstoreData<'a>),
    /// The device model's own state: QEMU's `xen-save-devices-state`, verbatim.
    EmulatorContext {
        /// The device model.
        emulator: EmulatorHeader,
        /// The state.
        blob: &'a [u8],
    },
    /// A checkpoint is complete.
    CheckpointEnd,
    /// COLO: a message from one side to the other.
    CheckpointState(CheckpointState),
}

impl<'a> Record<'a> {
    /// Parses a record of the libxl layer.
    pub fn parse(frame: Frame<'a>) -> Result<Self, Defect> {
        check_kind(frame.kind)?;
        frame.check_padding()?;
        let name = kind_name(frame.kind);
        let body = frame.body;
        match frame.kind {
            kind::END => frame::empty(body, name).map(|()| Self::End),
            kind::LIBXC_CONTEXT => frame::empty(body, name).map(|()| Self::LibxcContext),
            kind::CHECKPOINT_END => frame::empty(body, name).map(|()| Self::CheckpointEnd),
            kind::CHECKPOINT_STATE => CheckpointState::parse(body).map(Self::CheckpointState),
            kind::EMULATOR_XENSTORE_DATA => {
                let (emulator, blob): (&EmulatorHeader, _) = frame::prefix(body, name)?;
                emulator.check()?;
                XenstoreData::new(*emulator, blob).map(Self::EmulatorXenstoreData)
            }
            _ => {
                let (emulator, blob): (&EmulatorHeader, _) = frame::prefix(body, name)?;
                emulator.check()?;
                Ok(Self::EmulatorContext { emulator: *emulator, blob })
            }
        }
    }

    /// Appends the record as libxl writes it.
    pub fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::End => frame::write(out, kind::END, &[]),
            Self::LibxcContext => frame::write(out, kind::LIBXC_CONTEXT, &[]),
            Self::CheckpointEnd => frame::write(out, kind::CHECKPOINT_END, &[]),
            Self::CheckpointState(state) => {
                frame::write(out, kind::CHECKPOINT_STATE, &[&(*state as u32).to_le_bytes()]);
            }
            Self::EmulatorXenstoreData(data) => {
                frame::write(out, kind::EMULATOR_XENSTORE_DATA, &[data.emulator.as_bytes(), data.blob]);
            }
            Self::EmulatorContext { emulator, blob } => {
                frame::write(out, kind::EMULATOR_CONTEXT, &[emulator.as_bytes(), blob]);
            }
        }
    }
}
