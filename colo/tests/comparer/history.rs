//! A guest over many epochs, with copies that come and go, stale frames, and differences: nothing leaves that the live copy of
//! the right base did not send.

use super::dice::Dice;
use super::judges::{Judge, Verdict, check};
use super::support::{ack, data, whole};
use understudy_checkpoint::Epoch;
use understudy_checkpoint::time::{Span, Time};
use understudy_colo::Patch;
use understudy_colo::comparer::{Comparer, FrameId, Limits, Output};

pub(crate) const LIMITS: Limits = Limits {
    flows_max: 4,
    frames_max: 60,
    flow_frames_max: 40,
    bytes_max: 20_000,
    match_min: Span(1000),
    match_max: Span(50_000),
    ack_max: Span(100_000),
    silence_max: Span(200_000),
};

/// A guest at a point in time.
#[derive(Clone, Copy, Default)]
struct Guest {
    sent: u32,
    received: u32,
}

/// A copy that runs.
struct Copy {
    base: Epoch,
    guest: Guest,
    /// From here on it sends something else.
    differs_from: u32,
}

struct Frame {
    epoch: Epoch,
    begin: u32,
    end: u32,
    ack: u32,
    has_left: bool,
}

struct History {
    comparer: Comparer,
    dice: Dice,
    now: Time,
    begin: u32,
    epoch: Epoch,
    guest: Guest,
    /// What the guest was at the last cut.
    image: Guest,
    acked: Epoch,
    copy: Option<Copy>,
    frames: Vec<Frame>,
    told: usize,
    left: usize,
}

fn byte(at: u32) -> u8 {
    (at.wrapping_mul(0x9e37_79b9) >> 24) as u8
}

impl History {
    fn segment(&self, from: u32, to: u32, received: u32, differs_from: u32) -> Vec<u8> {
        let payload: Vec<u8> = (from..to).map(|at| byte(at) ^ u8::from(at >= differs_from)).collect();
        let number = self.begin.wrapping_add(from);
        let segment = if payload.is_empty() { ack(number, 0) } else { data(number, &payload) };
        segment.ack(received).window(u16::MAX).frame()
    }

    fn guest_sends(&mut self) {
        self.guest.received += self.dice.below(30) as u32;
        let (mut from, mut to) = (self.guest.sent, self.guest.sent + self.dice.below(200) as u32);
        if self.dice.one_in(6) {
            to = from;
            from -= self.dice.below(300).min(from as usize) as u32;
        }
        self.guest.sent = to;
        let frame = self.segment(from, to, self.guest.received, u32::MAX);
        let id = FrameId(self.frames.len() as u64);
        self.frames.push(Frame {
            epoch: self.epoch,
            begin: from,
            end: if from == to { 0 } else { to },
            ack: self.guest.received,
            has_left: false,
        });
        self.comparer.primary(self.now, id, whole(&frame), self.epoch);
    }

    fn copy_sends(&mut self) {
        let Some(mut copy) = self.copy.take() else { return };
        copy.guest.received = self.guest.received.min(copy.guest.received + self.dice.below(60) as u32);
        let from = copy.guest.sent;
        copy.guest.sent += self.dice.below(200) as u32;
        let frame = self.segment(from, copy.guest.sent, copy.guest.received, copy.differs_from);
        let base = copy.base;
        self.copy = Some(copy);
        self.comparer.copy(self.now, whole(&frame), base);
    }

    /// A frame of an earlier copy, which ran ahead, is late.
    fn stale_copy_sends(&mut self) {
        let base = Epoch(self.acked.0.saturating_sub(1));
        if self.copy.as_ref().is_some_and(|copy| copy.base > base) {
            let from = self.image.sent;
            let frame = self.segment(from, from + 500, self.guest.received + 1000, u32::MAX);
            self.comparer.copy(self.now, whole(&frame), base);
        }
    }

    fn cut(&mut self) {
        if self.epoch == self.acked.next() {
            self.image = self.guest;
            self.comparer.cut(self.epoch);
            self.epoch = self.epoch.next();
        }
    }

    fn ack(&mut self) {
        if self.epoch > self.acked.next() {
            self.acked = self.acked.next();
            self.comparer.released(self.acked);
            self.copy = None;
        }
    }

