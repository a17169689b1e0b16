//! Tests of the checker: a small model of a protected guest, right or broken in one way. The right one must
//! pass with every seed, each broken one must be caught, and by the rule it breaks.
//!
//! Time is in ticks of one microsecond. A takeover happens at [`FAULT`].

use super::*;
use crate::drill::chance::Chance;
use crate::drill::history::{Action, Surplus};
use std::time::Duration;

const CLIENTS: u16 = 4;
const TICKS: u64 = 1200;
/// While a checkpoint is on its way: cut at 592, acked at 598.
const FAULT: u64 = 596;
const TAKEOVER: u64 = FAULT + 40;
const EPOCH: u64 = 16;
const ACK_AFTER: u64 = 6;
const GIVE_UP_AFTER: u64 = 60;

/// What is wrong with the modelled engine.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Bug {
    None,
    ReleasesBeforeAck,
    TakesOverTheEpochBefore,
    OldOwnerAnswersOn,
    OldOwnerAnswersWhatItOwes,
    AppliesTwice,
    ForgetsOneClient,
    RepeatsAnswers,
    AnswersTwiceOtherwise,
    RepeatsWhatWasAskedBefore,
    AnswersNonsense,
}

#[derive(Clone, Default)]
struct Guest {
    values: BTreeMap<Key, u64>,
}

impl Guest {
    fn serve(&mut self, operation: &Operation, times: u64) -> u64 {
        let value = self.values.entry(operation.key).or_insert(0);
        match operation.action {
            Action::Incr => *value += times,
            Action::Set(new) => *value = new,
            Action::Get => {}
        }
        *value
    }
}

/// Answers: index of the operation, value.
type Answers = Vec<(usize, u64)>;

/// A checkpoint that is sent and not yet acked.
struct OnTheWay {
    due: u64,
    guest: Guest,
    answers: Answers,
}

struct Model {
    bug: Bug,
    chance: Chance,
    now: u64,
    running: Guest,
    zombie: Option<Guest>,
    acked: Guest,
    on_the_way: Vec<OnTheWay>,
    held: Answers,
    owed: Answers,
    open: Vec<Option<usize>>,
    next_set: Vec<u64>,
    history: History,
    sightings: Sightings,
}

fn moment(tick: u64) -> Moment {
    Moment(tick * 1000)
}

impl Model {
    fn run(seed: u64, bug: Bug) -> Self {
        let mut model = Self {
            bug,
            chance: Chance::new(seed),
            now: 0,
            running: Guest::default(),
            zombie: None,
            acked: Guest::default(),
            on_the_way: Vec::new(),
            held: Vec::new(),
            owed: Vec::new(),
            open: vec![None; usize::from(CLIENTS)],
            next_set: vec![0; usize::from(CLIENTS)],
            history: History::default(),
            sightings: Sightings::default(),
        };
        for now in 1..=TICKS {
            model.now = now;
            model.tick();
        }
        model
    }

    fn judge(&self) -> Vec<Violation> {
        self.judge_with(None)
    }

    fn judge_with(&self, repeats_before: Option<Moment>) -> Vec<Violation> {
        let expectation = Expectation {
            owners: vec![HostId::A, HostId::B],
            owed_before: moment(FAULT),
            repeats_before,
            clients: (0..CLIENTS).map(ClientId).collect(),
            resumed: moment(TAKEOVER),
        };
        check(&self.history, &self.sightings, &expectation)
    }

    fn tick(&mut self) {
        if self.now == FAULT {
            self.fail();
        }
        if self.now == TAKEOVER {
            self.running = self.acked.clone();
        }
        if self.now == TAKEOVER + 2 * EPOCH {
            for (index, value) in std::mem::take(&mut self.owed) {
                self.answer(HostId::A, index, value);
            }
        }
        let alive = !(FAULT..TAKEOVER).contains(&self.now);
        for client in 0..CLIENTS {
            if let Some(index) = self.ask(client)
                && alive
            {
                self.serve(index);
            }
        }
        if alive {
            self.checkpoint();
        }
    }

