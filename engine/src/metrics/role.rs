//! What a node is to a guest, for the label `role`: finer than for `status`, which has the state beside it.

use crate::control::GuestRole;
use understudy_session::primary::State;

/// What a node is to a guest.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// In charge of it: where it runs, if it runs anywhere.
    Primary,
    /// Holds its copy.
    Secondary,
    /// Has it, and may not run it, or not yet.
    Waiting,
    /// Keeps it paused, since another host is in charge or claims to be.
    Kept,
    /// Had it until it ended by itself.
    Ended,
}

impl Role {
    pub(super) fn label(self) -> &'static str {
        match self {
            Self::Primary => "primary",
            Self::Secondary => "secondary",
            Self::Waiting => "waiting",
            Self::Kept => "kept",
            Self::Ended => "ended",
        }
    }
}

impl From<GuestRole> for Role {
    fn from(role: GuestRole) -> Self {
        match role {
            GuestRole::Primary => Self::Primary,
            GuestRole::Secondary => Self::Secondary,
        }
    }
}

impl From<State> for Role {
    /// Of a guest that is here, and not as a copy.
    fn from(state: State) -> Self {
        match state {
            State::Asking | State::AwaitingOperator | State::Claiming | State::ClaimRefused => Self::Waiting,
            State::Fenced | State::Contested => Self::Kept,
            State::Ended => Self::Ended,
            State::Unprotected
            | State::Seeding
            | State::Arming
            | State::Protected
            | State::Late
            | State::LinkLost
            | State::MarkingStale
            | State::PausedUndecided
            | State::SwitchingOver => Self::Primary,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operators_are_told_every_role() {
        let operations = include_str!("../../../docs/OPERATIONS.md");
        let row = operations.lines().find(|line| line.starts_with("| `role_info{")).unwrap();
        for role in [Role::Primary, Role::Secondary, Role::Waiting, Role::Kept, Role::Ended] {
            assert!(row.contains(&format!("`{}`", role.label())), "{role:?}");
        }
    }
}
