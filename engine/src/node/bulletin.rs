//! What this node and its peers tell each other for people: so that `status` on either host shows both, and that a guest is not
//! moved to a host in maintenance.
//!
//! ```text
//!   a ping is sent, maintenance changes ─► owed ─► the loop: one bulletin for all links ─► peer: kept with its time
//! ```
//!
//! Not here: what is in one ([`Bulletin`]). No guest is taken, kept or given up for a bulletin's sake.

use super::Node;
use super::order_error::OrderError;
use crate::control::{Bulletin, GuestBulletin, Said, WitnessBulletin};
use understudy_session::NodeName;

impl Node {
    /// Tells peers that are to be told.
    pub(super) fn tell_peers(&mut self) {
        if !self.cx.links.is_bulletin_owed() {
            return;
        }
        let mut bulletin = Bulletin {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            maintenance: self.maintenance.status(),
            witness: WitnessBulletin {
                configured: self.cx.witness.is_configured(),
                connected: self.cx.witness.is_up(),
            },
            guests: self.guests.status(self.cx.now).iter().map(GuestBulletin::from).collect(),
            left_out: 0,
        };
        let said = bulletin.write();
        self.cx.links.send_bulletin(&said);
    }

    /// Refuses to move a guest to a host on which a person works.
    pub(super) fn check_destination(&self, name: &str) -> Result<(), OrderError> {
        let Some(peer) = self.guests.peer_of(name) else { return Ok(()) };
        let is_closed = self.cx.links.said_by(peer).is_some_and(|(_, said)| said.maintenance.on);
        if is_closed && self.cx.links.is_up(peer) {
            return Err(OrderError::InMaintenance { guest: name.to_owned(), peer: peer.clone() });
        }
        Ok(())
    }

    /// What a peer said last of itself, for `status`.
    pub(super) fn said_by(&self, peer: &NodeName) -> Option<Said> {
        let (at, bulletin) = self.cx.links.said_by(peer)?;
        Some(Said { age_ms: (self.cx.now - *at).0 / 1_000_000, bulletin: bulletin.clone() })
    }
}
