//! What a node is to a guest, for the label `role`: finer than for `status`, which has the state beside it.

use crate::control::GuestRole;
use understudy_session::primary::State;

/// What a node is to a guest.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// The node owns the guest: if the guest runs anywhere, it runs here.
    Primary,
    /// The node holds the copy.
    Secondary,
    /// The node has the guest and may not run it, or not yet.
    Waiting,
    /// The node keeps the guest paused, because another host owns the guest or claims to.
    Kept,
    /// The guest ran here until it ended by itself.
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
    /// The role of a guest that is here and is not a copy.
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
        let document = include_str!("../../../docs/MONITORING.md");
        let row = document.lines().find(|line| line.starts_with("| `role_info{")).unwrap();
        for role in [Role::Primary, Role::Secondary, Role::Waiting, Role::Kept, Role::Ended] {
            assert!(row.contains(&format!("`{}`", role.label())), "{role:?}");
        }
    }
}
