//! Two hosts, a witness, a client, and what may fail, in virtual time from one seed. The sessions are real; what carries out
//! their orders is modelled.

use crate::guest::{Frame, Guest, Rng};
use crate::host::{Holds, Host, Mail, Role, Runs};
use crate::judge::{Judges, Rule};
use crate::mutant::Mutant;
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::collections::BinaryHeap;
use understudy_checkpoint::{Epoch, Generation};
use understudy_session::colo::{AfterCrash, Colo, Mode};
use understudy_session::primary::{self, Capture, Origin, Pacing, Primary, SlowPolicy};
use understudy_session::secondary::{self, Secondary, Start};
use understudy_session::witness::{self, Witness};
use understudy_session::{NodeName, Record, Span, Time, WitnessReply, WitnessRequest};

pub(crate) const US: u64 = 1_000;
pub(crate) const MS: u64 = 1_000_000;
/// How long a match may take.
pub(crate) const MATCH_MAX: Span = Span::from_ms(20);
/// Requests that a copy may have to be told when it is set.
pub(crate) const LOG_MAX: usize = 60;
/// What is under way when that is found.
pub(crate) const LOG_SLACK: usize = 60;
/// In place of a link's number: it waits at its receiver.
const ARRIVED: u64 = u64::MAX;
const LATENCY: u64 = 150 * US;
const ENDS_AT: Time = Time(4_000 * MS);

pub(crate) enum Event {
    Mail { to: usize, link: u64, mail: Mail },
    Primary(primary::Input),
    Secondary(secondary::Input),
    Capture { generation: Generation, epoch: Epoch, capture: Capture, stay_paused: bool },
    Whole { generation: u64, epoch: u64, guest: Guest },
    Looked { generation: u64, epoch: u64 },
    Commit(u64),
    Set(u64),
    Halt,
    Start { record: Record, epoch: Epoch, start: Start },
    Answer { is_copy: bool },
    Back,
    LinkUp,
    Request,
    Tick,
    Fault,
}

pub(crate) struct World {
    pub(crate) now: Time,
    pub(crate) rng: Rng,
    pub(crate) hosts: [Host; 2],
    pub(crate) witness: Witness,
    pub(crate) judges: Judges,
    pub(crate) mutant: Option<Mutant>,
    agenda: BinaryHeap<Reverse<(Time, u64)>>,
    due: BTreeMap<u64, (usize, u64, Event)>,
    ids: u64,
    pub(crate) link: Option<u64>,
    pub(crate) links: u64,
    /// What is sent before this arrives later, if the connection lasts.
    pub(crate) stalls_until: Time,
    /// The host whose guest clients speak to, and its generation.
    pub(crate) owner: usize,
    pub(crate) generation: u64,
    pub(crate) client_sent: u64,
    pub(crate) client_acked: u64,
    pub(crate) knob: u64,
    mode: Mode,
    pub(crate) faulty_until: Time,
    pub(crate) is_over: bool,
}

pub(crate) fn node(host: usize) -> NodeName {
    NodeName(["a", "b"][host].into())
}

impl World {
    pub(crate) fn new(seed: u64, only: Option<Rule>, mutant: Option<Mutant>) -> Self {
        let mut rng = Rng::new(seed);
        let knob = [0, 0, 2, 10, 40][rng.below(5) as usize];
        let mode = if rng.percent(80) || mutant.is_some() { Mode::Colo } else { Mode::Auto };
        let gone = || Host { role: Role::Gone, life: 0, hangs_until: Time(0) };
        let mut world = Self {
            now: Time(0),
            rng,
            hosts: [gone(), gone()],
            witness: Witness::new([]),
            judges: Judges::new(only),
            mutant,
            agenda: BinaryHeap::new(),
            due: BTreeMap::new(),
            ids: 0,
            link: Some(0),
            links: 1,
            stalls_until: Time(0),
            owner: 0,
            generation: 1,
            client_sent: 0,
            client_acked: 0,
            knob,
            mode,
            faulty_until: Time(0),
            is_over: false,
        };
        world.hold(1);
        world.run_guest(0, Origin::Started, Guest::default(), Vec::new());
        world.after(2 * MS, 0, Event::Request);
        world.after(MS, 0, Event::Tick);
        world.after(100 * MS, 0, Event::Fault);
        world
    }

