//! Netlink messages as bytes: encodes requests and decodes answers. Pure; no socket.
//!
//! ```text
//!   nlmsghdr  | length u32 | type u16 | flags u16 | sequence u32 | port u32 |
//!   body      | fixed part of the family | attributes …                     |   all aligned to 4 bytes
//!   attribute | length u16 | type u16 | value … | zeroes to 4 bytes         |   length without the padding
//!   error     | errno i32 (negative; 0 is an ack) | the request's nlmsghdr | [its body] | [attributes] |
//! ```
//!
//! Numbers are in the host's byte order unless a field says otherwise (`linux/netlink.h`). Answers come from the kernel
//! but are not trusted: a short message or a wrong length is an error, never a panic.

/// Bytes of `struct nlmsghdr`.
pub(crate) const HEADER_BYTES: usize = 16;

/// `NLM_F_REQUEST`.
pub(crate) const REQUEST: u16 = 0x001;
/// `NLM_F_ACK`.
pub(crate) const ACK: u16 = 0x004;
/// `NLM_F_DUMP`.
pub(crate) const DUMP: u16 = 0x300;
/// `NLM_F_EXCL`.
pub(crate) const EXCLUSIVE: u16 = 0x200;
/// `NLM_F_CREATE`.
pub(crate) const CREATE: u16 = 0x400;

/// `NLMSG_ERROR`: an ack or a refusal.
pub(crate) const ERROR: u16 = 2;
/// `NLMSG_DONE`: the end of a dump.
pub(crate) const DONE: u16 = 3;

/// `NLM_F_CAPPED`, in an answer: the request's body is left out.
const CAPPED: u16 = 0x100;
/// `NLM_F_ACK_TLVS`, in an answer: attributes follow.
const ACK_TLVS: u16 = 0x200;
/// `NLMSGERR_ATTR_MSG`: the reason in words.
const REASON: u16 = 1;
/// `NLA_F_NESTED` and `NLA_F_NET_BYTEORDER`: no part of an attribute's type.
const TYPE_MASK: u16 = 0x3fff;

/// A request, with a description that completes the sentence "The kernel refused …".
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Request {
    bytes: Vec<u8>,
    what: String,
}

impl Request {
    /// A request of type `kind` that starts with the family's fixed part.
    pub(crate) fn new(kind: u16, flags: u16, fixed: &[u8], what: impl Into<String>) -> Self {
        let mut bytes = vec![0; HEADER_BYTES];
        bytes[4..6].copy_from_slice(&kind.to_ne_bytes());
        bytes[6..8].copy_from_slice(&(flags | REQUEST).to_ne_bytes());
        bytes.extend_from_slice(fixed);
        let mut request = Self { bytes, what: what.into() };
        request.pad();
        request
    }

    /// Adds an attribute.
    pub(crate) fn attribute(&mut self, kind: u16, value: &[u8]) -> &mut Self {
        self.nested(kind, |request| request.bytes.extend_from_slice(value))
    }

    /// Adds an attribute holding a string with its terminating NUL.
    pub(crate) fn string(&mut self, kind: u16, value: &str) -> &mut Self {
        self.nested(kind, |request| {
            request.bytes.extend_from_slice(value.as_bytes());
            request.bytes.push(0);
        })
    }

