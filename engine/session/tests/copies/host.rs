//! What a host has of the guest: the guest itself and what it has sent, or an image and perhaps a copy that runs.

use crate::guest::{Frame, Guest};
use std::collections::{BTreeMap, VecDeque};
use understudy_session::{Primary, Secondary, Time, ToPrimary, ToSecondary};

/// On its way from one host to the other.
#[derive(Clone, Debug)]
pub(crate) enum Mail {
    ToSecondary(ToSecondary),
    ToPrimary(ToPrimary),
    Epoch { generation: u64, epoch: u64, guest: Guest },
    Input { generation: u64, after: u64, request: u64 },
    Output { generation: u64, base: u64, frame: Frame },
}

/// A frame that has not left.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Waiting {
    pub(crate) frame: Frame,
    /// The newest epoch that was cut before it was sent.
    pub(crate) after: Option<u64>,
    /// The epoch that it is of, once that is cut.
    pub(crate) epoch: Option<u64>,
    pub(crate) since: Time,
}

/// A guest that runs here.
#[derive(Debug)]
pub(crate) struct Runs {
    pub(crate) session: Primary,
    pub(crate) guest: Guest,
    pub(crate) is_halted: bool,
    pub(crate) is_answering: bool,
    pub(crate) cut: Option<u64>,
    pub(crate) captured: Option<u64>,
    pub(crate) acked: Option<u64>,
    pub(crate) queue: Vec<Waiting>,
    pub(crate) passes: bool,
    pub(crate) is_fenced: bool,
    pub(crate) mirror: Option<u64>,
    /// Requests that were mirrored since the newest acked epoch was cut.
    pub(crate) mirrored: usize,
    pub(crate) matching: Option<u64>,
    pub(crate) twins: BTreeMap<usize, u64>,
    pub(crate) twins_heard: u64,
    pub(crate) has_diverged: bool,
    pub(crate) left: [u64; 2],
}

impl Runs {
    pub(crate) fn new(session: Primary, guest: Guest) -> Self {
        Self {
            session,
            guest,
            is_halted: false,
            is_answering: false,
            cut: None,
            captured: None,
            acked: None,
            queue: Vec::new(),
            passes: false,
            is_fenced: false,
            mirror: None,
            mirrored: 0,
            matching: None,
            twins: BTreeMap::new(),
            twins_heard: 0,
            has_diverged: false,
            left: [0; 2],
        }
    }
}

/// A copy that runs, or is to.
#[derive(Debug)]
pub(crate) struct CopyRun {
    pub(crate) guest: Guest,
    pub(crate) generation: u64,
    pub(crate) base: u64,
    pub(crate) runs: bool,
    pub(crate) is_told: bool,
    pub(crate) is_answering: bool,
    pub(crate) sent: Vec<Frame>,
    pub(crate) has_forwarded: bool,
    /// It hears nothing more.
    pub(crate) is_cut: bool,
}

/// What is held here of a guest that runs at the other host.
#[derive(Debug)]
pub(crate) struct Holds {
    pub(crate) session: Secondary,
    pub(crate) inbox: VecDeque<Mail>,
    pub(crate) receiving: Option<(u64, u64)>,
    pub(crate) verdict_due: bool,
    pub(crate) whole: BTreeMap<u64, Guest>,
    pub(crate) image: Option<(u64, Guest)>,
    /// What the guest has heard: after which cut, and what.
    pub(crate) log: Vec<(u64, u64)>,
    pub(crate) copy: Option<CopyRun>,
}

impl Holds {
    pub(crate) fn new(session: Secondary) -> Self {
        Self {
            session,
            inbox: VecDeque::new(),
            receiving: None,
            verdict_due: false,
            whole: BTreeMap::new(),
            image: None,
            log: Vec::new(),
            copy: None,
        }
    }
}

#[derive(Debug)]
pub(crate) enum Role {
    Gone,
    Primary(Box<Runs>),
    Secondary(Box<Holds>),
}

#[derive(Debug)]
pub(crate) struct Host {
    pub(crate) role: Role,
    /// What was ordered in an earlier life is answered to nobody.
    pub(crate) life: u64,
    pub(crate) hangs_until: Time,
}
