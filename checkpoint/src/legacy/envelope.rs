//! What stands around a legacy stream, and what it becomes.
//!
//! ```text
//!   xl        | 48 bytes, flag v2 clear | configuration | stream    flag v2 is set
//!   libvirt   | 64 bytes, version 1     | XML           | stream    version 2
//!   xend      | "LinuxGuestRecord" | n | s-expression   | stream    refused: no xl takes the configuration
//!   bare      | stream                                              nothing
//! ```
//!
//! The configuration may say what kind of guest follows; where it does, the stream must agree.

use super::bytes::{be_u32_at, u32_at};
use super::fault::{Defect, Rule};
use super::head::HEAD_BYTES;
use super::limits::CONFIG_BYTES_MAX;
use crate::domain::GuestKind;
use crate::stream::libxc::DomainType;
use crate::stream::{GuestConfig, libxc, libxl, xl};
use std::fmt;

const LIBVIRT_MAGIC: &[u8; 16] = b"libvirt-xml\n \0 \r";
const LIBVIRT_HEADER_BYTES: usize = 64;
const LIBVIRT_VERSION_AT: usize = 16;
const LIBVIRT_LENGTH_AT: usize = 20;

const XEND_MAGIC: &[u8; 16] = b"LinuxGuestRecord";

const XL_BYTE_ORDER_AT: usize = 32;
const XL_FLAGS_AT: usize = 36;
const XL_LENGTH_AT: usize = 44;
const XL_BYTE_ORDER: u32 = 0x0102_0304;
const XL_JSON: u32 = 1 << 0;
const XL_V2: u32 = 1 << 1;

/// What stands around a stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Envelope {
    /// Nothing: what libxc itself wrote.
    Bare,
    /// A file of `xl save`, or what `xl migrate` sends.
    Xl,
    /// A file of `virsh save`.
    Libvirt,
}

impl fmt::Display for Envelope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Bare => "bare",
            Self::Xl => "of xl",
            Self::Libvirt => "of libvirt",
        })
    }
}

impl Envelope {
    /// What an input begins with, of which [`HEAD_BYTES`] are there.
    pub(super) fn of(first: &[u8]) -> Result<Self, Defect> {
        let refuse = |detail: String| Err(Defect::new(Rule::Head, detail));
        if first.starts_with(&xl::MAGIC[..HEAD_BYTES]) {
            return Ok(Self::Xl);
        }
        if first.starts_with(LIBVIRT_MAGIC) {
            return Ok(Self::Libvirt);
        }
        if first.starts_with(XEND_MAGIC) {
            let stream_at = HEAD_BYTES as u64 + u64::from(be_u32_at(first, XEND_MAGIC.len()));
            return Err(Defect::new(
                Rule::Envelope,
                format!(
                    "A file of xend, whose configuration no xl takes. `tail -c +{}` gives the stream alone, which can be \
                     converted",
                    stream_at + 1
                ),
            ));
        }
        if first.starts_with(libxl::IDENT) || first.starts_with(&libxc::MARKER) {
            return refuse(
                "This is no legacy stream but one of Xen 4.6 or later: it needs no conversion".into(),
            );
        }
        Ok(Self::Bare)
    }

    /// Bytes of the envelope that `input` begins with, as far as `input` tells.
    pub(super) fn needed(self, input: &[u8]) -> Result<usize, Defect> {
        let (fixed, length_at) = match self {
            Self::Bare => return Ok(0),
            Self::Xl => (xl::HEADER_BYTES, XL_LENGTH_AT),
            Self::Libvirt => (LIBVIRT_HEADER_BYTES, LIBVIRT_LENGTH_AT),
        };
        if input.len() < fixed {
            return Ok(fixed);
        }
        let refuse = |detail: String| Err(Defect::new(Rule::Envelope, detail));
        match self {
            Self::Xl => {
                let flags = u32_at(input, XL_FLAGS_AT);
                if input[..xl::MAGIC.len()] != *xl::MAGIC || u32_at(input, XL_BYTE_ORDER_AT) != XL_BYTE_ORDER
                {
                    return refuse("xl's header is damaged, or of a big-endian host".into());
                }
                if flags & XL_V2 != 0 {
                    let detail = "This is a file of Xen 4.6 or later: it needs no conversion";
                    return Err(Defect::new(Rule::Head, detail));
                }
                if flags & !XL_JSON != 0 {
                    return refuse(format!("xl's header has unknown mandatory flags: {flags:#x}"));
                }
            }
            Self::Libvirt if u32_at(input, LIBVIRT_VERSION_AT) != 1 => {
                let version = u32_at(input, LIBVIRT_VERSION_AT);
                let detail = format!("libvirt's header has version {version}; that of legacy streams is 1");
                return Err(Defect::new(Rule::Head, detail));
            }
            Self::Libvirt | Self::Bare => {}
        }
        let length = u32_at(input, length_at) as usize;
        if length > CONFIG_BYTES_MAX {
            return refuse(format!("A configuration of {length} bytes; the limit is {CONFIG_BYTES_MAX}"));
        }
        Ok(fixed + length)
    }

