//! Requests and replies in bytes.
//!
//! Not here: where a request ends (`disk/src/nbd/decoder.rs`).

use super::{DATA_BYTES_MAX, REPLY_BYTES, REQUEST_BYTES};
use crate::words::Extent;
use thiserror::Error;

const REQUEST_MAGIC: u32 = 0x2560_9513;
const REPLY_MAGIC: u32 = 0x6744_6698;

/// The kernel and this server do not understand each other; the socket is closed and the device given another one.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum NbdError {
    /// What should be a request begins with something else.
    #[error("the kernel's block device sent {0:#x} in place of a request; the device gets another socket")]
    Magic(u32),
    /// A write that would not be held in memory.
    #[error(
        "the kernel's block device sent a write of {0} bytes, and {DATA_BYTES_MAX} is the most; look at max_sectors_kb of its queue"
    )]
    Long(u32),
    /// The host has no memory for what comes.
    #[error(transparent)]
    Memory(#[from] understudy_checkpoint::OutOfMemory),
}

/// What a request gets back, when it does not get what it wants.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Errno {
    /// The disk failed.
    Io,
    /// The request is none.
    Invalid,
    /// It reaches beyond the disk.
    NoSpace,
    /// The server ends.
    Shutdown,
}

impl Errno {
    fn number(self) -> u32 {
        match self {
            Self::Io => 5,
            Self::Invalid => 22,
            Self::NoSpace => 28,
            Self::Shutdown => 108,
        }
    }
}

/// What is wanted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Command {
    /// The content.
    Read(Extent),
    /// New content; with *forced*, durable before it is answered.
    Write {
        /// The sectors.
        extent: Extent,
        /// FUA.
        is_forced: bool,
    },
    /// Zeros, by a request to write them or to discard.
    Zero {
        /// The sectors.
        extent: Extent,
        /// FUA.
        is_forced: bool,
    },
    /// What was answered before is durable when this is answered.
    Flush,
    /// The kernel ends the device, and waits for no answer.
    Disconnect,
}

/// A request whose data, if it has any, follow.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Head {
    /// The kernel's name for it.
    pub cookie: u64,
    /// What is wanted, or why it cannot be.
    pub command: Result<Command, Errno>,
    /// How many bytes of data follow.
    pub data_bytes: u32,
}

/// A whole request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Request<'a> {
    /// The kernel's name for it.
    pub cookie: u64,
    /// What is wanted; an error is to be answered.
    pub command: Result<Command, Errno>,
    /// Of a write, as many bytes as its extent has.
    pub data: &'a [u8],
}

impl Head {
    /// Reads a request's first bytes. What cannot be done is no error here: it is answered, and the next request follows.
    pub fn decode(bytes: &[u8; REQUEST_BYTES], size_bytes: u64) -> Result<Self, NbdError> {
        let half = |at: usize| u16::from_be_bytes([bytes[at], bytes[at + 1]]);
        let word = |at: usize| u32::from_be_bytes(bytes[at..at + 4].try_into().expect("four bytes"));
        let long = |at: usize| u64::from_be_bytes(bytes[at..at + 8].try_into().expect("eight bytes"));
        if word(0) != REQUEST_MAGIC {
            return Err(NbdError::Magic(word(0)));
        }
        let (flags, command, offset, length) = (half(4), half(6), long(16), word(24));
        let data_bytes = if command == WRITE { length } else { 0 };
        if data_bytes as usize > DATA_BYTES_MAX {
            return Err(NbdError::Long(length));
        }
        Ok(Self {
            cookie: long(8),
            command: read_command(flags, command, offset, length, size_bytes),
            data_bytes,
        })
    }

    /// As the kernel writes it.
    pub fn encode(&self) -> [u8; REQUEST_BYTES] {
        let (flags, command, place) = match self.command {
            Ok(Command::Read(extent)) => (0, READ, Some(extent)),
            Ok(Command::Write { extent, is_forced }) => (u16::from(is_forced) * FORCED, WRITE, Some(extent)),
            Ok(Command::Zero { extent, is_forced }) => (u16::from(is_forced) * FORCED, ZERO, Some(extent)),
            Ok(Command::Flush) => (0, FLUSH, None),
            Ok(Command::Disconnect) => (0, DISCONNECT, None),
            Err(_) => (0, u16::MAX, None),
        };
        let mut bytes = [0; REQUEST_BYTES];
        bytes[..4].copy_from_slice(&REQUEST_MAGIC.to_be_bytes());
        bytes[4..6].copy_from_slice(&flags.to_be_bytes());
        bytes[6..8].copy_from_slice(&command.to_be_bytes());
        bytes[8..16].copy_from_slice(&self.cookie.to_be_bytes());
        if let Some(extent) = place {
            bytes[16..24].copy_from_slice(&extent.offset().to_be_bytes());
            bytes[24..].copy_from_slice(&extent.bytes().to_be_bytes());
        }
        bytes
    }
}

