//! Strangers that connect and stay do not get the descriptors that a node and a witness need: with 40 of them allowed, a
//! node answers its operator, and a takeover succeeds.

#[path = "support/address.rs"]
mod address;

use address::free_address;
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use understudy::control::{Client, GuestRole, GuestState, GuestStatus};

/// Guards against hanging; nothing is judged by it.
const HANG_GUARD: Duration = Duration::from_secs(90);

/// A process that ends with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A process that may open this many files.
fn limited(args: &[&str]) -> Child {
    Command::new("sh")
        .args(["-c", "ulimit -n 40; exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_understudy"), "--log", "off"])
        .args(args)
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

fn node(name: &str, dir: &Path, at: SocketAddr, more: &[&str]) -> Running {
    let (control, at) = (dir.join(format!("{name}.sock")), at.to_string());
    let args = ["node", "--node", name, "--listen", &at, "--control", control.to_str().unwrap()];
    Running(limited(&[&args, more].concat()))
}

fn wait_for(client: &Client, wanted: impl Fn(&GuestStatus) -> bool) {
    let began = Instant::now();
    let mut last = None;
    while began.elapsed() < HANG_GUARD {
        match client.status() {
            Ok(status) if status.guests.first().is_some_and(&wanted) => return,
            other => last = Some(other),
        }
        thread::sleep(Duration::from_millis(20));
    }
    panic!("the guest never came to stand as wanted: {last:?}");
}

/// Connects to each door again and again, and keeps what it has.
fn crowd(doors: &[SocketAddr], sockets: &[&Path], is_over: &AtomicBool) {
    let mut kept = Vec::new();
    let mut kept_local = Vec::new();
    while !is_over.load(Ordering::Relaxed) {
        kept.extend(doors.iter().filter_map(|door| TcpStream::connect(door).ok()));
        // A full queue would be waited for.
        if kept_local.len() < 60 {
            kept_local.extend(sockets.iter().filter_map(|at| UnixStream::connect(at).ok()));
        }
        kept.drain(..kept.len().saturating_sub(200));
        thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn strangers_do_not_get_the_descriptors_that_a_takeover_needs() {
    let dir = tempfile::tempdir().unwrap();
    let (at_a, at_b, at_witness) = (free_address(), free_address(), free_address());
    let (witness, state) = (at_witness.to_string(), dir.path().join("witness"));
    let _witness = Running(limited(&["witness", "--listen", &witness, "--state", state.to_str().unwrap()]));
    let (to_a, to_b) = (format!("a={at_a}"), format!("b={at_b}"));
    let _b = node("b", dir.path(), at_b, &["--witness", &witness, "--peer", &to_a]);
    let guest = "name=g1,memory=8M,mac=52:54:00:00:00:01,ip=10.77.0.11,load=idle";
    let more = ["--witness", &witness, "--peer", &to_b, "--guest", guest];
    let a = node("a", dir.path(), at_a, &more);
    let [control_a, control_b] = ["a.sock", "b.sock"].map(|name| dir.path().join(name));
    wait_for(&Client::new(&control_a), |guest| guest.protected);

    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| crowd(&[at_a, at_b, at_witness], &[&control_b], &is_over));
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            // As long as it takes strangers to be sent away for their silence.
            thread::sleep(Duration::from_millis(500));
            wait_for(&Client::new(&control_b), |guest| guest.state == GuestState::Standing);
            drop(a);
            wait_for(&Client::new(&control_b), |guest| {
                guest.role == GuestRole::Primary && guest.state == GuestState::Unprotected
            });
        }));
        is_over.store(true, Ordering::Relaxed);
        result.unwrap();
    });
}
