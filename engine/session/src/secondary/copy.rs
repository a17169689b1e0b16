//! A secondary's steps with a copy that runs here: when it is set, when it runs, and whether a takeover goes on from it. Its
//! states are drawn in [`LiveCopy`](super::live_copy::LiveCopy)'s module.

use super::super::colo::{AfterCrash, Mode};
use super::super::{CopyEnd, ToPrimary};
use super::live_copy::LiveCopy;
use super::machine::Secondary;
use super::phase::{Image, Phase};
use super::{Event, Output, Start};
use understudy_checkpoint::{Epoch, Generation};

impl Secondary {
    /// The base of a copy that runs and whose output is reported.
    pub fn live_base(&self) -> Option<Epoch> {
        match self.copy {
            LiveCopy::Running { base, is_told: true } => Some(base),
            _ => None,
        }
    }

    /// The mode that the primary said last.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// Whether the primary lets a copy run once it is set.
    pub fn wants_copy(&self) -> bool {
        self.wanted.is_some()
    }

    /// Whether a complete epoch waits for the copy to halt.
    pub fn is_halting(&self) -> bool {
        matches!(self.copy, LiveCopy::Halting { whole: Some(_), .. })
    }

    /// The primary asks for a copy, or for none.
    pub(super) fn copy_wanted(&mut self, generation: Generation, mode: Mode, from: Option<Epoch>) {
        self.mode = mode;
        self.wanted = from.map(|from| (generation, from));
        if let Some(base) = from.filter(|_| !self.config.runs_copies) {
            self.wanted = None;
            self.send(ToPrimary::Halted { generation, base, why: CopyEnd::NoRoom });
        }
    }

    /// An epoch is complete. If the copy runs, it must halt before the ack.
    pub(super) fn halts_first(&mut self, epoch: Epoch) -> bool {
        match self.copy {
            LiveCopy::Running { base, .. } => {
                self.copy = LiveCopy::Halting { base, whole: Some(epoch) };
                self.out.push(Output::HaltCopy);
                true
            }
            LiveCopy::Halting { base, .. } => {
                self.copy = LiveCopy::Halting { base, whole: Some(epoch) };
                true
            }
            _ => false,
        }
    }

    pub(super) fn copy_halted(&mut self) {
        if let LiveCopy::Halting { base, whole } = self.copy {
            self.copy = LiveCopy::Halted { base, has_run: true };
            self.look_again_at(whole);
        }
    }

    /// An ack promises that the image can be activated now; it was looked at when `whole` arrived, before the copy had
    /// to halt.
    fn look_again_at(&mut self, whole: Option<Epoch>) {
        if let Phase::Standing { image, receiving } = &self.phase
            && let Some(epoch) = whole.filter(|whole| *receiving == Some(*whole))
        {
            self.out.push(Output::LookAgain { generation: image.generation, epoch });
        }
    }

    pub(super) fn copy_set(&mut self, epoch: Epoch, hears_all: bool) {
        let LiveCopy::Setting { base, is_cut } = self.copy else { return };
        if base != epoch {
            return;
        }
        self.copy = LiveCopy::Halted { base, has_run: false };
        if let Phase::Standing { image, .. } = self.phase
            && image.complete == base
            && !is_cut
            && hears_all
            && self.is_wanted(&image)
        {
            let generation = image.generation;
            self.copy = LiveCopy::Running { base, is_told: true };
            self.out.push(Output::RunCopy { generation, base });
            self.send(ToPrimary::Live { generation, base });
        }
    }

    pub(super) fn copy_set_failed(&mut self, epoch: Epoch) {
        if let LiveCopy::Setting { base, .. } = self.copy
            && base == epoch
        {
            self.copy = LiveCopy::Off;
            // The primary asks again when it wants another try.
            self.wanted = None;
            self.copy_ended(base, CopyEnd::NoRoom);
        }
    }

