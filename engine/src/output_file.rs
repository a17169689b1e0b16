//! Writes a result to a file that takes its name only when it is complete, or to whatever else the operator names.
//!
//! ```text
//!   nothing there, a plain file    .NAME.PID.new, 0600 ─► write ─► fsync ─► rename ─► fsync of the directory
//!   pipe, fifo, device             written as it is; flushed where there is something to flush
//!   -, /dev/stdout, /dev/fd/N      the descriptor that is open already
//!   link, directory, socket        refused
//! ```
//!
//! An existing file survives until the new one is complete: it is not lost to a full disk, a crash or a damaged input.
//! Files contain guests' memory, so only their owner may read them.
//!
//! Not here: output for people (`console`), and the witness's records (`witness/store.rs`), which are written in the
//! same way into a directory of the witness's own.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Why a result cannot be written there.
#[derive(thiserror::Error, Debug)]
pub enum OutputError {
    /// The path is a link: its target may not be ours to replace.
    #[error("{0} is a symbolic link; name the file itself")]
    Link(PathBuf),
    /// The path is a directory.
    #[error("{0} is a directory; name a file in it")]
    Directory(PathBuf),
    /// The path is a socket.
    #[error("{0} is a socket; name a file")]
    Socket(PathBuf),
    /// The path is not a file, and only a file will do.
    #[error("{0} is a pipe or a device, which this process may not wait for; name a file")]
    NotAFile(PathBuf),
    /// There is no such directory.
    #[error("{0} cannot be made: its directory does not exist")]
    NoDirectory(PathBuf),
    /// The system refused. An existing file is unchanged.
    #[error("{path} cannot be written: {attempt}: {source}")]
    Io { path: PathBuf, attempt: &'static str, source: io::Error },
}

impl OutputError {
    /// Whether another path would do.
    pub fn is_usage(&self) -> bool {
        !matches!(self, Self::Io { .. })
    }
}

fn failed(path: &Path, attempt: &'static str) -> impl FnOnce(io::Error) -> OutputError {
    let path = path.to_owned();
    move |source| OutputError::Io { path, attempt, source }
}

/// What an output may be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Allow {
    /// Whatever the operator names; a pipe is waited for.
    Anything,
    /// Only a file, because the process must not wait.
    Files,
}

/// Writes the output at `path` with `write`: completely, or an existing file is unchanged.
pub fn write_to(
    path: &Path,
    allow: Allow,
    write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> Result<(), OutputError> {
    write_file_to(path, allow, |file| {
        let mut buffered = BufWriter::with_capacity(1 << 20, file);
        write(&mut buffered)?;
        buffered.flush()
    })
}

/// As [`write_to`], for a `write` that uses the open file itself.
pub fn write_file_to(
    path: &Path,
    allow: Allow,
    write: impl FnOnce(&File) -> io::Result<()>,
) -> Result<(), OutputError> {
    match Place::of(path)? {
        Place::File => write_beside(path, write),
        _ if allow == Allow::Files => Err(OutputError::NotAFile(path.to_owned())),
        Place::Open(descriptor) => {
            let file = descriptor.and_then(|fd| fd.try_clone()).map_err(failed(path, "open"))?;
            write_through(path, file, write)
        }
        Place::Other => {
            let file = File::options().write(true).open(path).map_err(failed(path, "open"))?;
            write_through(path, file, write)
        }
    }
}

enum Place {
    /// A plain file, or nothing yet.
    File,
    /// A descriptor of this process.
    Open(io::Result<File>),
    /// A pipe or a device.
    Other,
}

impl Place {
    fn of(path: &Path) -> Result<Self, OutputError> {
        if let Some(open) = open_descriptor(path) {
            return Ok(Self::Open(open));
        }
        let kind = match fs::symlink_metadata(path) {
            Ok(found) => found.file_type(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::File),
            Err(error) => return Err(failed(path, "look")(error)),
        };
        let kind = match kind.is_symlink() {
            // Names of volumes are links to devices.
            true => match fs::metadata(path) {
                Ok(target) if !target.is_file() => target.file_type(),
                _ => return Err(OutputError::Link(path.to_owned())),
            },
            false => kind,
        };
        match kind {
            kind if kind.is_file() => Ok(Self::File),
            kind if kind.is_dir() => Err(OutputError::Directory(path.to_owned())),
            kind if kind.is_socket() => Err(OutputError::Socket(path.to_owned())),
            _ => Ok(Self::Other),
        }
    }
}

/// The descriptor of this process that a path means. Opening the path would truncate a file that is open and
/// half-written.
fn open_descriptor(path: &Path) -> Option<io::Result<File>> {
    let text = path.to_str()?;
    let number = match text {
        "-" | "/dev/stdout" => 1,
        "/dev/stderr" => 2,
        _ => ["/dev/fd/", "/proc/self/fd/"]
            .iter()
            .find_map(|folder| text.strip_prefix(folder))
            .and_then(|number| number.parse::<u32>().ok())?,
    };
    Some(match number {
        1 => io::stdout().as_fd().try_clone_to_owned().map(File::from),
        2 => io::stderr().as_fd().try_clone_to_owned().map(File::from),
        // A descriptor that only its number tells of; what was written to it stays.
        _ => File::options().append(true).open(path),
    })
}

fn write_beside(path: &Path, write: impl FnOnce(&File) -> io::Result<()>) -> Result<(), OutputError> {
    let name = path.file_name().ok_or_else(|| OutputError::Directory(path.to_owned()))?;
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let parent = parent.unwrap_or(Path::new("."));
    let mut beside = OsString::from(".");
    beside.push(name);
    beside.push(format!(".{}.new", std::process::id()));
    let half = Half(parent.join(beside));
    // Left by a process of the same number, which is dead.
    let _ = fs::remove_file(&half.0);
    let file = File::options().write(true).create_new(true).mode(0o600).open(&half.0);
    let file = file.map_err(|source| match source.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => OutputError::NoDirectory(path.to_owned()),
        _ => failed(path, "make a file beside it")(source),
    })?;
    write(&file).map_err(failed(path, "write"))?;
    file.sync_all().map_err(failed(path, "make it stable"))?;
    fs::rename(&half.0, path).map_err(failed(path, "give it its name"))?;
    half.stays();
    sync_directory(parent).map_err(failed(path, "make its name stable"))
}

