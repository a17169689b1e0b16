//! Bodies, field by field: little-endian numbers, and texts and byte strings behind their length.

use super::LinkError;
use alloc::borrow::ToOwned;
use alloc::vec::Vec;
use understudy_checkpoint::{Epoch, Generation};
use understudy_session::NodeName;

/// The longest name or reason: enough for what a person reads.
pub const TEXT_BYTES_MAX: usize = 255;

/// Reads a body field by field; every step fails if the body ends too soon.
#[derive(Debug)]
pub(super) struct Body<'a>(pub(super) &'a [u8]);

impl<'a> Body<'a> {
    pub(super) fn bytes(&mut self, count: usize) -> Result<&'a [u8], LinkError> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(LinkError::BodyTooShort)?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], LinkError> {
        let (taken, rest) = self.0.split_first_chunk().ok_or(LinkError::BodyTooShort)?;
        self.0 = rest;
        Ok(*taken)
    }

    pub(super) fn u8(&mut self) -> Result<u8, LinkError> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub(super) fn u16(&mut self) -> Result<u16, LinkError> {
        self.array().map(u16::from_le_bytes)
    }

    pub(super) fn u32(&mut self) -> Result<u32, LinkError> {
        self.array().map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self) -> Result<u64, LinkError> {
        self.array().map(u64::from_le_bytes)
    }

    pub(super) fn u128(&mut self) -> Result<u128, LinkError> {
        self.array().map(u128::from_le_bytes)
    }

    pub(super) fn epoch(&mut self) -> Result<Epoch, LinkError> {
        self.u64().map(Epoch)
    }

    pub(super) fn generation(&mut self) -> Result<Generation, LinkError> {
        self.u64().map(Generation)
    }

    /// A byte that is 0 or 1.
    pub(super) fn flag(&mut self) -> Result<bool, LinkError> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            value => Err(LinkError::UnknownValue { field: "flag", value }),
        }
    }

    /// An optional value behind a flag. Its bytes are always there, and zero if it has no value.
    pub(super) fn optional_u64(&mut self) -> Result<Option<u64>, LinkError> {
        let present = self.flag()?;
        match (present, self.u64()?) {
            (true, value) => Ok(Some(value)),
            (false, 0) => Ok(None),
            (false, _) => Err(LinkError::UnknownValue { field: "absent value", value: 1 }),
        }
    }

    /// Length u8, then UTF-8.
    pub(super) fn text(&mut self) -> Result<&'a str, LinkError> {
        let length = self.u8()?;
        core::str::from_utf8(self.bytes(usize::from(length))?).map_err(|_| LinkError::NotText)
    }

    /// A text that is not empty.
    pub(super) fn name(&mut self) -> Result<&'a str, LinkError> {
        let name = self.text()?;
        if name.is_empty() { Err(LinkError::EmptyName) } else { Ok(name) }
    }

    pub(super) fn node(&mut self) -> Result<NodeName, LinkError> {
        Ok(NodeName(self.name()?.to_owned()))
    }

    /// Length u32, then bytes. The whole body is in memory already, so a lying length only ends too soon.
    pub(super) fn blob(&mut self) -> Result<&'a [u8], LinkError> {
        let length = self.u32()? as usize;
        self.bytes(length)
    }

    /// Checks that the body ends here.
    pub(super) fn end(self) -> Result<(), LinkError> {
        if self.0.is_empty() { Ok(()) } else { Err(LinkError::BodyTooLong(self.0.len())) }
    }
}

pub(super) fn put_u16(out: &mut Vec<u8>, value: u16) {
    out.extend_from_slice(&value.to_le_bytes());
}

pub(super) fn put_u32(out: &mut Vec<u8>, value: u32) {
    out.extend_from_slice(&value.to_le_bytes());
}

pub(super) fn put_u64(out: &mut Vec<u8>, value: u64) {
    out.extend_from_slice(&value.to_le_bytes());
}

pub(super) fn put_optional_u64(out: &mut Vec<u8>, value: Option<u64>) {
    out.push(u8::from(value.is_some()));
    put_u64(out, value.unwrap_or(0));
}

/// Appends a text, cut between characters if it is too long. Only reasons can be: names were checked before.
pub(super) fn put_text(out: &mut Vec<u8>, text: &str) {
    let text = &text[..text.floor_char_boundary(TEXT_BYTES_MAX)];
    out.push(text.len() as u8);
    out.extend_from_slice(text.as_bytes());
}

pub(super) fn put_blob(out: &mut Vec<u8>, bytes: &[u8]) {
    put_u32(out, u32::try_from(bytes.len()).expect("the frame was found to fit"));
    out.extend_from_slice(bytes);
}