    /// Appends the envelope `bytes`, as it stands around a converted stream.
    pub(super) fn write(self, bytes: &[u8], out: &mut Vec<u8>) {
        let at = out.len();
        out.extend_from_slice(bytes);
        match self {
            Self::Bare => {}
            Self::Xl => {
                let flags = u32_at(bytes, XL_FLAGS_AT) | XL_V2;
                out[at + XL_FLAGS_AT..][..4].copy_from_slice(&flags.to_le_bytes());
            }
            Self::Libvirt => out[at + LIBVIRT_VERSION_AT..][..4].copy_from_slice(&2u32.to_le_bytes()),
        }
    }

    /// The kind of guest that the configuration in `bytes` names, if it does.
    pub(super) fn guest(self, bytes: &[u8]) -> Option<DomainType> {
        match self {
            Self::Bare => None,
            Self::Xl if u32_at(bytes, XL_FLAGS_AT) & XL_JSON != 0 => {
                match GuestConfig::read(bytes.get(xl::HEADER_BYTES + 4..)?).kind? {
                    GuestKind::Pv => Some(DomainType::Pv),
                    GuestKind::Hvm => Some(DomainType::Hvm),
                    // libxl of that time was not sure of it either.
                    GuestKind::Pvh => None,
                }
            }
            Self::Xl => builder(bytes.get(xl::HEADER_BYTES + 4..)?),
            Self::Libvirt => {
                let xml = String::from_utf8_lossy(&bytes[LIBVIRT_HEADER_BYTES..]);
                match xml.split("</type>").next()?.rsplit('>').next()? {
                    "hvm" => Some(DomainType::Hvm),
                    "linux" | "xen" => Some(DomainType::Pv),
                    _ => None,
                }
            }
        }
    }
}

/// What the text of an xl.cfg says of its builder. Without a word of it, it says nothing here.
fn builder(config: &[u8]) -> Option<DomainType> {
    let text = String::from_utf8_lossy(config);
    let value = text.lines().find_map(|line| {
        let (name, value) = line.split_once('=')?;
        (name.trim() == "builder").then(|| value.trim().trim_matches(['"', '\'', ';', ' ']).to_owned())
    })?;
    match &*value {
        "hvm" => Some(DomainType::Hvm),
        "linux" | "generic" | "pv" => Some(DomainType::Pv),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configuration_in_text_names_its_builder() {
        assert_eq!(builder(b"name = 'a'\nbuilder = \"hvm\"\n"), Some(DomainType::Hvm));
        assert_eq!(builder(b"builder='generic'"), Some(DomainType::Pv));
        assert_eq!(builder(b"# builder = 'hvm'\nname = 'a'"), None);
    }

    #[test]
    fn an_xml_names_its_type() {
        let told = |xml: &str| Envelope::Libvirt.guest(&[&[0; 64], xml.as_bytes()].concat());
        assert_eq!(told("<os><type arch='x86_64' machine='xenfv'>hvm</type></os>"), Some(DomainType::Hvm));
        assert_eq!(told("<os><type>linux</type></os>"), Some(DomainType::Pv));
        assert_eq!(told("<domain/>"), None);
    }

    #[test]
    fn a_file_of_xend_is_refused_with_the_command_that_opens_it() {
        let defect = Envelope::of(&[&XEND_MAGIC[..], &[0, 0, 0, 80]].concat()).unwrap_err();
        assert_eq!(defect.rule, Rule::Envelope);
        assert!(defect.detail.contains("tail -c +101"), "{}", defect.detail);
    }
}
