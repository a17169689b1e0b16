//! What the links report to the loop.

use super::inbound::{GuestName, Inbound};
use understudy_session::NodeName;

/// An event of a link.
#[derive(Debug)]
pub(super) enum LinkEvent {
    Up {
        peer: NodeName,
    },
    Down {
        peer: NodeName,
    },
    /// A peer says how it and its guests stand.
    Bulletin {
        peer: NodeName,
        said: Vec<u8>,
    },
    /// After its link has ended: the peer's process is gone.
    Gone {
        peer: NodeName,
    },
    /// There is no link, and the peer's process answers on another network.
    Alive {
        peer: NodeName,
    },
    /// A peer wants to know the facts of this host.
    FactsWanted {
        peer: NodeName,
    },
    /// The facts of a peer's host; empty if it cannot tell them.
    Facts {
        peer: NodeName,
        facts: Vec<u8>,
    },
    Arrived {
        peer: NodeName,
        guest: GuestName,
        what: Inbound,
    },
}
