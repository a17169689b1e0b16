//! What the switch saw of one guest: which host sent its frames, and when.
//!
//! ```text
//!   run  host A ▒▒▒▒▒▒▒▒▒▒▒▒▒▒      late ▒
//!   run  host B                 ▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒
//! ```
//! A host's frames form a run until another host's first frame. Frames of a host whose run is over are *late*, and are
//! kept one by one: the checker accepts them for only one reason (see [`check`](super::check)).

use super::history::{ClientId, Moment};

/// Most late frames that are kept for the checker; more are only counted.
const LATE_MAX: usize = 4096;

/// A host of the drill.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum HostId {
    /// The host on which the guests are started.
    A,
    /// The other one.
    B,
}

impl HostId {
    /// The other host.
    pub fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }
}

impl std::fmt::Display for HostId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::A => "A",
            Self::B => "B",
        })
    }
}

/// Frames of the guest from one host, without another host's between them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Run {
    pub host: HostId,
    /// When the first was seen.
    pub first: Moment,
    /// When the last was seen.
    pub last: Moment,
    pub frames: u64,
}

/// A frame of a host whose run was over.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Late {
    pub host: HostId,
    /// The time at which it was seen.
    pub at: Moment,
    /// The client and the request that it answers; `None` if it is not an answer of the key-value service.
    pub answers: Option<(ClientId, u16)>,
}

/// The record of one round.
#[derive(Clone, Debug, Default)]
pub struct Sightings {
    /// Runs in order; no host twice.
    pub runs: Vec<Run>,
    /// Late frames, the first few thousand of them.
    pub late: Vec<Late>,
    /// Late frames beyond that.
    pub late_uncounted: u64,
}

impl Sightings {
    /// Notes a frame that the guest's address sent from `host`.
    pub fn note(&mut self, host: HostId, at: Moment, answers: Option<(ClientId, u16)>) {
        if let Some(run) = self.runs.last_mut()
            && run.host == host
        {
            run.last = at;
            run.frames += 1;
        } else if !self.runs.iter().any(|run| run.host == host) {
            self.runs.push(Run { host, first: at, last: at, frames: 1 });
        } else if self.late.len() < LATE_MAX {
            self.late.push(Late { host, at, answers });
        } else {
            self.late_uncounted += 1;
        }
    }

    /// Ends the round: returns its record, and starts the next with the host that sends now.
    pub fn end_round(&mut self) -> Self {
        let next = Self {
            runs: self
                .runs
                .last()
                .map(|run| Run { first: run.last, frames: 0, ..*run })
                .into_iter()
                .collect(),
            ..Self::default()
        };
        std::mem::replace(self, next)
    }

    /// Frames seen in all.
    pub fn frames(&self) -> u64 {
        self.runs.iter().map(|run| run.frames).sum::<u64>() + self.late.len() as u64 + self.late_uncounted
    }

    /// The time at which `host` began to send in this round.
    pub fn began(&self, host: HostId) -> Option<Moment> {
        self.runs.iter().find(|run| run.host == host && run.frames > 0).map(|run| run.first)
    }
}
