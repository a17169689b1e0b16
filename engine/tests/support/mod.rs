//! Real processes for tests that need them: a witness and nodes that end with the test.

mod address;

pub(crate) use address::free_address;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// Everything waited for takes seconds at most; a test that hangs ends.
pub(crate) const HANG_GUARD: Duration = Duration::from_secs(90);

/// A process that ends with the test.
pub(crate) struct Running(pub(crate) Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn understudy(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_understudy"));
    command.args(["--log", "error"]).args(args);
    command
}

/// A witness when it is ready, with its state in `directory`: where it listens, and where its metrics are.
pub(crate) fn witness(directory: &Path, listen: &str, more: &[&str]) -> (Running, SocketAddr, SocketAddr) {
    let metrics = free_address();
    let state = directory.join("witness");
    let args = [
        "witness",
        "--listen",
        listen,
        "--state",
        state.to_str().unwrap(),
        "--metrics",
        &metrics.to_string(),
    ];
    let mut process = understudy(&args).args(more).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let listen = line.trim().strip_prefix("witness listening on ").expect("the first line says where");
    (Running(process), listen.parse().unwrap(), metrics)
}

/// A node, with its control socket `NAME.sock` in `directory`, and where its metrics are.
pub(crate) fn node(name: &str, directory: &Path, listen: SocketAddr, more: &[&str]) -> (Running, SocketAddr) {
    let metrics = free_address();
    let control = directory.join(format!("{name}.sock"));
    let process = understudy(&["node", "--node", name, "--listen", &listen.to_string()])
        .args(["--control", control.to_str().unwrap(), "--metrics", &metrics.to_string()])
        .args(more)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    (Running(process), metrics)
}
