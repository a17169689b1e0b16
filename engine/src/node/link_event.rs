//! What the links have to tell the loop.

use super::inbound::{GuestName, Inbound};
use understudy_session::NodeName;

/// What the links have to say.
#[derive(Debug)]
pub(super) enum LinkEvent {
    Up { peer: NodeName },
    Down { peer: NodeName },
    Arrived { peer: NodeName, guest: GuestName, what: Inbound },
}
