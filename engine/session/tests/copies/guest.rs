//! A guest that answers requests, deterministic in what it was and what it hears, but for a knob; and a client.

use std::collections::VecDeque;
use understudy_lab::Random;

/// A chain of chance from one seed.
#[derive(Clone, Debug)]
pub(crate) struct Rng(Random);

impl Rng {
    pub(crate) fn new(seed: u64) -> Self {
        Self(Random(seed ^ 0x9E37_79B9_7F4A_7C15))
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0.word()
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound.max(1)
    }

    pub(crate) fn percent(&mut self, chance: u64) -> bool {
        self.below(100) < chance
    }

    pub(crate) fn between(&mut self, from: u64, to: u64) -> u64 {
        from + self.below(to - from + 1)
    }
}

/// What a guest sends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Frame {
    /// Requests up to this one have come.
    Ack { received: u64 },
    /// The answer number `place`, and the same.
    Reply { place: usize, digest: u64, received: u64 },
}

impl Frame {
    pub(crate) fn received(self) -> u64 {
        match self {
            Self::Ack { received } | Self::Reply { received, .. } => received,
        }
    }
}

/// All that a guest is.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Guest {
    digest: u64,
    pub(crate) received: u64,
    /// Digests of all answers.
    pub(crate) sent: Vec<u64>,
    unanswered: VecDeque<u64>,
}

impl Guest {
    /// Takes a request in, if it is the next one.
    pub(crate) fn hear(&mut self, request: u64) -> bool {
        let is_next = request == self.received + 1;
        if is_next {
            self.received = request;
            self.unanswered.push_back(request);
        }
        is_next
    }

    /// Answers the oldest request; `draw` makes a difference where the guest is not deterministic.
    pub(crate) fn answer(&mut self, draw: Option<u64>) -> Option<Frame> {
        let request = self.unanswered.pop_front()?;
        self.digest = Random(self.digest ^ request ^ draw.unwrap_or(0)).word();
        self.sent.push(self.digest);
        Some(Frame::Reply { place: self.sent.len() - 1, digest: self.digest, received: self.received })
    }

    pub(crate) fn is_busy(&self) -> bool {
        !self.unanswered.is_empty()
    }

    /// Whether this guest has sent `frame`, or what it tells of.
    pub(crate) fn has_sent(&self, frame: Frame) -> bool {
        match frame {
            Frame::Ack { .. } => true,
            Frame::Reply { place, digest, .. } => self.sent.get(place) == Some(&digest),
        }
    }
}