    /// Adds an attribute that holds what `fill` adds.
    pub(crate) fn nested(&mut self, kind: u16, fill: impl FnOnce(&mut Self)) -> &mut Self {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&[0; 2]);
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        fill(self);
        let length = u16::try_from(self.bytes.len() - start).expect("requests are a few hundred bytes");
        self.bytes[start..start + 2].copy_from_slice(&length.to_ne_bytes());
        self.pad();
        self
    }

    /// The encoded request, with `sequence` filled in.
    pub(crate) fn encode(&mut self, sequence: u32) -> &[u8] {
        let length = u32::try_from(self.bytes.len()).expect("requests are a few hundred bytes");
        self.bytes[0..4].copy_from_slice(&length.to_ne_bytes());
        self.bytes[8..12].copy_from_slice(&sequence.to_ne_bytes());
        &self.bytes
    }

    /// The description of the request.
    pub(crate) fn what(&self) -> &str {
        &self.what
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

/// A violation of the netlink format; the text names the rule.
#[derive(thiserror::Error, Clone, Copy, PartialEq, Eq, Debug)]
#[error("{0}")]
pub struct WireError(pub(crate) &'static str);

/// One message of an answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Message<'a> {
    pub(crate) kind: u16,
    pub(crate) flags: u16,
    pub(crate) sequence: u32,
    /// The port of the socket that the message answers, or whose request it notifies of; 0: the kernel itself.
    pub(crate) port: u32,
    pub(crate) body: &'a [u8],
}

/// The messages of a datagram in order. Ends after the first error.
pub(crate) fn messages(datagram: &[u8]) -> impl Iterator<Item = Result<Message<'_>, WireError>> {
    let mut rest = datagram;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let message = split_message(&mut rest);
        if message.is_err() {
            rest = &[];
        }
        Some(message)
    })
}

fn split_message<'a>(rest: &mut &'a [u8]) -> Result<Message<'a>, WireError> {
    let bytes = *rest;
    let length = u32_at(bytes, 0).ok_or(WireError("a message header is cut short"))? as usize;
    if bytes.len() < HEADER_BYTES || length < HEADER_BYTES || length > bytes.len() {
        return Err(WireError("a message's length does not fit its datagram"));
    }
    *rest = &bytes[length.next_multiple_of(4).min(bytes.len())..];
    let field = |at| u16_at(bytes, at).expect("the header is whole");
    Ok(Message {
        kind: field(4),
        flags: field(6),
        sequence: u32_at(bytes, 8).expect("the header is whole"),
        port: u32_at(bytes, 12).expect("the header is whole"),
        body: &bytes[HEADER_BYTES..length],
    })
}

/// The attributes in `bytes`: type without flag bits, and value. Ends after the first error.
pub(crate) fn attributes(bytes: &[u8]) -> impl Iterator<Item = Result<(u16, &[u8]), WireError>> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let Some(length) = u16_at(rest, 0).map(usize::from).filter(|n| (4..=rest.len()).contains(n)) else {
            rest = &[];
            return Some(Err(WireError("an attribute's length does not fit its message")));
        };
        let kind = u16_at(rest, 2).expect("four bytes are there") & TYPE_MASK;
        let value = &rest[4..length];
        rest = &rest[length.next_multiple_of(4).min(rest.len())..];
        Some(Ok((kind, value)))
    })
}

/// The value of the first attribute of type `wanted`.
pub(crate) fn attribute(bytes: &[u8], wanted: u16) -> Result<Option<&[u8]>, WireError> {
    for attribute in attributes(bytes) {
        let (kind, value) = attribute?;
        if kind == wanted {
            return Ok(Some(value));
        }
    }
    Ok(None)
}

/// The content of an [`ERROR`] message: the errno (0: done) and the kernel's explanation, if it gave one.
pub(crate) fn verdict(message: &Message<'_>) -> Result<(i32, Option<String>), WireError> {
    let short = WireError("an ack is cut short");
    let errno = u32_at(message.body, 0).ok_or(short)?.cast_signed();
    let request_bytes = u32_at(message.body, 4).ok_or(short)? as usize;
    if message.flags & ACK_TLVS == 0 {
        return Ok((errno.wrapping_neg(), None));
    }
    let echoed = if message.flags & CAPPED != 0 { HEADER_BYTES } else { request_bytes.next_multiple_of(4) };
    let tail = message.body.get(4 + echoed..).ok_or(short)?;
    let reason = attribute(tail, REASON)?.map(text);
    Ok((errno.wrapping_neg(), reason))
}

/// A string attribute without its NUL. Invalid UTF-8 is replaced.
pub(crate) fn text(value: &[u8]) -> String {
    let end = value.iter().position(|byte| *byte == 0).unwrap_or(value.len());
    String::from_utf8_lossy(&value[..end]).into_owned()
}