    fn primary_config(&self, host: usize) -> primary::Config {
        let ms = Span::from_ms;
        primary::Config {
            node: node(host),
            peer: node(1 - host),
            pacing: Pacing::Clock { interval: ms(10) },
            in_flight_max: 4,
            heartbeat: ms(20),
            silence_max: ms(70),
            link_grace: ms(25),
            hold_max: ms(150),
            witness_retry: ms(25),
            slow_max: ms(60),
            slow_policy: SlowPolicy::Stretch,
            has_witness: true,
            colo: Colo {
                mode: self.mode,
                gap_min: ms(5),
                period: ms(500),
                live_max: ms(60),
                window: ms(100),
                share_min_percent: 30,
                frames_min: 5,
                rest: ms(50),
                rest_max: ms(400),
            },
        }
    }

    fn secondary_config(host: usize) -> secondary::Config {
        let ms = Span::from_ms;
        secondary::Config {
            node: node(host),
            heartbeat: ms(20),
            silence_max: ms(70),
            takeover_grace: ms(60),
            witness_retry: ms(25),
            flap_max: ms(300),
            has_witness: true,
            runs_copies: true,
            after_crash: AfterCrash::Refuse,
        }
    }

    /// The host holds what comes, and has nothing yet.
    pub(crate) fn hold(&mut self, host: usize) {
        self.hosts[host].life += 1;
        let session = Secondary::new(Self::secondary_config(host), self.now);
        self.hosts[host].role = Role::Secondary(Box::new(Holds::new(session)));
        self.after(0, host, Event::Secondary(secondary::Input::WitnessUp));
        if self.link.is_some() {
            self.after(0, host, Event::Secondary(secondary::Input::LinkUp));
        }
    }

    /// The guest runs at the host from here on.
    pub(crate) fn run_guest(&mut self, host: usize, origin: Origin, guest: Guest, unsent: Vec<Frame>) {
        self.hosts[host].life += 1;
        let session = Primary::new(self.primary_config(host), origin, self.now);
        let mut runs = Runs::new(session, guest);
        let since = self.now;
        let wait = |frame| crate::host::Waiting { frame, after: None, epoch: None, since };
        runs.queue = unsent.into_iter().map(wait).collect();
        self.hosts[host].role = Role::Primary(Box::new(runs));
        self.after(0, host, Event::Primary(primary::Input::WitnessUp));
        self.after(0, host, Event::Primary(primary::Input::GuestSettled));
        if self.link.is_some() {
            self.after(0, host, Event::Primary(primary::Input::LinkUp));
        }
        self.go_on(host);
    }

    pub(crate) fn after(&mut self, delay: u64, host: usize, event: Event) {
        self.at(self.now + Span(delay), host, event);
    }

    fn at(&mut self, at: Time, host: usize, event: Event) {
        self.ids += 1;
        self.due.insert(self.ids, (host, self.hosts[host].life, event));
        self.agenda.push(Reverse((at, self.ids)));
    }

    pub(crate) fn send(&mut self, from: usize, mail: Mail) {
        if let Some(link) = self.link {
            let at = self.now.max(self.stalls_until) + Span(LATENCY);
            self.at(at, 1 - from, Event::Mail { to: 1 - from, link, mail });
        }
    }

    pub(crate) fn ask(&mut self, host: usize, request: WitnessRequest) -> Option<WitnessReply> {
        let mut out = Vec::new();
        self.witness.handle(witness::Input::Request {
            client: 1,
            from: node(host),
            guest: "g".into(),
            request,
        });
        out.extend(std::iter::from_fn(|| self.witness.poll_output()));
        while let Some(witness::Output::Persist { ticket, .. }) = out.first().cloned() {
            out.clear();
            self.witness.handle(witness::Input::Persisted { ticket });
            out.extend(std::iter::from_fn(|| self.witness.poll_output()));
        }
        out.into_iter().find_map(|output| match output {
            witness::Output::Reply { reply, .. } => Some(reply),
            witness::Output::Persist { .. } | witness::Output::NoRoom { .. } => None,
        })
    }

    /// The connection ends, and another one comes.
    pub(crate) fn end_link(&mut self) {
        if self.link.take().is_none() {
            return;
        }
        for host in 0..2 {
            match self.hosts[host].role {
                Role::Gone => {}
                Role::Primary(_) => self.after(0, host, Event::Primary(primary::Input::LinkDown)),
                Role::Secondary(_) => self.after(0, host, Event::Secondary(secondary::Input::LinkDown)),
            }
        }
        let delay = self.rng.between(2, 60) * MS;
        self.after(delay, 0, Event::LinkUp);
    }

