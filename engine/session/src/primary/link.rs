//! The link to the peer as the primary sees it: is it up, does the peer answer, does it take epochs.

use super::super::{Span, Time};

/// How far the peer has come on this link.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Peer {
    /// The link is up, no offer is open (there is nothing to offer yet).
    Unasked,
    /// An offer was sent and is not answered.
    Offered,
    /// It has answered; it has no copy that could be built upon.
    Present,
    /// It takes epochs: a seed has begun, or its copy was found to be ours.
    Following,
}

#[derive(Debug)]
pub(super) enum Link {
    Down,
    /// `answers`: something was heard on this link.
    Up {
        peer: Peer,
        answers: bool,
        heard_at: Time,
        sent_at: Time,
    },
}

impl Link {
    pub(super) fn up(now: Time) -> Self {
        Self::Up { peer: Peer::Unasked, answers: false, heard_at: now, sent_at: now }
    }

    pub(super) fn peer(&self) -> Option<Peer> {
        match self {
            Self::Down => None,
            Self::Up { peer, .. } => Some(*peer),
        }
    }

    pub(super) fn set_peer(&mut self, new: Peer) {
        if let Self::Up { peer, .. } = self {
            *peer = new;
        }
    }

    pub(super) fn heard(&mut self, now: Time) {
        if let Self::Up { answers, heard_at, .. } = self {
            *answers = true;
            *heard_at = now;
        }
    }

    pub(super) fn sent(&mut self, now: Time) {
        if let Self::Up { sent_at, .. } = self {
            *sent_at = now;
        }
    }

    /// When silence means that the peer is lost. One that has not answered at all on this link may be busy with other
    /// guests, whose link it is as well.
    pub(super) fn silent_at(&self, silence_max: Span, unanswered_max: Span) -> Option<Time> {
        match self {
            Self::Down => None,
            Self::Up { answers: true, heard_at, .. } => Some(*heard_at + silence_max),
            Self::Up { heard_at, .. } => Some(*heard_at + silence_max.max(unanswered_max)),
        }
    }

    /// When a heartbeat is due.
    pub(super) fn heartbeat_at(&self, heartbeat: Span) -> Option<Time> {
        match self {
            Self::Down => None,
            Self::Up { sent_at, .. } => Some(*sent_at + heartbeat),
        }
    }
}
