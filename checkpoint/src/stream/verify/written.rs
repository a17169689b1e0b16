//! Judges an epoch before it is written: the bytes of the restore file go through reader and verifier, and nowhere
//! else.
//!
//! ```text
//!   Description, Image ─► write_restore_file ─► Judge: Reader ─► Verifier ─► Verdict
//! ```
//!
//! Holds one record at a time. Not here: faults of a recording before that epoch.

use super::{Verdict, Verifier};
use crate::domain::Description;
use crate::epoch::Image;
use crate::stream::fault::Fault;
use crate::stream::reader::{Reader, Step};
use crate::stream::restore_file::write_restore_file;
use std::io::{self, Write};

/// The verdict that [`verify`](super::verify()) would give of the file that [`write_restore_file`] writes.
pub fn verify_restore_file(what: &Description, image: &Image) -> Verdict {
    let mut judge = Judge::default();
    // A judge takes all bytes.
    let _ = write_restore_file(&mut judge, what, image);
    judge.finish()
}

#[derive(Debug, Default)]
struct Judge {
    reader: Reader,
    verifier: Verifier,
    /// The first bytes of the next item.
    pending: Vec<u8>,
    /// The fault that stopped reading.
    broken: Option<Fault>,
}

impl Judge {
    fn finish(self) -> Verdict {
        let end = match self.broken {
            Some(fault) => Err(fault),
            None => self.reader.finish(&self.pending),
        };
        self.verifier.finish(&self.reader, end)
    }
}

impl Write for Judge {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.broken.is_some() {
            return Ok(bytes.len());
        }
        self.pending.extend_from_slice(bytes);
        let mut taken = 0;
        loop {
            match self.reader.next(&self.pending[taken..]) {
                Ok(Step::Item(item)) => {
                    self.verifier.item(&item);
                    taken += item.bytes.len();
                }
                Ok(Step::Need(_) | Step::End) => break,
                Err(fault) => {
                    self.broken = Some(fault);
                    break;
                }
            }
        }
        self.pending.drain(..taken);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
