//! What `doctor --report` gives away: all that helps, and none of the secrets of a node that has some of each kind.

#[allow(dead_code, reason = "each test binary uses its part")]
#[path = "support/hosts.rs"]
mod hosts;
#[allow(dead_code, reason = "each test binary uses its part")]
#[path = "support/keys.rs"]
mod keys;
mod support;

use hosts::Hosts;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use understudy::control::Wish;

fn report(directory: &Path, config: &Path, more: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_understudy"));
    command.arg("doctor").arg("--report").arg(directory).arg("--config").arg(config).args(more);
    command.env_remove("UNDERSTUDY_CONTROL").output().unwrap()
}

/// Everything in a bundle.
fn contents(directory: &Path) -> Vec<(PathBuf, String)> {
    let files = fs::read_dir(directory).unwrap().map(|file| file.unwrap().path());
    files.map(|path| (path.clone(), fs::read_to_string(path).unwrap())).collect()
}

/// A node's directory of certificates, an invitation and a password in it, and the configuration that names them.
struct Secrets {
    config: PathBuf,
    secrets: Vec<String>,
}

fn secrets(root: &Path, control: &Path) -> Secrets {
    keys::make(root, &["a", "b"]);
    keys::trust(root, "a", "b", "b");
    let tls = keys::tls(root, "a");
    let invited = Command::new(env!("CARGO_BIN_EXE_understudy"))
        .args(["invite", "c", "--address", "127.0.0.1:7001", "--tls"])
        .arg(&tls)
        .output()
        .unwrap();
    assert!(invited.status.success(), "{invited:?}");
    let line = String::from_utf8(invited.stdout).unwrap();
    let is_token = |word: &&str| word.len() == 32 && word.chars().all(|letter| letter.is_ascii_hexdigit());
    let token =
        line.split([' ', '\n', '/', '@', '=']).find(is_token).expect("a token in the line").to_owned();
    let invitation = fs::read_to_string(tls.join("invitations/c")).unwrap();
    let password = root.join("password");
    fs::write(&password, "correct-horse-battery").unwrap();
    let config = root.join("node.toml");
    let text = format!(
        "# the old password was comment-horse\nnode = \"a\"\ntls = {tls:?}\ncontrol = {control:?}\nwitness = \
         \"etcd://127.0.0.1:1\"\n[etcd]\nuser = \"eve\"\npassword_file = {password:?}\n"
    );
    fs::write(&config, text).unwrap();
    let key = fs::read_to_string(tls.join("own.key")).unwrap();
    let of_key = key.lines().filter(|line| !line.starts_with("-----")).map(str::to_owned);
    let of_invitation = invitation.split_whitespace().filter(|word| word.len() > 16).map(str::to_owned);
    let plain = ["correct-horse-battery", "comment-horse", "PRIVATE KEY"].map(str::to_owned);
    let secrets: Vec<String> = of_key.chain(of_invitation).chain(plain).chain([token]).collect();
    assert!(secrets.len() >= 6 && secrets.iter().all(|secret| secret.len() > 8), "{secrets:?}");
    Secrets { config, secrets }
}

#[test]
fn a_bundle_has_what_helps_and_no_secret() {
    let hosts = Hosts::with_guests(1);
    hosts.wait("a", "g0", |guest| guest.protected);
    hosts.client("a").wish("g0", Wish::Unprotect).unwrap();
    hosts.wait("a", "g0", |guest| !guest.wished);
    let root = tempfile::tempdir().unwrap();
    let Secrets { config, secrets } = secrets(root.path(), &hosts.control("a"));

    let bundle = root.path().join("bundle");
    let made = report(&bundle, &config, &["--since", "1h"]);
    assert_eq!(made.status.code(), Some(0), "{made:?}");
    let said = String::from_utf8(made.stdout).unwrap();
    let files = contents(&bundle);
    for (path, text) in &files {
        let name = path.file_name().unwrap().to_str().unwrap();
        assert!(said.contains(name), "{name}: {said}");
        assert!(text.len() <= (4 << 20) + 100, "{name}");
        assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o600, "{name}");
        for secret in &secrets {
            assert!(!text.contains(secret.as_str()), "{name} has {secret}");
        }
    }
    assert_eq!(fs::metadata(&bundle).unwrap().permissions().mode() & 0o777, 0o700);
    let text = |name: &str| fs::read_to_string(bundle.join(name)).unwrap();
    assert!(text("status.json").contains("\"node\": \"a\""), "{}", text("status.json"));
    assert!(
        text("events.jsonl").lines().any(|line| line.contains("unprotected")),
        "{}",
        text("events.jsonl")
    );
    assert!(text("settings.toml").contains("password_file"), "{}", text("settings.toml"));
    assert!(text("trust.txt").contains("b: "), "{}", text("trust.txt"));
    assert!(text("versions.txt").contains("understudy "), "{}", text("versions.txt"));
    assert!(text("findings.json").contains("findings"), "{}", text("findings.json"));

    let again = report(&bundle, &config, &[]);
    assert_eq!(again.status.code(), Some(2), "it is there already: {again:?}");
    assert_eq!(contents(&bundle).len(), files.len());
}

/// What a report is most needed for.
#[test]
fn a_node_that_is_down_and_a_configuration_that_is_broken_are_reported_and_no_failure() {
    let root = tempfile::tempdir().unwrap();
    let config = root.path().join("node.toml");
    fs::write(&config, "node = \"a\"\nnonsense = 7\n").unwrap();
    let bundle = root.path().join("bundle");
    let made = report(&bundle, &config, &["--control", "/nowhere/control.sock"]);
    assert_eq!(made.status.code(), Some(0), "{made:?}");
    let text = |name: &str| fs::read_to_string(bundle.join(name)).unwrap();
    assert!(text("status.json").contains("/nowhere/control.sock"), "{}", text("status.json"));
    assert!(text("trust.txt").contains("nonsense"), "{}", text("trust.txt"));
}

#[test]
fn what_cannot_be_written_leaves_nothing_and_says_so() {
    let root = tempfile::tempdir().unwrap();
    let config = root.path().join("node.toml");
    fs::write(&config, "").unwrap();
    for (place, code) in [("/dev/null", 2), ("/proc/bundle", 1)] {
        let refused = report(Path::new(place), &config, &[]);
        assert_eq!(refused.status.code(), Some(code), "{refused:?}");
    }
    let nowhere = root.path().join("no/such/bundle");
    assert_eq!(report(&nowhere, &config, &[]).status.code(), Some(1));
    let alone =
        Command::new(env!("CARGO_BIN_EXE_understudy")).args(["doctor", "--since", "1h"]).output().unwrap();
    assert_eq!(alone.status.code(), Some(2), "{alone:?}");
    assert_eq!(fs::read_dir(root.path()).unwrap().count(), 1, "the configuration alone");
}
