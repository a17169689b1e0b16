//! The `drill` command as a user runs it: real processes, real signals.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Nothing here takes this long; a test that hangs must end.
const GUARD: Duration = Duration::from_secs(120);

fn drill(arguments: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_understudy"));
    command.arg("drill").args(arguments.split_whitespace());
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn report(output: &Output) -> serde_json::Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| {
        panic!("no report: {error}\n{}", String::from_utf8_lossy(&output.stderr));
    })
}

/// Numbers of the processes that `parent` started.
fn children_of(parent: u32) -> Vec<u32> {
    let children = std::fs::read_to_string(format!("/proc/{parent}/task/{parent}/children"));
    children.unwrap_or_default().split_whitespace().map(|child| child.parse().unwrap()).collect()
}

fn is_alive(process: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    // A zombie is dead; whoever adopted it has only not looked yet.
    !stat.is_empty() && !stat.rsplit(')').next().unwrap_or("").trim_start().starts_with('Z')
}

fn wait_for(what: &str, mut happened: impl FnMut() -> bool) {
    let began = Instant::now();
    while !happened() {
        assert!(began.elapsed() < GUARD, "waited in vain: {what}");
        sleep(Duration::from_millis(20));
    }
}

/// A drill that would go on for long, with its witness and both hosts running.
fn long_drill() -> (Child, Vec<u32>) {
    let child = drill("--memory 16M --rounds 1000").spawn().unwrap();
    let id = child.id();
    wait_for("the drill starts three processes", || children_of(id).len() == 3);
    (child, children_of(id))
}

fn directory_of(drill: &Child) -> PathBuf {
    format!("/tmp/understudy-drill-{}", drill.id()).into()
}

#[test]
fn every_failure_ends_as_it_must_and_the_report_says_so() {
    let output = drill("--fail all --memory 16M --output json --seed 7").output().unwrap();
    let report = report(&output);
    let rounds = report["rounds"].as_array().unwrap();
    for round in rounds {
        assert_eq!(round["held"], true, "{round:#}");
        assert!(round["replies"].as_u64().unwrap() > 0, "{round:#}");
    }
    assert_eq!((rounds.len(), &report["held"]), (10, &true.into()));
    assert!(output.status.success());
    let kill = &rounds[0];
    assert_eq!(kill["failure"], "kill");
    let times = ["detected_ms", "authority_ms", "activated_ms", "first_reply_ms"]
        .map(|key| kill[key].as_f64().unwrap());
    assert!(times.is_sorted(), "detection, authority, activation and first reply in this order: {times:?}");
}

/// A guest compares its disk with its memory wherever it goes on, and answers nothing any more if they differ.
#[test]
fn disks_go_with_their_guests_through_every_failure() {
    let output = drill("--disk 1M --fail all --memory 8M --output json --seed 3").output().unwrap();
    let report = report(&output);
    for round in report["rounds"].as_array().unwrap() {
        assert_eq!(round["held"], true, "{round:#}");
        assert!(round["replies"].as_u64().unwrap() > 0, "{round:#}");
    }
    assert_eq!(report["held"], true);
}

#[test]
fn guests_have_disks_unless_they_are_not_wanted_or_not_possible() {
    for (flags, disk_bytes) in [("", Some(1 << 20)), ("--disk 0", None), ("--mode colo", None)] {
        let output = drill(&format!("{flags} --memory 8M --output json")).output().unwrap();
        let report = report(&output);
        assert_eq!(report["held"], true, "{report:#}");
        assert_eq!(report["settings"]["disk_bytes"].as_u64(), disk_bytes, "{flags}");
    }
}

#[test]
fn several_guests_fail_over_together() {
    let output = drill("--guests 4 --memory 8M --fail kill,hang --output json").output().unwrap();
    let report = report(&output);
    assert_eq!(report["held"], true, "{report:#}");
    assert!(output.status.success());
}

#[test]
fn with_a_live_copy_every_failure_ends_as_it_must_and_output_left_by_matches() {
    let output = drill("--mode colo --fail all --memory 16M --output json --seed 7").output().unwrap();
    let report = report(&output);
    let rounds = report["rounds"].as_array().unwrap();
    for round in rounds {
        assert_eq!(round["held"], true, "{round:#}");
        assert!(round["replies"].as_u64().unwrap() > 0, "{round:#}");
    }
    let matched: u64 = rounds.iter().map(|round| round["matched"].as_u64().unwrap()).sum();
    assert!(matched > 0, "{report:#}");
    assert_eq!(
        (rounds.len(), &report["held"], &report["settings"]["mode"]),
        (10, &true.into(), &"colo".into())
    );
}

#[test]
fn copies_that_differ_cost_checkpoints_and_no_answer() {
    for what in ["value", "delay", "order", "clock"] {
        let diverge = format!("--diverge chance=0.05,what={what}");
        let output = drill(&format!("--mode colo --fail kill,hang --memory 8M {diverge} --output json"))
            .output()
            .unwrap();
        let report = report(&output);
        assert_eq!(report["held"], true, "{what}: {report:#}");
    }
}

#[test]
fn guests_that_differ_by_their_host_and_suspend_slowly_fail_over_as_others() {
    let conditions =
        "--memory 8M --diverge chance=0.2,what=delay --suspend-takes 20ms --fail kill,switchover";
    let output = drill(&format!("{conditions} --output json")).output().unwrap();
    let report = report(&output);
    assert_eq!(report["held"], true, "{report:#}");
    for round in report["rounds"].as_array().unwrap() {
        assert!(round["pause_us_p50"].as_u64().unwrap() >= 20_000, "{round:#}");
    }
}

#[test]
fn a_drill_that_is_interrupted_leaves_nothing() {
    let (drill, children) = long_drill();
    kill(Pid::from_raw(drill.id() as i32), Signal::SIGINT).unwrap();
    let directory = directory_of(&drill);
    let output = drill.wait_with_output().unwrap();
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("SIGINT"));
    assert!(!children.into_iter().any(is_alive) && !directory.exists());
}

#[test]
fn processes_of_a_drill_that_is_killed_die_with_it() {
    let (mut drill, children) = long_drill();
    drill.kill().unwrap();
    drill.wait().unwrap();
    wait_for("its processes are gone", || !children.iter().copied().any(is_alive));
    std::fs::remove_dir_all(directory_of(&drill)).unwrap();
}

#[test]
fn what_no_guest_can_be_is_refused_at_once() {
    for (arguments, reason) in [
        ("--load fast", "no load"),
        ("--memory 5000", "multiple of 4096"),
        ("--rounds 0", "not in 1..=1000000"),
        ("--guests 0", "not in 1..=64"),
        ("--fail fire", "possible values"),
        ("--diverge chance=2", "chance=0.01,what=value"),
        ("--suspend-takes 100", "ns, us"),
    ] {
        let output = drill(arguments).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments}: {said}");
        assert!(said.contains(reason), "{arguments}: {said}");
    }
}
