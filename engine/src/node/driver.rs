//! What a node does with one guest, whatever the guest's role here. A role is one [`GuestDriver`] in a room of its own
//! ([`primary`](super::primary), [`secondary`](super::secondary)); what serves all guests knows no role.
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
//! Not here: how guests come to a node ([`beginning`](super::beginning)), and what of their own drivers do.

use super::context::Context;
use super::glance::Glance;
use super::inbound::Inbound;
use super::new_primary::NewPrimary;
use super::replay_stats::ReplayStats;
use crate::config::{ConfigError, FindChanges, PacingSettings};
use crate::control::{GuestStatus, Wish};
use crate::guest::{BoxedSource, Checkpointer, Committed, Participants, PreviousRun, Report, RuntimeId};
use crossbeam::channel::Sender;
use std::io;
use std::time::Duration;
use understudy_checkpoint::Generation;
use understudy_checkpoint::domain::Description;
use understudy_link::HoldRefusal;
use understudy_session::primary::Pacing;
use understudy_session::{Mode, NodeName, Time, WitnessReply};

/// What a guest hears of the witness.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum WitnessWord {
    /// It can be asked.
    Up,
    /// It cannot be asked any more.
    Down,
    /// It answers.
    Reply(WitnessReply),
}

/// What becomes of a peer's offer of a guest whose name is in use here.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Verdict {
    /// What is here makes way: a copy is held anew.
    Anew,
    /// A copy of that guest is held, and stays.
    Kept,
    /// A copy is held, of another guest than is offered now or of one with other devices.
    Renew,
    /// The name is taken, and why.
    Taken(String),
}

/// What is known of a guest that makes way for one that was found running here.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct MadeWay {
    /// Whether a person wishes guests of this name protected.
    pub(super) is_wished: bool,
    /// A primary of this generation was heard: a rival of the guest that is here.
    pub(super) rival: Option<Generation>,
}

/// A copy that is held here.
#[derive(Debug)]
pub(super) struct HeldCopy<'a> {
    /// What the guest is.
    pub(super) description: &'a Description,
    /// Whether the image is there, with the memory it takes.
    pub(super) is_whole: bool,
}

/// What became of a guest that was being started when the node ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Started {
    /// It is not decided.
    NotYet,
    /// It runs, and is kept for the next engine.
    Kept,
    /// It could not be started; what is held of it is to be closed.
    Failed,
}

/// New threads that capture a guest from `source`: what they are known by, and themselves.
pub(super) type MakeThreads<'a> =
    dyn FnMut(BoxedSource, u64, Participants) -> io::Result<(RuntimeId, Box<dyn Checkpointer>)> + 'a;

/// One guest in one role. Nothing in here blocks or waits.
pub(super) trait GuestDriver: Send {
    // ── who it is ────────────────────────────────────────────────────────────────────────────────────────────────────

    /// The other host of the pair.
    fn peer(&self) -> &NodeName;

    /// What its workers' reports are known by.
    fn runtime(&self) -> RuntimeId;

    /// Whether nothing of the guest is here: it has ended, or nothing of it is held yet.
    fn is_vacant(&self) -> bool;