/// Makes the names in a directory durable.
pub fn sync_directory(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

/// An incomplete file, deleted when dropped.
struct Half(PathBuf);

impl Half {
    fn stays(self) {
        std::mem::forget(self);
    }
}

impl Drop for Half {
    fn drop(&mut self) {
        // What cannot be removed is small news beside the error that led here.
        let _ = fs::remove_file(&self.0);
    }
}

fn write_through(
    path: &Path,
    file: File,
    write: impl FnOnce(&File) -> io::Result<()>,
) -> Result<(), OutputError> {
    write(&file).map_err(failed(path, "write"))?;
    match file.sync_all() {
        // A pipe, a terminal, /dev/null: there is nothing to make stable.
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(()),
        result => result.map_err(failed(path, "make it stable")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::os::unix::net::UnixListener;

    fn put(path: &Path, text: &str) -> Result<(), OutputError> {
        write_to(path, Allow::Anything, |out| out.write_all(text.as_bytes()))
    }

    fn names(directory: &Path) -> Vec<String> {
        let entries = fs::read_dir(directory).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    #[test]
    fn a_file_is_whole_and_its_owners_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("g1.save");
        fs::write(&path, "old").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        put(&path, "new").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "new");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(names(directory.path()), ["g1.save"]);
    }

    #[test]
    fn what_fails_half_way_leaves_what_was_there() {
        let directory = tempfile::tempdir().unwrap();
        for there_before in [true, false] {
            let path = directory.path().join("g1.save");
            let _ = fs::remove_file(&path);
            if there_before {
                fs::write(&path, "old").unwrap();
            }
            let error = write_to(&path, Allow::Files, |out| {
                out.write_all(&[0; 3 << 20])?;
                Err(io::ErrorKind::StorageFull.into())
            });
            assert!(!error.unwrap_err().is_usage());
            assert_eq!(fs::read_to_string(&path).ok().as_deref(), there_before.then_some("old"));
            assert_eq!(names(directory.path()).len(), usize::from(there_before));
        }
    }

    #[test]
    fn what_is_not_ours_is_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let theirs = directory.path().join("theirs");
        fs::write(&theirs, "theirs").unwrap();
        let link = directory.path().join("link");
        symlink(&theirs, &link).unwrap();
        let nowhere = directory.path().join("nowhere");
        symlink(directory.path().join("not-there"), &nowhere).unwrap();
        let socket = directory.path().join("socket");
        let _listener = UnixListener::bind(&socket).unwrap();
        for path in [&link, &nowhere, &socket, &directory.path().to_owned()] {
            let error = put(path, "ours").unwrap_err();
            assert!(error.is_usage(), "{error}");
        }
        assert!(put(&directory.path().join("no/such"), "ours").unwrap_err().is_usage());
        assert_eq!(fs::read_to_string(&theirs).unwrap(), "theirs");
        assert!(!directory.path().join("not-there").exists());
    }

    #[test]
    fn pipes_and_devices_are_outputs_and_not_for_a_process_that_may_not_wait() {
        let directory = tempfile::tempdir().unwrap();
        let fifo = directory.path().join("fifo");
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let reading = std::thread::spawn({
            let fifo = fifo.clone();
            move || fs::read_to_string(fifo)
        });
        put(&fifo, "through").unwrap();
        assert_eq!(reading.join().unwrap().unwrap(), "through");
        assert!(fs::symlink_metadata(&fifo).unwrap().file_type().is_fifo(), "it is still there");
        put(Path::new("/dev/null"), "gone").unwrap();
        assert!(matches!(put(Path::new("/dev/full"), "x"), Err(OutputError::Io { .. })));
        for path in [fifo.as_path(), Path::new("/dev/null"), Path::new("/dev/stdout")] {
            let error = write_to(path, Allow::Files, |_| Ok(())).unwrap_err();
            assert!(matches!(error, OutputError::NotAFile(_)), "{error}");
        }
    }

    #[test]
    fn an_open_descriptor_is_written_from_its_present_position() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        let mut open = File::options().create(true).append(true).read(true).open(&path).unwrap();
        open.write_all(b"before ").unwrap();
        let number = std::os::fd::AsRawFd::as_raw_fd(&open);
        put(Path::new(&format!("/dev/fd/{number}")), "after").unwrap();
        let mut text = String::new();
        File::open(&path).unwrap().read_to_string(&mut text).unwrap();
        assert_eq!(text, "before after");
    }
}
