//! Our comparer behind the sockets that QEMU's has: two in, one out, each frame behind its length.
//!
//! ```text
//!   pri ─► read 256 KiB ─► frames ─► queue that holds them ─┐
//!   sec ─► read 256 KiB ─► frames ──────────────────────────┴─► comparer ─► frames that leave ─► out, in one write
//! ```
//!
//! Not here: checkpoints. What is never matched is held for ever.

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::time::Instant;
use understudy_checkpoint::Epoch;
use understudy_checkpoint::time::{Span, Time};
use understudy_colo::Patch;
use understudy_colo::comparer::{Comparer, FrameId, Limits, Output};

use crate::ours::whole;

const READ_BYTES: usize = 256 << 10;
const BASE: Epoch = Epoch(0);

/// Limits under which nothing is decided by time: the peer gets the same.
pub(crate) fn limits() -> Limits {
    let never = Span::from_ms(60_000);
    Limits { match_min: never, match_max: never, ack_max: never, silence_max: never, ..Limits::default() }
}

/// A socket, and what of its next frame was read.
struct Input {
    stream: UnixStream,
    buffer: Vec<u8>,
    filled: usize,
}

impl Input {
    fn new(stream: UnixStream) -> Self {
        Self { stream, buffer: vec![0; 2 * READ_BYTES], filled: 0 }
    }

    /// Reads once and gives each whole frame. `false`: the other end is closed.
    fn read(&mut self, mut frame: impl FnMut(&[u8])) -> io::Result<bool> {
        let count = self.stream.read(&mut self.buffer[self.filled..])?;
        self.filled += count;
        let mut at = 0;
        while let Some(length) = self.buffer[at..self.filled].first_chunk::<4>() {
            let length = u32::from_be_bytes(*length) as usize;
            if length > READ_BYTES {
                return Err(io::Error::other("a frame is longer than any frame"));
            }
            let Some(bytes) = self.buffer[at + 4..self.filled].get(..length) else { break };
            frame(bytes);
            at += 4 + length;
        }
        self.buffer.copy_within(at..self.filled, 0);
        self.filled -= at;
        Ok(count > 0)
    }
}

/// Frames that are held, by number; buffers are used again.
#[derive(Default)]
struct Held {
    first: u64,
    frames: VecDeque<Option<Vec<u8>>>,
    spare: Vec<Vec<u8>>,
}

impl Held {
    fn put(&mut self, frame: &[u8]) -> FrameId {
        let mut bytes = self.spare.pop().unwrap_or_default();
        bytes.clear();
        bytes.extend_from_slice(frame);
        self.frames.push_back(Some(bytes));
        FrameId(self.first + self.frames.len() as u64 - 1)
    }

    /// Writes a frame to `out`, changed.
    fn leave(&mut self, id: FrameId, patch: Patch, out: &mut Vec<u8>) {
        let place = usize::try_from(id.0 - self.first).ok().and_then(|at| self.frames.get_mut(at));
        let mut bytes = place.and_then(Option::take).expect("a frame leaves once");
        if !patch.is_empty() {
            patch.apply(&mut bytes, Default::default()).expect("what is changed is TCP");
        }
        out.extend_from_slice(&u32::try_from(bytes.len()).expect("it came with a length").to_be_bytes());
        out.extend_from_slice(&bytes);
        self.spare.push(bytes);
        while let Some(None) = self.frames.front() {
            self.frames.pop_front();
            self.first += 1;
        }
    }
}

/// Serves until the sockets are closed.
pub(crate) fn run(directory: &Path) -> io::Result<()> {
    let listeners = ["pri", "sec", "out"].map(|name| UnixListener::bind(directory.join(name)));
    let [primary, secondary, out] = listeners;
    let (primary, secondary, mut out) = (primary?.accept()?.0, secondary?.accept()?.0, out?.accept()?.0);
    let (mut primary, mut secondary) = (Input::new(primary), Input::new(secondary));
    let mut comparer = Comparer::new(limits(), 7);
    comparer.live(Time(0), BASE);
    let (began, mut held, mut leaving) = (Instant::now(), Held::default(), Vec::new());
    loop {
        let is_readable = wait(&primary, &secondary)?;
        let now = Time(u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX));
        if is_readable[0]
            && !primary.read(|frame| {
                let id = held.put(frame);
                comparer.primary(now, id, whole(frame), BASE.next());
            })?
        {
            return Ok(());
        }
        if is_readable[1] && !secondary.read(|frame| comparer.copy(now, whole(frame), BASE))? {
            return Ok(());
        }
        while let Some(output) = comparer.poll_output() {
            match output {
                Output::Release(id) => held.leave(id, Patch::default(), &mut leaving),
                Output::ReleaseAs(id, patch) => held.leave(id, patch, &mut leaving),
                Output::Handshake(_) => {}
                Output::Diverged(divergence) => return Err(io::Error::other(divergence)),
                // Its time is not measured, and no client waits here.
                Output::Acknowledge(_) | Output::ReleasePart(..) | Output::Outdated(_) => {}
            }
        }
        out.write_all(&leaving)?;
        leaving.clear();
    }
}

fn wait(primary: &Input, secondary: &Input) -> io::Result<[bool; 2]> {
    let both = [primary, secondary].map(|input| PollFd::new(input.stream.as_fd(), PollFlags::POLLIN));
    let mut both = both;
    poll(&mut both, PollTimeout::NONE)?;
    Ok(both.map(|one| one.any().unwrap_or(true)))
}
