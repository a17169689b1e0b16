//! `stream` and `replay` as an operator meets them, on guests recorded on real Xen.

use serde_json::Value;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use tempfile::TempDir;

/// Checkpoints in the recordings.
const CHECKPOINTS: u64 = 8;

fn understudy(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_understudy")).args(args).output().unwrap()
}

fn said(output: &Output) -> String {
    [&output.stdout[..], &output.stderr].map(String::from_utf8_lossy).concat()
}

/// Runs to its end with this code; returns what it said.
fn ends(args: &[&str], code: i32) -> String {
    let output = understudy(args);
    assert_eq!(output.status.code(), Some(code), "{args:?} said {}", said(&output));
    said(&output)
}

fn json(args: &[&str]) -> Value {
    let output = understudy(&[args, &["--output", "json"]].concat());
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", said(&output)))
}

fn compressed(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../tests/golden/{name}.zst"))
}

/// A golden stream, decompressed into `directory`.
fn golden(directory: &TempDir, name: &str) -> String {
    let path = directory.path().join(name);
    let mut zstd = Command::new("zstd");
    zstd.args(["-dcq", "--long=27"]).arg(compressed(name)).stdout(File::create(&path).unwrap());
    assert!(zstd.status().expect("the tests need the zstd command: install Debian's zstd").success());
    path.to_str().unwrap().to_owned()
}

/// The first bytes of a file, in another.
fn cut(file: &str, bytes: u64) -> String {
    let short = format!("{file}.cut");
    fs::copy(file, &short).unwrap();
    File::options().write(true).open(&short).unwrap().set_len(bytes).unwrap();
    short
}

#[test]
fn a_recording_is_inspected_verified_and_cut_into_epochs() {
    let directory = tempfile::tempdir().unwrap();
    let recording = golden(&directory, "tpv.remus-fwd");
    let found = json(&["stream", "inspect", &recording]);
    assert_eq!(found["guest"], "pv");
    assert_eq!(found["name"], "tpv");
    assert_eq!(found["epoch_count"], CHECKPOINTS);
    assert_eq!(found["ending"], "checkpoint");
    assert_eq!(found["epochs"].as_array().unwrap().len() as u64, CHECKPOINTS);
    assert_eq!(json(&["stream", "verify", &recording])["ok"], true);

    let out = directory.path().join("epoch.save");
    let out = out.to_str().unwrap();
    ends(&["stream", "materialize", &recording, "--epoch", "7", "-o", out], 0);
    assert!(ends(&["stream", "verify", out], 0).contains("sound"));
    let found = json(&["stream", "inspect", out]);
    assert_eq!((&found["ending"], &found["epoch_count"]), (&Value::from("plain"), &Value::from(1)));
    assert!(ends(&["stream", "inspect", out], 0).contains("X86_PV_P2M_FRAMES"));
}

#[test]
fn an_epoch_that_is_not_complete_is_not_materialized() {
    let directory = tempfile::tempdir().unwrap();
    let recording = golden(&directory, "tpvh.remus-fwd");
    let short = cut(&recording, fs::metadata(&recording).unwrap().len() - 1);
    let out = directory.path().join("epoch.save");
    fs::write(&out, "as it was").unwrap();
    let args = ["stream", "materialize", &short, "--epoch", "7", "-o", out.to_str().unwrap()];
    assert!(ends(&args, 4).contains("complete epochs 0 to 6"));
    assert_eq!(fs::read(&out).unwrap(), b"as it was", "nothing is written for an epoch that is not there");
}

#[test]
fn dashes_are_standard_input_and_output() {
    let directory = tempfile::tempdir().unwrap();
    let saved = golden(&directory, "thvm.save");
    let piped = |args: &[&str], input: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_understudy"));
        command.args(args).stdin(File::open(input).unwrap()).stdout(Stdio::piped()).output().unwrap()
    };
    assert!(piped(&["stream", "verify", "-"], &saved).status.success());
    let output = piped(&["stream", "materialize", "-", "--epoch", "0", "-o", "-"], &saved);
    assert!(output.status.success());
    let out = directory.path().join("again.save");
    fs::write(&out, &output.stdout).unwrap();
    ends(&["stream", "verify", out.to_str().unwrap()], 0);
}

#[test]
fn what_is_wrong_is_named_with_its_rule_and_its_place() {
    let directory = tempfile::tempdir().unwrap();
    let recording = golden(&directory, "tpvh.remus-fwd");
    let short = cut(&recording, 50_000_000);
    assert!(ends(&["stream", "verify", &short], 3).contains("[truncated]"));
    assert!(ends(&["stream", "inspect", &short], 4).contains("[truncated]"));
    ends(&["stream", "materialize", &short, "--epoch", "0", "-o", "/nowhere/x"], 4);

    let mut damaged = fs::read(&short).unwrap();
    damaged[1145 + 8 + 40] ^= 1; // the type of the first libxc record
    fs::write(&short, damaged).unwrap();
    let verdict = json(&["stream", "verify", &short]);
    assert_eq!(verdict["ok"], false);
    assert_eq!(verdict["faults"][0]["rule"], "body-length");
    assert_eq!(verdict["faults"][0]["offset"], 1193);

    let file = compressed("thvm.save");
    assert!(ends(&["stream", "verify", file.to_str().unwrap()], 4).contains("zstd -dc --long=27"));
    assert!(ends(&["stream", "inspect", "/nowhere/at.all"], 4).contains("/nowhere/at.all cannot be read"));
    ends(&["stream", "verify", env!("CARGO_BIN_EXE_understudy")], 4);
}

