//! `drill --on-hosts a,b`: a guest is protected between the hosts of an installed pair, with their certificates, and taken over
//! there, while the nodes that run there go on undisturbed.
//!
//! Both hosts are this machine. In place of ssh there is a script that takes the same words, and whose forwarded sockets are links.

#[allow(dead_code, reason = "each test binary uses its part")]
#[path = "support/hosts.rs"]
mod hosts;
#[allow(dead_code, reason = "each test binary uses its part")]
#[path = "support/keys.rs"]
mod keys;
mod support;

use hosts::Hosts;
use serde_json::Value;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use support::free_address;

/// ssh to the host whose certificates are in b.tls: `-o OPTION … -R THERE:HERE -L HERE:THERE HOST COMMAND`.
const SSH: &str = r#"
while [ $# -gt 2 ]; do
    case $1 in
        -o) ;;
        -R) ln -sfn "${2#*:}" "${2%%:*}" ;;
        -L) ln -sfn "${2#*:}" "${2%%:*}" ;;
        *) echo "an unknown word: $1" >&2; exit 9 ;;
    esac
    shift 2
done
[ "$1" = b ] || { echo "no such host: $1" >&2; exit 255; }
unset UNDERSTUDY_PARENT_PID
exec sh -c "$(printf %s "$2" | sed 's#/a\.tls#/b.tls#g')"
"#;

struct Place {
    directory: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        keys::make(root, &["a", "b"]);
        keys::trust(root, "a", "b", "b");
        keys::trust(root, "b", "a", "a");
        let text = format!(
            "node = \"a\"\nlisten = \"{}\"\ntls = {:?}\n[peers]\nb = \"{}\"\n",
            free_address(),
            keys::tls(root, "a"),
            free_address()
        );
        fs::write(root.join("node.toml"), text).unwrap();
        fs::write(root.join("ssh"), SSH).unwrap();
        Self { directory }
    }

    fn drill(&self, more: &[&str]) -> Output {
        let root = self.directory.path();
        let programs = Path::new(env!("CARGO_BIN_EXE_understudy")).parent().unwrap().to_owned();
        let path = std::env::join_paths(
            [programs].into_iter().chain(std::env::split_paths(&std::env::var_os("PATH").unwrap())),
        );
        Command::new(env!("CARGO_BIN_EXE_understudy"))
            .args(["drill", "--on-hosts", "a,b", "--memory", "16M", "--output", "json"])
            .args(["--ssh", &format!("sh {}", root.join("ssh").display())])
            .arg("--config")
            .arg(root.join("node.toml"))
            .args(more)
            .env("PATH", path.unwrap())
            .output()
            .unwrap()
    }
}

/// What drills have left on "the other host".
fn left() -> Vec<PathBuf> {
    let entries = fs::read_dir("/tmp").unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.to_string_lossy().contains("understudy-drill-of-")).collect()
}

#[test]
fn a_guest_is_taken_over_and_moved_between_the_hosts_and_the_nodes_there_notice_nothing() {
    let installed = Hosts::with_guests(1);
    installed.wait("a", "g0", |guest| guest.protected);
    let before = left();
    let place = Place::new();
    for (failure, ending, has_reply) in [
        ("kill", "B took over", true),
        // The other host is killed.
        ("secondary", "A went on", false),
        ("switchover", "B runs it by plan", true),
    ] {
        let done = place.drill(&["--fail", failure]);
        let said: Value = serde_json::from_slice(&done.stdout).unwrap_or_else(|_| panic!("{done:?}"));
        assert_eq!(done.status.code(), Some(0), "{said:#}");
        let round = &said["rounds"][0];
        assert!(round["ending"].as_str().unwrap().starts_with(ending), "{round:#}");
        let reply_ms = round["first_reply_ms"].as_f64();
        assert_eq!(reply_ms.is_some_and(|ms| (0.0..60_000.0).contains(&ms)), has_reply, "{round:#}");
    }
    installed.wait("a", "g0", |guest| guest.protected && guest.generation == 1);
    assert_eq!(left(), before, "nothing is left on the other host");
}

#[test]
fn a_host_that_cannot_be_reached_is_told_and_nothing_begins() {
    let place = Place::new();
    let root = place.directory.path();
    fs::write(root.join("ssh"), "echo 'Permission denied (publickey).' >&2; exit 255\n").unwrap();
    let refused = place.drill(&[]);
    let why = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    assert!(why.contains("Permission denied") && why.contains("log in"), "{why}");
    fs::set_permissions(root.join("ssh"), fs::Permissions::from_mode(0o600)).unwrap();
    for words in [&["--fail", "hang"][..], &["--plain"], &["--fail", "partition"]] {
        assert_eq!(place.drill(words).status.code(), Some(2), "{words:?}");
    }
}