    /// The copy that is held here; `None` for a guest that runs here.
    fn held(&self) -> Option<HeldCopy<'_>> {
        None
    }

    /// How it stands, for a judge.
    fn glance(&self) -> Glance;

    // ── what happens to it ───────────────────────────────────────────────────────────────────────────────────────────

    /// The link to the peer is up, or the peer can hold the guest now.
    fn attach(&mut self, cx: &mut dyn Context);

    /// The link to the peer is gone.
    fn detach(&mut self, cx: &mut dyn Context);

    /// A frame about the guest, from whichever peer. An offer never comes this way: [`consider`](Self::consider).
    fn hear(&mut self, from: &NodeName, what: Inbound, cx: &mut dyn Context);

    /// Of the witness.
    fn witness(&mut self, word: WitnessWord, cx: &mut dyn Context);

    /// Of its workers.
    fn report(&mut self, report: Report, cx: &mut dyn Context);

    /// Once in each iteration of the loop: timers that are due, and what waits.
    fn run(&mut self, cx: &mut dyn Context);

    /// When [`run`](Self::run) has something to do.
    fn next_timeout(&self) -> Option<Time>;

    /// Makes threads anew that have failed, if it is time to.
    fn mend(&mut self, _make: &mut MakeThreads<'_>, _wires: &mut dyn Context) {}

    /// Its session panics, as a test has it.
    #[cfg(test)]
    fn fail(&mut self, cx: &mut dyn Context);

    // ── what becomes of it ───────────────────────────────────────────────────────────────────────────────────────────

    /// The guest changes its role: what the driver that goes on with it is made from. This one is over then.
    fn successor(&mut self, _wires: &mut dyn Context) -> Option<NewPrimary> {
        None
    }

    /// Whether it is over here.
    fn is_over(&self) -> bool;

    /// It is over: says so and lets go of it. The answer is why the node cannot hold a copy of the guest for now, if so.
    fn end(self: Box<Self>) -> Option<HoldRefusal>;

    // ── peers' offers, and guests that are found ─────────────────────────────────────────────────────────────────────

    /// A peer runs a guest of this name, and offers it.
    fn consider(
        &mut self,
        peer: &NodeName,
        generation: Option<Generation>,
        description: &Description,
        cx: &mut dyn Context,
    ) -> Verdict;

    /// What is held is to become a copy of this guest.
    fn renew(&mut self, _description: Description) {}

    /// Whether what is here is of no use once `peer` speaks in `generation`.
    fn is_outrun(&self, _peer: &NodeName, _generation: Generation) -> bool {
        false
    }

    /// A guest of this name was found running here, left by an engine that ran it in `past` if one did; a peer may have
    /// `offered` it in another generation. `None`: it is run or held here, and what was found is not taken in.
    fn make_way(&self, past: Option<PreviousRun>, offered: Option<Generation>) -> Option<MadeWay>;

    /// Whether there is nothing to remember of it while its host is away and offers nothing.
    fn is_forgettable(&self) -> bool {
        false
    }

    /// Whether a link without windows should not be read on for now.
    fn is_full(&self) -> bool {
        false
    }

    // ── frames of the lab's guests ───────────────────────────────────────────────────────────────────────────────────

    /// Frames that may leave now.
    fn take_output(&mut self, _into: &mut Vec<Vec<u8>>) {}

    /// A frame from the network, for whichever guest.
    fn deliver(&self, _frame: &[u8]) {}

    // ── operators ────────────────────────────────────────────────────────────────────────────────────────────────────

    /// Begins what an operator wishes; the error says why not.
    fn wish(&mut self, wish: Wish, has_witness: bool, cx: &mut dyn Context) -> Result<(), String>;

    /// Changes what decides when checkpoints begin; what is not said stays, or is as in `of_node`.
    fn set_pacing(
        &mut self,
        _wished: PacingSettings,
        _of_node: Pacing,
        _wires: &mut dyn Context,
    ) -> Result<(), ConfigError> {
        Ok(())
    }

    /// Changes how it is protected; the error says why that cannot be.
    fn set_mode(&mut self, _mode: Mode, _wires: &mut dyn Context) -> Result<(), String> {
        Ok(())
    }

    /// Whether its changes are found in this way.
    fn finds_changes(&self, _how: FindChanges) -> bool {
        false
    }

    /// How it stands, in words.
    fn status(&mut self, now: Time, has_witness: bool) -> GuestStatus;

    /// Brings counters that are read, not counted, into the metrics.
    fn measure(&mut self);

    /// What protecting it has cost so far.
    fn replay_stats(&self) -> Option<ReplayStats> {
        None
    }

    /// Asks for a copy of what is committed here; `false` if nothing is held.
    fn copy(&self, _to: Sender<Option<Committed>>) -> bool {
        false
    }

    // ── the node's end ───────────────────────────────────────────────────────────────────────────────────────────────

    /// The node ends: nothing of the guest is let out from here on.
    fn leave(&mut self);

    /// Whether the guest is being started at this moment: what came of it will be reported.
    fn is_being_started(&self) -> bool {
        false
    }

    /// A report while the node waits for the guest's start.
    fn started(&self, _report: Report) -> Started {
        Started::NotYet
    }

    /// Lets go of what is held, `time_max` at most; `false` if some of it may be left.
    fn close(self: Box<Self>, _time_max: Duration) -> bool {
        true
    }
}