#[test]
fn a_recorded_guest_goes_through_the_engine_and_its_image_is_the_same() {
    let directory = tempfile::tempdir().unwrap();
    let recording = golden(&directory, "tpv.remus-fwd");
    let replayed = understudy(&["replay", &recording, "--output", "json"]);
    assert_eq!(String::from_utf8_lossy(&replayed.stderr), "", "nothing is worth a warning");
    let report: Value = serde_json::from_slice(&replayed.stdout).unwrap();
    assert_eq!(report["identical"], true, "{report:#}");
    assert_eq!(report["epochs"], CHECKPOINTS);
    assert_eq!(report["first_copy"]["epochs"], 1);
    assert_eq!(report["checkpoints"]["epochs"], CHECKPOINTS - 1);
    let part = |name: &str, key: &str| report[name][key].as_u64().unwrap();
    for name in ["first_copy", "checkpoints"] {
        assert_eq!(part(name, "raw_bytes"), part(name, "pages") * 4096);
        assert!(
            (1..part(name, "raw_bytes")).contains(&part(name, "link_bytes")),
            "{name} is sent, and smaller"
        );
    }

    // What is not complete is not played; the image is then that of the epoch before.
    let short = cut(&recording, fs::metadata(&recording).unwrap().len() - 1);
    let report = json(&["replay", &short]);
    assert_eq!(
        (&report["identical"], &report["epochs"]),
        (&Value::from(true), &Value::from(CHECKPOINTS - 1))
    );
}

#[test]
fn what_cannot_be_played_is_refused() {
    let file = compressed("tpv.remus-fwd");
    assert!(ends(&["replay", file.to_str().unwrap()], 4).contains("zstd -dc --long=27"));
    assert!(ends(&["replay", "/nowhere/at.all"], 4).contains("/nowhere/at.all"));
    ends(&["replay", "/nowhere/at.all", "--to-node", "b"], 2);
}

/// A plain PVH stream of libxc v3 without anything but one page and this state; `state` is records.
fn plain(state: &[u8]) -> Vec<u8> {
    use understudy_checkpoint::domain::{Description, DomainState, GuestKind, Sink};
    use understudy_checkpoint::epoch::Image;
    use understudy_checkpoint::stream::write_restore_file;
    use understudy_checkpoint::{PAGE_SIZE, PageEntry, PageType, Pfn};
    let mut image = Image::new(2);
    image.apply_page(PageEntry::new(Pfn(1), PageType::Normal), Some(&[7; PAGE_SIZE]));
    image.apply_state(&DomainState { libxc: state.to_vec(), libxl: Vec::new() });
    let what = Description {
        kind: GuestKind::Pvh,
        page_count: 2,
        libxc_version: 2,
        xen_version: (4, 13),
        config: Vec::new(),
        static_records: Vec::new(),
        disks_bytes: Vec::new(),
    };
    let mut file = Vec::new();
    write_restore_file(&mut file, &what, &image).unwrap();
    file
}

#[test]
fn an_epoch_that_verify_refuses_is_not_materialized_unless_told_to() {
    let directory = tempfile::tempdir().unwrap();
    let thin = directory.path().join("thin.save");
    fs::write(&thin, plain(&[])).unwrap();
    let (thin, out) = (thin.to_str().unwrap(), directory.path().join("out.save"));
    let args = ["stream", "materialize", thin, "--epoch", "0", "-o", out.to_str().unwrap()];
    assert!(ends(&["stream", "verify", thin], 3).contains("[state-missing]"));
    assert!(ends(&args, 4).contains("[state-missing]"));
    assert!(!out.exists(), "nothing is written");
    ends(&[&args[..], &["--unsound"]].concat(), 3);
    assert_eq!(fs::read(&out).unwrap(), fs::read(thin).unwrap());
}

#[test]
fn a_materialized_file_is_its_owners_and_a_good_one_survives() {
    use std::os::unix::fs::PermissionsExt;
    let directory = tempfile::tempdir().unwrap();
    let recording = golden(&directory, "tpv.remus-fwd");
    let out = directory.path().join("out.save");
    let path = out.to_str().unwrap();
    let materialize = ["stream", "materialize", &recording, "--epoch", "1", "--out"];
    ends(&[&materialize[..], &[path]].concat(), 0);
    assert_eq!(fs::metadata(&out).unwrap().permissions().mode() & 0o777, 0o600);
    let whole = fs::read(&out).unwrap();
    ends(&["stream", "materialize", &cut(&recording, 9_000_000), "--epoch", "7", "--out", path], 4);
    assert!(fs::read(&out).unwrap() == whole, "a damaged input costs nothing");
    let link = directory.path().join("link");
    std::os::unix::fs::symlink(&out, &link).unwrap();
    assert!(ends(&[&materialize[..], &[link.to_str().unwrap()]].concat(), 2).contains("symbolic link"));
    ends(&[&materialize[..], &["/dev/null"]].concat(), 0);
    assert!(ends(&[&materialize[..], &["/dev/full"]].concat(), 1).contains("No space left"));
    let through = understudy(&[&materialize[..], &["/dev/stdout"]].concat());
    assert!(through.status.success() && through.stdout == whole, "the same bytes through a pipe");
}

#[test]
fn a_replay_of_a_damaged_recording_ends_and_says_where() {
    let directory = tempfile::tempdir().unwrap();
    let recording = golden(&directory, "tpv.remus-fwd");
    let mut bytes = fs::read(&recording).unwrap();
    // A bit late in the file, in a record of a later epoch.
    bytes[68_619_681] ^= 0x80;
    fs::write(&recording, bytes).unwrap();
    assert!(ends(&["replay", &recording], 4).contains("damaged"));
}
