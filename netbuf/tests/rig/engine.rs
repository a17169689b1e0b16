//! An engine as a separate process that tests can kill: the program `netbuf-test-engine`.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

/// Names the program where the tests do not run on the machine that they were built on.
const PROGRAM: &str = "NETBUF_TEST_ENGINE";

/// Starts it in the calling thread's namespace, and waits until it holds.
pub(crate) fn start(role: &str) -> Child {
    let program = std::env::var(PROGRAM).unwrap_or_else(|_| env!("CARGO_BIN_EXE_netbuf-test-engine").into());
    let mut child = Command::new(program).arg(role).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    assert!(lines.any(|line| line == "holding"), "the engine process did not come up");
    child
}