/// The u16 at `at`, in the host's order.
pub(crate) fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at.checked_add(2)?)?.try_into().ok()?))
}

/// The u32 at `at`, in the host's order.
pub(crate) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at.checked_add(4)?)?.try_into().ok()?))
}

/// The u64 at `at`, in the host's order.
pub(crate) fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_ne_bytes(bytes.get(at..at.checked_add(8)?)?.try_into().ok()?))
}

/// Golden bytes are written in hexadecimal, with blanks between fields.
#[cfg(test)]
pub(crate) mod tests_support {
    pub(crate) fn bytes(hex: &str) -> Vec<u8> {
        let digits: Vec<u8> =
            hex.chars().filter_map(|digit| digit.to_digit(16)).map(|digit| digit as u8).collect();
        digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_request_is_these_bytes() {
        let mut request = Request::new(0x24, ACK | CREATE, &[9; 4], "nothing");
        request.nested(2, |inner| {
            inner.attribute(1, &[7]);
        });
        let expected: Vec<u8> = [
            &32u32.to_ne_bytes()[..],
            &0x24u16.to_ne_bytes(),
            &0x405u16.to_ne_bytes(),
            &5u32.to_ne_bytes(),
            &[0; 4],
            &[9; 4],
            &12u16.to_ne_bytes(),
            &2u16.to_ne_bytes(),
            &5u16.to_ne_bytes(),
            &1u16.to_ne_bytes(),
            &[7, 0, 0, 0],
        ]
        .concat();
        assert_eq!(request.encode(5), expected);
    }

    fn refusal(flags: u16, tail: &[u8]) -> Vec<u8> {
        let mut body = (-17i32).to_ne_bytes().to_vec();
        body.extend_from_slice(&20u32.to_ne_bytes());
        body.extend_from_slice(&[0; 12]);
        if flags & CAPPED == 0 {
            body.extend_from_slice(&[0xee; 4]);
        }
        body.extend_from_slice(tail);
        body
    }

    #[test]
    fn a_refusal_says_why_in_the_kernels_words() {
        let words: Vec<u8> = [&9u16.to_ne_bytes()[..], &REASON.to_ne_bytes(), b"busy\0", &[0; 3]].concat();
        for flags in [ACK_TLVS, ACK_TLVS | CAPPED] {
            let body = refusal(flags, &words);
            let message = Message { kind: ERROR, flags, sequence: 1, port: 0, body: &body };
            assert_eq!(verdict(&message), Ok((17, Some("busy".into()))));
        }
        let body = refusal(CAPPED, &[]);
        let message = Message { kind: ERROR, flags: CAPPED, sequence: 1, port: 0, body: &body };
        assert_eq!(verdict(&message), Ok((17, None)));
    }

    #[test]
    fn lying_lengths_are_errors() {
        assert!(messages(&[1, 2]).next().unwrap().is_err());
        let mut short = Request::new(1, 0, &[], "nothing").encode(1).to_vec();
        short[0] = 17;
        assert!(messages(&short).next().unwrap().is_err());
        short[0] = 3;
        assert!(messages(&short).next().unwrap().is_err());
        assert!(attributes(&[3, 0, 0, 0]).next().unwrap().is_err());
        assert!(attributes(&[200, 0, 0, 0]).next().unwrap().is_err());
        let body = [0; 7];
        assert!(verdict(&Message { kind: ERROR, flags: 0, sequence: 1, port: 0, body: &body }).is_err());
    }

    proptest! {
        /// Whatever an answer holds, reading it ends and does not panic.
        #[test]
        fn hostile_answers_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            for message in messages(&bytes).flatten() {
                let _ = verdict(&message);
                for (_, value) in attributes(message.body).flatten() {
                    let _ = (text(value), attributes(value).count());
                }
            }
            prop_assert!(attributes(&bytes).count() <= bytes.len());
        }
    }
}
