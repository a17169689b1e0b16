//! Child processes of a drill or a replay: this program with another subcommand, whose log goes to a file.
//!
//! A child never outlives its parent. Dropping a [`Process`] kills it; the kernel kills it when the parent's main
//! thread dies, for whatever reason ([`die_with_parent`]); and it has its own process group, so that Ctrl-C reaches
//! only the parent, which then ends the child in order.

use nix::sys::prctl;
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, getppid};
use std::fs::File;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

/// The environment variable that names the process a child must not outlive.
pub(crate) const PARENT_VARIABLE: &str = "UNDERSTUDY_PARENT_PID";

/// Makes the kernel kill this process when its parent dies, if the parent asked for it. Must be called first in `main`.
pub fn die_with_parent() -> io::Result<()> {
    let Ok(parent) = std::env::var(PARENT_VARIABLE) else { return Ok(()) };
    prctl::set_pdeathsig(Signal::SIGKILL)?;
    if getppid().to_string() != parent {
        return Err(io::Error::other("the process that started this one is gone already"));
    }
    Ok(())
}

/// A child process.
#[derive(Debug)]
pub struct Process {
    child: Child,
    log: PathBuf,
    stopped: bool,
}

impl Process {
    /// Starts this program with `arguments`. Its output is appended to `log`.
    ///
    /// Must be called from the main thread: the kernel ties a child's life to the thread that started it.
    pub fn start(program: &Path, arguments: &[String], log: &Path) -> io::Result<Self> {
        Self::start_with(program, arguments, log, Stdio::null())
    }

    /// As [`start`](Self::start), for a program whose input is open as long as it is to run.
    pub fn start_held(program: &Path, arguments: &[String], log: &Path) -> io::Result<Self> {
        Self::start_with(program, arguments, log, Stdio::piped())
    }

    fn start_with(program: &Path, arguments: &[String], log: &Path, input: Stdio) -> io::Result<Self> {
        let file = File::options().create(true).append(true).open(log)?;
        let child = Command::new(program)
            .args(arguments)
            .env(PARENT_VARIABLE, std::process::id().to_string())
            .stdin(input)
            .stdout(file.try_clone()?)
            .stderr(file)
            .process_group(0)
            .spawn()?;
        Ok(Self { child, log: log.to_owned(), stopped: false })
    }

    /// The path of its log.
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// Its process number.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends SIGKILL and waits until the process is gone.
    pub fn kill(&mut self) -> io::Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Sends SIGSTOP.
    pub fn stop(&mut self) -> io::Result<()> {
        self.stopped = true;
        self.signal(Signal::SIGSTOP)
    }

    /// Sends SIGCONT.
    pub fn go_on(&mut self) -> io::Result<()> {
        self.stopped = false;
        self.signal(Signal::SIGCONT)
    }

    /// Whether it is stopped.
    pub fn is_stopped(&self) -> bool {
        self.stopped
    }

    /// Its exit status, if it has ended.
    pub fn ended(&mut self) -> io::Result<Option<ExitStatus>> {
        self.child.try_wait()
    }

    fn signal(&self, signal: Signal) -> io::Result<()> {
        let id = i32::try_from(self.child.id()).expect("Linux process numbers are below 2^22");
        Ok(kill(Pid::from_raw(id), signal)?)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may be gone already, which is what is wanted.
        let _ = self.kill();
    }
}