    fn live(&mut self) {
        if self.copy.is_none() && self.epoch == self.acked.next() {
            let ahead = self.dice.below(4000) as u32;
            let guest = self.image;
            self.copy =
                Some(Copy { base: self.acked, guest, differs_from: guest.sent.saturating_add(ahead) });
            self.comparer.live(self.now, self.acked);
        }
    }

    fn judge(&mut self) -> Verdict {
        while let Some(output) = self.comparer.poll_output() {
            let (id, patch) = match output {
                Output::Release(FrameId(id)) => (id, Patch::default()),
                Output::ReleaseAs(FrameId(id), patch) => (id, patch),
                Output::Diverged(_) => {
                    self.told += 1;
                    continue;
                }
                Output::Handshake(_) => continue,
                Output::Acknowledge(what) => {
                    let copy = self.copy.as_ref().ok_or(Judge::Base)?;
                    check(what.ack <= copy.guest.received, Judge::Acks)?;
                    continue;
                }
                Output::ReleasePart(FrameId(id), part) => {
                    let (frame, copy) = (&self.frames[id as usize], self.copy.as_ref().ok_or(Judge::Base)?);
                    let end = frame.begin + part.from + part.bytes;
                    check(frame.epoch == copy.base.next() && !frame.has_left, Judge::Base)?;
                    check(end <= copy.guest.sent && end < frame.end, Judge::Base)?;
                    check(end <= copy.differs_from.max(self.image.sent), Judge::Content)?;
                    check(part.patch.ack.unwrap_or(frame.ack) <= copy.guest.received, Judge::Acks)?;
                    continue;
                }
                Output::Outdated(FrameId(id)) => {
                    let frame = &mut self.frames[id as usize];
                    let is_bare = frame.end == 0;
                    check(is_bare && !std::mem::replace(&mut frame.has_left, true), Judge::Base)?;
                    continue;
                }
            };
            let frame = &mut self.frames[id as usize];
            let copy = self.copy.as_ref().ok_or(Judge::Base)?;
            check(
                frame.epoch == copy.base.next() && !std::mem::replace(&mut frame.has_left, true),
                Judge::Base,
            )?;
            check(frame.end <= copy.guest.sent, Judge::Base)?;
            check(frame.end <= copy.differs_from.max(self.image.sent), Judge::Content)?;
            check(patch.ack.unwrap_or(frame.ack) <= copy.guest.received, Judge::Acks)?;
            self.left += 1;
        }
        let is_bounded = self.comparer.waiting_frames() <= LIMITS.frames_max
            && self.comparer.waiting_bytes() <= LIMITS.bytes_max
            && self.comparer.flows() <= LIMITS.flows_max;
        check(is_bounded, Judge::Bounds)
    }
}

/// Plays a history; what left by a match, and how often a checkpoint was asked for.
pub(crate) fn history(seed: u64, comparer: Comparer) -> Result<(usize, usize), Judge> {
    let mut dice = Dice::new(seed);
    let begin = dice.next() as u32;
    let mut history = History {
        comparer,
        dice,
        now: Time(1),
        begin,
        epoch: Epoch(1),
        guest: Guest::default(),
        image: Guest::default(),
        acked: Epoch(0),
        copy: None,
        frames: Vec::new(),
        told: 0,
        left: 0,
    };
    history.comparer.released(Epoch(0));
    for _ in 0..400 {
        match history.dice.below(40) {
            0..16 => history.guest_sends(),
            16..32 => history.copy_sends(),
            32..34 => history.stale_copy_sends(),
            34 => history.cut(),
            35 => history.ack(),
            36..38 => history.live(),
            38 => {
                history.now = history.now + Span(history.dice.below(100_000) as u64);
                history.comparer.handle_timeout(history.now);
            }
            _ => history.now = history.now + Span(500),
        }
        history.judge()?;
    }
    history.comparer.released(Epoch(u64::MAX));
    history.comparer.stop();
    check(history.comparer.waiting_frames() == 0 && history.comparer.waiting_bytes() == 0, Judge::Bounds)?;
    Ok((history.left, history.told))
}
