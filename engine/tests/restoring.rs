//! `understudy restore`: epochs of a guest that is protected become files, and the guest goes on.

#[allow(dead_code, reason = "each test binary uses its part")]
#[path = "support/hosts.rs"]
mod hosts;
mod support;

use hosts::Hosts;
use serde_json::Value;
use std::path::Path;
use std::process::{Command, Output};

fn restore(hosts: &Hosts, node: &str, words: &[&str]) -> Output {
    let words = [&["restore", "g0"], words].concat();
    hosts.ask(node, &words).output().unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&[&*output.stdout, &*output.stderr].concat()).into_owned()
}

/// What the verifier says of a file for `xl restore`.
fn verdict(file: &Path) -> Output {
    let mut verify = Command::new(env!("CARGO_BIN_EXE_understudy"));
    verify.args(["stream", "verify"]).arg(file).output().unwrap()
}

#[test]
fn kept_epochs_are_listed_and_written_while_the_guest_stays_protected() {
    let keep = [("--keep-epochs", "500".to_owned()), ("--keep-every", "50ms".to_owned())];
    let guest = "name=g0,memory=8M,mac=52:54:00:00:00:01,ip=10.77.0.11,load=mixed,set=1M";
    let hosts = Hosts::told([guest.to_owned()], &keep);
    hosts.wait("a", "g0", |guest| guest.protected);
    hosts.wait("b", "g0", |guest| guest.kept.epochs.len() >= 5);
    let list = restore(&hosts, "b", &["--output", "json"]);
    let list: Value = serde_json::from_slice(&list.stdout).unwrap();
    let oldest = list["kept"]["epochs"][0]["epoch"].as_u64().unwrap();
    assert!(oldest < list["committed"].as_u64().unwrap());

    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str| directory.path().join(name);
    let (last, ago, old) = (file("last.save"), file("ago.save"), file("old.save"));
    let written = restore(&hosts, "b", &[last.to_str().unwrap(), "--output", "json"]);
    assert_eq!(written.status.code(), Some(0), "{}", said(&written));
    let told: Value = serde_json::from_slice(&written.stdout).unwrap();
    assert_eq!(told["bytes"].as_u64(), Some(last.metadata().unwrap().len()));
    assert!(told["epoch"].as_u64().unwrap() > oldest);
    let written = restore(&hosts, "b", &[ago.to_str().unwrap(), "--ago", "1ms"]);
    assert_eq!(written.status.code(), Some(0), "{}", said(&written));
    for file in [&last, &ago] {
        // A lab guest has no vCPUs of Xen's; everything else is as xl wants it.
        let said = said(&verdict(file));
        let faults: Vec<&str> = said.lines().filter(|line| line.ends_with(']')).collect();
        assert!(matches!(&*faults, [only] if only.contains("holds no vCPU")), "{said}");
    }
    let written = restore(&hosts, "b", &[old.to_str().unwrap(), "--epoch", &oldest.to_string()]);
    assert_eq!(written.status.code(), Some(0), "{}", said(&written));
    assert_ne!(std::fs::read(&old).unwrap(), std::fs::read(&last).unwrap());
    hosts.wait("a", "g0", |guest| guest.protected);

    // What cannot be is said, and leaves nothing.
    let none = file("none.save");
    for (node, words, says) in [
        ("b", &[none.to_str().unwrap(), "--epoch", "99999999"][..], "epoch 99999999 is not kept"),
        ("b", &[none.to_str().unwrap(), "--ago", "1000s"], "The oldest epoch of g0"),
        ("a", &[none.to_str().unwrap()], "ask b"),
        ("b", &["/no/such/directory/file"], "does not exist"),
        ("b", &["/dev/full"], "name a file"),
    ] {
        let refused = restore(&hosts, node, words);
        assert!(!refused.status.success() && said(&refused).contains(says), "{words:?}: {}", said(&refused));
    }
    assert!(!none.exists());
}
