//! Xenstore's messages: encodes requests and decodes replies and events. No I/O.
//!
//! ```text
//!   0      4        8       12       16
//!   │ type │ req id │ tx id │ length │ payload, at most 4096 bytes        all u32, of this processor's order
//! ```
//!
//! A reply repeats type and request number, or is of type ERROR with the name of an errno. WATCH_EVENT may come at any
//! time, even between a request and its reply. Strings end with a NUL, except for values.
//!
//! Source: `xen/io/xs_wire.h`, `docs/misc/xenstore.txt`.

use super::StoreError;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// `XENSTORE_PAYLOAD_MAX`
pub(super) const PAYLOAD_MAX: usize = 4096;
/// Bytes of a header.
pub(super) const HEADER_BYTES: usize = size_of::<Header>();
/// Most bytes of a message.
pub(super) const MESSAGE_MAX: usize = HEADER_BYTES + PAYLOAD_MAX;

/// The type of a message, `enum xsd_sockmsg_type`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub(crate) enum Kind {
    Directory = 1,
    Read = 2,
    Watch = 4,
    Unwatch = 5,
    TransactionStart = 6,
    TransactionEnd = 7,
    Write = 11,
    Mkdir = 12,
    Rm = 13,
    SetPerms = 14,
    WatchEvent = 15,
    Error = 16,
    Resume = 18,
}

#[repr(C)]
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
struct Header {
    kind: u32,
    request: u32,
    transaction: u32,
    length: u32,
}

/// A received message.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Message {
    /// The type as received, which may be unknown.
    pub(super) kind: u32,
    pub(super) request: u32,
    pub(super) payload: Vec<u8>,
}

impl Message {
    pub(super) fn is(&self, kind: Kind) -> bool {
        self.kind == kind as u32
    }
}

/// Replaces the content of `into` by a request whose payload is `parts`, concatenated.
pub(super) fn encode(
    kind: Kind,
    request: u32,
    transaction: u32,
    parts: &[&[u8]],
    into: &mut Vec<u8>,
) -> Result<(), StoreError> {
    let bytes = parts.iter().map(|part| part.len()).sum();
    if bytes > PAYLOAD_MAX {
        return Err(StoreError::TooLong { bytes });
    }
    let header = Header { kind: kind as u32, request, transaction, length: bytes as u32 };
    into.clear();
    into.extend_from_slice(header.as_bytes());
    parts.iter().for_each(|part| into.extend_from_slice(part));
    Ok(())
}

/// The first message in `bytes` and its length; `None` if it is not complete.
pub(super) fn decode(bytes: &[u8]) -> Result<Option<(Message, usize)>, StoreError> {
    let Ok((header, rest)) = Header::read_from_prefix(bytes) else {
        return Ok(None);
    };
    let length = header.length as usize;
    if length > PAYLOAD_MAX {
        return Err(StoreError::Protocol(format!("a message of {length} bytes, which none may have")));
    }
    let Some(payload) = rest.get(..length) else {
        return Ok(None);
    };
    let message = Message { kind: header.kind, request: header.request, payload: payload.to_vec() };
    Ok(Some((message, HEADER_BYTES + length)))
}

/// Decodes a payload as text.
pub(super) fn text(payload: &[u8]) -> Result<&str, StoreError> {
    let broken = |_| StoreError::Protocol(format!("bytes that are no text: {}", payload.escape_ascii()));
    std::str::from_utf8(payload).map_err(broken)
}

/// Decodes a payload as one string with its NUL.
pub(super) fn string(payload: &[u8]) -> Result<&str, StoreError> {
    text(payload.strip_suffix(&[0]).unwrap_or(payload))
}

/// Decodes a payload as strings that end with a NUL each. Bytes after the last NUL are ignored.
pub(super) fn strings(payload: &[u8]) -> impl Iterator<Item = Result<&str, StoreError>> {
    let end = payload.iter().rposition(|byte| *byte == 0).map_or(0, |last| last + 1);
    payload[..end].split_inclusive(|byte| *byte == 0).map(string)
}

/// For the fuzzer: takes every complete message from `bytes`, as a connection does.
#[cfg(fuzzing)]
pub fn take_all(mut bytes: &[u8]) {
    while let Ok(Some((message, length))) = decode(bytes) {
        assert!(message.payload.len() <= PAYLOAD_MAX && (HEADER_BYTES..=bytes.len()).contains(&length));
        let _ = string(&message.payload);
        assert!(strings(&message.payload).count() <= message.payload.len());
        bytes = &bytes[length..];
    }
}

