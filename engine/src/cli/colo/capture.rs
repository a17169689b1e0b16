//! A capture file as frames: pcap and pcapng, of either byte order, however large.
//!
//! ```text
//!   file ─► whole reads ─► window of 1 MiB ─► blocks (pcap-parser) ─► link layer ─► Captured
//! ```
//!
//! Memory is the window, one frame and what a section says of its interfaces, which is bounded. A capture that ends in
//! the middle or is damaged gives all frames before that place, then the reason.
//!
//! Not here: whose a frame is (`guest`), and what it means.

use super::link_layer::LinkLayer;
use pcap_parser::pcapng::{InterfaceDescriptionBlock, OptionCode};
use pcap_parser::traits::{PcapNGPacketBlock, PcapReaderIterator};
use pcap_parser::{Block, PcapBlockOwned, PcapError, PcapHeader, create_reader};
use std::io::{self, Read};
use std::sync::{Arc, Mutex, PoisonError};

/// The most bytes of a capture's block: four times tcpdump's largest frame.
const WINDOW_BYTES: usize = 1 << 20;

/// Interfaces of one section.
const INTERFACES_MAX: usize = 256;

/// Nanoseconds since 1970.
pub(super) type Nanoseconds = i64;

/// One frame of a capture.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Captured {
    /// Its number in the file, from 1, as other programs count.
    pub(super) number: u64,
    /// When it was captured.
    pub(super) at: Nanoseconds,
    /// The frame as Ethernet has it.
    pub(super) bytes: Vec<u8>,
    /// Bytes that were on the wire and are not in the capture.
    pub(super) missing_bytes: u32,
}

/// Why a capture gives no more frames.
#[derive(thiserror::Error, Debug)]
pub(super) enum CaptureError {
    #[error("it cannot be read: {0}")]
    Unreadable(#[from] io::Error),
    #[error(
        "it is neither pcap nor pcapng; write it with `tcpdump -w`, and decompress it first if it is compressed"
    )]
    NoCapture,
    #[error("it ends in the middle, at byte {at}: it was cut, or is still being written")]
    EndsEarly { at: u64 },
    #[error("it is damaged at byte {at}: what stands there contradicts itself, or is larger than 1 MiB")]
    Damaged { at: u64 },
    #[error("it has frames of link type {0}; capture Ethernet, \"any\" interface or raw IP")]
    LinkType(i32),
    #[error("at byte {at} is a frame without a time; capture with `tcpdump -w`, which tells when each came")]
    NoTime { at: u64 },
    #[error("a section of it has more than 256 interfaces; capture the guest's alone")]
    Interfaces,
}

/// The description of a capture's interface.
#[derive(Clone, Copy, Debug)]
struct Interface {
    link: LinkLayer,
    units_per_second: u64,
    offset_s: i64,
}

/// A capture that is being read.
pub(super) struct Capture {
    reader: Box<dyn PcapReaderIterator + Send>,
    section: Section,
    failure: Failure,
    at: u64,
    number: u64,
}

/// State that earlier blocks set for later ones.
#[derive(Default, Debug)]
struct Section {
    is_big_endian: bool,
    interfaces: Vec<Interface>,
}

impl Capture {
    pub(super) fn new(input: impl Read + Send + 'static) -> Result<Self, CaptureError> {
        let failure = Failure::default();
        let input = WholeReads { input, failure: failure.clone() };
        let reader = create_reader(WINDOW_BYTES, input).map_err(|error| match (failure.take(), error) {
            (Some(error), _) => error.into(),
            (None, _) => CaptureError::NoCapture,
        })?;
        Ok(Self { reader, section: Section::default(), failure, at: 0, number: 0 })
    }

    /// The next frame; `None` at the end. An error ends the capture.
    pub(super) fn next(&mut self) -> Result<Option<Captured>, CaptureError> {
        loop {
            let at = self.at;
            let found = match self.reader.next() {
                Ok((bytes, block)) => Ok((bytes, self.section.interpret(block, at)?)),
                Err(PcapError::Eof) => return Ok(None),
                Err(PcapError::Incomplete(_)) => Err(()),
                Err(PcapError::UnexpectedEof) => return Err(CaptureError::EndsEarly { at }),
                Err(_) => return Err(CaptureError::Damaged { at }),
            };
            match found {
                Err(()) => self.refill()?,
                Ok((bytes, frame)) => {
                    self.reader.consume(bytes);
                    self.at += bytes as u64;
                    if let Some(frame) = frame {
                        self.number += 1;
                        return Ok(Some(Captured { number: self.number, ..frame }));
                    }
                }
            }
        }
    }

    /// Reads more input behind the rest of the window.
    fn refill(&mut self) -> Result<(), CaptureError> {
        let before = self.reader.data().len();
        // The parser keeps no reason; the input's own is in `failure`.
        let is_read = self.reader.refill().is_ok();
        if let Some(error) = self.failure.take() {
            return Err(error.into());
        }
        // The window is full and still too short: the parser would ask for ever.
        let has_grown = self.reader.data().len() > before || self.reader.reader_exhausted();
        (is_read && has_grown).then_some(()).ok_or(CaptureError::Damaged { at: self.at })
    }
}

