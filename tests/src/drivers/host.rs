//! A host of the simulator: domains, and an engine, which consists of the real drivers and sessions, with their work on a
//! bench.
//!
//! ```text
//!   turn:  reports ─► what has happened ─► frames of the link ─► timers ─► messages ─► frames that leave
//! ```
//!
//! This is the order of a node's loop. The cluster decides which of these there are, and when.
//!
//! Not here: what the judges see of a host (`view`).

use super::bench::{SharedBench, SimWorkers};
use super::context::{Said, SimContext};
use super::frame::Frame;
use super::harm::{Gaps, Harm};
use super::mutant::Mutant;
use super::names::{guest_name, name};
use super::settings::{BUFFER_BYTES_MAX, Settings};
use super::wrong_storage::Wrong;
use super::yard::SharedYard;
use super::{GUESTS, GuestId, HostId};
use crossbeam::channel::{Receiver, unbounded};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use understudy::config::{FenceChoice, FindChanges, XenGuestConfig};
use understudy::control::Wish;
use understudy::guest::{Encoded, LoopWaker, OutputMaker, PauseTimes, Report, RunningGuest, RuntimeId};
use understudy::node::{Glance, Guests, Inbound};
use understudy_checkpoint::epoch::EpochPart;
use understudy_session::lease::LeaseReply;
use understudy_session::primary::Pacing;
use understudy_session::{Mode, NodeName, Record, Time, WitnessReply};

/// Most frames that a host's queue holds.
pub const FRAMES_MAX: usize = 512;
/// The time at which a mutant's timers stop.
const CLOCK_STANDS_AT: Time = Time(200_000_000);

/// An event for an engine.
#[derive(Debug)]
pub(super) enum Item {
    Nothing,
    LinkUp,
    LinkDown,
    PeerGone,
    PeerAlive,
    WitnessUp,
    WitnessDown,
    Reply(GuestId, WitnessReply),
    LeaseReply(NodeName, LeaseReply),
    Frame(Vec<u8>),
    Found(GuestId, Box<RunningGuest>),
    Wish(GuestId, Wish),
    Mode(GuestId, Mode),
}

/// A process.
#[derive(Debug)]
pub(super) struct Engine {
    pub(super) guests: Guests,
    pub(super) cx: SimContext,
    pub(super) bench: SharedBench,
    pub(super) mutant: Option<Mutant>,
    /// For a mutant.
    pub(super) gaps: [Gaps; GUESTS],
    from_workers: Receiver<(RuntimeId, Report)>,
    /// Reports that the loop has not handled.
    pub(super) reports: VecDeque<(RuntimeId, Report)>,
    pacing: Pacing,
    fence: FenceChoice,
    modes: [Mode; GUESTS],
}

/// One host.
#[derive(Debug)]
pub struct Host {
    pub(super) engine: Option<Engine>,
    pub(super) yard: SharedYard,
    /// The number of engines that it has had.
    pub life: u64,
    /// The other host's engine, as it was when the link last came up.
    pub(super) linked: Option<u64>,
    /// Timeouts handled at the present time.
    pub timeouts_in_a_row: usize,
    /// It boots after a power loss.
    pub boots: bool,
    /// Its next takeover takes long.
    pub activation_slow: bool,
    /// For each guest, the time before which its receive thread does nothing.
    pub receives_from: [Time; GUESTS],
    /// For each guest, since when it has been suspended here although it should run.
    pub(super) still_since: [Option<Time>; GUESTS],
    /// Its next commit fails.
    pub commit_fails: bool,
    /// What is wrong with the next epoch that it receives.
    pub harm: Option<Harm>,
    /// What was seen of each guest after the last turn.
    pub(super) seen: [Option<Glance>; GUESTS],
    /// The witness's record, as last reported here.
    pub(super) told: [Option<Record>; GUESTS],
    /// Swaps that a mutant has pretended.
    pub(super) pretended: [u64; GUESTS],
    /// What a mutant keeps of each guest's disk.
    pub(super) wrong_disks: [Wrong; GUESTS],
}

