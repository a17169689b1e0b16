//! States in words, for `status`.

use crate::control::GuestRole;
use crate::control::status::{GuestStatus, PageCounts, PauseParts, Quantiles};
use crate::guest::UnheldCard;
use crate::session::{NodeName, primary, secondary};
use std::fmt::Debug;

/// The status of a guest of which nothing is known yet.
pub(super) fn blank(name: &str, role: GuestRole, interval_ms: f64) -> GuestStatus {
    GuestStatus {
        name: name.to_owned(),
        role,
        state: String::new(),
        protected: false,
        wished: true,
        reason: String::new(),
        generation: 0,
        epoch: None,
        acked: None,
        committed: None,
        commit_age_ms: None,
        interval_ms,
        pause_us: Quantiles::default(),
        pause_parts_us: PauseParts::default(),
        commit_us: Quantiles::default(),
        pages: PageCounts::default(),
        raw_bytes: 0,
        link_bytes: 0,
        compared_bytes: 0,
        held_bytes: 0,
        dropped_frames: 0,
        takeover: None,
    }
}

/// The name of a state without fields, in snake_case.
pub(super) fn snake_case(state: &impl Debug) -> String {
    let mut name = String::new();
    for letter in format!("{state:?}").chars() {
        if letter.is_uppercase() && !name.is_empty() {
            name.push('_');
        }
        name.extend(letter.to_lowercase());
    }
    name
}

/// Why a guest that runs here is not protected, or what is noteworthy.
pub(super) fn primary_reason(state: primary::State, peer: &NodeName, wished: bool) -> String {
    use primary::State;
    match state {
        State::Claiming => "the witness has not yet said that this host may run the guest".into(),
        State::Unprotected if !wished => {
            "an operator wished it; `understudy protect` makes a new copy".into()
        }
        State::Unprotected => format!("{peer} holds no copy; it is made when {peer} is there"),
        State::Seeding => format!("the full copy is on its way to {peer}"),
        State::Arming => "the copy is complete; the witness has not yet recorded it".into(),
        State::Protected => String::new(),
        State::LinkLost => format!("the link to {peer} is down and may come back"),
        State::MarkingStale => format!("{peer} is lost; the witness is asked to mark its copy stale"),
        State::PausedUndecided => "neither secondary nor witness answer; the guest is paused".into(),
        State::SwitchingOver => format!("the guest moves to {peer}"),
        State::Fenced => "another host runs the guest".into(),
        State::Ended => "the guest has ended".into(),
    }
}

/// What is wrong with a card.
pub(super) fn unheld_reason(card: &UnheldCard) -> String {
    let UnheldCard { interface, why, is_cut_off } = card;
    let so = if *is_cut_off { "it is cut off" } else { "what is sent by it leaves" };
    format!("the card {interface} cannot be held, {so}: {why}")
}

/// Why a guest held here could not be taken over, or what is noteworthy.
pub(super) fn secondary_reason(state: secondary::State, peer: &NodeName) -> String {
    use secondary::State;
    match state {
        State::Empty => "there is no copy here".into(),
        State::Seeding => format!("the full copy arrives from {peer}"),
        State::Standing => String::new(),
        State::Alone => format!("{peer} is not heard"),
        State::TakingOver => "the witness is asked for the guest".into(),
        State::Activating => "the guest is being started here".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_are_named_as_programs_expect() {
        assert_eq!(snake_case(&primary::State::PausedUndecided), "paused_undecided");
        assert_eq!(snake_case(&secondary::State::Empty), "empty");
    }
}
