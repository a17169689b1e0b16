//! A file or a block device as storage, past the page cache.
//!
//! `O_DIRECT`, because of errors: a page cache that could not write says so once, to whoever happens to ask, and then
//! reads back as if it had. Past it, an error meets the write that it belongs to. The memory of a direct access must be
//! aligned; callers' is not, so bytes go through a buffer that is. Not every file system takes direct accesses:
//! [`Caching::PageCache`] is for those, by name, never by itself.
//!
//! A file is made whole or not at all: written with zeros under another name (so that later writes change no metadata),
//! flushed, renamed, and its directory flushed.
//!
//! Not here: locks between hosts. One file is open in one process of this host at a time.

use super::{Action, Storage, StorageError};
use crate::words::{BLOCK_BYTES, SECTOR_BYTES};
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Seek, SeekFrom};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use thiserror::Error;

/// What goes through the buffer at once.
const BUFFER_BYTES: usize = 1 << 20;

/// Whether the kernel keeps pages of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Caching {
    /// `O_DIRECT`.
    Direct,
    /// For file systems without it, and for tests.
    PageCache,
}

impl Caching {
    fn flags(self) -> i32 {
        match self {
            Self::Direct => (nix::fcntl::OFlag::O_DIRECT | nix::fcntl::OFlag::O_CLOEXEC).bits(),
            Self::PageCache => nix::fcntl::OFlag::O_CLOEXEC.bits(),
        }
    }
}

/// A file could not be opened or made.
#[derive(Debug, Error)]
pub enum OpenError {
    /// The system said no.
    #[error("{path} cannot be {wish}")]
    System {
        /// The file.
        path: PathBuf,
        /// What was tried.
        wish: &'static str,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// Another process has it, or this one already.
    #[error("{0} is in use by another process; one engine at a time may have it")]
    InUse(PathBuf),
    /// No file of ours.
    #[error("{path} has {bytes} bytes, which are no whole sectors; it is no disk and no file of ours")]
    Length {
        /// The file.
        path: PathBuf,
        /// Its length.
        bytes: u64,
    },
}

/// An open file or block device.
#[derive(Debug)]
pub struct FileStorage {
    file: File,
    size_bytes: u64,
    buffer: Aligned,
}

impl FileStorage {
    /// Opens what is there, for reading and writing.
    pub fn open(path: &Path, caching: Caching) -> Result<Self, OpenError> {
        let failed = |source| OpenError::System { path: path.to_owned(), wish: "opened", source };
        let file = OpenOptions::new().read(true).write(true).custom_flags(caching.flags()).open(path);
        Self::locked(file.map_err(failed)?, path, File::try_lock)
    }

    /// Opens what is there to read it. Nobody can open it for writing meanwhile, and all writes to it fail.
    pub fn open_to_read(path: &Path, caching: Caching) -> Result<Self, OpenError> {
        let failed = |source| OpenError::System { path: path.to_owned(), wish: "opened", source };
        let file = OpenOptions::new().read(true).custom_flags(caching.flags()).open(path);
        Self::locked(file.map_err(failed)?, path, File::try_lock_shared)
    }

    /// Makes a file of zeros; `path` must not be there. After an error it is not, unless the very last step failed, the
    /// flush of its directory.
    pub fn create(path: &Path, size_bytes: u64, caching: Caching) -> Result<Self, OpenError> {
        if !size_bytes.is_multiple_of(SECTOR_BYTES) {
            return Err(OpenError::Length { path: path.to_owned(), bytes: size_bytes });
        }
        let failed = |source| OpenError::System { path: path.to_owned(), wish: "made", source };
        // A link that leads nowhere is there as well.
        match path.symlink_metadata() {
            Ok(_) => return Err(failed(io::ErrorKind::AlreadyExists.into())),
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
            Err(_) => {}
        }
        let mut unfinished = path.as_os_str().to_owned();
        unfinished.push(".unfinished");
        let unfinished = PathBuf::from(unfinished);
        // Left by a creation that was cut short, or somebody's link.
        match std::fs::remove_file(&unfinished) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
            _ => {}
        }
        let made =
            Self::fill(&unfinished, size_bytes, caching).and_then(|()| std::fs::rename(&unfinished, path));
        if let Err(source) = made {
            // What is left of it has no meaning to anybody, and the error that matters is the first one.
            let _ = std::fs::remove_file(&unfinished);
            return Err(failed(source));
        }
        let directory =
            path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(directory).and_then(|directory| directory.sync_all()).map_err(failed)?;
        Self::open(path, caching)
    }

