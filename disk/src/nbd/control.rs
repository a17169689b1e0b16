//! What the kernel's nbd is told by generic netlink: messages, and nothing that sends them.
//!
//! ```text
//!   0        4      6      8        12       16  17  18    20
//!   ┌────────┬──────┬──────┬────────┬────────┬───┬───┬─────┬─────────────────────────────────────────────┐
//!   │ length │ type │flags │sequence│ 0      │cmd│ 1 │ 0   │ attributes: length, kind, bytes, to 4 bytes  │
//!   └────────┴──────┴──────┴────────┴────────┴───┴───┴─────┴─────────────────────────────────────────────┘
//!   connect:  INDEX, SIZE_BYTES, BLOCK_SIZE_BYTES, TIMEOUT, SERVER_FLAGS, DEAD_CONN_TIMEOUT, BACKEND_IDENTIFIER,
//!             SOCKETS { SOCK_ITEM { FD } }
//! ```
//!
//! Numbers are the machine's. Names are those of Linux's `nbd-netlink.h`, whose numbers do not change. Each request asks for
//! an acknowledgement. A kernel that waits for its own server is told how long: see [`Connect`].
//!
//! Not here: the socket (`disk/src/kernel/nbd.rs`), and the requests of a device (the rest of this folder).

use super::Offer;
use thiserror::Error;

/// Shorter than what a Linux guest that is to be suspended waits for its own writes (20 s).
pub const TIMEOUT_S: u64 = 10;

/// How long a device waits for another socket after its server died: until somebody starts an engine.
pub const DEAD_TIMEOUT_S: u64 = 7 * 24 * 3600;

/// The longest name of a server.
pub const NAME_BYTES_MAX: usize = 255;

const HEAD_BYTES: usize = 20;
const CONTROLLER: u16 = 16;
const REQUEST_WITH_ACK: u16 = 0x1 | 0x4;
const ERROR: u16 = 2;
const NESTED: u16 = 1 << 15;

/// A device and one socket for it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Connect {
    /// Which `/dev/nbdN`; none takes one that is free.
    pub index: Option<u32>,
    /// Of the disk.
    pub size_bytes: u64,
    /// The logical block of the disk behind it, so that the guest sees the sector size that it has seen before.
    pub block_bytes: u64,
    /// What the server can do.
    pub offer: Offer,
    /// Whose it is; to connect it again the same is said.
    pub name: String,
    /// The kernel's end of a pair of sockets.
    pub socket: i32,
}

/// What the kernel answers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Answer {
    /// Done.
    Done {
        /// Of the request.
        sequence: u32,
    },
    /// Not done.
    Refused {
        /// Of the request.
        sequence: u32,
        /// Linux's number of the error.
        errno: i32,
    },
    /// The number of nbd's family.
    Family(u16),
    /// The device that was connected.
    Device(u32),
}

