//! Asks another host for its facts: `ssh HOST understudy preflight --facts`, limited in time and bytes.

use super::facts::{BYTES_MAX, FactsError, HostFacts};
use std::io::{self, Read};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// The command to run there.
const QUESTION: [&str; 3] = ["understudy", "preflight", "--facts"];

/// Most bytes of a failed command's output that are kept, from its end.
const WORDS_MAX: usize = 16 << 10;

/// How often to check whether the command has ended.
const POLL: Duration = Duration::from_millis(10);

/// Why another host's facts are not known.
#[derive(thiserror::Error, Debug)]
pub enum RemoteError {
    /// The name of the host would be taken for an option.
    #[error("{0:?} is not a host")]
    Host(String),
    /// There is no command to run.
    #[error("--ssh names no command")]
    NoCommand,
    /// The command does not start.
    #[error("{command} cannot be started")]
    Start {
        /// The command.
        command: String,
        #[source]
        source: io::Error,
    },
    /// The command took too long.
    #[error(
        "{host} has not told its facts within {} ms and {command} was ended; is it up, does it ask for a password?",
        .after.as_millis()
    )]
    Timeout {
        host: String,
        /// The command.
        command: String,
        /// How long it was given.
        after: Duration,
    },
    /// The command failed.
    #[error("{host} cannot be asked for its facts ({command} ended with {status}){}", advice(status, said))]
    Failed {
        host: String,
        /// The command.
        command: String,
        status: ExitStatus,
        /// The last lines of its output.
        said: String,
    },
    /// The command printed too much.
    #[error(
        "{0} says more than {BYTES_MAX} bytes and not a host's facts; is `understudy` there this program?"
    )]
    TooLong(String),
    /// The output is not a host's facts.
    #[error("{host} has answered, but {error}")]
    Facts { host: String, error: FactsError },
}

fn advice(status: &ExitStatus, said: &str) -> String {
    let hint = match status.code() {
        Some(127) => ": install understudy there, in root's path",
        Some(255) => ": see that root of this host may log in there without a password",
        _ => "",
    };
    let words = if said.is_empty() { String::new() } else { format!("; it said: {said}") };
    format!("{hint}{words}")
}

/// The facts of `host`. `ssh` is a command with its options, separated by spaces; no shell parses it.
pub fn facts(host: &str, ssh: &str, timeout: Duration) -> Result<HostFacts, RemoteError> {
    if host.is_empty() || host.starts_with('-') {
        return Err(RemoteError::Host(host.into()));
    }
    let mut words = ssh.split_whitespace();
    let program = words.next().ok_or(RemoteError::NoCommand)?;
    let child = Command::new(program)
        .args(words)
        .arg(host)
        .args(QUESTION)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|source| RemoteError::Start { command: program.into(), source })?;
    let mut asked = Asked { host, command: program, child, began: Instant::now(), timeout };
    let answer = asked.answer();
    if answer.is_err() {
        // It may have ended already, which is what is wanted.
        let _ = asked.child.kill();
        let _ = asked.child.wait();
    }
    HostFacts::read(&answer?).map_err(|error| RemoteError::Facts { host: host.into(), error })
}

/// A running command.
struct Asked<'h> {
    host: &'h str,
    command: &'h str,
    child: Child,
    began: Instant,
    timeout: Duration,
}

impl Asked<'_> {
    /// The command's whole output, once it has ended successfully.
    fn answer(&mut self) -> Result<Vec<u8>, RemoteError> {
        let said = read_aside(self.child.stdout.take(), BYTES_MAX + 1);
        let complaints = read_aside(self.child.stderr.take(), WORDS_MAX);
        let bytes = said.recv_timeout(self.left()?).map_err(|_| self.late())?;
        if bytes.len() > BYTES_MAX {
            return Err(RemoteError::TooLong(self.host.into()));
        }
        let status = self.ended()?;
        if status.success() {
            return Ok(bytes);
        }
        // Another process may still hold the pipe; what it says is not worth waiting for.
        let words = complaints.recv_timeout(POLL).unwrap_or_default();
        Err(RemoteError::Failed {
            host: self.host.into(),
            command: self.command.into(),
            status,
            said: last_line(&words),
        })
    }

    fn ended(&mut self) -> Result<ExitStatus, RemoteError> {
        loop {
            let status = self.child.try_wait();
            let status =
                status.map_err(|source| RemoteError::Start { command: self.command.into(), source })?;
            if let Some(status) = status {
                return Ok(status);
            }
            sleep(POLL.min(self.left()?));
        }
    }

    fn left(&self) -> Result<Duration, RemoteError> {
        self.timeout.checked_sub(self.began.elapsed()).ok_or_else(|| self.late())
    }

    fn late(&self) -> RemoteError {
        let (host, command) = (self.host.into(), self.command.into());
        RemoteError::Timeout { host, command, after: self.timeout }
    }
}

