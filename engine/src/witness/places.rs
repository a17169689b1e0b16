//! Who may stay connected where there is not room for all.
//!
//! ```text
//!   256 connections │ 64 have not said hello: one more sends the oldest away
//!                   │ 192 are nodes:          one more sends away whom records name last, or not at all
//! ```
//!
//! Whoever connects may call itself anything, so the names of a stranger can be many. A node that records name keeps its
//! place, or has it back, before one that they name since later: those that were here first are the least likely to be
//! made up.
//!
//! Not here: authentication. A stranger may still say a known node's name (see [`twins`](super::twins)).

use super::daemon::Daemon;
use crate::session::NodeName;
use std::collections::BTreeMap;

/// Connections of nodes at a time, at most.
pub(super) const NODES_MAX: usize = 192;

/// The rank of a node that no record names.
const UNKNOWN: u64 = u64::MAX;

/// Since when records name each node. Made anew when it is needed and a record has changed.
#[derive(Default, Debug)]
pub(super) struct Ranks(Option<BTreeMap<NodeName, u64>>);

impl Ranks {
    /// A record has changed.
    pub(super) fn are_old(&mut self) {
        self.0 = None;
    }
}

/// Who has to go for a newcomer: of those that are known since later than it, or not at all, the one that is known for
/// the shortest time, and of several the one that was connected first. `connected` is in the order of connecting.
fn who_goes<'a>(
    ranks: &BTreeMap<NodeName, u64>,
    connected: impl Iterator<Item = (usize, &'a NodeName)>,
    newcomer: &NodeName,
) -> Option<usize> {
    let rank = |node: &NodeName| ranks.get(node).copied().unwrap_or(UNKNOWN);
    let (id, last) = connected
        .map(|(id, node)| (id, rank(node)))
        .reduce(|last, next| if next.1 > last.1 { next } else { last })?;
    (last > rank(newcomer) || last == UNKNOWN).then_some(id)
}

impl Daemon {
    /// Makes room for a node that has said hello; `false` if all that are connected come before it.
    pub(super) fn make_room(&mut self, newcomer: &NodeName) -> bool {
        if self.nodes().count() < NODES_MAX {
            return true;
        }
        let ranks = self.ranks.0.take().unwrap_or_else(|| self.session.known_nodes());
        let goes = who_goes(&ranks, self.nodes(), newcomer);
        self.ranks.0 = Some(ranks);
        let Some(id) = goes else { return false };
        tracing::warn!(
            %newcomer,
            "There are {NODES_MAX} nodes already; one that records name last, or not at all, is sent away"
        );
        self.close(id, None);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whom_records_name_first_stays() {
        let names = ["a", "b", "x1", "x2", "x3"].map(|name| NodeName(name.into()));
        let [a, b, x1, x2, x3] = &names;
        let ranks = BTreeMap::from([(a.clone(), 0), (b.clone(), 7)]);
        let goes = |connected: &[&NodeName], newcomer| {
            who_goes(&ranks, connected.iter().copied().enumerate(), newcomer)
        };
        assert_eq!(goes(&[a, x1, x2, b], a), Some(1), "the first of those that nobody knows");
        assert_eq!(goes(&[a, x1, x2, b], x3), Some(1));
        assert_eq!(goes(&[b], a), Some(0), "it is known since later");
        assert_eq!(goes(&[a], b), None);
        assert_eq!(goes(&[a, b], x1), None);
        assert_eq!(goes(&[a], a), None);
    }
}