impl Section {
    fn interpret(&mut self, block: PcapBlockOwned<'_>, at: u64) -> Result<Option<Captured>, CaptureError> {
        match block {
            PcapBlockOwned::LegacyHeader(header) => {
                self.interfaces = vec![Interface::of_file(&header)?];
                Ok(None)
            }
            PcapBlockOwned::Legacy(frame) => {
                let interface = self.interfaces.first().ok_or(CaptureError::Damaged { at })?;
                let units = i128::from(frame.ts_usec);
                let whole_seconds = i128::from(frame.ts_sec) * i128::from(interface.units_per_second);
                Ok(Some(interface.captured(whole_seconds + units, frame.data, frame.origlen)))
            }
            PcapBlockOwned::NG(Block::SectionHeader(header)) => {
                *self = Self { is_big_endian: header.big_endian(), interfaces: Vec::new() };
                Ok(None)
            }
            PcapBlockOwned::NG(Block::InterfaceDescription(described)) => {
                if self.interfaces.len() == INTERFACES_MAX {
                    return Err(CaptureError::Interfaces);
                }
                self.interfaces.push(Interface::described(&described, self.is_big_endian, at)?);
                Ok(None)
            }
            PcapBlockOwned::NG(Block::EnhancedPacket(frame)) => {
                let interface =
                    self.interfaces.get(frame.if_id as usize).ok_or(CaptureError::Damaged { at })?;
                let units = (u64::from(frame.ts_high) << 32) | u64::from(frame.ts_low);
                Ok(Some(interface.captured(i128::from(units), frame.packet_data(), frame.origlen)))
            }
            PcapBlockOwned::NG(Block::SimplePacket(_)) => Err(CaptureError::NoTime { at }),
            // Statistics, names, secrets and what other programs put there.
            PcapBlockOwned::NG(_) => Ok(None),
        }
    }
}

impl Interface {
    fn of_file(header: &PcapHeader) -> Result<Self, CaptureError> {
        // The upper half says whether frames have their check sequence, which is behind what is compared.
        let number = header.network.0 & 0xffff;
        Ok(Self {
            link: LinkLayer::of(number).ok_or(CaptureError::LinkType(number))?,
            units_per_second: if header.is_nanosecond_precision() { 1_000_000_000 } else { 1_000_000 },
            offset_s: 0,
        })
    }

    fn described(
        described: &InterfaceDescriptionBlock<'_>,
        is_big_endian: bool,
        at: u64,
    ) -> Result<Self, CaptureError> {
        let number = described.linktype.0;
        let option = |code| described.options.iter().find(|option| option.code == code).map(|it| it.value());
        let resolution = option(OptionCode::IfTsresol).and_then(|value| value.first()).copied().unwrap_or(6);
        let offset = option(OptionCode::IfTsoffset).and_then(|value| value.first_chunk::<8>());
        let offset_s = offset.map(|bytes| match is_big_endian {
            true => i64::from_be_bytes(*bytes),
            false => i64::from_le_bytes(*bytes),
        });
        Ok(Self {
            link: LinkLayer::of(number).ok_or(CaptureError::LinkType(number))?,
            units_per_second: units_per_second(resolution).ok_or(CaptureError::Damaged { at })?,
            offset_s: offset_s.unwrap_or(0),
        })
    }

    fn captured(&self, units: i128, packet: &[u8], wire_bytes: u32) -> Captured {
        let ns = units * 1_000_000_000 / i128::from(self.units_per_second);
        let at = ns + i128::from(self.offset_s) * 1_000_000_000;
        let captured_bytes = u32::try_from(packet.len()).unwrap_or(u32::MAX);
        Captured {
            number: 0,
            // Times beyond the range are clamped.
            at: Nanoseconds::try_from(at).unwrap_or(if at < 0 { Nanoseconds::MIN } else { Nanoseconds::MAX }),
            bytes: self.link.ethernet(packet),
            missing_bytes: wire_bytes.saturating_sub(captured_bytes),
        }
    }
}

/// pcapng's `if_tsresol`: a power of ten, or of two with the upper bit.
fn units_per_second(resolution: u8) -> Option<u64> {
    let exponent = u32::from(resolution & 0x7f);
    if resolution & 0x80 == 0 { 10u64.checked_pow(exponent) } else { 2u64.checked_pow(exponent) }
}

/// The input's error; the parser reports only that there was one.
#[derive(Clone, Default)]
struct Failure(Arc<Mutex<Option<io::Error>>>);

impl Failure {
    fn take(&self) -> Option<io::Error> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn keep(&self, error: io::Error) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
    }
}

/// Reads until the buffer is full or the input ends, because the parser rejects a file whose first read is short.
struct WholeReads<R> {
    input: R,
    failure: Failure,
}

impl<R: Read> Read for WholeReads<R> {
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        let mut filled = 0;
        while filled < room.len() {
            match self.input.read(&mut room[filled..]) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    self.failure.keep(error);
                    return Err(io::ErrorKind::Other.into());
                }
            }
        }
        Ok(filled)
    }
}

#[cfg(test)]
mod tests;