    fn fill(path: &Path, size_bytes: u64, caching: Caching) -> io::Result<()> {
        let mut options = OpenOptions::new();
        let file = options.write(true).create_new(true).mode(0o600).custom_flags(caching.flags());
        let file = file.open(path)?;
        let mut zeros = Aligned::new();
        let zeros = zeros.bytes();
        let mut offset = 0;
        while offset < size_bytes {
            let bytes = (size_bytes - offset).min(zeros.len() as u64);
            file.write_all_at(&zeros[..bytes as usize], offset)?;
            offset += bytes;
        }
        file.sync_all()
    }

    fn locked(
        mut file: File,
        path: &Path,
        lock: impl FnOnce(&File) -> Result<(), TryLockError>,
    ) -> Result<Self, OpenError> {
        let failed = |source| OpenError::System { path: path.to_owned(), wish: "opened", source };
        match lock(&file) {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(OpenError::InUse(path.to_owned())),
            Err(TryLockError::Error(source)) => return Err(failed(source)),
        }
        // The end, since a block device's metadata say 0.
        let size_bytes = file.seek(SeekFrom::End(0)).map_err(failed)?;
        if size_bytes == 0 || !size_bytes.is_multiple_of(SECTOR_BYTES) {
            return Err(OpenError::Length { path: path.to_owned(), bytes: size_bytes });
        }
        Ok(Self { file, size_bytes, buffer: Aligned::new() })
    }
}

impl Storage for FileStorage {
    fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    fn read_at(&mut self, offset: u64, into: &mut [u8]) -> Result<(), StorageError> {
        let mut at = offset;
        for piece in into.chunks_mut(BUFFER_BYTES) {
            let buffer = &mut self.buffer.bytes()[..piece.len()];
            self.file
                .read_exact_at(buffer, at)
                .map_err(|source| StorageError::from_io(Action::Read, at, piece.len(), source))?;
            piece.copy_from_slice(buffer);
            at += piece.len() as u64;
        }
        Ok(())
    }

    fn write_at(&mut self, offset: u64, from: &[u8]) -> Result<(), StorageError> {
        let mut at = offset;
        for piece in from.chunks(BUFFER_BYTES) {
            let buffer = &mut self.buffer.bytes()[..piece.len()];
            buffer.copy_from_slice(piece);
            self.file
                .write_all_at(buffer, at)
                .map_err(|source| StorageError::from_io(Action::Write, at, piece.len(), source))?;
            at += piece.len() as u64;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), StorageError> {
        self.file.sync_data().map_err(|source| StorageError::from_io(Action::Flush, 0, 0, source))
    }
}

/// Memory that begins where a direct access may.
#[derive(Debug)]
struct Aligned {
    memory: Box<[u8]>,
    begin: usize,
}

impl Aligned {
    fn new() -> Self {
        let memory = vec![0; BUFFER_BYTES + BLOCK_BYTES].into_boxed_slice();
        let begin = memory.as_ptr().align_offset(BLOCK_BYTES);
        assert!(begin < BLOCK_BYTES, "bytes can be aligned to a block");
        Self { memory, begin }
    }

