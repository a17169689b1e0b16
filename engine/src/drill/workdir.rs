//! The directory of a drill or a replay: sockets, the witness's records, logs. It is deleted with its process unless it
//! is to be kept; if the process was killed, the next one deletes it.
//!
//! ```text
//!   /tmp/understudy-drill-PID/in-use      PID is dead: removed with all of it by the next one of this user
//!   /tmp/understudy-drill-PID             without that file: to be kept
//! ```

use crate::config::human::show_bytes;
use nix::sys::statvfs::{Statvfs, statvfs};
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

/// `/tmp` and not `$TMPDIR`: paths of sockets are short.
const PARENT: &str = "/tmp";

/// Logs, sockets and records of a short drill.
const ROOM_BYTES_MIN: u64 = 1 << 20;

/// The file that distinguishes a leftover directory from one that is kept.
const IN_USE: &str = "in-use";

/// The directory.
#[derive(Debug)]
pub struct Workdir {
    path: PathBuf,
    kept: bool,
}

impl Workdir {
    /// Creates it for this user alone, and deletes those of dead processes. `what` is `drill` or `replay`.
    pub fn create(what: &str) -> io::Result<Self> {
        let prefix = format!("understudy-{what}-");
        sweep(Path::new(PARENT), &prefix);
        let path = Path::new(PARENT).join(format!("{prefix}{}", std::process::id()));
        DirBuilder::new().mode(0o700).create(&path)?;
        let this = Self { path, kept: false };
        check_room(statvfs(&this.path)?)?;
        fs::write(this.path.join(IN_USE), "")?;
        Ok(this)
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Keeps it after the drill.
    pub fn keep(&mut self) {
        self.kept = true;
        // If it stays, the next drill takes the logs away.
        let _ = fs::remove_file(self.path.join(IN_USE));
    }

    /// Whether it stays.
    pub fn is_kept(&self) -> bool {
        self.kept
    }
}

impl Drop for Workdir {
    fn drop(&mut self) {
        if !self.kept {
            // Nothing depends on it; what cannot be removed is in /tmp.
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}

/// Fails if there is little room: the witness could record nothing, and everything would wait for it.
fn check_room(found: Statvfs) -> io::Result<()> {
    let free_bytes = found.blocks_available() * found.fragment_size();
    if free_bytes >= ROOM_BYTES_MIN {
        return Ok(());
    }
    let why =
        format!("{} is free there, and {} are needed", show_bytes(free_bytes), show_bytes(ROOM_BYTES_MIN));
    Err(io::Error::new(io::ErrorKind::StorageFull, why))
}

/// Deletes what killed processes left. Nothing depends on it, so errors are ignored.
fn sweep(parent: &Path, prefix: &str) {
    let user = nix::unistd::geteuid().as_raw();
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let number = name.to_str().and_then(|name| name.strip_prefix(prefix)?.parse::<u32>().ok());
        let Some(number) = number else { continue };
        let is_ours = fs::symlink_metadata(entry.path()).is_ok_and(|it| it.is_dir() && it.uid() == user);
        let is_left = !Path::new("/proc").join(number.to_string()).exists();
        if is_ours && is_left && entry.path().join(IN_USE).exists() {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_killed_process_left_is_swept_and_nothing_else() {
        let parent = tempfile::tempdir().unwrap();
        let make = |name: &str, in_use: bool| {
            let path = parent.path().join(name);
            fs::create_dir(&path).unwrap();
            if in_use {
                fs::write(path.join(IN_USE), "").unwrap();
            }
        };
        // Linux counts processes to 2^22.
        make("understudy-drill-99999999", true);
        make("understudy-drill-99999998", false);
        make(&format!("understudy-drill-{}", std::process::id()), true);
        make("understudy-drill-notes", true);
        std::os::unix::fs::symlink(parent.path(), parent.path().join("understudy-drill-99999997")).unwrap();
        sweep(parent.path(), "understudy-drill-");
        let mut left: Vec<_> = fs::read_dir(parent.path())
            .unwrap()
            .map(|it| it.unwrap().file_name().into_string().unwrap())
            .collect();
        left.sort();
        let mine = format!("understudy-drill-{}", std::process::id());
        let mut expected =
            vec!["understudy-drill-99999997", "understudy-drill-99999998", &mine, "understudy-drill-notes"];
        expected.sort_unstable();
        assert_eq!(left, expected);
    }
}
