//! A TCP segment (RFC 9293): its header and payload. Not here: its options (`options`).

use core::ops::Range;

use super::{Options, u16_at, u32_at};

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

    /// Where its header with the options lies in the frame.
    pub fn header(&self) -> Range<usize> {
        self.at..self.at + 20 + self.options.0.len()
    }

    /// How many sequence numbers it takes: its payload, SYN and FIN.
    pub fn sequence_span(&self) -> u32 {
        let flag = |flag| u32::from(self.flags.has(flag));
        (self.payload.len() as u32).wrapping_add(flag(Flags::SYN)).wrapping_add(flag(Flags::FIN))
    }
}