/// The bytes of a path or token, if it is valid.
pub(super) fn name(text: &str) -> Result<&[u8], StoreError> {
    if text.is_empty() || text.contains('\0') {
        return Err(StoreError::BadName(text.to_owned()));
    }
    Ok(text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_these_bytes() {
        let mut bytes = Vec::new();
        encode(Kind::Read, 1, 0, &[b"/local/domain/0/name", b"\0"], &mut bytes).unwrap();
        let expected = b"\x02\0\0\0\x01\0\0\0\0\0\0\0\x15\0\0\0/local/domain/0/name\0";
        assert_eq!(bytes, expected);
        encode(Kind::Write, 0x0102, 7, &[b"a", b"\0", b"suspend"], &mut bytes).unwrap();
        assert_eq!(bytes, b"\x0b\0\0\0\x02\x01\0\0\x07\0\0\0\x09\0\0\0a\0suspend");
        encode(Kind::TransactionEnd, 3, 9, &[b"T\0"], &mut bytes).unwrap();
        assert_eq!(bytes, b"\x07\0\0\0\x03\0\0\0\x09\0\0\0\x02\0\0\0T\0");
        encode(Kind::Watch, 4, 0, &[b"@releaseDomain", b"\0", b"dying", b"\0"], &mut bytes).unwrap();
        assert_eq!(bytes, b"\x04\0\0\0\x04\0\0\0\0\0\0\0\x15\0\0\0@releaseDomain\0dying\0");
    }

    #[test]
    fn replies_are_read_one_by_one_as_they_become_whole() {
        let bytes =
            b"\x0f\0\0\0\0\0\0\0\0\0\0\0\x0a\0\0\0/a\0token!\0\x10\0\0\0\x05\0\0\0\0\0\0\0\x07\0\0\0ENOENT\0";
        for cut in 0..26 {
            assert_eq!(decode(&bytes[..cut]).unwrap(), None);
        }
        let (event, length) = decode(bytes).unwrap().unwrap();
        assert!(event.is(Kind::WatchEvent) && length == 26);
        let parts: Vec<&str> = strings(&event.payload).map(Result::unwrap).collect();
        assert_eq!(parts, ["/a", "token!"]);
        let (error, rest) = decode(&bytes[length..]).unwrap().unwrap();
        assert!(error.is(Kind::Error) && error.request == 5 && length + rest == bytes.len());
        assert_eq!(string(&error.payload).unwrap(), "ENOENT");
    }

    #[test]
    fn a_payload_has_4096_bytes_at_most() {
        let mut bytes = Vec::new();
        encode(Kind::Write, 1, 0, &[&[b'a'; 96], &[b'b'; 4000]], &mut bytes).unwrap();
        assert_eq!((bytes.len(), decode(&bytes).unwrap().unwrap().1), (MESSAGE_MAX, MESSAGE_MAX));
        let refused = encode(Kind::Write, 1, 0, &[&[b'a'; 97], &[b'b'; 4000]], &mut bytes);
        assert!(matches!(refused, Err(StoreError::TooLong { bytes: 4097 })));
        for length in [4097u32, 1 << 31, u32::MAX] {
            bytes[12..16].copy_from_slice(&length.to_ne_bytes());
            assert!(matches!(decode(&bytes[..HEADER_BYTES]), Err(StoreError::Protocol(_))));
        }
    }

    #[test]
    fn lists_of_strings_may_be_empty_or_cut() {
        let of = |payload| strings(payload).map(Result::unwrap).collect::<Vec<_>>();
        assert_eq!(of(b""), [""; 0]);
        assert_eq!(of(b"\0"), [""]);
        assert_eq!(of(b"vbd\0vif\0"), ["vbd", "vif"]);
        assert_eq!(of(b"vbd\0vi"), ["vbd"]);
        assert!(strings(b"\xff\0").next().unwrap().is_err());
    }

    #[test]
    fn whatever_comes_is_read_or_refused() {
        let mut state = 1u64;
        let mut byte = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            // Few values, so that lengths and terminators are met often.
            [0, 0, 1, 9, 16, b'a', 0xFF][(state >> 33) as usize % 7]
        };
        for round in 0..20_000 {
            let bytes: Vec<u8> = (0..round % 64).map(|_| byte()).collect();
            if let Ok(Some((message, length))) = decode(&bytes) {
                assert!(length <= bytes.len() && message.payload.len() == length - HEADER_BYTES);
                let told: usize = strings(&message.payload).flatten().map(str::len).sum();
                assert!(told <= message.payload.len());
            }
        }
    }
}
