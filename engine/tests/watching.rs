//! Operators who wait for a real pair, and watch it: `wait`, `events`, `status --watch`.

#[path = "support/hosts.rs"]
mod hosts;
mod support;

use hosts::Hosts;
use serde_json::Value;
use std::io::{BufRead, BufReader, Lines};
use std::process::{ChildStdout, Stdio};
use std::thread;
use std::time::{Duration, Instant};
use support::{HANG_GUARD, Running};
use understudy::control::{GuestState, GuestStatus, Wish};

fn exit_code(hosts: &Hosts, node: &str, words: &[&str]) -> Option<i32> {
    hosts.ask(node, words).output().unwrap().status.code()
}

/// A command that goes on, and its lines.
fn begin(hosts: &Hosts, node: &str, words: &[&str]) -> (Running, Lines<BufReader<ChildStdout>>) {
    let mut process = hosts.ask(node, words).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let lines = BufReader::new(process.stdout.take().unwrap()).lines();
    (Running(process), lines)
}

fn json(line: &str) -> Value {
    serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}"))
}

#[test]
fn who_waits_is_told_when_it_is_so_and_when_it_is_too_late() {
    let mut hosts = Hosts::with_guests(1);
    assert_eq!(exit_code(&hosts, "a", &["wait", "g0", "--for", "protected"]), Some(0));
    assert_eq!(exit_code(&hosts, "b", &["wait", "g0", "--for", "standing"]), Some(0));
    let never = ["wait", "g0", "--for", "gone", "--timeout", "300ms"];
    assert_eq!(exit_code(&hosts, "a", &never), Some(3));

    // Begun before it is so.
    let (mut waiting, _lines) = begin(&hosts, "a", &["wait", "g0", "--for", "unprotected"]);
    hosts.client("a").wish("g0", Wish::Unprotect).unwrap();
    assert_eq!(waiting.0.wait().unwrap().code(), Some(0));

    hosts.kill_b();
    assert_eq!(exit_code(&hosts, "b", &["wait", "g0", "--for", "gone", "--timeout", "300ms"]), Some(5));
    // A node that begins is waited for.
    let (mut waiting, _lines) = begin(&hosts, "b", &["wait", "g0", "--for", "standing"]);
    hosts.start_b();
    hosts.client("a").wish("g0", Wish::Protect).unwrap();
    assert_eq!(waiting.0.wait().unwrap().code(), Some(0));
}

#[test]
fn events_are_told_in_order_and_as_they_happen_until_the_node_ends() {
    let mut hosts = Hosts::with_guests(1);
    hosts.wait("a", "g0", |guest| guest.protected);
    let kept = hosts.ask("a", &["events", "--output", "json"]).output().unwrap();
    assert_eq!(kept.status.code(), Some(0));
    let kept: Vec<Value> = String::from_utf8(kept.stdout).unwrap().lines().map(json).collect();
    let numbers: Vec<u64> = kept.iter().map(|event| event["number"].as_u64().unwrap()).collect();
    assert_eq!(numbers, (1..=kept.len() as u64).collect::<Vec<_>>());
    for (subject, name, state) in [
        ("node", "a", "started"),
        ("link", "b", "up"),
        ("witness", "witness", "up"),
        ("guest", "g0", "protected"),
    ] {
        let is_this =
            |event: &Value| event["subject"] == subject && event["name"] == name && event["state"] == state;
        assert!(kept.iter().any(is_this), "{subject} {name} {state}: {kept:#?}");
    }
    let recent = hosts.ask("a", &["events", "--since", "1ns"]).output().unwrap();
    assert_eq!((recent.status.code(), recent.stdout), (Some(0), Vec::new()));

    let (mut follower, mut lines) = begin(&hosts, "a", &["events", "--follow", "--output", "json"]);
    hosts.client("a").wish("g0", Wish::Unprotect).unwrap();
    let told = lines.by_ref().map(|line| json(&line.unwrap())).find(|event| {
        event["state"] == "unprotected"
            && event["was"] != "claiming"
            && event["number"].as_u64() > numbers.last().copied()
    });
    assert_eq!(told.unwrap()["reason"], "an operator wished it; `understudy protect` makes a new copy");
    hosts.a.0.kill().unwrap();
    assert_eq!(follower.0.wait().unwrap().code(), Some(5));
}

#[test]
fn a_watched_status_goes_on_until_nobody_reads() {
    let hosts = Hosts::with_guests(1);
    hosts.wait("a", "g0", |_| true);
    let (mut watcher, mut lines) = begin(&hosts, "a", &["status", "--watch", "--output", "json"]);
    let protected = |status: &Value| status["guests"][0]["state"] == GuestState::Protected.to_string();
    assert!(lines.by_ref().map(|line| json(&line.unwrap())).any(|status| protected(&status)));
    drop(lines);
    assert_eq!(watcher.0.wait().unwrap().code(), Some(0));
}

/// For nodes whose machine may be busy: that nobody is lost meanwhile.
fn patient() -> Vec<(&'static str, String)> {
    let flags = [
        ("--silence-max", "10s"),
        ("--link-grace", "10s"),
        ("--takeover-grace", "30s"),
        ("--slow-max", "30s"),
    ];
    flags.map(|(flag, time)| (flag, time.to_owned())).to_vec()
}

