//! What `evacuate` does with one guest, from what the node says of it and how much time there is. Pure.

use crate::control::{GuestRole, GuestState, GuestStatus, Wish};
use serde::Serialize;

/// How much time there is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Moment {
    /// A copy may be about to be made.
    Beginning,
    /// What can be moved is, and what is on its way is waited for.
    Moving,
    /// No move begins any more.
    LettingGo,
    /// Nothing is waited for any more.
    Over,
}

/// What became of a guest.
#[derive(Serialize, Clone, Copy, PartialEq, Eq, Debug)]
#[serde(rename_all = "snake_case")]
pub(super) enum Outcome {
    /// It runs on the other host.
    Moved,
    /// It runs on here, without a copy, and none is made.
    LetGo,
    /// It is here as it was.
    Left,
    /// It ended by itself.
    Ended,
}

/// Moves that are begun for one guest, at most: each of them stops it for a moment.
const TRIES_MAX: u32 = 2;

/// One guest on its way.
#[derive(Serialize, Debug)]
pub(super) struct Course {
    name: String,
    outcome: Option<Outcome>,
    /// The other host.
    to: String,
    /// As the node said last.
    state: Option<GuestState>,
    reason: String,
    /// A switchover was wished.
    #[serde(skip)]
    is_begun: bool,
    /// It stood still for a move when it was seen last.
    #[serde(skip)]
    is_still: bool,
    /// How often it stood still.
    #[serde(skip)]
    tries: u32,
    #[serde(skip)]
    is_said: bool,
}

