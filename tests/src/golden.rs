//! The recorded streams in `tests/golden`, decompressed by the `zstd` command.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Streams that are forward directions or saved files, by name without `.zst`.
pub const FORWARD: [&str; 4] = ["thvm.save", "tpv.remus-fwd", "tpvh.remus-fwd", "tpvh-4.20.remus-fwd"];

/// Checkpoints in each of the `remus-fwd` streams.
pub const CHECKPOINTS: u64 = 8;

/// Where a golden file lies.
pub fn path(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("golden").join(file)
}

/// The whole decompressed stream. Panics, saying what to install, if it cannot be decompressed.
pub fn stream(name: &str) -> Vec<u8> {
    decompressed(&path(&format!("{name}.zst")))
}

/// A decompressed file. Panics, saying what to install, if it cannot be decompressed.
pub fn decompressed(file: &Path) -> Vec<u8> {
    let run = Command::new("zstd").args(["-dc", "--long=27"]).arg(file).output();
    let output = run.expect("the tests need the zstd command: install Debian's zstd");
    assert!(output.status.success(), "{}: {}", file.display(), String::from_utf8_lossy(&output.stderr));
    output.stdout
}