const READ: u16 = 0;
const WRITE: u16 = 1;
const DISCONNECT: u16 = 2;
const FLUSH: u16 = 3;
const TRIM: u16 = 4;
const ZERO: u16 = 6;

/// Flag of a request: force unit access.
const FORCED: u16 = 1;
/// Flag of a request to write zeros: not by making a hole. All of ours are the same on both hosts anyway.
const NO_HOLE: u16 = 2;

fn read_command(
    flags: u16,
    command: u16,
    offset: u64,
    length: u32,
    size_bytes: u64,
) -> Result<Command, Errno> {
    let known = match command {
        WRITE | TRIM => FORCED,
        ZERO => FORCED | NO_HOLE,
        // A kernel may ask for it with any request, and it says nothing where nothing is written.
        READ | FLUSH | DISCONNECT => FORCED,
        _ => return Err(Errno::Invalid),
    };
    if flags & !known != 0 {
        return Err(Errno::Invalid);
    }
    match command {
        FLUSH => return Ok(Command::Flush),
        DISCONNECT => return Ok(Command::Disconnect),
        _ => {}
    }
    let extent = Extent::new(offset, length).map_err(|_| Errno::Invalid)?;
    if extent.end() > size_bytes {
        return Err(if command == READ { Errno::Invalid } else { Errno::NoSpace });
    }
    let is_forced = flags & FORCED != 0;
    match command {
        READ if length as usize > DATA_BYTES_MAX => Err(Errno::Invalid),
        READ => Ok(Command::Read(extent)),
        WRITE => Ok(Command::Write { extent, is_forced }),
        _ => Ok(Command::Zero { extent, is_forced }),
    }
}

/// What a request gets back. Data of a read follow it, if it is no error.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Reply {
    /// Of the request.
    pub cookie: u64,
    /// How it went.
    pub result: Result<(), Errno>,
}

impl Reply {
    /// In bytes.
    pub fn encode(self) -> [u8; REPLY_BYTES] {
        let mut bytes = [0; REPLY_BYTES];
        bytes[..4].copy_from_slice(&REPLY_MAGIC.to_be_bytes());
        bytes[4..8].copy_from_slice(&self.result.map_or_else(Errno::number, |()| 0).to_be_bytes());
        bytes[8..].copy_from_slice(&self.cookie.to_be_bytes());
        bytes
    }
}

/// What the kernel is told that a device can do: flush and FUA always (rule R7 of `docs/DISKS.md`), discards only where they
/// leave zeros.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Offer {
    /// Writes are refused.
    pub is_read_only: bool,
    /// Discards leave zeros here and there.
    pub discards: bool,
    /// More than one socket serves the device, and a flush on one covers all.
    pub has_sockets: bool,
}

