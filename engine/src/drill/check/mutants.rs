//! Tests of the checker: a small model of a protected guest, right or broken in one way. The right one must
//! pass with every seed, each broken one must be caught, and by the rule it breaks.
//!
//! Time is in ticks of one microsecond. A takeover happens at [`FAULT`].

mod model;

use super::*;
use crate::drill::chance::Chance;
use crate::drill::history::{Action, Surplus};
use model::{Bug, FAULT, Model, moment};
use std::time::Duration;

/// Asserts that in each of many seeds `bug` is caught by a rule that `by` names.
fn assert_caught(bug: Bug, by: fn(&Violation) -> bool) {
    for seed in 0..64 {
        let found = Model::run(seed, bug).judge();
        assert!(found.iter().any(by), "{bug:?} with seed {seed} was not caught; found {found:?}");
    }
}

#[test]
fn a_right_engine_passes_with_every_seed() {
    for seed in 0..256 {
        assert_eq!(Model::run(seed, Bug::None).judge(), [], "seed {seed}");
    }
}

#[test]
fn output_that_leaves_before_its_ack_is_a_lost_write() {
    assert_caught(Bug::ReleasesBeforeAck, |v| {
        matches!(
            v,
            Violation::LostWrite { .. } | Violation::SameValueTwice { .. } | Violation::WentBack { .. }
        )
    });
}

#[test]
fn a_takeover_from_an_older_epoch_is_a_lost_write() {
    assert_caught(Bug::TakesOverTheEpochBefore, |v| {
        matches!(
            v,
            Violation::LostWrite { .. } | Violation::SameValueTwice { .. } | Violation::WentBack { .. }
        )
    });
}

#[test]
fn an_old_owner_that_answers_on_is_a_second_owner() {
    assert_caught(Bug::OldOwnerAnswersOn, |v| matches!(v, Violation::TwoOwners { host: HostId::A, .. }));
}

#[test]
fn an_old_owner_may_answer_late_what_the_taken_over_state_contains() {
    let mut late = 0;
    for seed in 0..256 {
        let model = Model::run(seed, Bug::OldOwnerAnswersWhatItOwes);
        assert_eq!(model.judge(), [], "seed {seed}");
        late += model.sightings.late.len();
    }
    assert!(late > 0, "no seed made the case");
}

#[test]
fn a_write_applied_twice_comes_from_nowhere() {
    assert_caught(Bug::AppliesTwice, |v| matches!(v, Violation::FromNowhere { .. }));
}

#[test]
fn a_client_that_is_no_longer_answered_has_lost_its_connection() {
    assert_caught(Bug::ForgetsOneClient, |v| *v == Violation::ConnectionLost { client: ClientId(0) });
}

#[test]
fn answers_too_many_and_answers_that_cannot_be_are_violations() {
    assert_caught(Bug::RepeatsAnswers, |v| matches!(v, Violation::AnsweredTwice { .. }));
    assert_caught(Bug::AnswersNonsense, |v| matches!(v, Violation::Nonsense { .. }));
}

#[test]
fn a_copy_may_repeat_what_was_asked_before_and_nothing_else() {
    let before = Some(moment(FAULT));
    for seed in 0..64 {
        let repeats = Model::run(seed, Bug::RepeatsWhatWasAskedBefore);
        assert_eq!(repeats.judge_with(before), [], "seed {seed}");
        assert_ne!(repeats.judge(), [], "without a copy, seed {seed}");
        for bug in [Bug::RepeatsAnswers, Bug::AnswersTwiceOtherwise] {
            let found = Model::run(seed, bug).judge_with(before);
            let is_twice = |v: &Violation| matches!(v, Violation::AnsweredTwice { .. });
            assert!(found.iter().any(is_twice), "{bug:?}, seed {seed}");
        }
    }
}

/// One operation on the shared counter, in microseconds; no answer means unknown.
fn operation(client: u16, action: Action, invoked: u64, answer: Option<(u64, u64)>) -> Operation {
    let outcome = match answer {
        Some((at, value)) => Outcome::Answered { at: moment(at), value },
        None => Outcome::Unknown,
    };
    let invoked = moment(invoked);
    Operation { client: ClientId(client), request: 0, key: Key::Counter(0), action, invoked, outcome }
}

fn judge(baseline: u64, operations: Vec<Operation>) -> Vec<Violation> {
    let history = History { baseline: [(Key::Counter(0), baseline)].into(), operations, surplus: Vec::new() };
    let expectation = Expectation {
        owners: vec![HostId::A],
        owed_before: Moment(0),
        repeats_before: None,
        clients: Vec::new(),
        resumed: Moment(0),
    };
    check(&history, &Sightings::default(), &expectation)
}

