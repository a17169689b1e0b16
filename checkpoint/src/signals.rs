//! Reading although signals interrupt it.

use std::io::{self, Read};

/// Reads as [`Read::read`] does, again if a signal interrupted it.
pub fn read_through_signals(input: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        match input.read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            done => return done,
        }
    }
}
