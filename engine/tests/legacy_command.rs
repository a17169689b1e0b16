//! `stream convert` as an operator meets it, and what the other commands say of a legacy stream.

use serde_json::Value;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use tempfile::TempDir;

fn understudy(args: &[&str], input: Stdio) -> Output {
    Command::new(env!("CARGO_BIN_EXE_understudy")).args(args).stdin(input).output().unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Runs to its end with this code; returns what it said on standard error.
fn ends(args: &[&str], code: i32) -> String {
    let output = understudy(args, Stdio::null());
    assert_eq!(output.status.code(), Some(code), "{args:?} said {}", said(&output));
    said(&output)
}

/// A sample, decompressed into `directory`.
fn sample(directory: &TempDir, name: &str) -> PathBuf {
    let path = directory.path().join(name);
    let compressed = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../tests/golden/legacy/{name}.zst"));
    let mut zstd = Command::new("zstd");
    zstd.args(["-dcq"]).arg(compressed).stdout(File::create(&path).unwrap());
    assert!(zstd.status().expect("the tests need the zstd command: install Debian's zstd").success());
    path
}

/// A sample as xl saved it, with a configuration that says what kind its guest is.
fn as_xl_saved(directory: &TempDir, name: &str, kind: &str) -> PathBuf {
    let config = format!("{{\"c_info\": {{\"type\": \"{kind}\", \"name\": \"old\"}}}}\0");
    let mut file = b"Xen saved domain, xl format\n \0 \r".to_vec();
    for word in [0x0102_0304, 1, 0, 4 + config.len() as u32, config.len() as u32] {
        file.extend(word.to_le_bytes());
    }
    file.extend(config.as_bytes());
    file.extend(fs::read(sample(directory, name)).unwrap());
    let path = directory.path().join(format!("{name}.{kind}.xl"));
    fs::write(&path, file).unwrap();
    path
}

#[test]
fn an_old_file_of_xl_becomes_a_sound_one_of_today() {
    let directory = tempfile::tempdir().unwrap();
    let old = as_xl_saved(&directory, "tiny-hvm-w4-physmap", "hvm");
    let old = old.to_str().unwrap();
    let new = directory.path().join("new.save");
    let new = new.to_str().unwrap();
    let told = ends(&["stream", "convert", old, "-o", new], 0);
    assert!(told.contains("converted: HVM guest of 1044480 frames, sent by a 32-bit toolstack"), "{told}");
    ends(&["stream", "verify", new], 0);
    let found = understudy(&["stream", "inspect", new, "--output", "json"], Stdio::null());
    let found: Value = serde_json::from_slice(&found.stdout).unwrap();
    assert_eq!((&found["name"], &found["guest"]), (&Value::from("old"), &Value::from("hvm")));
}

#[test]
fn other_commands_say_what_a_legacy_stream_is_and_what_takes_it() {
    let directory = tempfile::tempdir().unwrap();
    for (file, what) in [
        (sample(&directory, "tiny-pv32-w8"), "bare: PV guest of 2100 frames, sent by a 64-bit toolstack"),
        (
            as_xl_saved(&directory, "tiny-hvm-w4-physmap", "hvm"),
            "of xl: HVM guest of 1044480 frames, sent by a 32-bit",
        ),
    ] {
        let file = file.to_str().unwrap();
        for command in ["inspect", "verify"] {
            let told = ends(&["stream", command, file], 4);
            assert!(told.contains(what) && told.contains("understudy stream convert"), "{told}");
        }
    }
    let file = sample(&directory, "micro-hvm");
    let output = understudy(&["stream", "verify", "--output", "json", file.to_str().unwrap()], Stdio::null());
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&found["ok"], &found["legacy"]["sender_bits"]), (&Value::from(false), &Value::from(64)));
    assert_eq!(
        (&found["legacy"]["guest"], &found["legacy"]["envelope"]),
        (&Value::from("hvm"), &Value::from("none"))
    );
}

#[test]
fn dashes_are_standard_input_and_output() {
    let directory = tempfile::tempdir().unwrap();
    let old = sample(&directory, "tiny-hvm-w8-trailing");
    let new = directory.path().join("new");
    ends(&["stream", "convert", old.to_str().unwrap(), "-o", new.to_str().unwrap()], 0);
    let piped = understudy(&["stream", "convert", "-"], File::open(&old).unwrap().into());
    assert!(piped.status.success(), "{}", said(&piped));
    assert!(piped.stdout == fs::read(&new).unwrap());
}

#[test]
fn what_is_told_must_be_what_the_bytes_say() {
    let directory = tempfile::tempdir().unwrap();
    let old = sample(&directory, "micro-hvm");
    let old = old.to_str().unwrap();
    let new = directory.path().join("new");
    fs::write(&new, "as it was").unwrap();
    let to = new.to_str().unwrap();
    for told in [["--width", "32"], ["--guest", "pv"]] {
        let said = ends(&[&["stream", "convert", old, "-o", to], &told[..]].concat(), 4);
        assert!(said.contains("the bytes say: HVM guest") && said.contains("64-bit toolstack"), "{said}");
    }
    let lies = as_xl_saved(&directory, "micro-hvm", "pv");
    let said = ends(&["stream", "convert", lies.to_str().unwrap(), "-o", to], 4);
    assert!(said.contains("is what the configuration says"), "{said}");
    assert_eq!(fs::read(&new).unwrap(), b"as it was", "nothing is written of what is not converted");
    ends(&["stream", "convert", old, "-o", to, "--width", "64", "--guest", "hvm"], 0);
}

#[test]
fn a_stream_that_does_not_say_its_end_is_converted_when_a_person_says_it() {
    let directory = tempfile::tempdir().unwrap();
    let old = sample(&directory, "tiny-pv64-w8-v32");
    let mut bytes = fs::read(&old).unwrap();
    bytes.extend([0xEE; 4096]);
    fs::write(&old, bytes).unwrap();
    let new = directory.path().join("new");
    let args = ["stream", "convert", old.to_str().unwrap(), "-o", new.to_str().unwrap()];
    assert!(ends(&args, 6).contains("--plain"));
    ends(&[&args[..], &["--plain"]].concat(), 0);
    ends(&["stream", "verify", new.to_str().unwrap()], 0);
}
