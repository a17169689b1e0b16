//! One stream, and the thread that writes it.

use super::limit::{Untold, take_untold};
use crossbeam::channel::{Receiver, RecvTimeoutError, Sender, bounded};
use nix::sys::signal::{SigSet, SigmaskHow};
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread::{self, Builder};
use std::time::{Duration, Instant};

/// Most pieces that wait to be written.
const PIECES_MAX: usize = 4096;

/// Most bytes that wait to be written.
const QUEUED_BYTES_MAX: usize = 4 << 20;

/// The pause before a non-blocking stream that is full is tried again.
const RETRY_AFTER: Duration = Duration::from_millis(20);

/// How often losses are reported at most.
const TELL_EVERY: Duration = Duration::from_secs(10);

enum Piece {
    Text(Vec<u8>),
    /// Answered once everything before it is written or lost.
    Mark(Sender<()>),
}

#[derive(Default, Debug)]
struct Counts {
    queued_bytes: AtomicUsize,
    lost: AtomicU64,
}

/// The sending side of a stream. Only [`finish`](Self::finish) waits.
#[derive(Debug)]
pub(super) struct Outlet {
    pieces: Sender<Piece>,
    counts: Arc<Counts>,
}

impl Outlet {
    /// Starts the thread of a stream. Without a thread or a descriptor everything is lost, and counted.
    pub(super) fn start(name: &str, stream: io::Result<OwnedFd>) -> Self {
        let (to_pieces, pieces) = bounded(PIECES_MAX);
        let counts = Arc::new(Counts::default());
        if let Ok(stream) = stream {
            let its = counts.clone();
            start_thread(name, move || {
                Pump { stream: File::from(stream), counts: its, torn: false }.run(&pieces)
            });
        }
        Self { pieces: to_pieces, counts }
    }

    pub(super) fn put(&self, text: Vec<u8>) {
        let length = text.len();
        let before = self.counts.queued_bytes.fetch_add(length, Ordering::Relaxed);
        if before + length > QUEUED_BYTES_MAX || self.pieces.try_send(Piece::Text(text)).is_err() {
            self.counts.queued_bytes.fetch_sub(length, Ordering::Relaxed);
            self.counts.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(super) fn lost(&self) -> u64 {
        self.counts.lost.load(Ordering::Relaxed)
    }

    /// Waits until everything sent so far is written or lost, at most for `wait_max`.
    pub(super) fn finish(&self, wait_max: Option<Duration>) {
        let (done, is_done) = bounded(1);
        // An error: the thread is gone or the wait is over; both end the wait.
        match wait_max {
            None => {
                let _ = self.pieces.send(Piece::Mark(done)).map(|()| is_done.recv());
            }
            Some(wait_max) => {
                let until = Instant::now() + wait_max;
                let _ = self
                    .pieces
                    .send_deadline(Piece::Mark(done), until)
                    .map(|()| is_done.recv_deadline(until));
            }
        }
    }
}

/// Starts a thread with all signals blocked, because a loop elsewhere waits for them.
fn start_thread(name: &str, body: impl FnOnce() + Send + 'static) {
    let before = SigSet::all().thread_swap_mask(SigmaskHow::SIG_BLOCK);
    // Without a thread the receiver is gone, and `put` counts.
    let _ = Builder::new().name(name.to_owned()).spawn(body);
    if let Ok(before) = before {
        let _ = before.thread_set_mask();
    }
}

/// The writing side of a stream.
struct Pump {
    stream: File,
    counts: Arc<Counts>,
    /// The last line was not written completely.
    torn: bool,
}

impl Pump {
    fn run(mut self, pieces: &Receiver<Piece>) {
        let (mut told, mut told_at) = (0, None::<Instant>);
        loop {
            match pieces.recv_timeout(TELL_EVERY) {
                Ok(Piece::Text(text)) => self.write(&text),
                // Whoever asked may not wait any more.
                Ok(Piece::Mark(done)) => drop(done.try_send(())),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            if told_at.is_none_or(|at| at.elapsed() >= TELL_EVERY) {
                told_at = Some(Instant::now());
                told = self.tell_losses(told);
            }
        }
    }

    /// Logs the losses that the log does not mention yet; `told` of them it does. A log line never waits, not even for
    /// this thread.
    fn tell_losses(&self, told: u64) -> u64 {
        let lost = self.counts.lost.load(Ordering::Relaxed);
        if lost > told {
            tracing::warn!(lines = lost - told, "Lines were lost: whoever reads them was too slow or gone");
        }
        if let Some(Untold { lines, example }) = take_untold() {
            tracing::warn!(lines, example, "Log lines were left out: too many of one cause");
        }
        lost
    }

    fn write(&mut self, text: &[u8]) {
        let written = match self.torn {
            true => self.write_all(b"\n").and_then(|()| self.write_all(text)),
            false => self.write_all(text),
        };
        self.torn = written.is_err();
        if written.is_err() {
            self.counts.lost.fetch_add(1, Ordering::Relaxed);
        }
        self.counts.queued_bytes.fetch_sub(text.len(), Ordering::Relaxed);
    }

    fn write_all(&mut self, mut text: &[u8]) -> io::Result<()> {
        while !text.is_empty() {
            match self.stream.write(text) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => text = &text[count..],
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => thread::sleep(RETRY_AFTER),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    #[test]
    fn a_reader_that_stalls_costs_lines_and_no_time() {
        let (mut reader, writer) = io::pipe().unwrap();
        let outlet = Outlet::start("test", Ok(writer.into()));
        // More than the pipe and the queue take together.
        let count = 3 * QUEUED_BYTES_MAX / 1024;
        (0..count).for_each(|_| outlet.put(vec![b'x'; 1024]));
        let lost = outlet.lost();
        assert!(lost > 0 && lost < count as u64, "{lost} of {count}");
        outlet.finish(Some(Duration::from_millis(1)));
        let reading = thread::spawn(move || {
            let mut all = Vec::new();
            reader.read_to_end(&mut all).map(|_| all.len())
        });
        outlet.finish(None);
        outlet.put(b"heard again\n".to_vec());
        outlet.finish(None);
        assert_eq!(outlet.lost(), lost);
        drop(outlet);
        let written = reading.join().unwrap().unwrap();
        assert_eq!(written as u64, (count as u64 - lost) * 1024 + 12, "what was not lost was written");
    }

    #[test]
    fn what_cannot_be_written_is_counted() {
        let full = File::options().write(true).open("/dev/full").unwrap();
        let (reader, closed) = io::pipe().unwrap();
        drop(reader);
        for stream in [full.into(), closed.into()] {
            let outlet = Outlet::start("test", Ok(stream));
            (0..3).for_each(|_| outlet.put(b"line\n".to_vec()));
            outlet.finish(None);
            assert_eq!(outlet.lost(), 3);
        }
    }
}
