//! A guest that runs on this host, as the engine sees it: paused and unpaused by the session's word, stopped for good when
//! fenced.

use crate::guest::copy::Heard;
use crate::guest::output::HeldOutput;
use std::fmt::Debug;
use std::sync::Arc;
use understudy_checkpoint::Generation;
use understudy_checkpoint::domain::Source;

/// An error of whatever host this is. The text is for the operator.
pub type HostError = Box<dyn std::error::Error + Send + Sync>;

/// A guest that runs here. What is asked of it twice is done once.
pub trait Machine: Send + Sync + Debug {
    /// Holds its vCPUs where they stand, whatever checkpoints do meanwhile.
    fn pause(&self);
    /// Lets them go on.
    fn unpause(&self);
    /// Whether it can run on without this process.
    fn outlives_us(&self) -> bool;
    /// Ends it for good. When this returns it runs no more.
    fn stop(&self);
    /// This process ends while the guest is protected, or may be: it must not run on as it does.
    fn leave(&self);
    /// Whether it is no more, and not by this engine's hand. What is not known is "no".
    fn has_ended(&self) -> bool;
    /// It is run under this generation now, as the witness has recorded: begins to note that with it.
    fn mark(&self, generation: Generation);
    /// Whether that is noted, so that an engine after this one knows it again.
    fn is_marked(&self, generation: Generation) -> bool;
    /// Whether it uses its devices again after it was taken over here, or had its time for it.
    fn has_settled(&self) -> bool;
    /// Its configuration, if its devices have changed since this was asked last: what a takeover builds it from.
    fn take_renewed(&self) -> Option<Vec<u8>>;
    /// Another way to checkpoint it, after the one it began with has failed; `None` if there is none in this process.
    /// The error is for the log: it is asked again after a while. Does not wait long.
    fn reopen(&self) -> Option<Result<BoxedSource, HostError>> {
        None
    }
    /// Hands its network card a frame, if its network is the loop's.
    fn deliver(&self, frame: &[u8]);
    /// What it hears, where a copy of it could hear the same.
    fn heard(&self) -> Option<Arc<Heard>> {
        None
    }
}

/// A guest that runs here.
#[derive(Debug)]
pub struct RunningGuest {
    /// It.
    pub machine: Arc<dyn Machine>,
    /// How it is checkpointed from here on.
    pub source: BoxedSource,
    /// What it sends, held.
    pub output: HeldOutput,
    /// What it was before, if an engine that is gone ran it.
    pub past: Option<PreviousRun>,
    /// Memory that comparing it takes; 0 where its changes are logged.
    pub compared_bytes: u64,
}

/// What is known of a guest whose engine is gone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PreviousRun {
    /// The generation it was run under last.
    pub generation: Generation,
    /// It stands still, by that engine's hand.
    pub is_halted: bool,
}

/// A source, which has nothing to show of itself.
pub struct BoxedSource(pub Box<dyn Source>);

impl Debug for BoxedSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Source")
    }
}