    pub(super) fn copy_crashed(&mut self, has_forwarded: bool) {
        let (base, whole) = match self.copy {
            LiveCopy::Running { base, .. } | LiveCopy::Halted { base, has_run: true } => (base, None),
            LiveCopy::Halting { base, whole } => (base, whole),
            LiveCopy::Halted { has_run: false, .. } => {
                self.drop_copy();
                return;
            }
            LiveCopy::Off | LiveCopy::Setting { .. } | LiveCopy::Crashed { .. } => return,
        };
        self.copy = LiveCopy::Crashed { base, has_forwarded };
        self.copy_ended(base, CopyEnd::Crashed);
        self.look_again_at(whole);
    }

    fn copy_ended(&mut self, base: Epoch, why: CopyEnd) {
        self.out.push(Output::Report(Event::CopyEnded { base, why }));
        if let Some(image) = self.phase.image() {
            self.send(ToPrimary::Halted { generation: image.generation, base, why });
        }
    }

    /// The link is gone, or nothing more may be said on it: from here on the copy's output is kept for a takeover.
    pub(super) fn cut_copy(&mut self) {
        self.wanted = None;
        match &mut self.copy {
            LiveCopy::Setting { is_cut, .. } => *is_cut = true,
            LiveCopy::Running { is_told, .. } if *is_told => {
                *is_told = false;
                self.out.push(Output::CutCopy);
            }
            LiveCopy::Halting { .. } => self.copy.forget_whole(),
            _ => {}
        }
    }

    pub(super) fn drop_copy(&mut self) {
        if core::mem::take(&mut self.copy) != LiveCopy::Off {
            self.out.push(Output::DropCopy);
        }
    }

    /// Takes the step that is due.
    pub(super) fn step_copy(&mut self) {
        match self.phase {
            Phase::Standing { image, .. } if self.is_wanted(&image) => self.set_copy(&image),
            Phase::Standing { image, .. } if self.wanted.is_none() && self.copy.is_free(image.complete) => {
                self.drop_copy();
            }
            // A copy that ran from an older epoch is set to the newest one, to become the guest.
            Phase::TakingOver { image, .. } => match self.copy {
                LiveCopy::Halted { .. } => self.set_copy(&image),
                LiveCopy::Crashed { base, .. } if base < image.complete => self.drop_copy(),
                _ => {}
            },
            _ => {}
        }
    }

    /// Whether the primary wants a copy of the image that is held.
    fn is_wanted(&self, image: &Image) -> bool {
        self.wanted.is_some_and(|(generation, from)| generation == image.generation && from <= image.complete)
    }

    fn set_copy(&mut self, image: &Image) {
        let base = image.complete;
        if image.committed == base && self.copy.is_free(base) {
            let is_cut = !matches!(self.phase, Phase::Standing { .. });
            self.copy = LiveCopy::Setting { base, is_cut };
            self.out.push(Output::SetCopy { epoch: base });
        }
    }

    /// Whether a person has to decide, because clients may have seen effects that are in no surviving state.
    pub(super) fn is_withheld(&self, image: &Image) -> bool {
        let is_lost =
            matches!(self.copy, LiveCopy::Crashed { base, has_forwarded: true } if base == image.complete);
        is_lost && self.config.after_crash == AfterCrash::Refuse
    }

    /// The witness or a person would let this host take over, but the copy has crashed. Reported once for each such
    /// copy.
    pub(super) fn withhold(&mut self, image: &Image) {
        if self.withheld_at.replace(image.complete) != Some(image.complete) {
            self.out.push(Output::Report(Event::TakeoverWithheld { base: image.complete }));
        }
    }

    /// What a takeover with `image` goes on from; `None` if a person has to decide.
    pub(super) fn start_of(&self, image: &Image) -> Option<Start> {
        assert!(!self.copy.is_busy(), "a takeover is decided while the copy is {:?}", self.copy);
        match self.copy {
            _ if self.is_withheld(image) => None,
            LiveCopy::Running { base, .. } | LiveCopy::Halted { base, has_run: true }
                if base == image.complete =>
            {
                Some(Start::LiveCopy)
            }
            LiveCopy::Halted { base, has_run: false } if base == image.complete => Some(Start::SetCopy),
            _ => Some(Start::Image),
        }
    }
}
