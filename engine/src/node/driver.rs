//! What a node does with one guest, whatever the guest's role here. Each role is a [`GuestDriver`] in a folder of its
//! own ([`primary`](super::primary), [`secondary`](super::secondary)); code that serves all guests knows no role.
//!
//! ```text
//!                      ┌── hear · attach · detach ──── links
//!   GuestDriver ◄──────┼── witness ─────────────────── witness        after each of these, and in each iteration, the
//!        │             ├── report ──────────────────── workers        node asks what became of the guest:
//!        │             ├── run ─────────────────────── the clock        successor ─► another driver goes on with it
//!        │             └── wish · status · … ───────── operators        is_over   ─► end
//!        └─► Context: links, witness, the time
//! ```
//!
//! Not here: how guests come to a node ([`beginning`](super::beginning)), and what each driver does.

use super::context::Context;
use super::fencing::{Held, Need};
use super::glance::Glance;
use super::inbound::Inbound;
use super::new_primary::NewPrimary;
use super::order_error::OrderError;
use super::replay_stats::ReplayStats;
use crate::config::{ConfigError, FindChanges, PacingSettings};
use crate::control::{GuestStatus, Wish};
use crate::guest::{
    BoxedSource, Checkpointer, Committed, Participants, PreviousRun, ReadRequest, Report, RuntimeId,
};
use crossbeam::channel::Sender;
use std::io;
use std::time::Duration;
use understudy_checkpoint::Generation;
use understudy_checkpoint::domain::Description;
use understudy_link::HoldRefusal;
use understudy_session::primary::Pacing;
use understudy_session::{Mode, NodeName, Time, WitnessReply};

/// News from the witness for a guest.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum WitnessWord {
    /// The witness can be asked.
    Up,
    /// The witness cannot be asked any more.
    Down,
    /// The witness answers.
    Reply(WitnessReply),
}

/// What to do with a peer's offer of a guest whose name is in use here.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Verdict {
    /// What is here makes way, and a new copy is held.
    Anew,
    /// A copy of that guest is held already, and stays.
    Kept,
    /// A copy is held of another guest, or of this one with other devices.
    Renew,
    /// The name is taken, for this reason.
    Taken(String),
}

/// What is known about a guest that makes way for one that was found running here.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct MadeWay {
    /// Whether a person wants the guest of this name protected.
    pub(super) is_wished: bool,
    /// The generation of a primary that has spoken: a rival of the guest that is here.
    pub(super) rival: Option<Generation>,
}

/// A copy that is held here.
#[derive(Debug)]
pub(super) struct HeldCopy<'a> {
    pub(super) description: &'a Description,
    /// Whether the image is there and its memory is in use.
    pub(super) is_whole: bool,
}

/// The outcome for a guest that was being started when the node ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Started {
    /// It is not known yet.
    NotYet,
    /// The guest runs, and is kept for the next engine.
    Kept,
    /// The guest could not be started; its replica has to be closed.
    Failed,
}

/// Starts new threads that capture a guest from `source`; returns them with their number.
pub(super) type MakeThreads<'a> =
    dyn FnMut(BoxedSource, u64, Participants) -> io::Result<(RuntimeId, Box<dyn Checkpointer>)> + 'a;

/// One guest in one role. Nothing in here blocks.
pub(super) trait GuestDriver: Send {
    // ── who it is ────────────────────────────────────────────────────────────────────────────────────────────────────

    /// The other host of the pair.
    fn peer(&self) -> &NodeName;

    /// The number on its workers' reports.
    fn runtime(&self) -> RuntimeId;

    /// Whether nothing of the guest is here: it has ended, or no part of it is held yet.
    fn is_vacant(&self) -> bool;

