//! The live copy of a guest, which runs on the secondary so that output may leave before its ack (COLO): the types that
//! both sessions share, and a primary's settings.
//!
//! ```text
//!   primary ── CopyWanted{from} ──────► secondary     a copy may be set to `from` or a later epoch; input after its cut is sent
//!           ◄─ Live{base} ─────────────               it runs from `base`: what it sends is told
//!           ◄─ Halted{base, why} ──────               it does not any more
//! ```
//!
//! Without a live copy, a guest is protected by checkpoints alone, as with Remus. So a copy may come and go at any
//! moment. Not here: who compares frames, and what runs the copy. Sessions learn only the results.

use super::Span;

/// How a guest is protected.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Mode {
    /// By checkpoints alone: output waits for the ack of its epoch.
    #[default]
    Remus,
    /// By a live copy as well, whenever one can run: output leaves as soon as the copy has sent the same.
    Colo,
    /// As `Colo` while enough of the output leaves sooner by it, else as `Remus`; `Colo` is tried again from time to
    /// time.
    Auto,
}

impl Mode {
    /// Its name in settings and `status`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Remus => "remus",
            Self::Colo => "colo",
            Self::Auto => "auto",
        }
    }
}

/// Why the copy did not send the same as the guest, so that the guest's frame needs a checkpoint.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Divergence {
    /// The copy sent something else.
    Content,
    /// The copy sent nothing within the time that a match may take.
    Silence,
    /// Frames of a kind that is not compared wait.
    Unmatched,
    /// A bounded queue or table is full.
    Full,
    /// The copy's host environment is gone, or the copy was stopped.
    CopyEnded,
}

impl Divergence {
    /// All values.
    pub const ALL: [Self; 5] = [Self::Content, Self::Silence, Self::Unmatched, Self::Full, Self::CopyEnded];

    /// Its name in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Content => "content",
            Self::Silence => "silence",
            Self::Unmatched => "unmatched",
            Self::Full => "full",
            Self::CopyEnded => "copy_ended",
        }
    }
}

/// Why there is no live copy at the secondary.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum CopyEnd {
    /// The copy's guest crashed, or ended.
    Crashed,
    /// The host cannot run one, or could not set it.
    NoRoom,
    /// A person stopped it.
    Operator,
}

/// What a takeover does if the copy crashed after its output was reported to the primary: the image may then be older
/// than what clients have seen.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum AfterCrash {
    /// A person decides.
    #[default]
    Refuse,
    /// The guest is started from the image nevertheless.
    FromCommit,
}

/// A primary's settings for a live copy.
#[derive(Clone, Debug)]
pub struct Colo {
    /// How the guest is protected.
    pub mode: Mode,
    /// The least time that the guest runs between a checkpoint and the next one demanded by a divergence.
    pub gap_min: Span,
    /// While a copy is live, the time between checkpoints when nothing diverges. It bounds the input that a newly set
    /// copy must catch up on.
    pub period: Span,
    /// After an ack the copy is set to the new epoch. The next checkpoint waits at most this long for it.
    pub live_max: Span,
    /// The window over which `Auto` judges a copy.
    pub window: Span,
    /// `Auto` keeps a copy while at least this share of the frames left by a match, in percent.
    pub share_min_percent: u8,
    /// With fewer frames than this in a window, `Auto` does not judge.
    pub frames_min: u64,
    /// How long to do without a copy after one failed. It doubles with each further failure.
    pub rest: Span,
    /// The longest time without a copy.
    pub rest_max: Span,
}

impl Default for Colo {
    /// No copy. The times are the defaults for a copy that is requested without times.
    fn default() -> Self {
        Self {
            mode: Mode::Remus,
            gap_min: Span::from_ms(10),
            period: Span::from_ms(5_000),
            live_max: Span::from_ms(100),
            window: Span::from_ms(2_000),
            share_min_percent: 50,
            frames_min: 20,
            rest: Span::from_ms(5_000),
            rest_max: Span::from_ms(300_000),
        }
    }
}

#[cfg(test)]
mod pair;
#[cfg(test)]
mod stories;
