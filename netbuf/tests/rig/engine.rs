//! An engine as a process of its own, to be killed: the test binary started again.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

const ROLE: &str = "NETBUF_TEST_ENGINE";
const READY: &str = "holding";

/// Starts the test `engine_process` of this binary as a process in the calling thread's namespace, and waits
/// until it holds.
pub(crate) fn start(role: &str) -> Child {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "engine_process", "--nocapture"])
        .env(ROLE, role)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    assert!(lines.any(|line| line.contains(READY)), "the engine process did not come up");
    child
}

/// In such a process: takes hold and stays. Elsewhere: nothing.
pub(crate) fn run<T>(role: &str, attach: impl FnOnce() -> T) {
    if std::env::var(ROLE).is_ok_and(|wanted| wanted == role) {
        let _held = attach();
        println!("{READY}");
        loop {
            std::thread::park();
        }
    }
}
