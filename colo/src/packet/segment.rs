//! A TCP segment (RFC 9293) and its options.

use super::{u16_at, u32_at};

/// TCP's flags, as its header has them (RFC 9293, section 3.1).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Flags(pub u8);

impl Flags {
    /// The sender sends no more.
    pub const FIN: u8 = 0x01;
    /// A connection is opened.
    pub const SYN: u8 = 0x02;
    /// It is reset.
    pub const RST: u8 = 0x04;
    /// The acknowledgement number is one.
    pub const ACK: u8 = 0x10;
    /// The urgent pointer is one.
    pub const URG: u8 = 0x20;

    /// Whether this flag is set.
    pub const fn has(self, flag: u8) -> bool {
        self.0 & flag != 0
    }
}

/// A TCP segment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Segment<'a> {
    /// Where its header begins in the frame, in bytes.
    pub at: usize,
    /// Sequence number of its first byte, or of its SYN.
    pub sequence: u32,
    /// The next byte that the sender expects; nothing without [`Flags::ACK`].
    pub ack: u32,
    /// Its flags.
    pub flags: Flags,
    /// The window as the header has it, not scaled.
    pub window: u16,
    /// The urgent pointer; nothing without [`Flags::URG`].
    pub urgent: u16,
    /// Its options.
    pub options: Options<'a>,
    /// Its payload.
    pub payload: &'a [u8],
}

impl<'a> Segment<'a> {
    /// `at` is where `bytes`, which end with the packet, begin in the frame.
    pub(super) fn parse(bytes: &'a [u8], at: usize) -> Option<Self> {
        let header = bytes.first_chunk::<20>()?;
        let header_bytes = usize::from(header[12] >> 4) * 4;
        Some(Self {
            at,
            sequence: u32_at(header, 4)?,
            ack: u32_at(header, 8)?,
            flags: Flags(header[13]),
            window: u16_at(header, 14)?,
            urgent: u16_at(header, 18)?,
            options: Options(bytes.get(20..header_bytes)?),
            payload: bytes.get(header_bytes..)?,
        })
    }
}

/// The ports of TCP and UDP: source, destination.
pub(super) fn ports(bytes: &[u8]) -> Option<(u16, u16)> {
    Some((u16_at(bytes, 0)?, u16_at(bytes, 2)?))
}

/// TCP's options: kind, length, value, one after the other.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Options<'a>(pub &'a [u8]);

/// RFC 7323, section 3.2.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Timestamps {
    /// The sender's clock.
    pub value: u32,
    /// The receiver's, as the sender saw it last.
    pub echo: u32,
}

/// One option: its kind, where its value begins among the options, and its value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OneOption<'a> {
    /// Its number at IANA.
    pub kind: u8,
    /// Where its value begins, counted from the first option.
    pub at: usize,
    /// Its value.
    pub value: &'a [u8],
}

impl<'a> Options<'a> {
    const END: u8 = 0;
    const NOTHING: u8 = 1;
    const TIMESTAMPS: u8 = 8;

    /// One after the other, without fillers; what follows a broken one is not told.
    pub fn iter(self) -> impl Iterator<Item = OneOption<'a>> {
        let mut at = 0;
        core::iter::from_fn(move || {
            while self.0.get(at) == Some(&Self::NOTHING) {
                at += 1;
            }
            let kind = *self.0.get(at).filter(|kind| **kind != Self::END)?;
            let bytes = usize::from(*self.0.get(at + 1)?);
            let one = OneOption { kind, at: at + 2, value: self.0.get(at + 2..at + bytes)? };
            at += bytes;
            Some(one)
        })
    }

    /// The time stamps, and where their value begins among the options.
    pub fn timestamps(self) -> Option<(Timestamps, usize)> {
        self.iter().find(|one| one.kind == Self::TIMESTAMPS && one.value.len() == 8).and_then(|one| {
            Some((Timestamps { value: u32_at(one.value, 0)?, echo: u32_at(one.value, 4)? }, one.at))
        })
    }
}