/// Reads a pipe to its end, or `most` bytes of it. The thread outlives a pipe that nobody closes, and ends with this
/// process.
fn read_aside(pipe: Option<impl Read + Send + 'static>, most: usize) -> Receiver<Vec<u8>> {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(pipe) = pipe {
            // What was read before an error is told all the same: the judge of it is the reader of facts.
            let _ = pipe.take(most as u64).read_to_end(&mut bytes);
        }
        let _ = sender.send(bytes);
    });
    receiver
}

fn last_line(words: &[u8]) -> String {
    let words = String::from_utf8_lossy(words);
    words.lines().map(str::trim).rfind(|line| !line.is_empty()).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    const SOON: Duration = Duration::from_secs(20);

    /// Runs a shell script in place of ssh.
    fn ask(script: &str, timeout: Duration) -> Result<HostFacts, RemoteError> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ssh");
        std::fs::write(&path, script).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        // Through the interpreter: a file that was just written may be busy while another test forks.
        facts("b", &format!("sh {}", path.display()), timeout)
    }

    #[test]
    fn the_other_host_is_asked_by_command_and_its_facts_are_read() {
        let script = r#"[ "$*" = "b understudy preflight --facts" ] || exit 9
            echo '{"format":1,"understudy":"9.9","link":[1,2]}'"#;
        let facts = ask(script, SOON).unwrap();
        assert_eq!((facts.understudy.as_str(), facts.link, facts.xen), ("9.9", (1, 2), None));
    }

    #[test]
    fn a_host_that_is_none_is_never_asked() {
        assert!(matches!(facts("-oProxyCommand=true", "ssh", SOON), Err(RemoteError::Host(_))));
        assert!(matches!(facts("", "ssh", SOON), Err(RemoteError::Host(_))));
        assert!(matches!(facts("b", "  ", SOON), Err(RemoteError::NoCommand)));
        assert!(matches!(facts("b", "/nowhere/ssh", SOON), Err(RemoteError::Start { .. })));
    }

    #[test]
    fn a_command_that_fails_is_told_with_its_last_words_and_what_to_do() {
        let error =
            ask("echo some; echo 'understudy: not found' >&2; exit 127", SOON).unwrap_err().to_string();
        assert!(error.contains("install understudy there"), "{error}");
        assert!(error.ends_with("it said: understudy: not found"), "{error}");
        let error = ask("exit 255", SOON).unwrap_err().to_string();
        assert!(error.ends_with("may log in there without a password"), "{error}");
    }

    #[test]
    fn a_command_that_hangs_is_ended_in_time() {
        for script in ["exec sleep 60", "exec >&-; exec sleep 60", "sleep 3 & exit 0"] {
            let began = Instant::now();
            let error = ask(script, Duration::from_millis(300)).unwrap_err();
            assert!(matches!(error, RemoteError::Timeout { .. }), "{script}: {error}");
            assert!(began.elapsed() < Duration::from_secs(30), "{script}");
        }
    }

    #[test]
    fn garbage_and_endless_words_are_refused() {
        let error = ask("echo Welcome", SOON).unwrap_err();
        assert!(matches!(error, RemoteError::Facts { error: FactsError::Garbled(_), .. }), "{error}");
        let error = ask("echo '{\"format\":7}'", SOON).unwrap_err();
        assert!(matches!(error, RemoteError::Facts { error: FactsError::Format(7), .. }), "{error}");
        let error = ask("exec yes '{\"format\":1,'", SOON).unwrap_err();
        assert!(matches!(error, RemoteError::TooLong(_)), "{error}");
    }
}
