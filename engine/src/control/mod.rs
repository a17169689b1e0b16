//! The local control socket: how `status` and the operator's commands reach a running node.

/// What an operator may wish for one guest.
#[derive(serde::Serialize, serde::Deserialize, Clone, Copy, PartialEq, Eq, Debug)]
#[serde(rename_all = "snake_case")]
pub enum Wish {
    /// Protect it (again).
    Protect,
    /// Let it go on unprotected.
    Unprotect,
    /// Move it to the peer, with nothing lost.
    Switchover,
    /// Take it over without a witness: the operator vouches that the other host is dead.
    ForceTakeover,
}
