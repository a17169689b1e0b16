//! The copy: a guest that runs on the secondary as well, so that output may leave before its ack (COLO). The words that both
//! sessions share, and what a primary is set to.
//!
//! ```text
//!   primary ── CopyWanted{from} ──────► secondary     a copy may be set to `from` or a later epoch; input after its cut is sent
//!           ◄─ Live{base} ─────────────               it runs from `base`: what it sends is told
//!           ◄─ Halted{base, why} ──────               it does not any more
//! ```
//!
//! With no live copy nothing differs from a guest that is protected by checkpoints alone: so a copy may come and go at any
//! moment. Not here: who compares frames, and what runs the copy. Sessions know only what comes of it.

use super::Span;

/// How a guest is protected.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Mode {
    /// By checkpoints alone: output waits for the ack of its epoch.
    #[default]
    Remus,
    /// By a live copy as well, whenever there can be one: output leaves as soon as the copy has sent the same.
    Colo,
    /// As `Colo` while that lets enough of the output out sooner, else as `Remus`; tried again and again.
    Auto,
}

impl Mode {
    /// As settings and `status` call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Remus => "remus",
            Self::Colo => "colo",
            Self::Auto => "auto",
        }
    }
}

/// Why a frame of the guest has no twin of the copy's, and needs a checkpoint.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Divergence {
    /// The copy has sent something else.
    Content,
    /// The copy has sent nothing for as long as a match may take.
    Silence,
    /// Frames wait that are never compared.
    Unmatched,
    /// A bounded queue or table is full.
    Full,
    /// What the copy ran in is gone, or it has been stopped.
    CopyEnded,
}

impl Divergence {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Content, Self::Silence, Self::Unmatched, Self::Full, Self::CopyEnded];

    /// As metrics call it.
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
    /// A person has stopped it.
    Operator,
}

/// What becomes of a takeover if the copy crashed after something that it sent was told to the primary: the image may be
/// older than what clients have seen.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum AfterCrash {
    /// A person decides.
    #[default]
    Refuse,
    /// The guest is started from the image all the same.
    FromCommit,
}

/// What a primary may do with a copy.
#[derive(Clone, Debug)]
pub struct Colo {
    /// How the guest is protected.
    pub mode: Mode,
    /// The guest runs this long at least between a checkpoint and the next one that a divergence demands.
    pub gap_min: Span,
    /// While a copy is live, a checkpoint is made this often without a divergence: what a copy that is set anew has to be
    /// told stays bounded.
    pub period: Span,
    /// After an ack the copy is set anew. The next checkpoint waits this long for it at most.
    pub live_max: Span,
    /// `Auto` looks back this far.
    pub window: Span,
    /// `Auto` goes on with a copy while this much of what left did so by a match, in percent.
    pub share_min_percent: u8,
    /// Fewer frames than this in a window say nothing of what a copy would gain.
    pub frames_min: u64,
    /// The first rest after a copy came to nothing. It doubles each time that it does so again.
    pub rest: Span,
    /// The longest rest.
    pub rest_max: Span,
}

impl Default for Colo {
    /// No copy. The times are those of a copy that is asked for without any of its own.
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
