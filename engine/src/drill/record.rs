//! What a drill leaves for Prometheus: when it was and whether every check held, as a file for node_exporter's textfile
//! collector. A drill is over when it is asked about, so nothing of it could be scraped.
//!
//! Not here: the report for people and programs ([`report`](super::report)).

use crate::output_file::{Allow, OutputError, write_file_to};
use std::fmt::Write as _;
use std::fs::Permissions;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

/// Writes the file. Whoever reads it at the same time sees the old one or the new one. The collector is another user, and nothing
/// in it is secret.
pub fn write(path: &Path, held: bool, rounds: usize) -> Result<(), OutputError> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    write_file_to(path, Allow::Files, |mut file| {
        file.set_permissions(Permissions::from_mode(0o644))?;
        file.write_all(text(now, held, rounds).as_bytes())
    })
}

/// The file: a drill that ended at `now`, in seconds since 1970.
pub fn text(now: u64, held: bool, rounds: usize) -> String {
    let mut text = String::new();
    for (name, help, value) in [
        ("last_drill_timestamp_seconds", "When the last drill ended.", now),
        ("last_drill_held", "Whether every check of the last drill held.", held.into()),
        ("last_drill_rounds", "Failures that the last drill rehearsed.", rounds as u64),
    ] {
        let name = format!("understudy_{name}");
        let _ = write!(text, "# HELP {name} {help}\n# TYPE {name} gauge\n{name} {value}\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn the_file_is_in_the_text_format_and_replaces_the_last_one() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("understudy_drill.prom");
        write(&path, true, 3).unwrap();
        write(&path, false, 6).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        assert!(
            text.contains("# TYPE understudy_last_drill_held gauge\nunderstudy_last_drill_held 0\n"),
            "{text}"
        );
        assert!(text.ends_with("understudy_last_drill_rounds 6\n"), "{text}");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1, "nothing is left beside it");
        assert!(write(&directory.path().join("none").join("x.prom"), true, 1).is_err());
    }
}
