//! What may be done to a guest's captures, and to epochs and packets on their way.

/// A fault of captures.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Trouble {
    /// No fault.
    #[default]
    None,
    /// The next capture fails.
    Once,
    /// Captures fail until a full sync starts a new log: the log is lost.
    LogLost,
    /// Captures fail for good.
    ForEver,
    /// The next capture asks the guest to suspend and gives up waiting; the guest suspends some steps later.
    SuspendsLate,
    /// In the next capture a page cannot be mapped.
    UnmappedPage,
}

/// What is wrong with an arriving epoch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Harm {
    /// A batch has a wrong byte.
    Damage,
    /// It is larger than the receiver accepts.
    TooLarge,
}

/// For a mutant that does not see what is missing of a guest's input: the number that it takes for the next, and how many it has
/// not seen to be missing.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Gaps {
    pub(super) next: Option<u64>,
    pub(super) unseen: u64,
}
