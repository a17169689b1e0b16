//! What the driver of a guest that runs here begins from, and why there may be none.

use super::inbound::GuestName;
use crate::control::status::Takeover;
use crate::guest::{BoxedSource, HeldOutput, Machine, PreviousRun, RunningGuest, Stuck};
use std::sync::Arc;
use understudy_checkpoint::domain::{Description, DomainError};
use understudy_link::{EncodeError, GUEST_PAGES_MAX, check_offer};
use understudy_session::primary::{Origin, Pacing};
use understudy_session::{Mode, NodeName};

/// Why a guest cannot be taken in.
#[derive(thiserror::Error, Debug)]
pub enum AddError {
    /// There is one of this name.
    #[error("There is already a guest {0} on this node")]
    Exists(String),
    /// Its source does not work.
    #[error(transparent)]
    Source(#[from] DomainError),
    /// It has more frames than engines protect.
    #[error("The guest has {pages} page frames, and at most {GUEST_PAGES_MAX} (256 GiB) can be protected")]
    TooLarge {
        /// Its page frames.
        pages: u64,
    },
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

/// What a new primary is made from.
#[derive(Debug)]
pub struct NewPrimary {
    /// The guest's name.
    pub name: GuestName,
    /// Who is to hold its copy.
    pub peer: NodeName,
    /// How it is checkpointed.
    pub source: BoxedSource,
    /// It, unless it is a recording.
    pub machine: Option<Arc<dyn Machine>>,
    /// What it sends, held.
    pub output: HeldOutput,
    /// How it comes to run here.
    pub origin: Origin,
    /// The takeover that brought it here.
    pub takeover: Option<Takeover>,
    /// `None`: the node's.
    pub pacing: Option<Pacing>,
    /// How it is protected.
    pub mode: Mode,
    /// Memory that comparing it takes; 0 where Xen logs.
    pub compared_bytes: u64,
}

impl NewPrimary {
    /// Of a guest that runs here and that nobody took over.
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
            compared_bytes,
        }
    }
}

/// Nobody waits for a guest that was started here. It may be the only one: it is kept, and a person decides.
pub(super) fn unexpected(name: &str, machine: &Arc<dyn Machine>, output: &HeldOutput) {
    tracing::error!(guest = name, "The guest was started here, and nobody waits for it any more");
    output.fence();
    machine.leave();
}

/// Whether a guest fits the link and the engine that is to hold its copy.
pub(super) fn check_size(name: &str, description: &Description) -> Result<(), AddError> {
    if description.page_count > GUEST_PAGES_MAX {
        return Err(AddError::TooLarge { pages: description.page_count });
    }
    Ok(check_offer(name, description)?)
}
