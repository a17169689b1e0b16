//! What a command of this host says, within a time and a number of bytes. Not here: what it means.

use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

/// How it ended.
#[derive(PartialEq, Eq, Debug)]
pub(super) enum Took {
    /// It said this and ended well.
    All(String),
    /// It said this; `why` is what kept it from more.
    Some { said: String, why: String },
}

/// Ends the command and waits for it, however this goes on.
struct Ends(Child);

impl Drop for Ends {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Runs a command without a shell and without input; `bytes_max` of what it says on both outputs are kept.
pub(super) fn words_of(words: &[&str], bytes_max: usize, time_max: Duration) -> Took {
    let (program, arguments) = words.split_first().expect("the caller names a program");
    let spawned = Command::new(program)
        .args(arguments)
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = match spawned {
        Ok(child) => Ends(child),
        Err(error) => return Took::Some { said: String::new(), why: error.to_string() },
    };
    let ends_at = Instant::now() + time_max;
    let said = read_aside(child.0.stdout.take(), bytes_max);
    let complained = read_aside(child.0.stderr.take(), bytes_max);
    let left = || ends_at.saturating_duration_since(Instant::now());
    let (said, is_late) = match said.recv_timeout(left()) {
        Ok(said) => (said, false),
        Err(_) => (Vec::new(), true),
    };
    let is_cut = said.len() >= bytes_max;
    let mut said = String::from_utf8_lossy(&said).into_owned();
    said += &complained
        .recv_timeout(left())
        .map_or(String::new(), |it| String::from_utf8_lossy(&it).into_owned());
    if is_late {
        return Took::Some { said, why: format!("no end after {} s", time_max.as_secs()) };
    }
    if is_cut {
        return Took::Some { said, why: "there is more".into() };
    }
    match child.0.wait() {
        Ok(status) if status.success() => Took::All(said),
        Ok(status) => Took::Some { said, why: status.to_string() },
        Err(error) => Took::Some { said, why: error.to_string() },
    }
}

/// Reads a pipe to its end, or `bytes_max` of it. The thread outlives a pipe that nobody closes, and ends with this process.
fn read_aside(pipe: Option<impl Read + Send + 'static>, bytes_max: usize) -> mpsc::Receiver<Vec<u8>> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(pipe) = pipe {
            // What was read before an error is told all the same.
            let _ = pipe.take(bytes_max as u64).read_to_end(&mut bytes);
        }
        let _ = sender.send(bytes);
    });
    receiver
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_secs(60);

    #[test]
    fn a_command_is_heard_within_its_bounds() {
        assert_eq!(words_of(&["echo", "a b"], 100, SOON), Took::All("a b\n".into()));
        let Took::Some { said, why } = words_of(&["yes"], 10, SOON) else { panic!("it has no end") };
        assert!(said.len() >= 10 && why == "there is more", "{said:?} {why}");
        let failed = words_of(&["sh", "-c", "echo no >&2; exit 3"], 100, SOON);
        assert_eq!(failed, Took::Some { said: "no\n".into(), why: "exit status: 3".into() });
        assert!(matches!(words_of(&["/nowhere/x"], 100, SOON), Took::Some { .. }));
    }

    #[test]
    fn a_command_that_hangs_is_ended_in_time() {
        let began = Instant::now();
        let hung = words_of(&["sleep", "600"], 100, Duration::from_millis(200));
        assert!(matches!(hung, Took::Some { .. }), "{hung:?}");
        assert!(began.elapsed() < SOON);
    }
}
