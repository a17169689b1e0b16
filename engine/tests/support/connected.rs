//! Whether a node has a link to a peer.

use understudy::control::Status;

pub(crate) fn connected(status: &Status, peer: &str) -> Option<()> {
    status.peers.iter().any(|it| it.node == peer && it.connected).then_some(())
}
