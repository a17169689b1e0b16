//! Tells whether an input is a legacy stream, and what of one, without losing a byte of it.

use super::envelope::Envelope;
use super::head::Head;
use super::item::{Expect, Item, Step};
use super::reader::Reader;
use std::io::{self, Read};

/// What an input is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Recognised {
    /// What stands around the stream.
    pub envelope: Envelope,
    /// What its first bytes say.
    pub head: Head,
}

/// Reads the beginning of `input`. Returns what it is, if it is a legacy stream, and all the bytes that were read.
pub fn recognise(input: &mut impl Read) -> io::Result<(Option<Recognised>, Vec<u8>)> {
    let mut reader = Reader::new(Expect { envelope: true, emulator: true });
    let (mut read, mut taken) = (Vec::new(), 0);
    let mut found = Envelope::Bare;
    loop {
        match reader.next(&read[taken..]) {
            Ok(Step::Item(bytes, Item::Envelope(envelope, _))) => {
                found = envelope;
                taken += bytes;
            }
            Ok(Step::Item(_, Item::Head(head))) => {
                return Ok((Some(Recognised { envelope: found, head }), read));
            }
            Ok(Step::Need(needed)) => {
                let missing = (taken + needed - read.len()) as u64;
                if input.take(missing).read_to_end(&mut read)? < missing as usize {
                    return Ok((None, read));
                }
            }
            Ok(_) | Err(_) => return Ok((None, read)),
        }
    }
}
