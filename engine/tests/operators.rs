//! What operators do with a host of a real pair. `evacuate`: what moves, what is let go, what stays, and that it ends by itself.
//! `maintenance`: what a host takes no more, what it keeps, and that it lasts.

#[path = "support/hosts.rs"]
mod hosts;
mod support;

use hosts::Hosts;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Command, Output};
use std::thread;
use std::time::{Duration, Instant};
use support::HANG_GUARD;
use understudy::control::{GuestRole, GuestState, GuestStatus, Said, Wish};

fn evacuate(hosts: &Hosts, node: &str, time_max: &str) -> Output {
    hosts.ask(node, &["evacuate", "--output", "json", "--timeout", time_max]).output().unwrap()
}

fn maintenance(hosts: &Hosts, node: &str, wanted: &str) -> Output {
    hosts.ask(node, &["maintenance", wanted]).output().unwrap()
}

/// Whether b's page of metrics has this line.
fn has_metric(hosts: &Hosts, line: &str) -> bool {
    let mut stream = TcpStream::connect(hosts.metrics).unwrap();
    stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").unwrap();
    let mut page = String::new();
    stream.read_to_string(&mut page).unwrap();
    page.lines().any(|it| it == line)
}

fn outcomes(output: &Output) -> Vec<(String, String)> {
    let said: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"));
    let guests = said["guests"].as_array().unwrap();
    let words = |guest: &Value, key: &str| guest[key].as_str().unwrap_or_default().to_owned();
    guests.iter().map(|guest| (words(guest, "name"), words(guest, "outcome"))).collect()
}

fn each(guests: &[(&str, &str)]) -> Vec<(String, String)> {
    guests.iter().map(|(name, outcome)| ((*name).into(), (*outcome).into())).collect()
}

#[test]
fn what_has_a_copy_moves_what_has_none_is_let_go_and_a_second_run_changes_nothing() {
    let hosts = Hosts::with_guests(4);
    (0..4).for_each(|number| hosts.wait("a", &format!("g{number}"), |guest| guest.protected));
    hosts.client("a").wish("g2", Wish::Unprotect).unwrap();
    hosts.wait("a", "g2", |guest| guest.state == GuestState::Unprotected);

    let first = evacuate(&hosts, "a", "60s");
    let expected = each(&[("g0", "moved"), ("g1", "moved"), ("g2", "let_go"), ("g3", "moved")]);
    assert_eq!(outcomes(&first), expected, "{first:?}");
    assert_eq!(first.status.code(), Some(3), "one of them is still here");
    for name in ["g0", "g1", "g3"] {
        hosts.wait("b", name, |guest| guest.role == GuestRole::Primary && guest.takeover.is_some());
    }
    let again = evacuate(&hosts, "a", "60s");
    assert_eq!((outcomes(&again), again.status.code()), (each(&[("g2", "let_go")]), Some(3)));

    // Back again: protected towards a meanwhile, and b has no other guest.
    ["g0", "g1", "g3"].iter().for_each(|name| hosts.wait("b", name, |guest| guest.protected));
    let back = evacuate(&hosts, "b", "60s");
    assert_eq!(back.status.code(), Some(0), "{back:?}");
    let empty = evacuate(&hosts, "b", "60s");
    assert_eq!((outcomes(&empty), empty.status.code()), (Vec::new(), Some(0)));
}

#[test]
fn without_the_other_host_it_ends_in_its_time_and_a_copy_that_may_live_is_not_given_up() {
    let mut hosts = Hosts::with_guests(1);
    hosts.wait("a", "g0", |guest| guest.protected);
    // Stopped, not dead: whether its copy takes over is the witness's to say.
    kill(Pid::from_raw(hosts.b.0.id() as i32), Signal::SIGSTOP).unwrap();
    let left = evacuate(&hosts, "a", "1ms");
    assert_eq!((outcomes(&left), left.status.code()), (each(&[("g0", "left")]), Some(3)));

    hosts.kill_b();
    hosts.wait("a", "g0", |guest| guest.state == GuestState::Unprotected);
    let alone = evacuate(&hosts, "a", "60s");
    assert_eq!((outcomes(&alone), alone.status.code()), (each(&[("g0", "let_go")]), Some(3)));
    hosts.wait("a", "g0", |guest| guest.state == GuestState::Unprotected && !guest.wished);
}

