//! Record framing, the same in libxl and libxc.
//!
//! ```text
//!   0        4        8                  8+length
//!   | type   | length | body             | zero padding to a multiple of 8 |
//! ```

pub use super::kinds::OPTIONAL;

use super::fault::{Defect, Rule};
use zerocopy::little_endian::U32;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Bytes of a record header.
pub const FRAME_HEADER_BYTES: usize = 8;

/// Records are padded to a multiple of this.
const ALIGN: usize = 8;

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct FrameHeader {
    kind: U32,
    length: U32,
}

/// A whole record, its body not yet interpreted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Frame<'a> {
    /// Its type. The same number means different things in libxl and libxc.
    pub kind: u32,
    /// Its body without padding.
    pub body: &'a [u8],
    /// The 0..=7 bytes after the body.
    pub padding: &'a [u8],
}

/// Length of a body with its padding.
pub(super) fn padded(length: usize) -> usize {
    length.next_multiple_of(ALIGN)
}

/// Type and body length that a record header announces; `None` while the header is not complete.
pub(super) fn peek(input: &[u8]) -> Option<(u32, usize)> {
    let (header, _) = FrameHeader::read_from_prefix(input).ok()?;
    Some((header.kind.get(), header.length.get() as usize))
}

impl<'a> Frame<'a> {
    /// Reads one record from the front of `input`; `None` while it is not complete.
    pub fn read(input: &'a [u8]) -> Option<Self> {
        let (kind, length) = peek(input)?;
        let rest = input.get(FRAME_HEADER_BYTES..FRAME_HEADER_BYTES + padded(length))?;
        let (body, padding) = rest.split_at(length);
        Some(Self { kind, body, padding })
    }

    /// Bytes of the whole record: header, body, padding.
    pub fn bytes_len(&self) -> usize {
        FRAME_HEADER_BYTES + self.body.len() + self.padding.len()
    }

    /// Checks that the padding is zero.
    pub(super) fn check_padding(&self) -> Result<(), Defect> {
        if self.padding.iter().all(|byte| *byte == 0) {
            return Ok(());
        }
        Err(Defect::new(Rule::Padding, format!("Padding is {:02x?}, not zero", self.padding)))
    }
}

/// Appends a record whose body is given in parts.
pub(super) fn write(out: &mut Vec<u8>, kind: u32, parts: &[&[u8]]) {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    out.reserve(FRAME_HEADER_BYTES + padded(length));
    write_header(out, kind, length);
    parts.iter().for_each(|part| out.extend_from_slice(part));
    out.resize(out.len() + padded(length) - length, 0);
}

/// Appends a record header.
pub(super) fn write_header(out: &mut Vec<u8>, kind: u32, length: usize) {
    let length = u32::try_from(length).expect("bodies are built far below 4 GiB");
    let header = FrameHeader { kind: U32::new(kind), length: U32::new(length) };
    out.extend_from_slice(header.as_bytes());
}

/// Interprets a whole body as `T`.
pub(super) fn exactly<'a, T>(body: &'a [u8], what: &str) -> Result<&'a T, Defect>
where
    T: FromBytes + KnownLayout + Immutable + Unaligned,
{
    T::ref_from_bytes(body).map_err(|_| {
        let expected = size_of::<T>();
        Defect::new(Rule::BodyLength, format!("{what} has {} bytes, not {expected}", body.len()))
    })
}

/// Splits `T` off the front of a body.
pub(super) fn prefix<'a, T>(body: &'a [u8], what: &str) -> Result<(&'a T, &'a [u8]), Defect>
where
    T: FromBytes + KnownLayout + Immutable + Unaligned,
{
    T::ref_from_prefix(body).map_err(|_| {
        let least = size_of::<T>();
        Defect::new(Rule::BodyLength, format!("{what} has {} bytes, fewer than {least}", body.len()))
    })
}

/// Interprets a whole body as elements of `T`.
pub(super) fn elements<'a, T>(body: &'a [u8], what: &str) -> Result<&'a [T], Defect>
where
    T: FromBytes + Immutable + Unaligned,
    [T]: FromBytes + KnownLayout + Immutable,
{
    <[T]>::ref_from_bytes(body).map_err(|_| {
        let element = size_of::<T>();
        let length = body.len();
        Defect::new(Rule::BodyLength, format!("{what} has {length} bytes, not a multiple of {element}"))
    })
}

/// Checks an empty body.
pub(super) fn empty(body: &[u8], what: &str) -> Result<(), Defect> {
    exactly::<[u8; 0]>(body, what).map(|_| ())
}

/// Checks a reserved field.
pub(super) fn reserved(value: u64, what: &str) -> Result<(), Defect> {
    if value == 0 {
        return Ok(());
    }
    Err(Defect::new(Rule::Reserved, format!("A reserved field of {what} is {value:#x}, not zero")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_read_once_it_is_whole_with_its_padding() {
        let mut bytes = Vec::new();
        write(&mut bytes, 5, &[&[1, 2], &[3, 4]]);
        assert_eq!(bytes, [5, 0, 0, 0, 4, 0, 0, 0, 1, 2, 3, 4, 0, 0, 0, 0]);
        for cut in 0..bytes.len() {
            assert!(Frame::read(&bytes[..cut]).is_none());
        }
        let frame = Frame::read(&bytes).unwrap();
        assert_eq!((frame.kind, frame.body, frame.padding.len()), (5, &[1u8, 2, 3, 4][..], 4));
        bytes[13] = 1;
        assert_eq!(Frame::read(&bytes).unwrap().check_padding().unwrap_err().rule, Rule::Padding);
    }
}
