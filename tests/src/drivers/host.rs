//! A host of the simulator: domains, and an engine, which is the real drivers and sessions with their work on a bench.
//!
//! ```text
//!   turn:  reports ─► what has happened ─► frames of the link ─► timers ─► what was said ─► frames that leave
//! ```
//!
//! That is the order of a node's loop. Which of these there is, and when, the cluster decides.

use super::bench::{SharedBench, SimWorkers};
use super::context::{Said, SimContext, guest_of};
use super::facts::HostView;
use super::frame::Frame;
use super::mutant::Mutant;
use super::settings::Settings;
use super::standing::{Fate, Stand};
use super::yard::SharedYard;
use super::{GUESTS, GuestId, HostId};
use crossbeam::channel::{Receiver, unbounded};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use understudy::config::{FindChanges, XenGuestConfig};
use understudy::control::Wish;
use understudy::guest::{Encoded, LoopWaker, OutputMaker, PauseTimes, Report, RunningGuest, RuntimeId};
use understudy::node::{Glance, Guests, Inbound};
use understudy_checkpoint::Generation;
use understudy_checkpoint::epoch::EpochPart;
use understudy_session::primary::{Pacing, State};
use understudy_session::{NodeName, Record, Time, WitnessReply};

/// Frames that a host's queue holds at most.
pub const FRAMES_MAX: usize = 512;
/// Memory for epochs that are not committed.
pub const BUFFER_BYTES_MAX: usize = 1 << 20;

/// When the clocks of a mutant stop.
const CLOCK_STANDS_AT: Time = Time(200_000_000);

/// One thing that happens to an engine.
#[derive(Debug)]
pub(super) enum Item {
    Nothing,
    LinkUp,
    LinkDown,
    WitnessUp,
    WitnessDown,
    Reply(GuestId, WitnessReply),
    Frame(Vec<u8>),
    Found(GuestId, Box<RunningGuest>),
    Wish(GuestId, Wish),
}

/// A process.
#[derive(Debug)]
pub(super) struct Engine {
    pub(super) guests: Guests,
    pub(super) cx: SimContext,
    pub(super) bench: SharedBench,
    pub(super) mutant: Option<Mutant>,
    from_workers: Receiver<(RuntimeId, Report)>,
    /// Reports that the loop has not taken.
    pub(super) reports: VecDeque<(RuntimeId, Report)>,
    pacing: Pacing,
}

/// One host.
#[derive(Debug)]
pub struct Host {
    pub(super) engine: Option<Engine>,
    pub(super) yard: SharedYard,
    /// Engines it has had.
    pub life: u64,
    /// Timeouts handled at the present moment.
    pub timeouts_in_a_row: usize,
    /// It comes back from a loss of power.
    pub boots: bool,
    /// Its next takeover takes long.
    pub activation_slow: bool,
    /// Its receive threads do nothing before this, by guest.
    pub receives_from: [Time; GUESTS],
    /// Since when each guest here stands still that is to run.
    pub(super) still_since: [Option<Time>; GUESTS],
    /// Its next commit fails.
    pub commit_fails: bool,
    /// The next epoch that it receives is damaged, or too large.
    pub harm: Option<Harm>,
    /// What was seen of each guest after the turn before.
    pub(super) seen: [Option<Glance>; GUESTS],
    /// The witness's record, as it was last told here.
    pub(super) told: [Option<Record>; GUESTS],
    /// Swaps that a mutant has pretended.
    pub(super) pretended: [u64; GUESTS],
}

/// What is wrong with an epoch that arrives.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Harm {
    /// A batch has a wrong byte.
    Damage,
    /// It is more than the receiver takes.
    TooLarge,
}