    fn bytes(&mut self) -> &mut [u8] {
        &mut self.memory[self.begin..][..BUFFER_BYTES]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    /// Both ways, in a directory each. Where direct accesses are not taken, the error is the kernel's for that.
    fn each_caching(test: impl Fn(&Path, Caching)) {
        for caching in [Caching::Direct, Caching::PageCache] {
            let directory = tempfile::tempdir().unwrap();
            match FileStorage::create(&directory.path().join("probe"), 4096, caching) {
                Ok(_) => test(directory.path(), caching),
                Err(OpenError::System { source, .. }) => {
                    assert_eq!((source.kind(), caching), (io::ErrorKind::InvalidInput, Caching::Direct));
                }
                Err(error) => panic!("{error}"),
            }
        }
    }

    #[test]
    fn a_disk_is_made_through_no_link() {
        let directory = tempfile::tempdir().unwrap();
        let (path, theirs) = (directory.path().join("disk"), directory.path().join("theirs"));
        std::fs::write(&theirs, "theirs").unwrap();
        symlink(directory.path().join("nowhere"), &path).unwrap();
        FileStorage::create(&path, 4096, Caching::PageCache).unwrap_err();
        std::fs::remove_file(&path).unwrap();
        symlink(&theirs, directory.path().join("disk.unfinished")).unwrap();
        FileStorage::create(&path, 4096, Caching::PageCache).unwrap();
        assert_eq!(std::fs::read(&theirs).unwrap(), b"theirs");
        assert!(path.symlink_metadata().unwrap().is_file());
    }

    #[test]
    fn what_is_written_and_flushed_is_there_when_it_is_opened_again() {
        each_caching(|directory, caching| {
            let path = directory.join("disk");
            let size_bytes = 2 * BUFFER_BYTES as u64 + 8192;
            let mut storage = FileStorage::create(&path, size_bytes, caching).unwrap();
            // Neither length nor memory is what a direct access wants.
            let odd: Vec<u8> = (0..=BUFFER_BYTES + 4096).map(|n| (n / 7) as u8).collect();
            storage.write_at(4096, &odd[1..]).unwrap();
            storage.flush().unwrap();
            drop(storage);
            let mut storage = FileStorage::open(&path, caching).unwrap();
            assert_eq!(storage.size_bytes(), size_bytes);
            let mut back = vec![0; odd.len() + 1];
            storage.read_at(4096, &mut back[2..]).unwrap();
            assert!(back[2..] == odd[1..]);
            let mut before = [1; 4096];
            storage.read_at(0, &mut before).unwrap();
            assert_eq!(before, [0; 4096]);
        });
    }

    #[test]
    fn one_process_at_a_time_has_a_file() {
        each_caching(|directory, caching| {
            let path = directory.join("disk");
            let first = FileStorage::create(&path, 4096, caching).unwrap();
            assert!(matches!(FileStorage::open(&path, caching), Err(OpenError::InUse(_))));
            drop(first);
            FileStorage::open(&path, caching).unwrap();
        });
    }

    #[test]
    fn readers_share_a_file_and_write_nothing() {
        each_caching(|directory, caching| {
            let path = directory.join("disk");
            drop(FileStorage::create(&path, 4096, caching).unwrap());
            let mut readers = [(); 2].map(|()| FileStorage::open_to_read(&path, caching).unwrap());
            assert!(matches!(FileStorage::open(&path, caching), Err(OpenError::InUse(_))));
            readers[0].write_at(0, &[1; 4096]).unwrap_err();
            let mut content = [9; 4096];
            readers[1].read_at(0, &mut content).unwrap();
            assert_eq!(content, [0; 4096]);
            drop(readers);
            let _writer = FileStorage::open(&path, caching).unwrap();
            assert!(matches!(FileStorage::open_to_read(&path, caching), Err(OpenError::InUse(_))));
        });
    }

    #[test]
    fn what_is_there_is_not_made_again_and_what_is_no_disk_is_refused() {
        each_caching(|directory, caching| {
            let path = directory.join("disk");
            std::fs::write(&path, b"somebody's").unwrap();
            assert!(matches!(FileStorage::create(&path, 4096, caching), Err(OpenError::System { .. })));
            assert!(matches!(FileStorage::open(&path, caching), Err(OpenError::Length { bytes: 10, .. })));
            assert_eq!(std::fs::read(&path).unwrap(), b"somebody's");
            assert_eq!(std::fs::read_dir(directory).unwrap().count(), 2, "the probe and what was there");
        });
    }

    #[test]
    fn a_full_device_and_one_that_fails_are_told_apart() {
        let write_to_full = || {
            let file = OpenOptions::new().read(true).write(true).open("/dev/full").unwrap();
            FileStorage { file, size_bytes: 4096, buffer: Aligned::new() }.write_at(0, &[1; 512])
        };
        assert!(matches!(write_to_full(), Err(StorageError::Full { .. })));
        // No descriptor that is only read from takes a write.
        let file = File::open("/dev/zero").unwrap();
        let mut storage = FileStorage { file, size_bytes: 4096, buffer: Aligned::new() };
        assert!(matches!(
            storage.write_at(0, &[1; 512]),
            Err(StorageError::Device { action: Action::Write, .. })
        ));
        assert!(
            matches!(storage.flush(), Err(StorageError::Device { action: Action::Flush, .. })),
            "zero has no flush"
        );
    }
}
