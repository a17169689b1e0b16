//! A primary's steps with the copy of its guest: when it asks for one, when output may leave by a match with it, and what
//! ends that. What it knows about the copy is in [`Matching`](super::matching::Matching), with a drawing of the stages.

use super::super::colo::{CopyEnd, Divergence, Mode};
use super::super::{Time, ToSecondary};
use super::machine::Primary;
use super::matching::{CopyStanding, Doubling, Matching, Rest, Stage, Window};
use super::pacer::PacedBy;
use super::phase::{Peer, Phase};
use super::{Event, Output};
use understudy_checkpoint::Epoch;

impl Primary {
    /// The mode that the guest should be protected in.
    pub fn mode(&self) -> Mode {
        self.matching.config.mode
    }

    /// The base of the live copy that lets frames out; `None` while output follows acks alone.
    pub fn live_base(&self) -> Option<Epoch> {
        self.matching.base()
    }

    /// What is known about the copy.
    pub fn copy_standing(&self) -> CopyStanding {
        let matching = &self.matching;
        match matching.stage {
            Stage::Live { base, .. } => CopyStanding::Live { base },
            Stage::Asked { .. } => CopyStanding::Asked,
            Stage::Off if matching.config.mode == Mode::Remus => CopyStanding::Unwanted,
            Stage::Off if !self.may_ask() => CopyStanding::NotProtected,
            Stage::Off => match matching.rests {
                Some(why) if self.now < matching.try_at => {
                    CopyStanding::Rests { why, until: matching.try_at }
                }
                _ => CopyStanding::Idle,
            },
        }
    }

    pub(super) fn set_mode(&mut self, mode: Mode) {
        self.matching.config.mode = mode;
        (self.matching.try_at, self.matching.rest) = (self.now, Doubling(self.matching.config.rest));
        self.matching.rests = None;
        if mode == Mode::Remus {
            self.ask_for_no_copy();
        }
    }

    /// Tells the peer the mode, so that it goes on in it after a takeover.
    fn tell_mode(&mut self) {
        let mode = self.matching.config.mode;
        let known = self.matching.told_mode.unwrap_or_default();
        if self.may_ask() && (known != mode || self.matching.tells_again) {
            let from = match self.matching.stage {
                Stage::Off => None,
                Stage::Asked { from, .. } | Stage::Live { from, .. } => Some(from),
            };
            self.ask_for_copy(from);
        }
    }

    /// When something is due here.
    pub(super) fn matching_at(&self) -> Option<Time> {
        match self.matching.stage {
            Stage::Off if self.may_ask() => {
                Some(self.matching.try_at).filter(|at| self.matching.wants_copy(*at))
            }
            Stage::Asked { wait_until, .. } => wait_until,
            Stage::Off | Stage::Live { .. } => None,
        }
    }

    fn may_ask(&self) -> bool {
        matches!(self.phase, Phase::Protected) && self.peer() == Some(Peer::Following) && self.can_capture
    }

    /// Takes the step that is due.
    pub(super) fn step_matching(&mut self) {
        self.tell_mode();
        match self.matching.stage {
            Stage::Off if self.may_ask() && self.matching.wants_copy(self.now) => {
                let from = self.flow.next_epoch();
                self.matching.stage = Stage::Asked { from, wait_until: None };
                self.out.push(Output::MirrorInput { from: Some(from) });
                self.ask_for_copy(Some(from));
            }
            Stage::Asked { from, wait_until: Some(at) } if at <= self.now => {
                let wait_rest = self.matching.wait_rest.take(self.matching.config.rest_max);
                self.matching.wait_at = self.now + wait_rest;
                self.matching.stage = Stage::Asked { from, wait_until: None };
                // The peer may have dropped the request.
                self.ask_for_copy(Some(from));
            }
            _ => {}
        }
    }

    fn ask_for_copy(&mut self, from: Option<Epoch>) {
        let mode = self.matching.config.mode;
        (self.matching.told_mode, self.matching.tells_again) = (Some(mode), false);
        self.send(ToSecondary::CopyWanted { generation: self.generation, mode, from });
    }

    /// The secondary's copy runs from `base`.
    pub(super) fn copy_lives(&mut self, base: Epoch) {
        let Stage::Asked { from, .. } = self.matching.stage else { return };
        let is_newest = self.flow.acked() == Some(base) && base >= from;
        if !is_newest || !matches!(self.phase, Phase::Protected) || self.output_fenced {
            return;
        }
        self.matching.stage = Stage::Live { from, base };
        self.matching.wait_rest = Doubling(self.matching.config.rest);
        if !self.matching.window.is_live {
            self.matching.window = Window::new(self.now, true);
        }
        self.out.push(Output::MatchFrom { base });
    }