/// What a worker measured by the clock of this machine, which no two runs have alike, is so long instead.
fn in_our_time(report: Report) -> Report {
    let pause = PauseTimes { suspend: Duration::from_micros(300), ..PauseTimes::default() };
    match report {
        Report::Captured { epoch, pause: measured, dirty_pages } => Report::Captured {
            epoch,
            pause: PauseTimes { overflows: measured.overflows, ..pause },
            dirty_pages,
        },
        Report::Encoded { epoch, kind, encoded } => {
            let encoded = Encoded { busy: Duration::from_micros(200), ..encoded };
            Report::Encoded { epoch, kind, encoded }
        }
        other => other,
    }
}

impl Engine {
    fn new(host: HostId, yard: &SharedYard, settings: &Settings, mutant: Option<Mutant>) -> Self {
        let (to_loop, from_workers) = unbounded();
        let bench = SharedBench::new(mutant);
        let workers = SimWorkers { bench: bench.clone(), yard: yard.clone() };
        let mut guests = Guests::new(
            settings.node(host),
            settings.metrics.clone(),
            Arc::new(yard.clone()),
            Arc::new(workers),
            to_loop,
            outputs(),
        );
        guests.set_available_bytes(|| None);
        let (cx, reports) = (SimContext::new(host, mutant), VecDeque::new());
        let pacing = settings.pacing;
        Self { guests, cx, bench, mutant, from_workers, reports, pacing }
    }

    /// Takes over what workers have said, without telling the loop yet.
    pub(super) fn collect(&mut self) {
        self.reports
            .extend(self.from_workers.try_iter().map(|(runtime, report)| (runtime, in_our_time(report))));
    }

    /// One turn of the loop; the harm is done to what arrives.
    pub(super) fn turn(&mut self, now: Time, host: HostId, item: Item, harm: &mut Option<Harm>) {
        let clock_stands = self.mutant == Some(Mutant::ClockStands);
        self.cx.now = if clock_stands { now.min(CLOCK_STANDS_AT) } else { now };
        self.collect();
        while let Some((runtime, report)) = self.reports.pop_front() {
            self.guests.report(runtime, report, &mut self.cx);
        }
        self.take(item, host);
        self.read_link(host, harm);
        self.guests.run(&mut self.cx);
        self.hear_of_closing(host);
        // A commit may have made room; what waits is read in this turn, as a loop does that sleeps no moment.
        self.read_link(host, harm);
        self.hear_of_closing(host);
        self.cx.drain_send_queues();
    }

    fn take(&mut self, item: Item, host: HostId) {
        let peer = name(1 - host);
        let Self { guests, cx, .. } = self;
        match item {
            Item::Nothing => {}
            Item::LinkUp => {
                if cx.disconnect() {
                    guests.link_down(&peer, cx);
                }
                cx.connect();
                guests.link_up(&peer, cx);
            }
            Item::LinkDown if self.mutant == Some(Mutant::DeadPeerSpeaks) => {}
            Item::LinkDown => {
                if cx.disconnect() {
                    guests.link_down(&peer, cx);
                }
            }
            Item::WitnessUp => {
                cx.witness_up = true;
                guests.witness_up(cx);
            }
            Item::WitnessDown => {
                cx.witness_up = false;
                guests.witness_down(cx);
            }
            Item::Reply(guest, reply) => guests.witness_reply(guest_name(guest), reply, cx),
            Item::Frame(bytes) => cx.receive(bytes),
            Item::Found(guest, found) => {
                let (name, pacing, find_changes) =
                    (guest_name(guest).to_owned(), self.pacing, FindChanges::Log);
                guests.found(
                    XenGuestConfig { name, peer, mode: Default::default(), pacing, find_changes },
                    *found,
                    cx,
                );
            }
            Item::Wish(guest, wish) => {
                // What cannot be granted now is refused, as it is to a person.
                let _ = guests.wish(guest_name(guest), wish, cx);
            }
        }
    }

    fn read_link(&mut self, host: HostId, harm: &mut Option<Harm>) {
        while !self.stops_for_one()
            && let Some((name, what)) = self.cx.next_arrived()
        {
            let what = if self.mutant == Some(Mutant::DamageUnnoticed) { what } else { harmed(what, harm) };
            if self.lets_in(&name, &what) {
                self.guests.arrived(super::host::name(1 - host), name, what, &mut self.cx);
            }
        }
        self.hear_the_dead(host);
    }

