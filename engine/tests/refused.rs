//! What a node refuses, it says: a guest that the other cannot hold, a second process of one name, a wrong address. Each
//! time everything else on the link goes on.

#[path = "support/address.rs"]
mod address;

use address::free_address;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};
use understudy::config::Settings;
use understudy::control::{GuestStatus, Status};
use understudy::node::{Node, NodeHandle};

/// Guards against hanging; nothing is judged by it.
const HANG: Duration = Duration::from_secs(60);

/// A node as the lines of its file say, and `guests` of 8 MiB protected by `peer`.
fn node(
    dir: &Path,
    file: &str,
    name: &str,
    listen: SocketAddr,
    more: &str,
    guests: &[(&str, &str)],
) -> NodeHandle {
    let control = dir.join(format!("{file}.sock"));
    let mut text =
        format!("node = \"{name}\"\nlisten = \"{listen}\"\ncontrol = \"{}\"\n{more}\n", control.display());
    for (number, (guest, peer)) in guests.iter().enumerate() {
        text += &format!(
            "[[guest]]\nname = \"{guest}\"\nmemory = \"8M\"\nmac = \"52:54:00:00:00:{number:02x}\"\n\
             ip = \"10.0.0.{number}\"\nload = \"idle\"\npeer = \"{peer}\"\n"
        );
    }
    let path = dir.join(format!("{file}.toml"));
    std::fs::write(&path, text).unwrap();
    let config = Settings::read(&path).unwrap().decide().unwrap();
    let (node, handle) = Node::open(config).unwrap();
    node.spawn(handle).unwrap()
}