    /// The secondary's copy of `base` has stopped, or could not be set.
    pub(super) fn copy_ended(&mut self, base: Epoch, why: CopyEnd) {
        if matches!(self.matching.stage, Stage::Off) {
            return;
        }
        if self.matching.base() == Some(base) {
            // The effects of what the copy let out are left in this guest alone: a checkpoint mends that.
            self.diverged(base, Divergence::CopyEnded);
            self.stop_match();
        }
        if why != CopyEnd::Crashed {
            self.rest_from_matching(Rest::NoCopy { why });
        }
    }

    /// The comparer found that frames will not match the copy of `base`.
    pub(super) fn diverged(&mut self, base: Epoch, why: Divergence) {
        if self.matching.base() == Some(base) {
            self.matching.demanded = true;
            self.out.push(Output::Report(Event::OutputDiverged { why }));
        }
    }

    /// Adds the frames that left since the last report.
    pub(super) fn left(&mut self, by_match: u64, by_ack: u64) {
        let (config, window) = (&self.matching.config, &mut self.matching.window);
        window.by_match = window.by_match.saturating_add(by_match);
        window.by_ack = window.by_ack.saturating_add(by_ack);
        if self.now < window.since + config.window {
            return;
        }
        let says_something = window.total() >= config.frames_min;
        let (percent, share_min, is_live) = (window.percent(), config.share_min_percent, window.is_live);
        let is_off = matches!(self.matching.stage, Stage::Off);
        self.matching.is_busy = is_off && window.by_ack >= config.frames_min;
        self.matching.window = Window::new(self.now, is_live && !is_off);
        if !says_something || !is_live || is_off {
            return;
        }
        if percent >= share_min {
            self.matching.rest = Doubling(self.matching.config.rest);
        } else if self.matching.config.mode == Mode::Auto {
            self.rest_from_matching(Rest::FewMatches { percent });
        }
    }

    fn rest_from_matching(&mut self, why: Rest) {
        let rest = self.matching.rest.take(self.matching.config.rest_max);
        self.ask_for_no_copy();
        (self.matching.try_at, self.matching.rests) = (self.now + rest, Some(why));
        self.out.push(Output::Report(Event::CopyRests { why, rest }));
    }

    /// `epoch` is acked: from here on no copy of an older base lets anything out.
    pub(super) fn matching_acked(&mut self, epoch: Epoch) {
        self.stop_match();
        let wait_until =
            (self.matching.wait_at <= self.now).then_some(self.now + self.matching.config.live_max);
        if let Stage::Asked { from, .. } = self.matching.stage
            && epoch >= from
        {
            self.matching.stage = Stage::Asked { from, wait_until };
        }
    }

    /// Output follows acks alone, until a copy is live again.
    fn stop_match(&mut self) {
        if let Stage::Live { from, .. } = self.matching.stage {
            self.matching.stage = Stage::Asked { from, wait_until: None };
            self.out.push(Output::StopMatch);
            self.flow.excuse(self.now);
        }
    }

    fn ask_for_no_copy(&mut self) {
        if self.end_matching() {
            self.ask_for_copy(None);
        }
    }

    /// Forgets the copy, which is of no more use, and returns whether one was asked for. The secondary need not be
    /// told: it sees the link end, a takeover, or the next full sync.
    pub(super) fn end_matching(&mut self) -> bool {
        self.stop_match();
        let was_asked = core::mem::replace(&mut self.matching.stage, Stage::Off) != Stage::Off;
        if !self.link.is_up() {
            self.matching.tells_again |= self.matching.told_mode.take().is_some();
        }
        if was_asked {
            self.matching.demanded = false;
            self.matching.window = Window::new(self.now, false);
            self.out.push(Output::MirrorInput { from: None });
        }
        was_asked
    }

    /// Whether the invariants of the copy hold.
    pub(super) fn is_matching_rightly(&self) -> bool {
        let is_protected = matches!(self.phase, Phase::Protected) && self.link.is_up() && !self.output_fenced;
        match self.matching.stage {
            Stage::Off => true,
            Stage::Asked { .. } => is_protected,
            Stage::Live { base, .. } => is_protected && self.flow.acked() == Some(base),
        }
    }

    /// When a checkpoint is made that would be due at `due` if there were no copy.
    pub(super) fn paced_by_copy(&self, due: Time) -> (Time, Option<PacedBy>) {
        let Matching { config, stage, demanded, .. } = &self.matching;
        let resumed_at = self.flow.pacer().resumed_at();
        match stage {
            Stage::Off => (due, None),
            // These wait for no copy.
            _ if due == Time(0) => (due, None),
            Stage::Asked { wait_until: None, .. } if *demanded && due > resumed_at + config.gap_min => {
                (resumed_at + config.gap_min, Some(PacedBy::Divergence))
            }
            Stage::Asked { wait_until: None, .. } => (due, None),
            _ if *demanded => (resumed_at + config.gap_min, Some(PacedBy::Divergence)),
            Stage::Asked { wait_until: Some(at), .. } => (due.max(*at), None),
            Stage::Live { .. } => (resumed_at + config.period, Some(PacedBy::Period)),
        }
    }
}