impl Course {
    pub(super) fn new(name: &str, to: &str) -> Self {
        Self {
            name: name.to_owned(),
            outcome: None,
            to: to.to_owned(),
            state: None,
            reason: String::new(),
            is_begun: false,
            is_still: false,
            tries: 0,
            is_said: false,
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn to(&self) -> &str {
        &self.to
    }

    pub(super) fn outcome(&self) -> Option<Outcome> {
        self.outcome
    }

    /// Whether it stands still for the other host to start it.
    pub(super) fn is_moving(&self) -> bool {
        self.outcome.is_none() && self.is_still && self.is_begun
    }

    /// It is not to be moved.
    pub(super) fn leave(&mut self, seen: Option<&GuestStatus>, why: &str) {
        if self.outcome.is_none() {
            self.outcome = Some(Outcome::Left);
            self.state = seen.map(|guest| guest.state);
            why.clone_into(&mut self.reason);
        }
    }

    /// The node has taken a wish.
    pub(super) fn began(&mut self, wish: Wish) {
        self.is_begun |= wish == Wish::Switchover;
        // As long as it was not looked at again.
        self.is_still = wish == Wish::Switchover;
    }

    /// What is to be wished next for the guest that the node has `seen`; `None` if it is waited for, or over.
    pub(super) fn next(
        &mut self,
        seen: Option<&GuestStatus>,
        is_peer_there: bool,
        moment: Moment,
    ) -> Option<Wish> {
        if self.outcome.is_some() {
            return None;
        }
        let Some(guest) = seen.filter(|guest| guest.role == GuestRole::Primary) else {
            let is_there = seen.is_some() || self.is_begun || self.is_still;
            return self.end(if is_there { Outcome::Moved } else { Outcome::Ended });
        };
        self.is_still = matches!(guest.state, GuestState::SwitchingOver | GuestState::Fenced);
        self.tries += u32::from(
            self.is_still && self.state != Some(guest.state) && guest.state == GuestState::SwitchingOver,
        );
        self.state = Some(guest.state);
        self.reason.clone_from(&guest.reason);
        let wish = self.decide(guest, is_peer_there, moment);
        let is_late = moment == Moment::Over && self.outcome.is_none();
        if is_late { self.end(Outcome::Left) } else { wish }
    }

    fn decide(&mut self, guest: &GuestStatus, is_peer_there: bool, moment: Moment) -> Option<Wish> {
        use GuestState::*;
        match guest.state {
            Ended => self.end(Outcome::Ended),
            Unprotected if !guest.wished => self.end(Outcome::LetGo),
            Unprotected if is_peer_there && moment == Moment::Beginning => None,
            Unprotected => Some(Wish::Unprotect),
            Protected if moment == Moment::LettingGo || self.tries >= TRIES_MAX => self.end(Outcome::Left),
            Protected => Some(Wish::Switchover),
            // No copy may take over: to go on here alone is all that is left.
            Seeding | Arming if moment == Moment::LettingGo => Some(Wish::Unprotect),
            // A person's word is needed, and this is none.
            AwaitingOperator | ClaimRefused | Contested => self.end(Outcome::Left),
            Fenced if !self.is_begun => self.end(Outcome::Left),
            _ => None,
        }
    }

    fn end(&mut self, outcome: Outcome) -> Option<Wish> {
        self.outcome = Some(outcome);
        None
    }

    /// What became of it, for a person, the first time that there is something to say.
    pub(super) fn say_once(&mut self) -> Option<String> {
        let outcome =
            self.outcome.filter(|_| !std::mem::replace(&mut self.is_said, self.outcome.is_some()))?;
        let Self { name, to, reason, .. } = &*self;
        let why = if reason.is_empty() { String::new() } else { format!(" ({reason})") };
        Some(match outcome {
            Outcome::Moved => format!("{name}: moved to {to}"),
            Outcome::LetGo => {
                format!("{name}: let go: it runs on here without a copy, until this host goes down")
            }
            Outcome::Ended => format!("{name}: has ended"),
            Outcome::Left => format!("{name}: left here, {}{why}", self.standing()),
        })
    }

    /// How one stands that was left.
    fn standing(&self) -> String {
        let state = self.state.map_or_else(|| "not looked at".into(), GuestState::words);
        match self.state {
            Some(GuestState::Protected | GuestState::Late) => {
                format!("{state}: its copy takes over when this node ends")
            }
            _ => state,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::status::tests::guest;
    use super::*;

    fn standing(state: GuestState, wished: bool) -> GuestStatus {
        GuestStatus { state, wished, protected: state == GuestState::Protected, ..guest("g1") }
    }

    fn next(course: &mut Course, state: GuestState, moment: Moment) -> Option<Wish> {
        course.next(Some(&standing(state, true)), true, moment)
    }

    #[test]
    fn a_protected_guest_moves_and_is_gone() {
        let mut course = Course::new("g1", "b");
        assert_eq!(next(&mut course, GuestState::Protected, Moment::Beginning), Some(Wish::Switchover));
        course.began(Wish::Switchover);
        assert!(course.is_moving());
        assert_eq!(next(&mut course, GuestState::SwitchingOver, Moment::Moving), None);
        assert_eq!(next(&mut course, GuestState::Fenced, Moment::Moving), None);
        assert_eq!(course.next(None, true, Moment::Moving), None);
        assert_eq!(course.outcome(), Some(Outcome::Moved));
        assert_eq!(course.say_once().as_deref(), Some("g1: moved to b"));
        assert_eq!(course.say_once(), None, "once");
    }

    #[test]
    fn one_that_has_a_whole_copy_is_never_let_go() {
        use GuestState::*;
        for state in
            [Protected, Late, LinkLost, MarkingStale, PausedUndecided, SwitchingOver, Claiming, Asking]
        {
            let mut course = Course::new("g1", "b");
            assert_ne!(next(&mut course, state, Moment::LettingGo), Some(Wish::Unprotect), "{state}");
            next(&mut course, state, Moment::Over);
            assert_eq!(course.outcome(), Some(Outcome::Left), "{state}");
        }
    }

    #[test]
    fn one_without_a_copy_is_let_go_and_not_before_the_end_if_one_is_made() {
        let mut course = Course::new("g1", "b");
        assert_eq!(next(&mut course, GuestState::Unprotected, Moment::Beginning), None, "one may be made");
        assert_eq!(next(&mut course, GuestState::Seeding, Moment::Moving), None);
        assert_eq!(next(&mut course, GuestState::Seeding, Moment::LettingGo), Some(Wish::Unprotect));
        assert_eq!(course.next(Some(&standing(GuestState::Unprotected, false)), true, Moment::Over), None);
        assert_eq!(course.outcome(), Some(Outcome::LetGo));

        let mut alone = Course::new("g1", "b");
        let bare = standing(GuestState::Unprotected, true);
        assert_eq!(
            alone.next(Some(&bare), false, Moment::Beginning),
            Some(Wish::Unprotect),
            "no peer, no copy"
        );
    }

    #[test]
    fn a_move_that_fails_is_tried_once_more() {
        let mut course = Course::new("g1", "b");
        for _ in 0..TRIES_MAX {
            assert_eq!(next(&mut course, GuestState::Protected, Moment::Moving), Some(Wish::Switchover));
            course.began(Wish::Switchover);
            assert_eq!(
                next(&mut course, GuestState::Protected, Moment::Moving),
                Some(Wish::Switchover),
                "not yet"
            );
            course.began(Wish::Switchover);
            assert_eq!(next(&mut course, GuestState::SwitchingOver, Moment::Moving), None);
            assert_eq!(next(&mut course, GuestState::SwitchingOver, Moment::Moving), None);
        }
        assert_eq!(next(&mut course, GuestState::Protected, Moment::Moving), None);
        assert_eq!(course.outcome(), Some(Outcome::Left));
        assert!(course.say_once().unwrap().contains("its copy takes over when this node ends"));
    }

    #[test]
    fn what_waits_for_a_person_goes_on_waiting() {
        use GuestState::*;
        for state in [AwaitingOperator, ClaimRefused, Contested, Fenced] {
            let mut course = Course::new("g1", "b");
            assert_eq!(next(&mut course, state, Moment::Beginning), None);
            assert_eq!(course.outcome(), Some(Outcome::Left), "{state}");
        }
    }
}