    /// The copy that is held here; `None` for a guest that runs here.
    fn held(&self) -> Option<HeldCopy<'_>> {
        None
    }

    /// Its state, for a simulator's judges.
    fn glance(&self) -> Glance;

    // ── what happens to it ───────────────────────────────────────────────────────────────────────────────────────────

    /// The link to the peer is up, or the peer can hold the guest now.
    fn attach(&mut self, cx: &mut dyn Context);

    /// The link to the peer is gone.
    fn detach(&mut self, cx: &mut dyn Context);

    /// After its link has ended: the process of the peer is gone.
    fn peer_gone(&mut self, _cx: &mut dyn Context) {}

    /// There is no link, and the process of the peer answers on another network.
    fn peer_alive(&mut self, _cx: &mut dyn Context) {}

    /// A frame about the guest, from any peer. Offers come by [`consider`](Self::consider) instead.
    fn hear(&mut self, from: &NodeName, what: Inbound, cx: &mut dyn Context);

    /// News from the witness.
    fn witness(&mut self, word: WitnessWord, cx: &mut dyn Context);

    /// A report of its workers.
    fn report(&mut self, report: Report, cx: &mut dyn Context);

    /// Called in each iteration of the loop: runs due timers, and does what waits.
    fn run(&mut self, cx: &mut dyn Context);

    /// When [`run`](Self::run) has something to do.
    fn next_timeout(&self) -> Option<Time>;

    /// Replaces threads that have failed, if that is due.
    fn mend(&mut self, _make: &mut MakeThreads<'_>, _cx: &mut dyn Context) {}

    /// Makes its session panic, for a test.
    #[cfg(test)]
    fn fail(&mut self, cx: &mut dyn Context);

    // ── what becomes of it ───────────────────────────────────────────────────────────────────────────────────────────

    /// The driver that goes on with the guest in another role; `None` if the role stays. This driver is over then.
    fn successor(&mut self, _cx: &mut dyn Context) -> Option<NewPrimary> {
        None
    }

    /// Whether it is over here.
    fn is_over(&self) -> bool;

    /// Ends the driver and logs that. Returns a reason if the node cannot hold a copy of the guest for now.
    fn end(self: Box<Self>) -> Option<HoldRefusal>;

    // ── fencing, for a guest that needs it ───────────────────────────────────────────────────────────────────────────

    /// What the guest needs of this host's lease.
    fn fencing_need(&self) -> Need {
        Need::Nothing
    }

    /// How this host's lease stands, and why not better. Called in each iteration.
    fn lease_stands(&mut self, _held: Held, _trouble: Option<&str>, _cx: &mut dyn Context) {}

    /// The peer says that the guest needs fencing.
    fn needs_fencing(&mut self) {}

    /// Whether nothing but the fencing of its peer keeps the guest from being started here.
    fn awaits_fencing(&self) -> bool {
        false
    }

    /// The peer is fenced.
    fn fenced(&mut self, _cx: &mut dyn Context) {}

    // ── peers' offers, and guests that are found ─────────────────────────────────────────────────────────────────────

    /// A peer runs a guest of this name, and offers it.
    fn consider(
        &mut self,
        peer: &NodeName,
        generation: Option<Generation>,
        description: &Description,
        cx: &mut dyn Context,
    ) -> Verdict;

    /// Makes the copy that is held one of this other guest.
    fn renew(&mut self, _description: Description) {}

    /// Whether what is here is useless once `peer` speaks in `generation`.
    fn is_outrun(&self, _peer: &NodeName, _generation: Generation) -> bool {
        false
    }

    /// A guest of this name was found running here. An earlier engine may have run it in `past`; a peer may have
    /// `offered` it in another generation. `None`: the guest is run or held here, and what was found is left alone.
    fn make_way(&self, past: Option<PreviousRun>, offered: Option<Generation>) -> Option<MadeWay>;

    /// Whether this driver may be forgotten while the guest's host offers nothing.
    fn is_forgettable(&self) -> bool {
        false
    }

    /// The newest generation in which a peer was heard to run the guest, unless it has said since that the guest has ended.
    fn heard_from(&self) -> Option<Generation> {
        None
    }

    /// Whether to stop reading a link without windows for now.
    fn is_full(&self) -> bool {
        false
    }

    // ── frames of the lab's guests ───────────────────────────────────────────────────────────────────────────────────

    /// Frames that may leave now, by this host's monotonic clock.
    fn take_output(&mut self, _into: &mut Vec<Vec<u8>>, _now_ns: u64) {}

    /// A frame from the network; it may be for another guest. The guest hears of it by [`notify`](Self::notify).
    fn deliver(&self, _frame: &[u8]) {}

    /// All frames of a batch were delivered.
    fn notify(&self) {}

    // ── operators ────────────────────────────────────────────────────────────────────────────────────────────────────

    /// Begins what an operator requests.
    fn wish(&mut self, wish: Wish, has_witness: bool, cx: &mut dyn Context) -> Result<(), OrderError>;

    /// Changes what decides when checkpoints begin. What the change leaves out stays, or is as in `of_node`.
    fn set_pacing(
        &mut self,
        _wished: PacingSettings,
        _of_node: Pacing,
        _cx: &mut dyn Context,
    ) -> Result<(), ConfigError> {
        Ok(())
    }

    /// Changes how the guest is protected.
    fn set_mode(&mut self, _mode: Mode, _cx: &mut dyn Context) -> Result<(), OrderError> {
        Ok(())
    }

    /// Whether the guest's changes are found in this way.
    fn finds_changes(&self, _how: FindChanges) -> bool {
        false
    }

    /// Its status, in words.
    fn status(&mut self, now: Time, has_witness: bool) -> GuestStatus;

    /// Copies counters that are kept elsewhere into the metrics.
    fn measure(&mut self);

    /// What protecting the guest has cost so far.
    fn replay_stats(&self) -> Option<ReplayStats> {
        None
    }

    /// Requests a copy of the committed image; `false` if nothing is held.
    fn copy(&self, _to: Sender<Option<Committed>>) -> bool {
        false
    }

    /// Has a kept epoch read; `false` if nothing is held, or the thread is busy.
    fn read(&self, _request: ReadRequest) -> bool {
        false
    }

    // ── the node's end ───────────────────────────────────────────────────────────────────────────────────────────────

    /// The node ends: from here on no output of the guest leaves.
    fn leave(&mut self);

    /// Whether the guest is being started at this moment; a report will tell the outcome.
    fn is_being_started(&self) -> bool {
        false
    }

    /// A report while the node waits for the guest's start.
    fn started(&self, _report: Report) -> Started {
        Started::NotYet
    }

    /// Gives up the replica within `time_max`; `false` if some of it may be left.
    fn close(self: Box<Self>, _time_max: Duration) -> bool {
        true
    }
}