    fn hear_of_closing(&mut self, host: HostId) {
        while std::mem::take(&mut self.cx.closed) {
            self.guests.link_down(&name(1 - host), &mut self.cx);
        }
    }
}

fn harmed(what: Inbound, harm: &mut Option<Harm>) -> Inbound {
    match (what, *harm) {
        (Inbound::Part(EpochPart::Pages(mut batch)), Some(Harm::Damage)) if !batch.bytes.is_empty() => {
            *harm = None;
            let last = batch.bytes.len() - 1;
            batch.bytes[last] ^= 0x40;
            Inbound::Part(EpochPart::Pages(batch))
        }
        (Inbound::Part(EpochPart::LibxcState(mut state)), Some(Harm::TooLarge)) => {
            *harm = None;
            state.bytes = vec![0; BUFFER_BYTES_MAX + 1];
            Inbound::Part(EpochPart::LibxcState(state))
        }
        (what, _) => what,
    }
}

impl Host {
    pub(super) fn down(host: HostId, settings: &Settings, mutant: Option<Mutant>) -> Self {
        Self {
            engine: None,
            yard: SharedYard::new(host, settings, outputs(), mutant),
            life: 0,
            timeouts_in_a_row: 0,
            boots: false,
            activation_slow: false,
            receives_from: [Time(0); GUESTS],
            still_since: [None; GUESTS],
            commit_fails: false,
            harm: None,
            seen: [None; GUESTS],
            told: [None, None],
            pretended: [0; GUESTS],
        }
    }

    /// Starts an engine.
    pub(super) fn start(&mut self, host: HostId, settings: &Settings, mutant: Option<Mutant>) {
        self.life += 1;
        (self.seen, self.told, self.pretended) = ([None; GUESTS], [None, None], [0; GUESTS]);
        self.engine = Some(Engine::new(host, &self.yard, settings, mutant));
    }

    /// An output queue that a mutant may do anything with.
    pub(super) fn outputs_for_mutants(&self) -> understudy::guest::HeldOutput {
        outputs().frames(understudy_checkpoint::Epoch(0))
    }

    /// When its engine has something to do.
    pub fn next_timeout(&self) -> Option<Time> {
        let engine = self.engine.as_ref()?;
        let at = engine.guests.next_timeout();
        at.filter(|at| engine.mutant != Some(Mutant::ClockStands) || *at < CLOCK_STANDS_AT)
    }

    /// How its engine stands to a guest.
    pub fn glance(&self, guest: GuestId) -> Option<Glance> {
        self.engine.as_ref()?.guests.glance(guest_name(guest))
    }

    /// Frames that may leave now.
    pub(super) fn leaving(&mut self) -> Vec<Frame> {
        let mut frames = Vec::new();
        if let Some(engine) = &mut self.engine {
            engine.guests.take_output(&mut frames);
        }
        frames.iter().map(|bytes| Frame::from_bytes(bytes)).collect()
    }

    /// What was said since this was asked last.
    pub(super) fn said(&mut self) -> Vec<Said> {
        self.engine.as_mut().map(|engine| std::mem::take(&mut engine.cx.said)).unwrap_or_default()
    }

    /// The image of a guest that it could take over from.
    pub fn image(&self, guest: GuestId) -> Option<super::facts::Image> {
        let stands = self.could_start(guest);
        self.engine.as_ref()?.bench.get().holding(guest)?.image.filter(|_| stands)
    }

    /// Whether a guest could be started from what is held, as far as its host is concerned.
    pub(super) fn could_start(&self, guest: GuestId) -> bool {
        self.stand(guest).is_none_or(|fate| fate == Fate::Stands)
    }