#[test]
fn an_engine_that_is_dead_or_stopped_is_not_waited_for() {
    let mut hosts = Hosts::with_guests(1);
    hosts.wait("a", "g0", |guest| guest.state != GuestState::Claiming);
    kill(Pid::from_raw(hosts.a.0.id() as i32), Signal::SIGSTOP).unwrap();
    let stopped = evacuate(&hosts, "a", "600s");
    assert_eq!(stopped.status.code(), Some(5), "{stopped:?}");
    hosts.a.0.kill().unwrap();
    hosts.a.0.wait().unwrap();
    let dead = evacuate(&hosts, "a", "600s");
    assert_eq!(dead.status.code(), Some(5), "{dead:?}");
}

/// Neither host runs Xen here: what counts is who was asked, and how.
#[test]
fn preflight_asks_a_peer_over_the_link_and_anybody_else_by_ssh() {
    let mut hosts = Hosts::with_guests(1);
    hosts.wait("a", "g0", |guest| guest.protected);
    let over_link = hosts.ask("a", &["preflight", "g0", "--to", "b", "--output", "json"]).output().unwrap();
    let said: Value = serde_json::from_slice(&over_link.stdout).unwrap_or_else(|_| panic!("{over_link:?}"));
    assert_eq!((over_link.status.code(), &said["to"]), (Some(3), &"b".into()), "{said}");
    let of_b = said["findings"].as_array().unwrap().iter().any(|finding| {
        finding["code"] == "no_xen" && finding["text"].as_str().is_some_and(|text| text.starts_with("b "))
    });
    assert!(of_b, "b has told that it has no Xen: {said}");

    let by_ssh = |hosts: &Hosts, peer: &str| {
        hosts.ask("a", &["preflight", "g0", "--ssh", "false", "--to", peer]).output().unwrap()
    };
    let asked = by_ssh(&hosts, "b");
    assert_eq!(asked.status.code(), Some(5), "a command that is named is used: {asked:?}");
    let asked = by_ssh(&hosts, "nobody-of-this-name");
    assert_eq!(asked.status.code(), Some(5), "{asked:?}");
    hosts.kill_b();
    hosts.wait("a", "g0", |guest| !guest.protected);
    let mut asked = hosts.ask("a", &["preflight", "g0", "--to", "b"]);
    // Whatever `ssh` is here, it reaches no b.
    let asked = asked.env("PATH", "/nowhere").output().unwrap();
    assert_eq!(
        asked.status.code(),
        Some(1),
        "without a link it is asked by ssh, which is not there: {asked:?}"
    );
}

/// Why the guest has no copy.
fn is_refused_for_maintenance(guest: &GuestStatus) -> bool {
    guest.state == GuestState::Unprotected && guest.reason.contains("b is in maintenance")
}

#[test]
fn a_host_in_maintenance_keeps_a_whole_copy_and_takes_no_other_until_a_person_ends_it() {
    let mut hosts = Hosts::with_guests(2);
    hosts.wait("a", "g0", |guest| guest.protected);
    hosts.client("a").wish("g1", Wish::Unprotect).unwrap();
    hosts.wait("a", "g1", |guest| guest.state == GuestState::Unprotected && !guest.wished);
    assert!(has_metric(&hosts, "understudy_maintenance 0"));

    for _ in 0..2 {
        let on = maintenance(&hosts, "b", "on");
        assert_eq!(on.status.code(), Some(0), "{on:?}");
    }
    let status = hosts.client("b").status().unwrap();
    assert!(status.maintenance.on && status.maintenance.since.is_some());
    assert!(has_metric(&hosts, "understudy_maintenance 1"));
    hosts.wait("a", "g0", |guest| guest.protected && guest.commit_age_ms.is_some_and(|age| age < 1_000));

    // Its engine begins anew, and has no copy any more. It takes none, and the other host says why.
    hosts.kill_b();
    hosts.start_b();
    hosts.wait("a", "g0", is_refused_for_maintenance);
    assert!(hosts.client("b").status().unwrap().maintenance.on, "it lasts");

    let off = maintenance(&hosts, "b", "off");
    assert_eq!(off.status.code(), Some(0), "{off:?}");
    hosts.wait("a", "g0", |guest| guest.protected);
    assert!(has_metric(&hosts, "understudy_maintenance 0"));
}

