//! `understudy-convert-legacy-stream` as libxl runs it, and as a person who knows the stock program does.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};
use understudy_checkpoint::legacy::{After, Copying, Layer, Options, convert};

/// Far longer than any conversion here; a program that waits for ever is ended and told.
const HANG_GUARD: Duration = Duration::from_secs(60);

/// libxl's header and LIBXC_CONTEXT.
const LIBXL_HEAD_BYTES: usize = 24;

fn program() -> Command {
    Command::new(env!("CARGO_BIN_EXE_understudy-convert-legacy-stream"))
}

fn sample(name: &str) -> Vec<u8> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../tests/golden/legacy/{name}.zst"));
    let run = Command::new("zstd").args(["-dcq"]).arg(file).output();
    run.expect("the tests need the zstd command: install Debian's zstd").stdout
}

fn converted(stream: &[u8], layer: Layer) -> Vec<u8> {
    let mut out = Vec::new();
    let options = Options { layer, word: None, guest: None, after: After::Look };
    convert(&mut Copying::new(stream, &mut out), options).unwrap();
    out
}

/// The file `before` and `stream`, open behind `before`.
fn open_behind(before: &[u8], stream: &[u8]) -> File {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(before).unwrap();
    file.write_all(stream).unwrap();
    file.seek(SeekFrom::Start(before.len() as u64)).unwrap();
    file
}

fn run(args: &str, input: File) -> Output {
    program().args(args.split_whitespace()).stdin(input).output().unwrap()
}

#[test]
fn libxl_gets_the_stream_of_today_whatever_width_it_names() {
    for (name, guest) in
        [("tiny-pv32-w8", "pv"), ("tiny-hvm-w4-physmap", "hvm"), ("tiny-pv64-w4-remus-cut", "pv")]
    {
        let stream = sample(name);
        // libxl's own words; it read xl's header before, and goes on behind it.
        let args = format!("--in 0 --out 1 --width 64 --guest {guest} --format libxl");
        let output = run(&args, open_behind(&[0xEE; 777], &stream));
        assert_eq!(output.status.code(), Some(0), "{name}: {}", String::from_utf8_lossy(&output.stderr));
        assert!(output.stdout == converted(&stream, Layer::Libxl), "{name}");
    }
}

#[test]
fn files_are_named_as_well_as_descriptors() {
    let directory = tempfile::tempdir().unwrap();
    let (old, new) = (directory.path().join("old"), directory.path().join("new"));
    let stream = sample("micro-hvm");
    fs::write(&old, &stream).unwrap();
    for (more, skip_emulator) in [(&[][..], false), (&["--skip-qemu"], true)] {
        let run =
            program().arg("-i").arg(&old).arg("-o").arg(&new).args(["-w64", "-ghvm"]).args(more).status();
        assert!(run.unwrap().success());
        assert!(fs::read(&new).unwrap() == converted(&stream, Layer::Libxc { skip_emulator }));
    }
}

#[test]
fn what_libxl_must_read_first_comes_before_anything_is_refused() {
    for (name, args) in [
        ("hostile-v2", "--in 0 --out 1 --width 64 --guest hvm --format libxl"),
        ("hostile-empty", "--in 0 --out 1 --width 64 --guest hvm --format libxl"),
        ("micro-hvm", "--in 0 --out 1 --width 64 --guest pv --format libxl"),
        ("micro-hvm", "--in 0 --out 1 --width 32 --guest hvm --format libxl"),
    ] {
        let output = run(args, open_behind(&[], &sample(name)));
        assert_eq!(output.status.code(), Some(1), "{name}");
        assert_eq!(output.stdout.len(), LIBXL_HEAD_BYTES, "{name}");
        assert!(output.stdout.starts_with(b"LibxlFmt"));
        assert!(!output.stderr.is_empty(), "{name}: the reason is told");
    }
}

/// Waits for the program's end, but not for ever.
fn ends(mut child: Child) -> Option<i32> {
    let begun = Instant::now();
    while begun.elapsed() < HANG_GUARD {
        if let Some(status) = child.try_wait().unwrap() {
            return status.code();
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    child.kill().unwrap();
    panic!("it waits");
}

#[test]
fn a_sender_that_waits_for_its_answer_is_not_waited_for() {
    // The last ends without saying so.
    for (name, behind) in
        [("micro-hvm", &b""[..]), ("tiny-hvm-w8-trailing", b""), ("tiny-pv64-w8-v32", b"handshake")]
    {
        let mut stream = sample(name);
        stream.extend_from_slice(behind);
        let (mut sender, receiver) = UnixStream::pair().unwrap();
        let mut left = receiver.try_clone().unwrap();
        let mut output = tempfile::tempfile().unwrap();
        let child = program()
            .args("--in 0 --out 1 --format libxl --verbose".split_whitespace())
            .stdin(Stdio::from(std::os::fd::OwnedFd::from(receiver)))
            .stdout(output.try_clone().unwrap())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        sender.write_all(&stream).unwrap();
        assert_eq!(ends(child), Some(0), "{name}");
        output.rewind().unwrap();
        let mut written = Vec::new();
        output.read_to_end(&mut written).unwrap();
        let told = Options { layer: Layer::Libxl, word: None, guest: None, after: After::Plain };
        let mut expected = Vec::new();
        let report = convert(&mut Copying::new(&stream[..], &mut expected), told).unwrap();
        assert!(written == expected, "{name}");
        // What is behind the end is still there for whoever reads next.
        drop(sender);
        let mut rest = Vec::new();
        left.read_to_end(&mut rest).unwrap();
        assert!(rest == stream[report.bytes as usize..], "{name}: {} bytes are left", rest.len());
    }
}

#[test]
fn the_exit_codes_are_those_of_the_stock_program() {
    let code = |args: &str| run(args, open_behind(&[], &[])).status.code();
    assert_eq!(code("--help"), Some(0));
    assert_eq!(code("--in 0"), Some(1));
    assert_eq!(code("--in 0 --out 1 --width 16 --guest hvm"), Some(2));
    assert_eq!(code("--in /nowhere/at.all --out 1"), Some(1));
    assert_eq!(code("--in 0 --out 1"), Some(1));
}

#[test]
fn a_reader_that_went_away_ends_it() {
    let mut child = program()
        .args("--in 0 --out 1 --format libxl".split_whitespace())
        .stdin(open_behind(&[], &sample("tiny-pv32-w8")))
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    assert_eq!(ends(child), Some(1));
}
