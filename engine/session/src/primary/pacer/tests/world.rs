//! A guest, its clients and its checkpoints, as far as a pacer sees them.

use super::*;

pub(super) const BUDGETS: Budgets = Budgets {
    interval_min: Span::from_us(100),
    interval_max: Span::from_ms(200),
    pause_percent_max: 25,
    link_bytes_per_s_max: 1 << 30,
    cpu_percent_max: 100,
};

/// What a checkpoint takes: a pause, more of it the longer the guest ran, then encoding, then the way to the ack.
#[derive(Clone, Copy, Debug)]
pub(super) struct Costs {
    pub(super) pause: Span,
    pub(super) pause_percent_of_run: u64,
    pub(super) encode: Span,
    pub(super) ack: Span,
}

/// As on two hosts of today, with 100 dirty pages.
pub(super) const LIGHT: Costs = Costs {
    pause: Span::from_us(20),
    pause_percent_of_run: 0,
    encode: Span::from_us(60),
    ack: Span::from_us(100),
};

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum What {
    Bare,
    /// Of this client, if it asks again once it has its answer.
    Answer(Option<u32>),
    Resumed(Epoch, Span),
    Encoded(Epoch),
    Acked(Epoch),
}

/// Clients that ask again as soon as they have their answers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clients {
    pub(super) count: u32,
    /// The guest's time for one answer; it makes one after the other.
    pub(super) service: Span,
    /// From an answer's release to the next request.
    pub(super) round_trip: Span,
}

#[derive(Debug)]
pub(super) struct World {
    pub(super) flow: Flow,
    pub(super) costs: Costs,
    pub(super) clients: Clients,
    pub(super) now: Time,
    pub(super) events: BinaryHeap<Reverse<(Time, What)>>,
    /// The guest stands still until then.
    pub(super) still_until: Time,
    /// The guest's processor is busy until then.
    pub(super) busy_until: Time,
    pub(super) waiting: Waiting,
    /// What waits for a checkpoint, and for an ack.
    pub(super) open: Vec<(Time, What)>,
    pub(super) closed: Vec<(Epoch, Time, What)>,
    pub(super) seen: Seen,
}

/// What a run came to.
#[derive(Default, Debug)]
pub(super) struct Seen {
    /// When each pause began, and how long it was.
    pub(super) pauses: Vec<(Time, Span)>,
    /// How long answers and bare frames were held.
    pub(super) answers_held: Vec<Span>,
    pub(super) bare_held: Vec<Span>,
    /// From the time a capture could be made to its beginning, at most.
    pub(super) ran_longest: Span,
}

impl World {
    pub(super) fn new(pacing: Pacing, costs: Costs) -> Self {
        let nobody = Clients { count: 0, service: Span(0), round_trip: Span(0) };
        let mut flow = Flow::new(pacing, 8, Epoch(0), Time(0));
        let seed = flow.begin_seed();
        flow.captured(seed, costs.pause, Time(0));
        flow.encoded(seed, costs.encode, 4_096);
        flow.ack(seed, Time(0));
        Self {
            flow,
            costs,
            clients: nobody,
            now: Time(0),
            events: BinaryHeap::new(),
            still_until: Time(0),
            busy_until: Time(0),
            waiting: Waiting::default(),
            open: Vec::new(),
            closed: Vec::new(),
            seen: Seen::default(),
        }
    }

    pub(super) fn with_clients(mut self, clients: Clients) -> Self {
        self.clients = clients;
        (0..clients.count).for_each(|client| self.serve(client, Time(0)));
        self
    }

    pub(super) fn at(&mut self, at: Time, what: What) {
        self.events.push(Reverse((at, what)));
    }

    /// The guest answers a client's request that arrives at `at`.
    pub(super) fn serve(&mut self, client: u32, at: Time) {
        self.busy_until = self.busy_until.max(at) + self.clients.service;
        self.at(self.busy_until, What::Answer(Some(client)));
    }

