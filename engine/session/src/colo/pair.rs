//! Both sessions of a guest with a real witness: orders are carried out at once, unless a story holds them back.

use super::{AfterCrash, Colo, Mode};
use crate::primary::{self, Capture, Pacing, Primary, SlowPolicy};
use crate::secondary::{self, Secondary};
use crate::witness::{self, Witness};
use crate::{EpochKind, NodeName, Span, Time, ToPrimary, ToSecondary, WitnessReply, WitnessRequest};
use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;
use understudy_checkpoint::Epoch;

/// What a story answers itself.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Held {
    /// An epoch is whole.
    Complete,
    /// A commit is done.
    Commit,
    /// The copy is set.
    Set,
    /// The copy stands still.
    Halt,
    /// The image was looked at once more.
    Look,
    /// What the witness says to the secondary.
    Reply,
}

enum Step {
    Primary(primary::Input),
    Secondary(secondary::Input),
}

/// The guest runs on a; b holds its copy.
pub(super) struct Pair {
    pub(super) primary: Primary,
    pub(super) secondary: Secondary,
    pub(super) witness: Witness,
    pub(super) now: Time,
    pub(super) is_linked: bool,
    /// Everything wanted since it was looked at.
    pub(super) of_primary: Vec<primary::Output>,
    pub(super) of_secondary: Vec<secondary::Output>,
    held: BTreeMap<Held, Vec<secondary::Input>>,
    captured: Option<Epoch>,
    steps: VecDeque<Step>,
}

pub(super) const GAP: Span = Span::from_ms(10);
pub(super) const PERIOD: Span = Span::from_ms(3_000);
pub(super) const LIVE_MAX: Span = Span::from_ms(100);
pub(super) const INTERVAL: Span = Span::from_ms(25);

fn node(name: &str) -> NodeName {
    NodeName(name.into())
}

fn of_a(mode: Mode) -> primary::Config {
    primary::Config {
        node: node("a"),
        peer: node("b"),
        pacing: Pacing::Clock { interval: INTERVAL },
        in_flight_max: 4,
        heartbeat: Span::from_ms(50),
        silence_max: Span::from_ms(300),
        link_grace: Span::from_ms(100),
        hold_max: Span::from_ms(5_000),
        witness_retry: Span::from_ms(20),
        slow_max: Span::from_ms(2_000),
        slow_policy: SlowPolicy::Unprotect,
        has_witness: true,
        colo: Colo { mode, gap_min: GAP, period: PERIOD, live_max: LIVE_MAX, ..Colo::default() },
    }
}

fn of_b(after_crash: AfterCrash) -> secondary::Config {
    secondary::Config {
        node: node("b"),
        heartbeat: Span::from_ms(50),
        silence_max: Span::from_ms(300),
        takeover_grace: Span::from_ms(250),
        witness_retry: Span::from_ms(20),
        flap_max: Span::from_ms(10_000),
        has_witness: true,
        runs_copies: true,
        after_crash,
    }
}

impl Pair {
    /// Protected, in this mode.
    pub(super) fn protected(mode: Mode) -> Self {
        Self::protected_with(mode, AfterCrash::Refuse)
    }

    pub(super) fn protected_with(mode: Mode, after_crash: AfterCrash) -> Self {
        let mut pair = Self {
            primary: Primary::new(of_a(mode), primary::Origin::Started, Time(0)),
            secondary: Secondary::new(of_b(after_crash), Time(0)),
            witness: Witness::new([]),
            now: Time(0),
            is_linked: false,
            of_primary: Vec::new(),
            of_secondary: Vec::new(),
            held: BTreeMap::new(),
            captured: None,
            steps: VecDeque::new(),
        };
        pair.tell_primary(primary::Input::WitnessUp);
        pair.tell_secondary(secondary::Input::WitnessUp);
        pair.link(true);
        pair.wait(1);
        assert_eq!(pair.primary.state(), primary::State::Protected);
        pair
    }

    /// Its copy is live.
    pub(super) fn live() -> Self {
        Self::live_with(AfterCrash::Refuse)
    }

    pub(super) fn live_with(after_crash: AfterCrash) -> Self {
        let mut pair = Self::protected_with(Mode::Colo, after_crash);
        pair.wait(INTERVAL.0 / 1_000_000 + 1);
        assert_eq!(pair.primary.live_base(), pair.secondary.live_base());
        assert!(pair.primary.live_base().is_some(), "{:?}", pair.primary);
        pair.forget();
        pair
    }

    pub(super) fn base(&self) -> Epoch {
        self.primary.live_base().expect("a live copy")
    }

    /// The story answers these itself.
    pub(super) fn hold(&mut self, what: Held) {
        self.held.insert(what, Vec::new());
    }

    /// The answers that were held back come now, and later ones at once.
    pub(super) fn let_go(&mut self, what: Held) {
        let answers = self.held.remove(&what).expect("held back");
        answers.into_iter().for_each(|answer| self.tell_secondary(answer));
    }

    /// Forgets what was wanted so far.
    pub(super) fn forget(&mut self) {
        self.of_primary.clear();
        self.of_secondary.clear();
    }

    pub(super) fn link(&mut self, is_up: bool) {
        self.is_linked = is_up;
        self.tell_secondary(if is_up { secondary::Input::LinkUp } else { secondary::Input::LinkDown });
        self.tell_primary(if is_up { primary::Input::LinkUp } else { primary::Input::LinkDown });
    }