#[test]
fn a_full_sync_says_how_far_it_is() {
    let guest = "name=g0,memory=256M,mac=52:54:00:00:00:01,ip=10.77.0.11,load=idle";
    let hosts = Hosts::told([guest.into()], &patient());
    hosts.wait("a", "g0", |guest| guest.protected);
    let client = hosts.client("a");
    client.wish("g0", Wish::Unprotect).unwrap();
    hosts.wait("a", "g0", |guest| guest.state == GuestState::Unprotected);
    client.wish("g0", Wish::Protect).unwrap();
    let (began, mut seen) = (Instant::now(), Vec::new());
    loop {
        let guest = client.status().unwrap().guests.remove(0);
        seen.extend(guest.full_sync);
        if guest.protected {
            assert_eq!(guest.full_sync, None, "it is over");
            break;
        }
        assert!(began.elapsed() < HANG_GUARD, "{guest:#?}");
    }
    assert!(seen.iter().all(|sync| sync.of_pages == 65_536 && sync.share <= 1.0), "{seen:?}");
    assert!(
        seen.iter().any(|sync| sync.share > 0.0 && sync.link_bytes > 0 && sync.left_ms.is_some()),
        "{seen:?}"
    );
    assert!(seen.is_sorted_by_key(|sync| sync.pages), "{seen:?}");
}

/// A limit is for all full syncs together, and for nothing else: a protected guest beside goes on as before.
#[test]
fn a_full_sync_keeps_to_its_limit_and_disturbs_no_other_guest() {
    const LIMIT: u64 = 4 << 20;
    let guests = [
        "name=g0,memory=8M,mac=52:54:00:00:00:01,ip=10.77.0.11,load=rate=100,set=1M",
        "name=g1,memory=64M,mac=52:54:00:00:00:02,ip=10.77.0.12,load=rate=2000,set=24M,skew=0,content=random",
    ];
    let mut told = patient();
    told.push(("--full-sync-rate", LIMIT.to_string()));
    let hosts = Hosts::told(guests.map(String::from), &told);
    for name in ["g0", "g1"] {
        hosts.wait("a", name, |guest| guest.protected);
    }
    // The first full sync counts, too, and had little to copy: what g1 writes from then on cannot be compressed.
    let synced = hosts.client("a").status().unwrap().guests[1].raw_bytes;
    hosts.wait("a", "g1", |guest| guest.raw_bytes > synced + (32 << 20));
    let client = hosts.client("a");
    client.wish("g1", Wish::Unprotect).unwrap();
    hosts.wait("a", "g1", |guest| guest.state == GuestState::Unprotected);
    client.wish("g1", Wish::Protect).unwrap();
    let (began, mut seen) = (Instant::now(), Vec::new());
    let committed = |guests: &[GuestStatus]| guests[0].committed.unwrap();
    let before = committed(&client.status().unwrap().guests);
    loop {
        let guests = client.status().unwrap().guests;
        assert!(guests[0].protected, "{:#?}", guests[0]);
        seen.extend(guests[1].full_sync.map(|sync| (sync, committed(&guests))));
        if guests[1].protected {
            break;
        }
        assert!(began.elapsed() < HANG_GUARD, "{guests:#?}");
        thread::sleep(Duration::from_millis(20));
    }
    let live: Vec<_> = seen.iter().filter(|(sync, _)| sync.share < 0.9).collect();
    let (last, through) = live.last().expect("it takes seconds");
    assert_eq!(last.limit_bytes_per_s, Some(LIMIT));
    assert!(last.link_bytes > LIMIT && last.bytes_per_s <= LIMIT * 5 / 4, "{last:?}");
    assert!(*through > before + 3, "checkpoints of the other guest from {before} to {through}");
}

#[test]
fn a_disk_is_copied_at_the_speed_that_was_set_and_says_how_far_it_is() {
    let size = 12_u64 << 20;
    let guest = "name=g0,memory=8M,disk=12M,mac=52:54:00:00:00:01,ip=10.77.0.11,load=idle";
    let (began, mut left) = (Instant::now(), Vec::new());
    let hosts = Hosts::told([guest.into()], &patient());
    hosts.wait("a", "g0", |_| true);
    let client = hosts.client("a");
    loop {
        let guest = client.status().unwrap().guests.remove(0);
        if let Some(sync) = guest.full_sync {
            assert_eq!(sync.of_disk_bytes, size);
            // Before the other host has said what it has, nobody knows.
            left.extend(sync.disk_left_bytes);
        }
        if guest.protected {
            break;
        }
        assert!(began.elapsed() < HANG_GUARD, "{guest:#?}");
    }
    assert!(began.elapsed() >= Duration::from_secs(1), "8 MiB in a second, and 12 of them");
    left.dedup();
    assert!(left.is_sorted_by(|before, after| before >= after), "{left:?}");
    assert!(left.iter().any(|bytes| (1..size).contains(bytes)), "{left:?}");
}