    pub(super) fn run(mut self, span: Span) -> Seen {
        let end = Time(0) + span;
        while self.now < end {
            let event = self.events.peek().map(|Reverse((at, _))| *at);
            let due = self.flow.due_at().map(|at| at.max(self.now));
            let next = [event, due].into_iter().flatten().min().unwrap_or(end);
            self.now = self.now.max(next);
            if self.now >= end {
                break;
            }
            match self.events.pop() {
                Some(Reverse((at, what))) if at <= self.now => self.happen(what),
                event => {
                    self.events.extend(event);
                    self.capture();
                }
            }
        }
        self.seen
    }

    pub(super) fn capture(&mut self) {
        if self.flow.due_at().is_none_or(|at| at > self.now) {
            return;
        }
        let ran = self.now - self.still_until;
        self.seen.ran_longest = self.seen.ran_longest.max(ran);
        let pause = Span(self.costs.pause.0 + ran.0 * self.costs.pause_percent_of_run / 100);
        self.seen.pauses.push((self.now, pause));
        let (epoch, _) = self.flow.begin_checkpoint(false);
        self.still_until = self.now + pause;
        self.busy_until = self.busy_until.max(self.now) + pause;
        self.at(self.still_until, What::Resumed(epoch, pause));
    }

    pub(super) fn happen(&mut self, what: What) {
        match what {
            // A guest that stands still sends nothing.
            What::Bare | What::Answer(_) if self.now < self.still_until => self.at(self.still_until, what),
            What::Bare => {
                self.waiting.bare += 1;
                self.hold(what);
            }
            What::Answer(_) => {
                self.waiting.answers += 1;
                self.hold(what);
            }
            What::Resumed(epoch, pause) => {
                self.closed.extend(self.open.drain(..).map(|(at, what)| (epoch, at, what)));
                self.waiting = Waiting::default();
                self.flow.captured(epoch, pause, self.now);
                self.at(self.now + self.costs.encode, What::Encoded(epoch));
            }
            What::Encoded(epoch) => {
                self.flow.encoded(epoch, self.costs.encode, 10_000);
                self.at(self.now + self.costs.ack, What::Acked(epoch));
            }
            What::Acked(epoch) => {
                self.flow.ack(epoch, self.now);
                let out = self.closed.extract_if(.., |(of, ..)| *of <= epoch).collect::<Vec<_>>();
                out.into_iter().for_each(|(_, since, what)| self.let_out(since, what));
            }
        }
    }

    pub(super) fn hold(&mut self, what: What) {
        self.open.push((self.now, what));
        // A driver tells of some of these only.
        self.flow.output_waits(self.waiting, self.now);
    }

    pub(super) fn let_out(&mut self, since: Time, what: What) {
        match what {
            What::Bare => self.seen.bare_held.push(self.now - since),
            What::Answer(client) => {
                self.seen.answers_held.push(self.now - since);
                if let Some(client) = client {
                    self.serve(client, self.now + self.clients.round_trip);
                }
            }
            _ => unreachable!("only frames are held"),
        }
    }
}

impl Seen {
    pub(super) fn percent_still(&self, span: Span) -> f64 {
        self.pauses.iter().map(|(_, pause)| pause.0).sum::<u64>() as f64 * 100.0 / span.0 as f64
    }

    /// Of the time between pauses in the second half: the longest by the shortest.
    pub(super) fn spread(&self) -> f64 {
        let half = &self.pauses[self.pauses.len() / 2..];
        let gaps: Vec<u64> = half.windows(2).map(|pair| (pair[1].0 - pair[0].0).0).collect();
        *gaps.iter().max().unwrap() as f64 / *gaps.iter().min().unwrap() as f64
    }
}

pub(super) fn longest(held: &[Span]) -> Span {
    held.iter().copied().max().unwrap_or_default()
}

pub(super) const SECOND: Span = Span::from_ms(1_000);

pub(super) fn paced(costs: Costs) -> World {
    World::new(Pacing::Output(BUDGETS), costs)
}