    fn link_up(&mut self) {
        let both = self.hosts.iter().all(|host| !matches!(host.role, Role::Gone));
        if self.link.is_some() || !both || self.stalls_until > self.now {
            if self.link.is_none() {
                self.after(10 * MS, 0, Event::LinkUp);
            }
            return;
        }
        self.links += 1;
        self.link = Some(self.links);
        for host in 0..2 {
            match self.hosts[host].role {
                Role::Gone => {}
                Role::Primary(_) => self.after(0, host, Event::Primary(primary::Input::LinkUp)),
                Role::Secondary(_) => self.after(0, host, Event::Secondary(secondary::Input::LinkUp)),
            }
        }
    }

    /// Runs to the end, or to the first rule that is broken.
    pub(crate) fn run(&mut self) {
        while self.now < ENDS_AT && self.judges.broken.is_none() && !self.is_over {
            let timer = (0..2).filter_map(|host| Some((self.timeout_of(host)?, host))).min();
            let next = self.agenda.peek().map(|Reverse((at, _))| *at);
            match (timer, next) {
                (Some((at, host)), next) if next.is_none_or(|next| at < next) => {
                    self.now = self.now.max(at);
                    self.time_out(host);
                }
                (_, Some(at)) => {
                    self.now = self.now.max(at);
                    let Reverse((_, id)) = self.agenda.pop().expect("there is one");
                    let (host, life, event) = self.due.remove(&id).expect("it is due");
                    self.happen(host, life, event);
                }
                _ => return,
            }
        }
    }

    fn timeout_of(&self, host: usize) -> Option<Time> {
        let at = match &self.hosts[host].role {
            Role::Gone => None,
            Role::Primary(runs) => runs.session.next_timeout(),
            Role::Secondary(holds) => holds.session.next_timeout(),
        };
        at.map(|at| at.max(self.hosts[host].hangs_until))
    }

    fn time_out(&mut self, host: usize) {
        let now = self.now;
        match &mut self.hosts[host].role {
            Role::Gone => {}
            Role::Primary(runs) => runs.session.handle_timeout(now),
            Role::Secondary(holds) => holds.session.handle_timeout(now),
        }
        self.perform(host);
    }

    fn happen(&mut self, host: usize, life: u64, event: Event) {
        match event {
            Event::LinkUp => return self.link_up(),
            Event::Request => return self.request(),
            Event::Tick => return self.tick(),
            Event::Fault => return self.fault(),
            Event::Back => {
                if matches!(self.hosts[host].role, Role::Gone) {
                    self.hold(host);
                }
                return;
            }
            _ => {}
        }
        let hangs_until = self.hosts[host].hangs_until;
        if hangs_until > self.now {
            // In the same order, once it goes on. What has come over a link is there, whatever becomes of the link.
            let event = match event {
                Event::Mail { to, link, mail } if self.link == Some(link) => {
                    Event::Mail { to, link: ARRIVED, mail }
                }
                event => event,
            };
            self.ids += 1;
            self.due.insert(self.ids, (host, life, event));
            return self.agenda.push(Reverse((hangs_until, self.ids)));
        }
        match event {
            Event::Mail { to, link, mail } if self.link == Some(link) || link == ARRIVED => {
                self.arrive(to, mail)
            }
            Event::Mail { .. } => {}
            _ if life != self.hosts[host].life => {}
            Event::Primary(input) => self.tell_primary(host, input),
            Event::Secondary(input) => self.tell_secondary(host, input),
            event => self.work(host, event),
        }
    }

    pub(crate) fn tell_primary(&mut self, host: usize, input: primary::Input) {
        if let Role::Primary(runs) = &mut self.hosts[host].role {
            runs.session.handle(self.now, input);
            self.perform(host);
        }
    }

    pub(crate) fn tell_secondary(&mut self, host: usize, input: secondary::Input) {
        if let Role::Secondary(holds) = &mut self.hosts[host].role {
            if matches!(input, secondary::Input::LinkDown) {
                holds.inbox.clear();
                holds.log.clear();
            }
            holds.session.handle(self.now, input);
            self.perform(host);
        }
    }

    fn perform(&mut self, host: usize) {
        match self.hosts[host].role {
            Role::Gone => {}
            Role::Primary(_) => self.perform_primary(host),
            Role::Secondary(_) => self.perform_secondary(host),
        }
    }
}
