//! How a guest stands, in one word for programs: the `state` of `status --output json`.
//!
//! These names are an interface: they stay what they are, whatever sessions call their states. What each of them means to an
//! operator is in docs/STATUS.md, what to do about it in docs/TROUBLESHOOTING.md.

use serde::{Deserialize, Serialize};
use std::fmt;

/// State of a guest.
#[derive(Serialize, Deserialize, Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[serde(rename_all = "snake_case")]
pub enum GuestState {
    /// Primary, no witness: the peer has not yet said what it knows of the guest; nothing leaves.
    Asking,
    /// Primary, no witness: the peer holds a copy of a guest of this name; nothing leaves until a person decides.
    AwaitingOperator,
    /// Primary: the witness has not yet said that this host may run the guest; nothing leaves.
    Claiming,
    /// Primary: the witness's record does not allow it; the guest is paused and kept.
    ClaimRefused,
    /// Primary: the guest runs and its output passes, and no copy may take over.
    Unprotected,
    /// A full sync is on its way: from a primary, to a secondary.
    Seeding,
    /// Primary: the copy is complete, and the witness has not yet recorded it.
    Arming,
    /// Primary: all output waits for its ack, and the copy may take over.
    Protected,
    /// Primary: as `Protected`, but the last commit is older than `slow_max`.
    Late,
    /// Primary: protected, and the link is down and may come back.
    LinkLost,
    /// Primary: the secondary is lost, and the witness is asked to mark its copy stale; output is held.
    MarkingStale,
    /// Primary: as `MarkingStale`, for so long that the guest was paused.
    PausedUndecided,
    /// Primary: the guest stands still, and the peer is to take it over.
    SwitchingOver,
    /// Primary: the witness has put another host in charge; the guest is paused and kept.
    Fenced,
    /// Primary: another host runs the guest as well, and no witness has settled it; the guest is paused and kept.
    Contested,
    /// Primary: the guest ended.
    Ended,
    /// Secondary: there is no copy here.
    Empty,
    /// Secondary: the copy is complete, and may take over.
    Standing,
    /// Secondary: the copy is complete, and of an earlier generation than the primary's.
    Outdated,
    /// Secondary: the copy is complete, and its primary is not heard or does not run the guest.
    Alone,
    /// Secondary: the witness is asked for the guest.
    TakingOver,
    /// Secondary: the guest is being started here.
    Activating,
    /// Secondary: this host was given the guest and could not start it.
    ActivationFailed,
}

impl GuestState {
    /// All of them.
    pub const ALL: [Self; 23] = [
        Self::Asking,
        Self::AwaitingOperator,
        Self::Claiming,
        Self::ClaimRefused,
        Self::Unprotected,
        Self::Seeding,
        Self::Arming,
        Self::Protected,
        Self::Late,
        Self::LinkLost,
        Self::MarkingStale,
        Self::PausedUndecided,
        Self::SwitchingOver,
        Self::Fenced,
        Self::Contested,
        Self::Ended,
        Self::Empty,
        Self::Standing,
        Self::Outdated,
        Self::Alone,
        Self::TakingOver,
        Self::Activating,
        Self::ActivationFailed,
    ];

    /// For people: the name without its underscores.
    pub fn words(self) -> String {
        self.to_string().replace('_', " ")
    }
}

/// The name that programs read.
impl fmt::Display for GuestState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_is_written_alike_for_programs_and_in_the_log() {
        for state in GuestState::ALL {
            assert_eq!(serde_json::to_value(state).unwrap(), state.to_string());
        }
        assert_eq!(GuestState::PausedUndecided.to_string(), "paused_undecided");
        assert_eq!(GuestState::PausedUndecided.words(), "paused undecided");
    }
}