fn wait_for<T>(node: &NodeHandle, what: impl Fn(&Status) -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        let status = node.status().unwrap();
        if let Some(found) = what(&status) {
            return found;
        }
        assert!(begun.elapsed() < HANG, "it never came to stand as wished: {status:#?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn guest(status: &Status, name: &str, wished: impl Fn(&GuestStatus) -> bool) -> Option<GuestStatus> {
    status.guests.iter().find(|guest| guest.name == name && wished(guest)).cloned()
}

fn peer_reason(status: &Status, name: &str, contains: &str) -> Option<String> {
    let peer = status.peers.iter().find(|peer| peer.node == name)?;
    peer.reason.contains(contains).then(|| peer.reason.clone())
}

/// Every guest is protected, and 20 more checkpoints of it are acked.
fn is_kept(node: &NodeHandle, name: &str) {
    let before = wait_for(node, |status| guest(status, name, |guest| guest.protected)).commit_us.count;
    wait_for(node, |status| guest(status, name, |g| g.protected && g.commit_us.count > before + 20));
}

#[test]
fn a_guest_that_cannot_be_held_is_declined_in_words_and_the_others_stay_protected() {
    let dir = tempfile::tempdir().unwrap();
    let (at_a, at_b) = (free_address(), free_address());
    let quick = "[timing]\ninterval = \"5ms\"\n";
    let room_for_one = format!("{quick}[limits]\nimage_max = \"12M\"\n[peers]\na = \"{at_a}\"");
    let b = node(dir.path(), "b", "b", at_b, &room_for_one, &[("taken", "a")]);
    let more = format!("{quick}[peers]\nb = \"{at_b}\"");
    let a = node(dir.path(), "a", "a", at_a, &more, &[("g1", "b"), ("g2", "b"), ("taken", "b")]);
    is_kept(&a, "g1");
    let declined = |name: &str, words: &str| {
        wait_for(&a, |status| guest(status, name, |guest| !guest.protected && guest.reason.contains(words)))
    };
    assert!(declined("g2", "the images of 1 guests").reason.starts_with("b does not hold a copy"));
    declined("taken", "b runs a guest of this name");
    wait_for(&b, |status| {
        guest(status, "taken", |guest| guest.reason.contains("a runs a guest of this name"))
    });
    // Four times the silence after which a peer counts as lost: nobody took the refusals for that.
    std::thread::sleep(Duration::from_millis(1_200));
    is_kept(&a, "g1");
    let replay_stats = a.replay_stats("g1").unwrap();
    assert_eq!((replay_stats.seeds, replay_stats.resyncs), (1, 0), "the link never ended");
}

#[test]
fn a_second_process_of_a_name_is_refused_while_the_first_answers() {
    let dir = tempfile::tempdir().unwrap();
    let (at_a, at_b) = (free_address(), free_address());
    let quick = "[timing]\ninterval = \"5ms\"\n";
    let of_b = format!("{quick}[peers]\na = \"{at_a}\"");
    let first = node(dir.path(), "b1", "b", at_b, &of_b, &[]);
    let a = node(dir.path(), "a", "a", at_a, &format!("{quick}[peers]\nb = \"{at_b}\""), &[("g1", "b")]);
    is_kept(&a, "g1");
    let second = node(dir.path(), "b2", "b", free_address(), &of_b, &[]);
    wait_for(&second, |status| peer_reason(status, "a", "name in use"));
    wait_for(&a, |status| peer_reason(status, "b", "a second process calls itself b"));
    is_kept(&a, "g1");
    let replay_stats = a.replay_stats("g1").unwrap();
    assert_eq!((replay_stats.seeds, replay_stats.resyncs), (1, 0), "the link to the first never ended");
    // Once the first is gone, the second is a node that was restarted.
    first.stop().unwrap();
    wait_for(&second, |status| status.peers.iter().any(|peer| peer.connected).then_some(()));
}

#[test]
fn an_address_of_something_else_is_named_on_both_sides() {
    let dir = tempfile::tempdir().unwrap();
    let (at_a, at_c) = (free_address(), free_address());
    let c = node(dir.path(), "c", "c", at_c, &format!("[peers]\nb = \"{at_a}\""), &[]);
    let (at_e, at_g) = (free_address(), free_address());
    let _e = node(dir.path(), "e", "e", at_e, "", &[]);
    let _g = node(dir.path(), "g", "g", at_g, "", &[]);
    let (peers, nobody) = (format!("b = \"{at_c}\"\nf = \"{at_e}\""), free_address());
    let more = format!("witness = \"{at_g}\"\n[peers]\n{peers}\nd = \"{nobody}\"");
    let a = node(dir.path(), "a", "a", at_a, &more, &[]);
    wait_for(&a, |status| status.witness.reason.contains("not a witness").then_some(()));
    wait_for(&a, |status| peer_reason(status, "b", "Node c has no peer a"));
    wait_for(&a, |status| peer_reason(status, "d", "refused"));
    wait_for(&a, |status| peer_reason(status, "f", "node e answers where f should be"));
    wait_for(&c, |status| peer_reason(status, "b", "Node a has no peer c"));
}

#[test]
fn the_address_of_a_process_that_was_killed_a_moment_ago_is_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let address = free_address();
    let dying = std::net::TcpListener::bind(address).unwrap();
    let frees = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(200));
        drop(dying);
    });
    let node = node(dir.path(), "a", "a", address, "", &[]);
    frees.join().unwrap();
    assert_eq!(node.address(), address);
}

#[test]
fn a_control_socket_that_was_swept_away_is_made_anew() {
    let dir = tempfile::tempdir().unwrap();
    let run = dir.path().join("run");
    std::fs::create_dir(&run).unwrap();
    let node = node(&run, "a", "a", free_address(), "", &[]);
    let client = understudy::control::Client::new(run.join("a.sock"));
    assert_eq!(client.status().unwrap().node, "a");
    std::fs::remove_dir_all(&run).unwrap();
    let begun = Instant::now();
    while client.status().is_err() {
        assert!(begun.elapsed() < HANG, "nobody can ask the node any more");
        std::thread::sleep(Duration::from_millis(20));
    }
    node.stop().unwrap();
    assert!(!run.join("a.sock").exists(), "it is gone with the node");
}