    /// How the domain is that stands by for a guest, if its image is in one.
    fn stand(&self, guest: GuestId) -> Option<Fate> {
        let bench = self.engine.as_ref()?.bench.clone();
        let bench = bench.get();
        let work = bench.holding(guest)?.work.as_ref()?;
        if work.receiver().sink().is_in_memory() {
            return None;
        }
        self.yard.get().standing[guest].as_ref().map(Stand::fate)
    }

    /// Whether there is a guest here, in whatever way it stands still.
    pub fn keeps(&self, guest: GuestId) -> bool {
        self.yard.get().domains[guest].as_ref().is_some_and(|domain| !domain.get().gone)
    }

    /// Whether the guest is here, and none that was begun anew beside it.
    pub(super) fn has_begun(&self, guest: GuestId) -> bool {
        self.keeps(guest)
            && self.yard.get().domains[guest].as_ref().is_some_and(|it| it.get().generation > Generation(0))
    }

    /// Notes since when a guest stands still that its session has running.
    pub(super) fn look_whether_it_stands_still(&mut self, guest: GuestId, now: Time, hangs: bool) {
        let state = match self.glance(guest) {
            Some(Glance::Primary { state, .. }) => Some(state),
            _ => None,
        };
        let is_to_run = matches!(
            state,
            Some(
                State::Unprotected
                    | State::Seeding
                    | State::Arming
                    | State::Protected
                    | State::Late
                    | State::LinkLost
            )
        );
        let stands = self.yard.get().domains[guest].as_ref().is_some_and(|domain| {
            let domain = domain.get();
            !domain.gone && !domain.runs()
        });
        let since = &mut self.still_since[guest];
        *since = since.or(Some(now)).filter(|_| is_to_run && stands && !hangs);
    }

    /// What the judges see of it.
    pub fn view(&self, guest: GuestId, in_flight_max: usize) -> HostView {
        let glance = self.glance(guest);
        let image = self.image(guest);
        let mut view = HostView { timeouts_in_a_row: self.timeouts_in_a_row, ..HostView::default() };
        if let Some(domain) = &self.yard.get().domains[guest] {
            let domain = domain.get();
            // Of an engine that is gone nobody lets out what it says.
            view.runs = domain.runs().then_some(domain.generation);
            let stats = domain.output.stats();
            view.held_bytes = (stats.held_bytes as usize, FRAMES_MAX * 26);
            // Nobody takes what a guest says whose engine is gone.
            let is_seen_to = matches!(glance, Some(Glance::Primary { .. })) && !domain.gone;
            view.dropped_frames = if is_seen_to { stats.dropped_frames } else { 0 };
        }
        view.still_since = self.still_since[guest];
        view.is_primary = matches!(glance, Some(Glance::Primary { .. }));
        if let Some(Glance::Primary { in_flight, state, committed_at, .. }) = glance {
            // One more: the capture that was under way when the link was lost.
            view.in_flight = (in_flight, in_flight_max + 2);
            view.protected = (state == understudy_session::primary::State::Protected).then_some(committed_at);
        }
        if let Some(engine) = &self.engine
            && let Some(holding) = engine.bench.get().holding(guest)
        {
            view.image = image;
            view.work = (holding.waited_max, super::bench::WORK_MAX);
            let buffered = holding.work.as_ref().map_or(0, |work| work.receiver().buffered_bytes());
            view.buffered_bytes = (buffered, BUFFER_BYTES_MAX);
        }
        view
    }
}

fn outputs() -> OutputMaker {
    let limits =
        understudy_netbuf::Limits { bytes_max: 1 << 20, frames_max: FRAMES_MAX, pressure_percent: 4 };
    OutputMaker { limits, waker: LoopWaker::silent() }
}

/// Name of a host's engine.
pub fn name(host: HostId) -> NodeName {
    NodeName(["A", "B"][host].to_owned())
}

/// Name of a guest: the first starts on A, the second on B.
pub fn guest_name(guest: GuestId) -> &'static str {
    ["first", "second"][guest]
}

/// Which guest has this name.
pub(super) fn guest_named(name: &str) -> GuestId {
    guest_of(name)
}
