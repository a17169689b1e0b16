//! xl's header in front of a saved or migrating guest, and the handshake strings around the stream.
//!
//! ```text
//!   0       32         36         40        44        48
//!   | magic | byte     | mandatory| optional| length  | optional data:             |
//!   |       | order    | flags    | flags   | of data | u32 config length, config… |
//! ```

use super::fault::{Defect, Rule};
use super::limits::CONFIG_BYTES_MAX;
use zerocopy::little_endian::U32;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// The first bytes of a file or a migration.
pub const MAGIC: &[u8; 32] = b"Xen saved domain, xl format\n \0 \r";

/// Receiver to sender, first: ready for the stream. 54 bytes, no NUL.
pub const BANNER: &[u8] = b"xl migration receiver ready, send binary domain data.\n";

/// Receiver to sender, after the stream of a plain migration: the guest is built.
pub const READY: &[u8] = b"domain received, ready to unpause\0";

/// Sender to receiver: run the guest; the point of no return. Receiver to sender, after a failure: take the guest back.
pub const GO: &[u8] = b"domain is yours, you are cleared to unpause\0";

/// Receiver to sender, before one status byte (0: the guest runs).
pub const REPORT: &[u8] = b"my copy unpause results are as follows\0";

/// Bytes of the header without its optional data.
pub const HEADER_BYTES: usize = 48;

const BYTE_ORDER: u32 = 0x0102_0304;
const FLAG_JSON: u32 = 1 << 0;
const FLAG_STREAM_V2: u32 = 1 << 1;

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Fixed {
    magic: [u8; 32],
    byte_order: U32,
    mandatory: U32,
    optional: U32,
    data_length: U32,
}

/// xl's header. Only headers of v2 streams in little-endian order are read and written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct XlHeader<'a> {
    /// The configuration is libxl's JSON (every xl since 4.5) and not the text of an xl.cfg.
    pub json: bool,
    /// Flags that a reader may ignore; xl writes 0.
    pub optional_flags: u32,
    /// The configuration with its terminating NUL; `None` if there is no optional data.
    pub config: Option<&'a [u8]>,
    /// What follows the configuration in the optional data. xl neither writes nor reads anything there.
    pub extra: &'a [u8],
}

impl<'a> XlHeader<'a> {
    /// The length of the whole header, once its fixed part is there.
    pub(super) fn needed(input: &[u8]) -> Result<usize, Defect> {
        let Ok((fixed, _)) = Fixed::read_from_prefix(input) else {
            return Ok(HEADER_BYTES);
        };
        let refuse = |detail: String| Err(Defect::new(Rule::XlHeader, detail));
        if fixed.magic != *MAGIC {
            return Err(Defect::new(Rule::Magic, "This is no stream that xl saved"));
        }
        if fixed.byte_order.get() != BYTE_ORDER {
            return refuse(format!("Byte order mark is {:#x}: not little-endian", fixed.byte_order));
        }
        let unknown = fixed.mandatory.get() & !(FLAG_JSON | FLAG_STREAM_V2);
        if unknown != 0 {
            return refuse(format!("Mandatory flags {unknown:#x} are unknown; a newer xl wrote this"));
        }
        if fixed.mandatory.get() & FLAG_STREAM_V2 == 0 {
            let hint =
                "This is a legacy stream (before Xen 4.6); run it through `understudy stream convert` first";
            return Err(Defect::new(Rule::Legacy, hint));
        }
        let length = fixed.data_length.get() as usize;
        if length > CONFIG_BYTES_MAX {
            return refuse(format!("Optional data has {length} bytes; the limit is {CONFIG_BYTES_MAX}"));
        }
        Ok(HEADER_BYTES + length)
    }

    /// Parses a complete header.
    pub(super) fn read(input: &'a [u8]) -> Result<Self, Defect> {
        let (fixed, data) = Fixed::ref_from_prefix(input)
            .map_err(|_| Defect::new(Rule::XlHeader, "The header is not complete"))?;
        let (config, extra) = match U32::read_from_prefix(data) {
            Err(_) if data.is_empty() => (None, data),
            Err(_) => return Err(Defect::new(Rule::XlHeader, "Optional data is too short for its length")),
            Ok((length, rest)) => {
                let (config, extra) = rest.split_at_checked(length.get() as usize).ok_or_else(|| {
                    let have = rest.len();
                    Defect::new(
                        Rule::XlHeader,
                        format!("Config of {length} bytes in {have} of optional data"),
                    )
                })?;
                (Some(config), extra)
            }
        };
        let json = fixed.mandatory.get() & FLAG_JSON != 0;
        Ok(Self { json, optional_flags: fixed.optional.get(), config, extra })
    }

    /// Appends the header as xl writes it.
    pub fn write(&self, out: &mut Vec<u8>) {
        let config_length = self.config.map_or(0, |config| 4 + config.len());
        let data_length = u32::try_from(config_length + self.extra.len()).expect("configs are small");
        let fixed = Fixed {
            magic: *MAGIC,
            byte_order: U32::new(BYTE_ORDER),
            mandatory: U32::new(FLAG_STREAM_V2 | if self.json { FLAG_JSON } else { 0 }),
            optional: U32::new(self.optional_flags),
            data_length: U32::new(data_length),
        };
        out.extend_from_slice(fixed.as_bytes());
        if let Some(config) = self.config {
            out.extend_from_slice(&(config.len() as u32).to_le_bytes());
            out.extend_from_slice(config);
        }
        out.extend_from_slice(self.extra);
    }
}
