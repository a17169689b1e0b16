//! [`Machine`]: a guest that runs on this host, as the engine sees it. The session decides when it is paused, unpaused,
//! and stopped for good.

use crate::guest::copy::Heard;
use crate::guest::output::HeldOutput;
use crate::guest::participant::DiskParticipant;
use std::fmt::Debug;
use std::sync::Arc;
use understudy_checkpoint::Generation;
use understudy_checkpoint::domain::Source;

/// An error of a host, with a text for the operator.
pub type HostError = Box<dyn std::error::Error + Send + Sync>;

/// A guest that runs here. Repeating a call has no effect.
pub trait Machine: Send + Sync + Debug {
    /// Stops its vCPUs where they are, whatever checkpoints do meanwhile.
    fn pause(&self);
    /// Lets its vCPUs continue.
    fn unpause(&self);
    /// Whether the guest can continue without this process.
    fn outlives_us(&self) -> bool;
    /// Ends the guest for good. When this returns, it does not run any more.
    fn stop(&self);
    /// Prepares the guest for the end of this process while it is, or may be, protected: it must not continue as it is.
    fn leave(&self);
    /// Whether the guest has ended, other than by this engine. Unknown counts as no.
    fn has_ended(&self) -> bool;
    /// Starts to record that the guest runs under this generation, which the witness has recorded.
    fn mark(&self, generation: Generation);
    /// Whether that has been recorded, so that a later engine recognises the guest.
    fn is_marked(&self, generation: Generation) -> bool;
    /// Whether the guest uses its devices again after a takeover here, or has had its time for it.
    fn has_settled(&self) -> bool;
    /// The guest's configuration, if its devices have changed since the last call. A takeover builds the guest from it.
    fn take_renewed(&self) -> Option<Vec<u8>>;
    /// A new source, after the last one failed; `None` if this process cannot make another. The error is for the log;
    /// this is called again after a while. Does not wait long.
    fn reopen(&self) -> Option<Result<BoxedSource, HostError>> {
        None
    }
    /// What the host cannot do for the guest now, for an operator; `None` if nothing is wrong.
    fn trouble(&self) -> Option<String> {
        None
    }
    /// Passes a frame to the guest's network card, if the loop serves its network. The guest may take it only once
    /// [`notify`](Self::notify) is called, after the last of a batch.
    fn deliver(&self, frame: &[u8]);
    /// Tells the guest of the frames that were delivered.
    fn notify(&self) {}
    /// The guest's disk, if it is replicated.
    fn disk(&self) -> Option<Arc<dyn DiskParticipant>> {
        None
    }
    /// What the guest hears, if a copy of it could hear the same.
    fn heard(&self) -> Option<Arc<Heard>> {
        None
    }
}

/// A guest that runs here.
#[derive(Debug)]
pub struct RunningGuest {
    pub machine: Arc<dyn Machine>,
    /// Its source of checkpoints.
    pub source: BoxedSource,
    /// Its output, held.
    pub output: HeldOutput,
    /// Its state under an engine that is gone, if there was one.
    pub past: Option<PreviousRun>,
    /// Memory used to find its changes by comparing; 0 if they are logged.
    pub compared_bytes: u64,
}

impl RunningGuest {
    /// Stops its vCPUs, if an engine that is gone ran it under an older generation than `newest`.
    pub fn halt_if_older_than(&mut self, newest: Option<Generation>) {
        if let Some(past) = &mut self.past
            && newest > Some(past.generation)
            && !past.is_halted
        {
            self.machine.pause();
            past.is_halted = true;
        }
    }
}

/// What is known of a guest whose engine is gone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PreviousRun {
    /// The generation it last ran under.
    pub generation: Generation,
    /// That engine has paused it.
    pub is_halted: bool,
}

/// A source. Its `Debug` output is empty.
pub struct BoxedSource(pub Box<dyn Source>);

impl Debug for BoxedSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Source")
    }
}
