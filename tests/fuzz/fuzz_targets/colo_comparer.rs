//! The comparer, with frames of both guests as they come, and with segments of a few flows whose numbers meet often.
//!
//! A frame leaves once at most, and only by the copy of the base before its epoch; nothing is larger than its limit; time
//! that is told comes to an end; and when all is acked and the copy is stopped, nothing is left over.

#![no_main]

use libfuzzer_sys::fuzz_target;
use std::collections::HashMap;
use understudy_checkpoint::Epoch;
use understudy_checkpoint::time::{Span, Time};
use understudy_colo::comparer::{Comparer, FrameId, Limits, Output};
use understudy_colo::packet::{Card, Frame, Offload};

const LIMITS: Limits = Limits {
    flows_max: 6,
    frames_max: 40,
    flow_frames_max: 25,
    bytes_max: 8192,
    match_min: Span(1000),
    match_max: Span(50_000),
    ack_max: Span(80_000),
    silence_max: Span(200_000),
};

struct Run {
    comparer: Comparer,
    now: Time,
    epoch: Epoch,
    base: Option<Epoch>,
    /// Frames that have not left, and their epochs.
    held: HashMap<u64, Epoch>,
    next: u64,
}

fuzz_target!(|input: &[u8]| {
    let mut run = Run {
        comparer: Comparer::new(LIMITS, 1),
        now: Time(1),
        epoch: Epoch(1),
        base: None,
        held: HashMap::new(),
        next: 0,
    };
    let mut rest = input;
    while let [what, length, after @ ..] = rest {
        let (bytes, later) = after.split_at(after.len().min(usize::from(*length)));
        rest = later;
        run.step(*what, bytes);
        run.drain();
    }
    run.comparer.released(Epoch(u64::MAX));
    run.comparer.stop();
    run.drain();
    assert_eq!((run.comparer.waiting_frames(), run.comparer.waiting_bytes()), (0, 0));
});

impl Run {
    fn step(&mut self, what: u8, bytes: &[u8]) {
        match what % 16 {
            0 => self.primary(bytes),
            1 => self.copy(bytes),
            2..=6 => self.primary(&segment(bytes)),
            7..=11 => self.copy(&segment(bytes)),
            12 => {
                self.comparer.cut(self.epoch);
                self.epoch = self.epoch.next();
            }
            13 => {
                let through = Epoch(self.epoch.0.saturating_sub(1 + u64::from(what >> 6)));
                self.comparer.released(through);
                self.held.retain(|_, epoch| *epoch > through);
                self.base = self.base.filter(|base| *base >= through);
            }
            14 => {
                let base = Epoch(self.epoch.0.saturating_sub(1 + u64::from(what >> 6)));
                self.comparer.live(self.now, base);
                self.held.retain(|_, epoch| *epoch > base);
                self.base = Some(base);
            }
            _ => {
                self.now = self.now + Span(1000 << (what >> 4));
                self.comparer.handle_timeout(self.now);
                assert!(self.comparer.next_timeout().is_none_or(|due| due > self.now));
            }
        }
    }

    fn primary(&mut self, bytes: &[u8]) {
        self.held.insert(self.next, self.epoch);
        self.comparer.primary(self.now, FrameId(self.next), whole(bytes), self.epoch);
        self.next += 1;
    }

    fn copy(&mut self, bytes: &[u8]) {
        self.comparer.copy(self.now, whole(bytes), self.base.unwrap_or(Epoch(0)));
    }

    fn drain(&mut self) {
        while let Some(output) = self.comparer.poll_output() {
            if let Output::Release(FrameId(id)) | Output::ReleaseAs(FrameId(id), _) = output {
                let epoch = self.held.remove(&id).expect("a frame leaves once");
                assert_eq!(Some(epoch), self.base.map(Epoch::next), "by the copy of its base");
            }
        }
        assert!(self.comparer.waiting_frames() <= LIMITS.frames_max);
        assert!(self.comparer.waiting_bytes() <= LIMITS.bytes_max);
        assert!(self.comparer.flows() <= LIMITS.flows_max);
    }
}

fn whole(bytes: &[u8]) -> Frame<'_> {
    Frame { card: Card(0), offload: Offload::default(), bytes }
}

/// A segment from a few bytes: port, flags, sequence, ack, window, words of options; then options and payload.
fn segment(bytes: &[u8]) -> Vec<u8> {
    let at = |place: usize| bytes.get(place).copied().unwrap_or(0);
    let variable = bytes.get(6..).unwrap_or(&[]);
    let option_bytes = (usize::from(at(5) % 11) * 4).min(variable.len() / 4 * 4);
    let near = |byte: u8| (byte as i8 as i32 as u32).to_be_bytes();
    let mut frame = vec![2; 12];
    frame.extend([8, 0, 0x45, 0]);
    frame.extend(((40 + variable.len()) as u16).to_be_bytes());
    frame.extend([0, 0, 0, 0, 64, 6, 0, 0, 10, 7, 0, 2, 10, 7, 0, 1]);
    frame.extend([0, 80, 0, at(0) % 8]);
    frame.extend(near(at(2)));
    frame.extend(near(at(3)));
    frame.extend([0x50 + (option_bytes as u8 / 4) * 16, at(1)]);
    frame.extend([0, at(4), 0, 0, 0, at(4)]);
    frame.extend(variable);
    frame
}
