//! A network namespace with a thread in it. It has no name: it is gone with its last thread and process, so that nothing is
//! left behind even by a process that was killed.

use nix::sched::{CloneFlags, unshare};
use std::fs;
use std::io::Write;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread::JoinHandle;

type Job = Box<dyn FnOnce() + Send>;

/// A network namespace with a thread in it.
pub(crate) struct Place {
    jobs: mpsc::Sender<Job>,
}

impl Place {
    pub(crate) fn new() -> Result<Self, String> {
        let (jobs, inbox) = mpsc::channel::<Job>();
        let (tell, told) = mpsc::channel();
        std::thread::spawn(move || {
            let made = unshare(CloneFlags::CLONE_NEWNET);
            let is_made = made.is_ok();
            // Nobody hears of it when the process ends.
            let _ = tell.send(made);
            if is_made {
                inbox.into_iter().for_each(|job| job());
            }
        });
        let made = told.recv().map_err(|_| "a thread ended".to_owned())?;
        made.map_err(|errno| format!("a network namespace needs root: {errno}"))?;
        Ok(Self { jobs })
    }

    /// Does `work` inside.
    pub(crate) fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        let (tell, told) = mpsc::channel();
        let job = Box::new(move || drop(tell.send(work())));
        self.jobs.send(job).expect("the thread lives as long as its place");
        told.recv().expect("the work inside did not panic")
    }

    /// Starts a thread inside.
    pub(crate) fn spawn<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> JoinHandle<T> {
        self.run(move || std::thread::spawn(work))
    }

    /// Starts a process inside, which is killed with all that it started when this process ends, however that happens.
    pub(crate) fn start(&self, program: &str, words: &[&str], output: Stdio) -> Result<Service, String> {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "unshare", "--pid", "--fork", "--kill-child", program]);
        command.args(words).stdin(Stdio::null()).stderr(Stdio::null()).stdout(output);
        let child = self.run(move || command.spawn());
        child.map(Service).map_err(|error| format!("{program} cannot be started: {error}"))
    }

    /// Does what `ip` is told, one line after the other.
    pub(crate) fn ip(&self, lines: String) -> Result<(), String> {
        self.run(move || ip(&lines)).map_err(|error| format!("ip: {error}"))
    }

    /// Sets what is below /proc/sys/net.
    pub(crate) fn set(&self, name: &'static str, value: &'static str) -> Result<(), String> {
        let path = format!("/proc/sys/net/{name}");
        let set = self.run(move || fs::write(&path, value).map_err(|error| format!("{path}: {error}")));
        set.map_err(|error| error.to_string())
    }
}

fn ip(lines: &str) -> Result<(), String> {
    let failed = |error: std::io::Error| error.to_string();
    let mut child = Command::new("ip")
        .args(["-batch", "-"])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(failed)?;
    child.stdin.take().expect("it was asked for").write_all(lines.as_bytes()).map_err(failed)?;
    let done = child.wait_with_output().map_err(failed)?;
    if done.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&done.stderr).into_owned()) }
}

/// A process in a namespace, killed when it is dropped.
pub(crate) struct Service(Child);

impl Service {
    /// What it printed, once it has ended, and whether it succeeded.
    pub(crate) fn finish(mut self) -> Result<(bool, String), String> {
        let mut said = String::new();
        if let Some(mut output) = self.0.stdout.take() {
            std::io::Read::read_to_string(&mut output, &mut said).map_err(|error| error.to_string())?;
        }
        let status = self.0.wait().map_err(|error| error.to_string())?;
        Ok((status.success(), said))
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // It has ended by itself already, or is ended now.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The file of this program.
pub(crate) fn own_program() -> Result<String, String> {
    let path = std::env::current_exe().map_err(|error| format!("this program's file: {error}"))?;
    path.into_os_string().into_string().map_err(|path| format!("{} is no text", path.display()))
}
