//! Asks a peer of this host's node for the facts of its host, over the link between the two nodes.
//!
//! ```text
//!   this process ── facts_wanted, then facts ─► the node here ── the link ─► the peer's node, which gathers
//! ```

use super::facts::{FactsError, HostFacts};
use crate::control::{Client, ClientError};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// How often the node is asked whether the peer has answered.
const ASK_EVERY: Duration = Duration::from_millis(50);

/// Why a peer's facts are not known.
#[derive(thiserror::Error, Debug)]
pub enum LinkedError {
    /// The node here does not do it.
    #[error(transparent)]
    Node(#[from] ClientError),
    /// The peer took too long.
    #[error("{peer} has not told its facts over the link within {} ms; see its log, or ask it with --ssh", .after.as_millis())]
    Timeout { peer: String, after: Duration },
    /// The peer has more to say than a link carries.
    #[error("The facts of {0} are too long for a link, or it has no room for a thread; ask it with --ssh")]
    Untold(String),
    /// The answer is not a host's facts.
    #[error("{peer} has answered, but {error}")]
    Facts { peer: String, error: FactsError },
}

/// Whether the node here has a link to this host, by that name.
pub fn is_linked(node: &Client, host: &str) -> bool {
    node.status().is_ok_and(|status| status.peers.iter().any(|peer| peer.node == host && peer.connected))
}

/// The facts of `peer`.
pub fn facts(node: &Client, peer: &str, timeout: Duration) -> Result<HostFacts, LinkedError> {
    let began = Instant::now();
    node.want_facts(peer)?;
    loop {
        match node.facts(peer)? {
            Some(facts) if facts.is_empty() => return Err(LinkedError::Untold(peer.into())),
            Some(facts) => {
                let read = HostFacts::read(facts.as_bytes());
                return read.map_err(|error| LinkedError::Facts { peer: peer.into(), error });
            }
            None if began.elapsed() >= timeout => {
                return Err(LinkedError::Timeout { peer: peer.into(), after: timeout });
            }
            None => sleep(ASK_EVERY),
        }
    }
}