/// The kernel's answer is none.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
#[error("the kernel's answer cannot be read ({0}); please report the kernel's version")]
pub struct BadAnswer(&'static str);

/// Asks for the number of nbd's family.
pub fn ask_family(sequence: u32) -> Vec<u8> {
    const GET_FAMILY: u8 = 3;
    const FAMILY_NAME: u16 = 2;
    message(CONTROLLER, GET_FAMILY, sequence, &attribute(FAMILY_NAME, b"nbd\0"))
}

/// Makes a device.
pub fn connect(family: u16, sequence: u32, device: &Connect) -> Vec<u8> {
    const CONNECT: u8 = 1;
    message(family, CONNECT, sequence, &attributes(device))
}

/// Gives a device whose socket is dead another one. The kernel says that it is done even if none of them was dead.
pub fn reconnect(family: u16, sequence: u32, device: &Connect) -> Vec<u8> {
    const RECONFIGURE: u8 = 3;
    message(family, RECONFIGURE, sequence, &attributes(device))
}

/// Ends a device: what waits in it fails.
pub fn disconnect(family: u16, sequence: u32, index: u32) -> Vec<u8> {
    const DISCONNECT: u8 = 2;
    message(family, DISCONNECT, sequence, &attribute(INDEX, &index.to_ne_bytes()))
}

const INDEX: u16 = 1;

fn attributes(device: &Connect) -> Vec<u8> {
    assert!((1..=NAME_BYTES_MAX).contains(&device.name.len()), "names are bounded where they come from");
    let mut out = Vec::new();
    if let Some(index) = device.index {
        out.extend(attribute(INDEX, &index.to_ne_bytes()));
    }
    let numbers = [
        (2, device.size_bytes),
        (3, device.block_bytes),
        (4, TIMEOUT_S),
        (5, device.offer.flags()),
        (8, DEAD_TIMEOUT_S),
    ];
    for (kind, number) in numbers {
        out.extend(attribute(kind, &number.to_ne_bytes()));
    }
    out.extend(attribute(10, &[device.name.as_bytes(), &[0]].concat()));
    let socket = attribute(1, &device.socket.to_ne_bytes());
    out.extend(attribute(7 | NESTED, &attribute(1 | NESTED, &socket)));
    out
}

fn attribute(kind: u16, bytes: &[u8]) -> Vec<u8> {
    let mut out = ((4 + bytes.len()) as u16).to_ne_bytes().to_vec();
    out.extend(kind.to_ne_bytes());
    out.extend(bytes);
    out.resize(out.len().next_multiple_of(4), 0);
    out
}

fn message(kind: u16, command: u8, sequence: u32, attributes: &[u8]) -> Vec<u8> {
    let mut out = ((HEAD_BYTES + attributes.len()) as u32).to_ne_bytes().to_vec();
    out.extend(kind.to_ne_bytes());
    out.extend(REQUEST_WITH_ACK.to_ne_bytes());
    out.extend(sequence.to_ne_bytes());
    out.extend([0; 4]);
    out.extend([command, 1, 0, 0]);
    out.extend(attributes);
    out
}

/// The answers in a datagram. Messages that tell nothing of these are left out.
pub fn answers(datagram: &[u8]) -> Result<Vec<Answer>, BadAnswer> {
    let mut rest = datagram;
    let mut answers = Vec::new();
    while !rest.is_empty() {
        let length = *rest.first_chunk().ok_or(BadAnswer("a message is cut off"))?;
        let length = u32::from_ne_bytes(length) as usize;
        if length < 16 || length > rest.len() {
            return Err(BadAnswer("a message has a length that it cannot have"));
        }
        answers.extend(read_message(&rest[..length])?);
        rest = &rest[length.next_multiple_of(4).min(rest.len())..];
    }
    Ok(answers)
}

fn read_message(message: &[u8]) -> Result<Option<Answer>, BadAnswer> {
    let half = |at: usize| u16::from_ne_bytes([message[at], message[at + 1]]);
    let sequence = u32::from_ne_bytes(message[8..12].try_into().expect("four bytes"));
    if half(4) == ERROR {
        let error = message[16..].first_chunk().ok_or(BadAnswer("an error is cut off"))?;
        return Ok(Some(match i32::from_ne_bytes(*error) {
            0 => Answer::Done { sequence },
            // Negative in the message; the kernel has no other.
            error => Answer::Refused { sequence, errno: error.checked_neg().unwrap_or(i32::MAX) },
        }));
    }
    let Some(attributes) = message.get(HEAD_BYTES..) else { return Ok(None) };
    let is_controller = half(4) == CONTROLLER;
    let mut rest = attributes;
    while let Some([low, high, kind_low, kind_high]) = rest.first_chunk() {
        let length = usize::from(u16::from_ne_bytes([*low, *high]));
        let kind = u16::from_ne_bytes([*kind_low, *kind_high]);
        let value = rest.get(4..length).ok_or(BadAnswer("an attribute has a length that it cannot have"))?;
        match (is_controller, kind, value) {
            (true, 1, [low, high]) => return Ok(Some(Answer::Family(u16::from_ne_bytes([*low, *high])))),
            (false, INDEX, value) if value.len() == 4 => {
                let index = u32::from_ne_bytes(value.try_into().expect("four bytes"));
                return Ok(Some(Answer::Device(index)));
            }
            _ => {}
        }
        rest = &rest[length.next_multiple_of(4).min(rest.len())..];
    }
    Ok(None)
}

#[cfg(all(test, target_endian = "little"))]
mod tests {
    use super::*;

    fn device() -> Connect {
        let offer = Offer { is_read_only: false, discards: true, has_sockets: false };
        Connect {
            index: Some(3),
            size_bytes: 1 << 26,
            block_bytes: 512,
            offer,
            name: "us:web".into(),
            socket: 9,
        }
    }

    #[test]
    fn messages_are_these_bytes() {
        let mut family = vec![28, 0, 0, 0, 16, 0, 5, 0, 7, 0, 0, 0, 0, 0, 0, 0, 3, 1, 0, 0];
        family.extend([8, 0, 2, 0, b'n', b'b', b'd', 0]);
        assert_eq!(ask_family(7), family);

        let mut attributes = vec![8, 0, 1, 0, 3, 0, 0, 0];
        attributes.extend([12, 0, 2, 0, 0, 0, 0, 4, 0, 0, 0, 0]);
        attributes.extend([12, 0, 3, 0, 0, 2, 0, 0, 0, 0, 0, 0]);
        attributes.extend([12, 0, 4, 0, 10, 0, 0, 0, 0, 0, 0, 0]);
        attributes.extend([12, 0, 5, 0, 0x6D, 0, 0, 0, 0, 0, 0, 0]);
        attributes.extend([12, 0, 8, 0, 0x80, 0x3A, 9, 0, 0, 0, 0, 0]);
        attributes.extend([11, 0, 10, 0, b'u', b's', b':', b'w', b'e', b'b', 0, 0]);
        attributes.extend([16, 0, 7, 0x80, 12, 0, 1, 0x80, 8, 0, 1, 0, 9, 0, 0, 0]);
        let head = |command| [116, 0, 0, 0, 27, 0, 5, 0, 8, 0, 0, 0, 0, 0, 0, 0, command, 1, 0, 0].to_vec();
        assert_eq!(connect(27, 8, &device()), [head(1), attributes.clone()].concat());
        assert_eq!(reconnect(27, 8, &device()), [head(3), attributes].concat());
        let any = connect(27, 8, &Connect { index: None, ..device() });
        assert_eq!((any.len(), any[0]), (108, 108));
        let end = [28, 0, 0, 0, 27, 0, 5, 0, 9, 0, 0, 0, 0, 0, 0, 0, 2, 1, 0, 0, 8, 0, 1, 0, 3, 0, 0, 0];
        assert_eq!(disconnect(27, 9, 3), end);
    }

    #[test]
    fn answers_are_read_and_errors_are_errors() {
        let ack = |errno: i32| {
            let mut ack = vec![36, 0, 0, 0, 2, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0];
            ack.extend(errno.to_ne_bytes());
            ack.extend([0; 16]);
            ack
        };
        let connected =
            [28, 0, 0, 0, 27, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 1, 1, 0, 0, 8, 0, 1, 0, 5, 0, 0, 0].to_vec();
        let mut family = vec![36, 0, 0, 0, 16, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 1, 2, 0, 0];
        family.extend([8, 0, 2, 0, b'n', b'b', b'd', 0, 6, 0, 1, 0, 27, 0, 0, 0]);
        assert_eq!(
            answers(&[connected, ack(0)].concat()),
            Ok(vec![Answer::Device(5), Answer::Done { sequence: 8 }])
        );
        assert_eq!(answers(&family), Ok(vec![Answer::Family(27)]));
        assert_eq!(answers(&ack(-16)), Ok(vec![Answer::Refused { sequence: 8, errno: 16 }]));
        assert_eq!(answers(&ack(i32::MIN)), Ok(vec![Answer::Refused { sequence: 8, errno: i32::MAX }]));
        assert!(answers(&ack(0)[..18]).is_err() && answers(&family[..30]).is_err());
        let mut bad = family.clone();
        bad[28] = 200;
        assert!(answers(&bad).is_err());
        (bad[28], bad[20]) = (6, 2);
        assert!(answers(&bad).is_err(), "an attribute that is shorter than its head");
    }
}