#[test]
fn an_unknown_increment_may_count_or_not_but_only_once() {
    for (value, holds) in [(5, false), (6, true), (7, true), (8, false)] {
        let found = judge(
            5,
            vec![
                operation(0, Action::Incr, 10, Some((20, 6))),
                operation(1, Action::Incr, 12, None),
                operation(2, Action::Get, 30, Some((40, value))),
            ],
        );
        assert_eq!(found.is_empty(), holds, "value {value}: {found:?}");
    }
}

#[test]
fn concurrent_answers_may_arrive_in_any_order() {
    let found = judge(
        0,
        vec![
            operation(0, Action::Incr, 10, Some((50, 1))),
            operation(1, Action::Incr, 11, Some((40, 2))),
            operation(2, Action::Get, 12, Some((45, 0))),
        ],
    );
    assert_eq!(found, []);
}

#[test]
fn a_counter_that_starts_over_between_rounds_is_caught() {
    let found = judge(1000, vec![operation(0, Action::Incr, 10, Some((20, 1)))]);
    assert!(matches!(found[..], [Violation::LostWrite { least: 1001, value: 1, .. }]), "{found:?}");
}

#[test]
fn a_frame_from_a_host_without_authority_is_caught() {
    let mut sightings = Sightings::default();
    sightings.note(HostId::A, moment(1), None);
    sightings.note(HostId::B, moment(2), None);
    let expectation = Expectation {
        owners: vec![HostId::A],
        owed_before: Moment(0),
        repeats_before: None,
        clients: Vec::new(),
        resumed: Moment(0),
    };
    let found = check(&History::default(), &sightings, &expectation);
    assert_eq!(found, [Violation::StrayOwner { host: HostId::B, at: moment(2), frames: 1 }]);
}

#[test]
fn a_late_frame_that_answers_a_request_made_after_the_failure_is_caught() {
    let mut sightings = Sightings::default();
    sightings.note(HostId::A, moment(1), None);
    sightings.note(HostId::B, moment(20), None);
    sightings.note(HostId::A, moment(30), Some((ClientId(0), 0)));
    let mut expectation = Expectation {
        owners: vec![HostId::A, HostId::B],
        owed_before: moment(11),
        repeats_before: None,
        clients: Vec::new(),
        resumed: Moment(0),
    };
    let operations = vec![operation(0, Action::Incr, 10, Some((30, 1)))];
    let history = History { operations, ..History::default() };
    assert_eq!(check(&history, &sightings, &expectation), []);
    expectation.owed_before = moment(10);
    let found = check(&history, &sightings, &expectation);
    let why = Unowed::AskedLater { by: Duration::ZERO };
    assert_eq!(found, [Violation::TwoOwners { host: HostId::A, at: moment(30), why }]);
}

/// On a busy machine, with commits of half a second, what a round's last requests are owed leaves in the next round.
#[test]
fn a_late_frame_may_answer_a_request_of_an_earlier_round_and_an_announcement_may_not_be_late() {
    let mut sightings = Sightings::default();
    sightings.note(HostId::A, moment(1), None);
    sightings.note(HostId::B, moment(20), None);
    let mut expectation = Expectation {
        owners: vec![HostId::A, HostId::B],
        owed_before: moment(11),
        repeats_before: None,
        clients: Vec::new(),
        resumed: Moment(0),
    };
    let earlier = ClientId(3);
    sightings.note(HostId::A, moment(30), Some((earlier, 7)));
    let mut history = History::default();
    assert_eq!(check(&history, &sightings, &expectation), []);

    history.surplus.push(Surplus { client: earlier, request: 7, at: moment(31), is_repeated: true });
    let twice = Violation::AnsweredTwice { client: earlier, request: 7, at: moment(31) };
    assert_eq!(check(&history, &sightings, &expectation), std::slice::from_ref(&twice), "no copy ran");
    expectation.repeats_before = Some(moment(11));
    assert_eq!(check(&history, &sightings, &expectation), []);
    history.surplus[0].is_repeated = false;
    assert_eq!(check(&history, &sightings, &expectation), [twice]);
    history.surplus.clear();

    sightings.note(HostId::A, moment(32), None);
    let two = Violation::TwoOwners { host: HostId::A, at: moment(32), why: Unowed::NoAnswer };
    assert_eq!(check(&history, &sightings, &expectation), [two]);
}
