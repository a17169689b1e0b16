//! What the driver of a guest that runs here is made from, and why a guest may be refused.

use super::inbound::GuestName;
use crate::config::FenceChoice;
use crate::control::status::Takeover;
use crate::guest::{BoxedSource, HeldOutput, Machine, PreviousRun, RunningGuest, Stuck};
use std::sync::Arc;
use understudy_checkpoint::domain::{Description, DomainError};
use understudy_link::{EncodeError, GUEST_PAGES_MAX, check_offer};
use understudy_session::primary::{Origin, Pacing};
use understudy_session::{Mode, NodeName};

/// Why a guest cannot be added.
#[derive(thiserror::Error, Debug)]
pub enum AddError {
    /// There is a guest of this name already.
    #[error("There is already a guest {0} on this node")]
    Exists(String),
    /// Its source does not work.
    #[error(transparent)]
    Source(#[from] DomainError),
    /// It has more page frames than engines protect.
    #[error("The guest has {pages} page frames, and at most {GUEST_PAGES_MAX} (256 GiB) can be protected")]
    TooLarge { pages: u64 },
    /// Its description is longer than a frame of the link.
    #[error("The guest's configuration and list of frames are too long: {0}")]
    Description(#[from] EncodeError),
    /// Its threads cannot be started.
    #[error("The threads of a guest cannot be started: {0}")]
    Threads(#[from] std::io::Error),
    /// One of them has ended already.
    #[error(transparent)]
    Stuck(#[from] Stuck),
}

/// What a new primary driver is made from.
#[derive(Debug)]
pub struct NewPrimary {
    pub name: GuestName,
    /// The peer that should hold its copy.
    pub peer: NodeName,
    /// How it is checkpointed.
    pub source: BoxedSource,
    /// The guest; `None` for a recording.
    pub machine: Option<Arc<dyn Machine>>,
    /// Its held output.
    pub output: HeldOutput,
    /// How it comes to run here.
    pub origin: Origin,
    /// The takeover that brought it here.
    pub takeover: Option<Takeover>,
    /// `None`: as set for the node.
    pub pacing: Option<Pacing>,
    /// How it is protected.
    pub mode: Mode,
    /// Whether it may run only under this host's watchdog.
    pub fence: FenceChoice,
    /// The memory used to compare its pages; 0 if Xen logs its writes.
    pub compared_bytes: u64,
}

impl NewPrimary {
    /// For a guest that runs here and was not taken over.
    pub fn of(name: &str, guest: RunningGuest, peer: NodeName) -> Self {
        let RunningGuest { machine, source, output, past, compared_bytes } = guest;
        let origin = match past {
            Some(PreviousRun { generation, is_halted }) => Origin::Adopted { generation, is_halted },
            None => Origin::Started,
        };
        Self {
            name: name.into(),
            peer,
            source,
            machine: Some(machine),
            output,
            origin,
            takeover: None,
            pacing: None,
            mode: Mode::default(),
            fence: FenceChoice::Off,
            compared_bytes,
        }
    }
}

/// The guest cannot be added. It may be the only one of its name, so it is kept, and a person decides.
pub(super) fn unexpected(name: &str, machine: &Arc<dyn Machine>, output: &HeldOutput) {
    tracing::error!(guest = name, "The guest was started here, and nobody waits for it any more");
    output.fence();
    machine.leave();
}

/// Whether a guest fits the link's limits, and those of an engine that holds its copy.
pub(super) fn check_size(name: &str, description: &Description) -> Result<(), AddError> {
    if description.page_count > GUEST_PAGES_MAX {
        return Err(AddError::TooLarge { pages: description.page_count });
    }
    Ok(check_offer(name, description)?)
}
