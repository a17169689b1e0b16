//! The directory of a drill: sockets, the witness's records, logs. Gone with the drill unless it is to be kept.

use super::error::DrillError;
use std::fs;
use std::path::{Path, PathBuf};

/// The directory.
#[derive(Debug)]
pub struct Workdir {
    path: PathBuf,
    kept: bool,
}

impl Workdir {
    /// Creates it. `/tmp` and not `$TMPDIR`: paths of sockets are short.
    pub fn create() -> Result<Self, DrillError> {
        let path = PathBuf::from(format!("/tmp/understudy-drill-{}", std::process::id()));
        fs::create_dir(&path).map_err(DrillError::system(format!("create {}", path.display())))?;
        Ok(Self { path, kept: false })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// From here on it stays after the drill.
    pub fn keep(&mut self) {
        self.kept = true;
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