/// Replaces times measured by this machine's clock, which differ between runs, by fixed ones.
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
            outputs(mutant),
        );
        guests.set_available_bytes(|| None);
        let (cx, reports) = (SimContext::new(host, mutant), VecDeque::new());
        let (pacing, modes) = (settings.pacing, settings.modes);
        let fence = if settings.is_fenced { FenceChoice::Enforce } else { FenceChoice::Off };
        Self {
            guests,
            cx,
            bench,
            mutant,
            gaps: Default::default(),
            from_workers,
            reports,
            pacing,
            fence,
            modes,
        }
    }

    /// Collects the workers' reports without passing them to the loop yet.
    pub(super) fn collect(&mut self) {
        self.reports
            .extend(self.from_workers.try_iter().map(|(runtime, report)| (runtime, in_our_time(report))));
    }

    /// One turn of the loop. `harm` is done to what arrives.
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
        let Self { guests, cx, modes, .. } = self;
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
                if self.mutant == Some(Mutant::GoneUnproven) {
                    guests.peer_gone(&peer, cx);
                }
            }
            Item::PeerGone => guests.peer_gone(&peer, cx),
            Item::PeerAlive if self.mutant == Some(Mutant::LifeUnheard) => {}
            Item::PeerAlive => guests.peer_alive(&peer, cx),
            Item::WitnessUp => {
                cx.witness_up = true;
                guests.witness_up(cx);
            }
            Item::WitnessDown => {
                cx.witness_up = false;
                guests.witness_down(cx);
            }
            Item::Reply(guest, reply) => guests.witness_reply(guest_name(guest), reply, cx),
            Item::LeaseReply(of, reply) => guests.lease_reply(&of, reply, cx),
            Item::Frame(bytes) => cx.receive(bytes),
            Item::Found(guest, found) => {
                let (name, pacing, find_changes) =
                    (guest_name(guest).to_owned(), self.pacing, FindChanges::Log);
                guests.found(
                    XenGuestConfig {
                        name,
                        peer,
                        mode: modes[guest],
                        fence: self.fence,
                        pacing,
                        find_changes,
                    },
                    *found,
                    cx,
                );
            }
            Item::Mode(guest, mode) => {
                modes[guest] = mode;
                let _ = guests.set_mode(guest_name(guest), mode, cx);
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
            let what = self.twinned(&name, what);
            let what = self.closed_up(&name, what);
            if self.lets_in(&name, &what) {
                self.guests.arrived(super::names::name(1 - host), name, what, &mut self.cx);
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
            yard: SharedYard::new(host, settings, outputs(mutant), mutant),
            life: 0,
            timeouts_in_a_row: 0,
            boots: false,
            linked: None,
            activation_slow: false,
            receives_from: [Time(0); GUESTS],
            still_since: [None; GUESTS],
            commit_fails: false,
            harm: None,
            seen: [None; GUESTS],
            told: [None, None],
            pretended: [0; GUESTS],
            wrong_disks: Default::default(),
        }
    }

    /// Starts an engine.
    pub(super) fn start(&mut self, host: HostId, settings: &Settings, mutant: Option<Mutant>) {
        self.life += 1;
        (self.seen, self.told, self.pretended) = ([None; GUESTS], [None, None], [0; GUESTS]);
        self.engine = Some(Engine::new(host, &self.yard, settings, mutant));
    }

    /// An output queue for a mutant.
    pub(super) fn outputs_for_mutants(&self) -> understudy::guest::HeldOutput {
        outputs(None).frames(understudy_checkpoint::Epoch(0))
    }

    /// The time of its engine's next timeout.
    pub fn next_timeout(&self) -> Option<Time> {
        let engine = self.engine.as_ref()?;
        let at = engine.guests.next_timeout();
        at.filter(|at| engine.mutant != Some(Mutant::ClockStands) || *at < CLOCK_STANDS_AT)
    }

    /// The relation of its engine to a guest.
    pub fn glance(&self, guest: GuestId) -> Option<Glance> {
        self.engine.as_ref()?.guests.glance(guest_name(guest))
    }

    /// Frames that may leave now.
    pub(super) fn leaving(&mut self) -> Vec<Frame> {
        let mut frames = Vec::new();
        if let Some(engine) = &mut self.engine {
            engine.guests.take_output(&mut frames, 0);
        }
        frames.iter().map(|bytes| Frame::from_bytes(bytes)).collect()
    }

    /// The messages since the last call.
    pub(super) fn said(&mut self) -> Vec<Said> {
        self.engine.as_mut().map(|engine| std::mem::take(&mut engine.cx.said)).unwrap_or_default()
    }
}

fn outputs(mutant: Option<Mutant>) -> OutputMaker {
    // A queue that fills asks for a checkpoint; frames that wait for ever are to be noticed without that.
    let pressure_percent = if mutant == Some(Mutant::WaitsForEver) { 100 } else { 4 };
    let limits = understudy_netbuf::Limits { bytes_max: 1 << 20, frames_max: FRAMES_MAX, pressure_percent };
    OutputMaker { limits, waker: LoopWaker::silent() }
}
