//! A conversion between two open files, pipes or sockets. Pages pass through the kernel alone where it can do that: from a
//! file into a pipe without a copy, from a file into a file with one.

#![allow(unsafe_code)]

use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, RawFd};
use std::os::unix::fs::FileTypeExt;
use understudy_checkpoint::legacy::{Channel, Side};
use understudy_checkpoint::read_through_signals;

/// A pipe takes this much where the system allows; the default is 64 KiB, a system call for each 16 pages.
const PIPE_BYTES: i32 = 1 << 20;

/// Moved at once; a pipe takes less.
const SPLICE_BYTES_MAX: u64 = 1 << 30;

/// Takes over a descriptor that the parent process opened for this one and named on its command line.
pub(super) fn inherited(fd: RawFd) -> File {
    // SAFETY: the parent opened the descriptor for this process and named it on the command line; nothing else here owns
    // it. If it is not open, reads and writes fail.
    unsafe { File::from_raw_fd(fd) }
}

/// Whether an input can be read on without waiting for anybody: it is a file, or a volume.
pub fn may_look_on(input: &File) -> bool {
    input.metadata().is_ok_and(|found| found.is_file() || found.file_type().is_block_device())
}

/// An input and an output.
#[derive(Debug)]
pub struct Descriptors<'a> {
    input: &'a File,
    output: &'a File,
    /// The input is a file and the output a pipe: the pipe takes the file's own pages.
    splices: bool,
}

impl<'a> Descriptors<'a> {
    /// A channel from `input` to `output`, at their positions.
    pub fn new(input: &'a File, output: &'a File) -> Self {
        for end in [input, output] {
            // A small pipe works as well.
            let _ = fcntl(end, FcntlArg::F_SETPIPE_SZ(PIPE_BYTES));
        }
        let is = |end: &File, kind: fn(&std::fs::FileType) -> bool| {
            end.metadata().is_ok_and(|found| kind(&found.file_type()))
        };
        let splices = is(input, std::fs::FileType::is_file) && is(output, FileTypeExt::is_fifo);
        Self { input, output, splices }
    }

    /// Has the pipe take pages of the file. The standard library does not, as the file may change before they are read;
    /// a guest that somebody overwrites while it is restored is lost anyway.
    fn splice(&self, bytes: u64) -> io::Result<u64> {
        let (from, to) = (self.input.as_raw_fd(), self.output.as_raw_fd());
        let (nowhere, flags) = (std::ptr::null_mut(), libc::SPLICE_F_MOVE | libc::SPLICE_F_MORE);
        // SAFETY: both descriptors are open as long as their files are borrowed, and no memory is passed.
        let moved =
            unsafe { libc::splice(from, nowhere, to, nowhere, bytes.min(SPLICE_BYTES_MAX) as usize, flags) };
        u64::try_from(moved).map_err(|_| io::Error::last_os_error())
    }
}

impl Channel for Descriptors<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        read_through_signals(&mut self.input, buffer)
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.output.write_all(bytes)
    }

    fn pass(&mut self, bytes: u64) -> Result<u64, Side> {
        while self.splices {
            match self.splice(bytes) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // Not between these two.
                Err(error) if error.kind() == io::ErrorKind::InvalidInput => self.splices = false,
                Err(error) => return Err(side(error)),
                Ok(moved) => return Ok(moved),
            }
        }
        // The standard library knows what the kernel can do between which descriptors.
        io::copy(&mut self.input.take(bytes), &mut self.output).map_err(side)
    }
}

/// Which of the two it was that failed.
fn side(error: io::Error) -> Side {
    match error.kind() {
        io::ErrorKind::BrokenPipe
        | io::ErrorKind::StorageFull
        | io::ErrorKind::QuotaExceeded
        | io::ErrorKind::FileTooLarge => Side::Write(error),
        _ => Side::Read(error),
    }
}
