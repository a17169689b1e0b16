//! Whether guests are safe, for `status --exit-code`.
//!
//! ```text
//!   runs here        safe: protected
//!   copy held here   safe: standing, so that it may take over
//!   only looked for, not here though it is named, no guest at all: not safe
//! ```
//!
//! Not here: whether the witness answers. Protection goes on without one for a while, and it has a metric of its own.

use crate::control::{GuestRole, GuestState, GuestStatus, Status};

/// Why guests are not safe, one sentence for each that is not; those that are `named`, or all.
pub(super) fn unsafe_guests(status: &Status, named: &[String]) -> Vec<String> {
    let is_meant = |name: &str| named.is_empty() || named.iter().any(|it| it == name);
    let mut reasons: Vec<String> =
        status.guests.iter().filter(|guest| is_meant(&guest.name)).filter_map(unsafe_guest).collect();
    for waiting in status.waiting.iter().filter(|it| is_meant(&it.name)) {
        reasons.push(with_reason(format!("{} is to be protected and is not", waiting.name), &waiting.reason));
    }
    let is_known = |name: &String| {
        status.guests.iter().any(|it| it.name == *name) || status.waiting.iter().any(|it| it.name == *name)
    };
    for name in named.iter().filter(|name| !is_known(name)) {
        reasons.push(format!("node {} knows no guest {name}", status.node));
    }
    if named.is_empty() && status.guests.is_empty() && status.waiting.is_empty() {
        reasons.push(format!("node {} has no guest, so none is protected", status.node));
    }
    reasons
}

fn unsafe_guest(guest: &GuestStatus) -> Option<String> {
    let state = guest.state.words();
    let said = match guest.role {
        GuestRole::Primary if guest.protected => return None,
        GuestRole::Secondary if guest.state == GuestState::Standing => return None,
        GuestRole::Primary => format!("{} is not protected ({state})", guest.name),
        GuestRole::Secondary => format!("the copy of {} cannot take over ({state})", guest.name),
    };
    Some(with_reason(said, &guest.reason))
}

fn with_reason(said: String, reason: &str) -> String {
    if reason.is_empty() { said } else { format!("{said}: {reason}") }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{guest, of};
    use super::*;
    use crate::control::status::WaitingStatus;

    fn copy(name: &str, state: GuestState) -> GuestStatus {
        GuestStatus { role: GuestRole::Secondary, protected: false, state, ..guest(name) }
    }

    fn named(names: &[&str]) -> Vec<String> {
        names.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn protected_guests_and_whole_copies_are_safe() {
        let both = of(vec![guest("g1"), copy("g2", GuestState::Standing)]);
        assert!(unsafe_guests(&both, &[]).is_empty());
        assert!(unsafe_guests(&both, &named(&["g2", "g1"])).is_empty());
    }

    #[test]
    fn anything_else_is_not_safe_and_says_why() {
        let bare = GuestStatus {
            protected: false,
            state: GuestState::LinkLost,
            reason: "b is gone".into(),
            ..guest("g1")
        };
        let mut several = of(vec![bare, copy("g2", GuestState::Empty), guest("g3")]);
        several.waiting.push(WaitingStatus { name: "g4".into(), reason: String::new() });
        assert_eq!(
            unsafe_guests(&several, &[]),
            [
                "g1 is not protected (link lost): b is gone",
                "the copy of g2 cannot take over (empty)",
                "g4 is to be protected and is not"
            ]
        );
        assert!(unsafe_guests(&several, &named(&["g3"])).is_empty(), "others are not asked for");
    }

    #[test]
    fn a_guest_that_is_not_there_is_not_safe() {
        let one = of(vec![guest("g1")]);
        assert_eq!(unsafe_guests(&one, &named(&["g1", "g9"])), ["node a knows no guest g9"]);
        assert_eq!(unsafe_guests(&of(Vec::new()), &[]), ["node a has no guest, so none is protected"]);
    }
}
