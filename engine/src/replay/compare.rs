//! Compares a file byte by byte with the last complete epoch of a recording.

use std::io::{self, Read, Write};
use understudy_checkpoint::stream::{RecordedEpoch, Recording, StreamError, write_restore_file};

/// The result of a comparison.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Finding {
    /// All bytes are the same.
    Identical {
        /// The number of bytes.
        bytes: u64,
    },
    /// They differ at this offset, or one ends there.
    DiffersAt(u64),
}

/// Why nothing could be compared.
#[derive(thiserror::Error, Debug)]
pub enum CompareError {
    /// The recording cannot be read a second time.
    #[error("The recording cannot be read again: {0}")]
    Recording(#[from] StreamError),
    /// The exported file cannot be read.
    #[error("The exported image cannot be read: {0}")]
    Exported(#[from] io::Error),
}

/// Compares `exported` with what `recording` holds at its last complete epoch.
pub fn compare(recording: impl Read, exported: impl Read) -> Result<Finding, CompareError> {
    let mut recording = Recording::new(recording);
    let (description, mut image) = recording.first_copy()?;
    let mut epoch = RecordedEpoch::default();
    while recording.next_epoch_onto(&mut image, &mut epoch)? {}
    let mut expect = Expect { exported, piece: Vec::new(), same: 0, differs: false };
    match write_restore_file(&mut expect, &description, &image) {
        Ok(()) if expect.exported.read(&mut [0])? == 0 => Ok(Finding::Identical { bytes: expect.same }),
        Ok(()) => Ok(Finding::DiffersAt(expect.same)),
        Err(_) if expect.differs => Ok(Finding::DiffersAt(expect.same)),
        Err(error) => Err(error.into()),
    }
}

/// A writer that expects exactly the bytes of `exported`.
struct Expect<R> {
    exported: R,
    piece: Vec<u8>,
    same: u64,
    differs: bool,
}

impl<R: Read> Write for Expect<R> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.piece.clear();
        (&mut self.exported).take(bytes.len() as u64).read_to_end(&mut self.piece)?;
        if self.piece == bytes {
            self.same += bytes.len() as u64;
            return Ok(bytes.len());
        }
        self.same += self.piece.iter().zip(bytes).take_while(|(one, other)| one == other).count() as u64;
        self.differs = true;
        Err(io::Error::other("the files differ"))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recording() -> Vec<u8> {
        use understudy_checkpoint::domain::{Description, DomainState, GuestKind, Sink};
        use understudy_checkpoint::epoch::Image;
        use understudy_checkpoint::{PAGE_SIZE, PageEntry, PageType, Pfn};
        let mut image = Image::new(1);
        image.apply_page(PageEntry::new(Pfn(0), PageType::Normal), Some(&[7; PAGE_SIZE]));
        image.apply_state(&DomainState::default());
        let what = Description {
            kind: GuestKind::Pvh,
            page_count: 1,
            libxc_version: 2,
            xen_version: (4, 17),
            config: Vec::new(),
            static_records: Vec::new(),
            disks_bytes: Vec::new(),
        };
        let mut file = Vec::new();
        write_restore_file(&mut file, &what, &image).unwrap();
        file
    }

    #[test]
    fn only_the_same_bytes_are_identical() {
        let file = recording();
        let bytes = file.len() as u64;
        assert_eq!(compare(&file[..], &file[..]).unwrap(), Finding::Identical { bytes });
        let mut other = file.clone();
        other[1000] ^= 1;
        assert_eq!(compare(&file[..], &other[..]).unwrap(), Finding::DiffersAt(1000));
        assert_eq!(compare(&file[..], &file[..50]).unwrap(), Finding::DiffersAt(50));
        let longer = [&file[..], &[0]].concat();
        assert_eq!(compare(&file[..], &longer[..]).unwrap(), Finding::DiffersAt(bytes));
    }
}