    fn fail(&mut self) {
        if self.bug == Bug::OldOwnerAnswersOn {
            self.zombie = Some(self.running.clone());
        }
        self.held.clear();
        let lost = std::mem::take(&mut self.on_the_way);
        if self.bug == Bug::OldOwnerAnswersWhatItOwes
            && let Some(checkpoint) = lost.into_iter().next()
        {
            // The ack was on its way: the takeover starts from that epoch, its answers come late.
            self.acked = checkpoint.guest;
            self.owed = checkpoint.answers;
        }
    }

    fn ask(&mut self, client: u16) -> Option<usize> {
        let slot = usize::from(client);
        if let Some(open) = self.open[slot] {
            let waited = moment(self.now).since(self.history.operations[open].invoked);
            let answered = self.history.operations[open].answer().is_some();
            if !answered && waited < Duration::from_micros(GIVE_UP_AFTER) {
                return None;
            }
        }
        let (key, action) = match self.chance.below(4) {
            0 => (Key::Counter(0), Action::Incr),
            1 => (Key::Counter(client + 1), Action::Incr),
            2 => {
                self.next_set[slot] += 1;
                (Key::Register(client), Action::Set(self.next_set[slot]))
            }
            _ if self.chance.below(2) == 0 => (Key::Counter(0), Action::Get),
            _ => (Key::Register(self.chance.below(CLIENTS.into()) as u16), Action::Get),
        };
        let index = self.history.operations.len();
        self.history.operations.push(Operation {
            client: ClientId(client),
            request: index as u16,
            key,
            action,
            invoked: moment(self.now),
            outcome: Outcome::Unknown,
        });
        self.open[slot] = Some(index);
        Some(index)
    }

    fn serve(&mut self, index: usize) {
        let operation = self.history.operations[index];
        if self.bug == Bug::ForgetsOneClient && operation.client == ClientId(0) && self.now > TAKEOVER {
            return;
        }
        if self.now > TAKEOVER
            && let Some(zombie) = &mut self.zombie
            && operation.client.0.is_multiple_of(2)
        {
            let value = zombie.serve(&operation, 1);
            return self.answer(HostId::A, index, value);
        }
        let times = if self.bug == Bug::AppliesTwice { 2 } else { 1 };
        let value = self.running.serve(&operation, times);
        match self.bug {
            Bug::ReleasesBeforeAck => self.answer(self.owner(), index, value),
            _ => self.held.push((index, value)),
        }
    }

    fn owner(&self) -> HostId {
        if self.now < TAKEOVER { HostId::A } else { HostId::B }
    }

    fn checkpoint(&mut self) {
        if self.now.is_multiple_of(EPOCH) {
            let answers = std::mem::take(&mut self.held);
            let (due, guest) = (self.now + ACK_AFTER, self.running.clone());
            self.on_the_way.push(OnTheWay { due, guest, answers });
        }
        while self.on_the_way.first().is_some_and(|checkpoint| checkpoint.due <= self.now) {
            let checkpoint = self.on_the_way.remove(0);
            if self.bug != Bug::TakesOverTheEpochBefore || self.now < FAULT - 2 * EPOCH {
                self.acked = checkpoint.guest;
            }
            for (index, value) in checkpoint.answers {
                self.answer(self.owner(), index, value);
            }
        }
    }

    fn answer(&mut self, host: HostId, index: usize, value: u64) {
        let at = moment(self.now);
        let operation = &mut self.history.operations[index];
        let (client, request) = (operation.client, operation.request);
        self.sightings.note(host, at, Some((client, request)));
        operation.outcome = match operation.outcome {
            _ if self.bug == Bug::AnswersNonsense && self.now > TAKEOVER => Outcome::Nonsense { at },
            _ => Outcome::Answered { at, value },
        };
        let repeats = match self.bug {
            Bug::RepeatsAnswers | Bug::AnswersTwiceOtherwise => true,
            Bug::RepeatsWhatWasAskedBefore => operation.invoked < moment(FAULT),
            _ => false,
        };
        if repeats {
            let is_repeated = self.bug != Bug::AnswersTwiceOtherwise;
            self.history.surplus.push(Surplus { client, request, at, is_repeated });
        }
    }
}

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
    assert_eq!(found, [Violation::TwoOwners { host: HostId::A, at: moment(30) }]);
}