#[test]
fn an_evacuated_host_in_maintenance_stays_empty() {
    let hosts = Hosts::with_guests(1);
    hosts.wait("a", "g0", |guest| guest.protected);
    assert_eq!(maintenance(&hosts, "a", "on").status.code(), Some(0));
    let moved = evacuate(&hosts, "a", "60s");
    assert_eq!((outcomes(&moved), moved.status.code()), (each(&[("g0", "moved")]), Some(0)));
    hosts.wait("b", "g0", |guest| {
        guest.state == GuestState::Unprotected && guest.reason.contains("a is in maintenance")
    });
    assert_eq!(hosts.client("a").status().unwrap().guests, [], "nothing of it is held");
    maintenance(&hosts, "a", "off");
    hosts.wait("b", "g0", |guest| guest.protected);
}

#[test]
fn what_was_let_go_is_protected_again_all_at_once() {
    let hosts = Hosts::with_guests(3);
    (0..3).for_each(|number| hosts.wait("a", &format!("g{number}"), |guest| guest.protected));
    for name in ["g0", "g2"] {
        hosts.client("a").wish(name, Wish::Unprotect).unwrap();
        hosts.wait("a", name, |guest| guest.state == GuestState::Unprotected && !guest.wished);
    }
    let all = ["protect", "--all", "--output", "json"];
    let done = hosts.ask("a", &all).output().unwrap();
    assert_eq!(done.status.code(), Some(0), "{done:?}");
    let said: Value = serde_json::from_slice(&done.stdout).unwrap();
    let names: Vec<&str> = said.as_array().unwrap().iter().map(|it| it["guest"].as_str().unwrap()).collect();
    assert_eq!(names, ["g0", "g2"]);
    (0..3).for_each(|number| hosts.wait("a", &format!("g{number}"), |guest| guest.protected));
    let none = hosts.ask("a", &all).output().unwrap();
    assert_eq!((none.status.code(), &*none.stdout), (Some(0), &b"[]\n"[..]));
}

/// What `node` shows of its only peer.
fn said(hosts: &Hosts, node: &str) -> Option<Said> {
    hosts.client(node).status().unwrap().peers.remove(0).said
}

