//! An engine that can be wrong in known ways, and its clients: what they would have seen.

use super::*;

pub(super) const CLIENTS: u16 = 4;
pub(super) const TICKS: u64 = 1200;
/// While a checkpoint is on its way: cut at 592, acked at 598.
pub(super) const FAULT: u64 = 596;
pub(super) const TAKEOVER: u64 = FAULT + 40;
pub(super) const EPOCH: u64 = 16;
pub(super) const ACK_AFTER: u64 = 6;
pub(super) const GIVE_UP_AFTER: u64 = 60;

/// What is wrong with the modelled engine.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Bug {
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
pub(super) struct Guest {
    values: BTreeMap<Key, u64>,
}

impl Guest {
    pub(super) fn serve(&mut self, operation: &Operation, times: u64) -> u64 {
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
pub(super) type Answers = Vec<(usize, u64)>;

/// A checkpoint that is sent and not yet acked.
pub(super) struct OnTheWay {
    due: u64,
    guest: Guest,
    answers: Answers,
}

pub(super) struct Model {
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
    pub(super) sightings: Sightings,
}

pub(super) fn moment(tick: u64) -> Moment {
    Moment(tick * 1000)
}

impl Model {
    pub(super) fn run(seed: u64, bug: Bug) -> Self {
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

    pub(super) fn judge(&self) -> Vec<Violation> {
        self.judge_with(None)
    }

    pub(super) fn judge_with(&self, repeats_before: Option<Moment>) -> Vec<Violation> {
        let expectation = Expectation {
            owners: vec![HostId::A, HostId::B],
            owed_before: moment(FAULT),
            repeats_before,
            clients: (0..CLIENTS).map(ClientId).collect(),
            resumed: moment(TAKEOVER),
        };
        check(&self.history, &self.sightings, &expectation)
    }

    pub(super) fn tick(&mut self) {
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

    pub(super) fn fail(&mut self) {
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

    pub(super) fn ask(&mut self, client: u16) -> Option<usize> {
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

    pub(super) fn serve(&mut self, index: usize) {
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

    pub(super) fn owner(&self) -> HostId {
        if self.now < TAKEOVER { HostId::A } else { HostId::B }
    }

    pub(super) fn checkpoint(&mut self) {
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

    pub(super) fn answer(&mut self, host: HostId, index: usize, value: u64) {
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
