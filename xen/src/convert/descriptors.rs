//! A conversion between two open files, pipes or sockets. Pages pass through the kernel alone where it can do that: from a
//! file into a pipe without a copy, from a file into a file with one.

#![allow(unsafe_code)]

use nix::fcntl::{FcntlArg, fcntl};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{FromRawFd, RawFd};
use std::os::unix::fs::FileTypeExt;
use understudy_checkpoint::legacy::{Channel, Side};

/// A pipe takes this much where the system allows; the default is 64 KiB, a system call for each 16 pages.
const PIPE_BYTES: i32 = 1 << 20;

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
}

impl<'a> Descriptors<'a> {
    /// A channel from `input` to `output`, at their positions.
    pub fn new(input: &'a File, output: &'a File) -> Self {
        for end in [input, output] {
            // A small pipe works as well.
            let _ = fcntl(end, FcntlArg::F_SETPIPE_SZ(PIPE_BYTES));
        }
        Self { input, output }
    }
}

impl Channel for Descriptors<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.input.read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                done => return done,
            }
        }
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.output.write_all(bytes)
    }

    fn pass(&mut self, bytes: u64) -> Result<u64, Side> {
        // The standard library knows what the kernel can do between which descriptors.
        io::copy(&mut self.input.take(bytes), &mut self.output).map_err(|error| match error.kind() {
            io::ErrorKind::BrokenPipe
            | io::ErrorKind::StorageFull
            | io::ErrorKind::QuotaExceeded
            | io::ErrorKind::FileTooLarge => Side::Write(error),
            _ => Side::Read(error),
        })
    }
}