fn wait_said(hosts: &Hosts, node: &str, what: &str, is_so: impl Fn(&Said) -> bool) {
    let began = Instant::now();
    while !said(hosts, node).is_some_and(|said| is_so(&said)) {
        assert!(began.elapsed() < HANG_GUARD, "{node} has not heard {what}: {:#?}", said(hosts, node));
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn either_host_shows_the_pair_and_a_peer_that_is_gone_as_it_was() {
    let mut hosts = Hosts::with_guests(1);
    hosts.wait("a", "g0", |guest| guest.protected);
    wait_said(&hosts, "a", "of the copy", |said| {
        let guest = said.bulletin.guests.first();
        guest
            .is_some_and(|it| it.role == GuestRole::Secondary && it.state == "standing" && it.epoch.is_some())
    });
    wait_said(&hosts, "b", "of the guest", |said| said.bulletin.guests.iter().any(|it| it.protected));
    let shown = hosts.ask("b", &["status"]).output().unwrap();
    let text = String::from_utf8(shown.stdout).unwrap();
    assert!(text.contains("\npeer a, as it said ") && text.contains("g0     primary  yes"), "{text}");

    hosts.kill_b();
    hosts.wait("a", "g0", |guest| guest.state == GuestState::Unprotected);
    let first = said(&hosts, "a").unwrap();
    std::thread::sleep(Duration::from_millis(30));
    let later = said(&hosts, "a").unwrap();
    assert!(later.age_ms > first.age_ms, "{first:?} {later:?}");
    assert_eq!(later.bulletin, first.bulletin, "as it was");
    let text = String::from_utf8(hosts.ask("a", &["status"]).output().unwrap().stdout).unwrap();
    assert!(text.contains("peer b, NOT connected, as it was ") && text.contains("copy: standing"), "{text}");
}

#[test]
fn no_guest_is_moved_to_a_host_in_maintenance_unless_a_word_says_so() {
    let hosts = Hosts::with_guests(1);
    hosts.wait("a", "g0", |guest| guest.protected);
    assert_eq!(maintenance(&hosts, "b", "on").status.code(), Some(0));
    wait_said(&hosts, "a", "of maintenance", |said| said.bulletin.maintenance.on);

    let refused = hosts.ask("a", &["switchover", "g0"]).output().unwrap();
    let why = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(6), "{refused:?}");
    assert!(why.contains("b is in maintenance") && why.contains("--even-in-maintenance"), "{why}");
    let left = evacuate(&hosts, "a", "60s");
    assert_eq!((outcomes(&left), left.status.code()), (each(&[("g0", "left")]), Some(3)));
    hosts.wait("a", "g0", |guest| guest.protected && guest.generation == 1);

    let moved = hosts.ask("a", &["switchover", "g0", "--even-in-maintenance"]).output().unwrap();
    assert_eq!(moved.status.code(), Some(0), "{moved:?}");
    hosts.wait("b", "g0", |guest| guest.role == GuestRole::Primary && guest.takeover.is_some());
}

#[test]
fn a_node_is_found_by_its_configuration() {
    let hosts = Hosts::with_guests(0);
    let began = Instant::now();
    while hosts.client("a").status().is_err() {
        assert!(began.elapsed() < HANG_GUARD);
        thread::sleep(Duration::from_millis(10));
    }
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("node.toml");
    std::fs::write(&config, format!("control = {:?}\n", hosts.control("a"))).unwrap();
    let ask = |words: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_understudy"));
        command.args(words).env("UNDERSTUDY_CONTROL", "/nowhere/control.sock").output().unwrap()
    };
    let config = config.to_str().unwrap();
    for words in [&["status", "--config", config][..], &["evacuate", "--config", config, "--timeout", "1s"]] {
        let found = ask(words);
        assert_eq!(found.status.code(), Some(0), "{found:?}");
    }
    // It has no certificates, and says so itself.
    let reload = ask(&["reload", "--config", config]);
    assert_eq!(reload.status.code(), Some(6), "{reload:?}");
    assert_eq!(ask(&["status"]).status.code(), Some(5));
    assert_eq!(ask(&["status", "--config", "/nowhere/node.toml"]).status.code(), Some(2));
}

/// What `status` shows on a terminal, which `script` is here.
fn on_a_terminal(hosts: &Hosts, variables: &[(&str, &str)], words: &str) -> String {
    let command = format!(
        "{} status {words} --control {}",
        env!("CARGO_BIN_EXE_understudy"),
        hosts.control("a").display()
    );
    let mut script = Command::new("script");
    script.args(["--quiet", "--return", "--command", &command, "/dev/null"]).env_remove("NO_COLOR");
    let shown = script.env("TERM", "xterm").envs(variables.iter().copied()).output().unwrap();
    assert!(shown.status.success(), "{shown:?}");
    String::from_utf8(shown.stdout).unwrap()
}

#[test]
fn colours_are_on_terminals_alone_and_not_where_they_are_unwanted() {
    let hosts = Hosts::with_guests(1);
    hosts.wait("a", "g0", |guest| guest.protected);
    let shown = on_a_terminal(&hosts, &[], "");
    assert!(shown.contains("\u{1b}[32myes\u{1b}[0m"), "{shown:?}");
    for variables in [&[("NO_COLOR", "1")][..], &[("TERM", "dumb")]] {
        let shown = on_a_terminal(&hosts, variables, "");
        assert!(shown.contains("yes") && !shown.contains('\u{1b}'), "{shown:?}");
    }
    assert!(!on_a_terminal(&hosts, &[], "--output json").contains('\u{1b}'));
    let piped = hosts.ask("a", &["status"]).env("TERM", "xterm").output().unwrap();
    assert!(!piped.stdout.contains(&0x1b), "{piped:?}");
}