impl Offer {
    /// The transmission flags.
    pub fn flags(self) -> u64 {
        const HAS_FLAGS: u64 = 1 << 0;
        const READ_ONLY: u64 = 1 << 1;
        const SEND_FLUSH: u64 = 1 << 2;
        const SEND_FUA: u64 = 1 << 3;
        const SEND_TRIM: u64 = 1 << 5;
        const SEND_WRITE_ZEROES: u64 = 1 << 6;
        const CAN_MULTI_CONN: u64 = 1 << 8;
        let with = |is: bool, flag: u64| if is { flag } else { 0 };
        HAS_FLAGS
            | SEND_FLUSH
            | SEND_FUA
            | SEND_WRITE_ZEROES
            | with(self.is_read_only, READ_ONLY)
            | with(self.discards, SEND_TRIM)
            | with(self.has_sockets, CAN_MULTI_CONN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: u64 = 1 << 20;

    fn head(flags: u16, command: u16, offset: u64, length: u32) -> Result<Head, NbdError> {
        let mut bytes = [0; REQUEST_BYTES];
        bytes[..4].copy_from_slice(&[0x25, 0x60, 0x95, 0x13]);
        bytes[4..6].copy_from_slice(&flags.to_be_bytes());
        bytes[6..8].copy_from_slice(&command.to_be_bytes());
        bytes[8..16].copy_from_slice(&[1, 2, 3, 4, 5, 6, 7, 8]);
        bytes[16..24].copy_from_slice(&offset.to_be_bytes());
        bytes[24..].copy_from_slice(&length.to_be_bytes());
        Head::decode(&bytes, SIZE)
    }

    fn extent(offset: u64, bytes: u32) -> Extent {
        Extent::new(offset, bytes).unwrap()
    }

    #[test]
    fn requests_and_replies_are_these_bytes() {
        let mut bytes = vec![0x25, 0x60, 0x95, 0x13, 0, 1, 0, 1, 1, 2, 3, 4, 5, 6, 7, 8];
        bytes.extend([0, 0, 0, 0, 0, 0, 0x12, 0, 0, 0, 0x10, 0]);
        let write = Head {
            cookie: 0x0102_0304_0506_0708,
            command: Ok(Command::Write { extent: extent(0x1200, 4096), is_forced: true }),
            data_bytes: 4096,
        };
        assert_eq!(Head::decode(bytes.as_slice().try_into().unwrap(), SIZE), Ok(write));
        assert_eq!(write.encode().as_slice(), bytes);
        let reply = Reply { cookie: 0x0102_0304_0506_0708, result: Ok(()) };
        assert_eq!(reply.encode(), [0x67, 0x44, 0x66, 0x98, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8]);
        for (error, number) in
            [(Errno::Io, 5), (Errno::Invalid, 22), (Errno::NoSpace, 28), (Errno::Shutdown, 108)]
        {
            assert_eq!(Reply { result: Err(error), ..reply }.encode()[4..8], [0, 0, 0, number]);
        }
        let offer = Offer { is_read_only: false, discards: true, has_sockets: false };
        assert_eq!(offer.flags(), 0b0110_1101);
        assert_eq!(Offer { is_read_only: true, discards: false, has_sockets: true }.flags(), 0b1_0100_1111);
    }

    #[test]
    fn what_cannot_be_done_is_answered_and_the_next_request_follows() {
        let size = SIZE as u32;
        for (flags, command, offset, length, expected) in [
            (0, READ, 0, 512, Ok(Command::Read(extent(0, 512)))),
            (FORCED, READ, 0, size, Ok(Command::Read(extent(0, size)))),
            (
                0,
                TRIM,
                512,
                size - 512,
                Ok(Command::Zero { extent: extent(512, size - 512), is_forced: false }),
            ),
            (FORCED | NO_HOLE, ZERO, 0, 512, Ok(Command::Zero { extent: extent(0, 512), is_forced: true })),
            (0, FLUSH, 0, 0, Ok(Command::Flush)),
            (0, DISCONNECT, 0, 0, Ok(Command::Disconnect)),
            (0, READ, 0, 0, Err(Errno::Invalid)),
            (0, READ, 1, 512, Err(Errno::Invalid)),
            (0, READ, 0, 511, Err(Errno::Invalid)),
            (0, READ, SIZE, 512, Err(Errno::Invalid)),
            (0, WRITE, SIZE - 512, 1024, Err(Errno::NoSpace)),
            (0, ZERO, u64::MAX - 511, 512, Err(Errno::Invalid)),
            (0, ZERO, u64::MAX - 1023, 512, Err(Errno::NoSpace)),
            (NO_HOLE, WRITE, 0, 512, Err(Errno::Invalid)),
            (1 << 4, ZERO, 0, 512, Err(Errno::Invalid)),
            (0, 5, 0, 512, Err(Errno::Invalid)),
            (0, 7, 0, 0, Err(Errno::Invalid)),
            (0, 0x101, 0, 512, Err(Errno::Invalid)),
        ] {
            let head = head(flags, command, offset, length).unwrap();
            assert_eq!(head.command, expected, "{flags} {command} {offset} {length}");
            assert_eq!(
                head.data_bytes,
                if command == WRITE { length } else { 0 },
                "data of a bad write still follow"
            );
        }
    }

    #[test]
    fn what_is_no_request_ends_the_socket() {
        assert_eq!(Head::decode(&[0xFF; REQUEST_BYTES], SIZE), Err(NbdError::Magic(0xFFFF_FFFF)));
        assert_eq!(
            head(0, WRITE, 0, DATA_BYTES_MAX as u32 + 512),
            Err(NbdError::Long(DATA_BYTES_MAX as u32 + 512))
        );
        let long = Head::decode(&head(0, WRITE, 0, 512).unwrap().encode(), SIZE);
        assert!(long.is_ok());
    }
}