    /// a is gone: it is told nothing any more.
    pub(super) fn lose_a(&mut self) {
        self.is_linked = false;
        self.tell_secondary(secondary::Input::LinkDown);
        self.wait_at(300, false);
    }

    pub(super) fn tell_primary(&mut self, input: primary::Input) {
        self.steps.push_back(Step::Primary(input));
        self.run();
    }

    pub(super) fn tell_secondary(&mut self, input: secondary::Input) {
        self.steps.push_back(Step::Secondary(input));
        self.run();
    }

    pub(super) fn say(&mut self, message: ToPrimary) {
        self.tell_primary(primary::Input::Message(message));
    }

    /// Lets time pass, timer by timer.
    pub(super) fn wait(&mut self, ms: u64) {
        self.wait_at(ms, true);
    }

    fn wait_at(&mut self, ms: u64, has_a: bool) {
        let end = self.now + Span::from_ms(ms);
        loop {
            let of_a = self.primary.next_timeout().filter(|_| has_a);
            let of_b = self.secondary.next_timeout();
            let Some(at) = of_a.into_iter().chain(of_b).min().filter(|at| *at <= end) else { break };
            self.now = self.now.max(at);
            if of_a.is_some_and(|of_a| of_a <= self.now) {
                self.primary.handle_timeout(self.now);
                self.poll_primary();
            }
            if of_b.is_some_and(|of_b| of_b <= self.now) {
                self.secondary.handle_timeout(self.now);
                self.poll_secondary();
            }
            self.run();
        }
        self.now = end;
    }

    fn run(&mut self) {
        while let Some(step) = self.steps.pop_front() {
            match step {
                Step::Primary(input) => {
                    self.primary.handle(self.now, input);
                    self.poll_primary();
                }
                Step::Secondary(input) => {
                    self.secondary.handle(self.now, input);
                    self.poll_secondary();
                }
            }
        }
    }

    fn poll_primary(&mut self) {
        while let Some(output) = self.primary.poll_output() {
            match &output {
                primary::Output::Send(message) => self.carry(message.clone()),
                primary::Output::AskWitness(request) => {
                    let reply = self.ask("a", request.clone());
                    self.steps.extend(reply.map(|reply| Step::Primary(primary::Input::Witness(reply))));
                }
                primary::Output::Capture { generation, epoch, capture, .. } => {
                    let (generation, epoch) = (*generation, *epoch);
                    let (kind, base) = match capture {
                        Capture::Seed => (EpochKind::Seed, None),
                        Capture::Delta => (EpochKind::Delta, self.captured),
                        Capture::Resync { base } => (EpochKind::Delta, Some(*base)),
                    };
                    self.captured = Some(epoch);
                    self.steps.push_back(Step::Primary(primary::Input::Captured { epoch, pause: Span(0) }));
                    self.carry(ToSecondary::EpochBegin { generation, epoch, kind, base });
                    self.answer(Held::Complete, secondary::Input::Complete { generation, epoch });
                }
                _ => {}
            }
            self.of_primary.push(output);
        }
    }

    fn poll_secondary(&mut self) {
        while let Some(output) = self.secondary.poll_output() {
            match &output {
                secondary::Output::Send(message) if self.is_linked => {
                    self.steps.push_back(Step::Primary(primary::Input::Message(message.clone())));
                }
                secondary::Output::AskWitness(request) => {
                    let reply = self.ask("b", request.clone());
                    reply
                        .into_iter()
                        .for_each(|reply| self.answer(Held::Reply, secondary::Input::Witness(reply)));
                }
                secondary::Output::Commit { epoch } => {
                    self.answer(Held::Commit, secondary::Input::Committed { epoch: *epoch });
                }
                secondary::Output::SetCopy { epoch } => {
                    self.answer(Held::Set, secondary::Input::CopySet { epoch: *epoch, hears_all: true });
                }
                secondary::Output::HaltCopy => self.answer(Held::Halt, secondary::Input::CopyHalted),
                secondary::Output::LookAgain { generation, epoch } => {
                    let (generation, epoch) = (*generation, *epoch);
                    self.answer(Held::Look, secondary::Input::Complete { generation, epoch });
                }
                _ => {}
            }
            self.of_secondary.push(output);
        }
    }

    fn carry(&mut self, message: ToSecondary) {
        if self.is_linked {
            self.steps.push_back(Step::Secondary(secondary::Input::Message(message)));
        }
    }

    fn answer(&mut self, what: Held, answer: secondary::Input) {
        match self.held.get_mut(&what) {
            Some(held) => held.push(answer),
            None => self.steps.push_back(Step::Secondary(answer)),
        }
    }

    pub(super) fn ask(&mut self, from: &str, request: WitnessRequest) -> Option<WitnessReply> {
        let mut out = Vec::new();
        self.witness.handle(witness::Input::Request {
            client: 1,
            from: node(from),
            guest: "g".into(),
            request,
        });
        out.extend(core::iter::from_fn(|| self.witness.poll_output()));
        while let Some(witness::Output::Persist { ticket, .. }) = out.first().cloned() {
            out.clear();
            self.witness.handle(witness::Input::Persisted { ticket });
            out.extend(core::iter::from_fn(|| self.witness.poll_output()));
        }
        out.into_iter().find_map(|output| match output {
            witness::Output::Reply { reply, .. } => Some(reply),
            witness::Output::Persist { .. } | witness::Output::NoRoom { .. } => None,
        })
    }
}
