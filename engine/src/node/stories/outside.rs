//! What stories of guests are told with: an outside that notes what is said to it, workers that do nothing, a machine that
//! does what the story wants of it.

use crate::config::{ColoConfig, GuestConfigs, Limits, NodeConfig, Timing};
use crate::connection::Transport;
use crate::guest::{
    BoxedSource, CaptureOrder, Checkpointer, Held, HeldOutput, Host, HostError, LoopWaker, Machine, NotBuilt,
    Participants, ProtectorConfig, ReplicaThread, Reporter, RunningGuest, Start, Still, Stuck, Work, Workers,
};
use crate::node::context::{Context, Silence};
use crate::node::epoch_sender::SendQueue;
use crate::node::inbound::GuestName;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use understudy_checkpoint::domain::{Description, GuestKind, Source};
use understudy_checkpoint::epoch::{self, Image};
use understudy_checkpoint::{Epoch, Generation};
use understudy_lab::Conditions;
use understudy_link::{DISKS_SINCE, Frame, GuestFrame, GuestId, HoldReason, HoldRefusal, Lane};
use understudy_session::primary::{self, Pacing, SlowPolicy};
use understudy_session::{NodeName, Span, Time, ToPrimary, ToSecondary, WitnessRequest};

pub(super) const G: Generation = Generation(1);

/// What the outside was told.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Said {
    ToPrimary(ToPrimary),
    ToSecondary(ToSecondary),
    Declined(HoldReason),
    Ready,
    Offered(Generation),
}

#[derive(Default)]
pub(super) struct Outside {
    pub(super) now: u64,
    pub(super) is_link_up: bool,
    /// The peer speaks no version with disks.
    pub(super) is_peer_old: bool,
    pub(super) is_witness_up: bool,
    pub(super) said: Vec<Said>,
    pub(super) asked: Vec<WitnessRequest>,
}

impl Context for Outside {
    fn now(&self) -> Time {
        Time(self.now)
    }
    fn monotonic_ns(&self, time: Time) -> u64 {
        time.0
    }
    fn is_link_up(&self, _peer: &NodeName) -> bool {
        self.is_link_up
    }
    fn link_version(&self, _peer: &NodeName) -> Option<u16> {
        let newest = *understudy_link::VERSIONS.end();
        self.is_link_up.then_some(if self.is_peer_old { DISKS_SINCE - 1 } else { newest })
    }
    fn offer(
        &mut self,
        _peer: &NodeName,
        _guest: &GuestName,
        generation: Generation,
        _description: &Description,
    ) -> Option<(GuestId, SendQueue)> {
        self.said.push(Said::Offered(generation));
        Some((GuestId::new(1)?, SendQueue::new(LoopWaker::silent())))
    }
    fn number_of(&self, _peer: &NodeName, _guest: &GuestName) -> Option<GuestId> {
        GuestId::new(1)
    }
    fn send(&mut self, _peer: &NodeName, frame: &Frame<'_>) {
        self.said.push(match frame {
            Frame::Guest(_, GuestFrame::ToPrimary(message)) => Said::ToPrimary(message.clone()),
            Frame::Guest(_, GuestFrame::ToSecondary(message)) => Said::ToSecondary(message.clone()),
            Frame::Guest(_, GuestFrame::HoldDeclined(refusal)) => Said::Declined(refusal.reason),
            Frame::Guest(_, GuestFrame::HoldReady) => Said::Ready,
            other => panic!("no guest says {other:?}"),
        });
    }
    fn has_room(&self, _peer: &NodeName, _lane: Lane) -> bool {
        true
    }
    fn close_link(&mut self, _peer: &NodeName, why: &str) {
        panic!("the link ends: {why}");
    }
    fn end_silent_link(&mut self, _peer: &NodeName) -> Silence {
        Silence::Kept
    }
    fn hold_back(&mut self, _is_full: &dyn Fn(&NodeName) -> bool) {}
    fn is_held_back(&self, _peer: &NodeName) -> bool {
        false
    }
    fn is_witness_up(&self) -> bool {
        self.is_witness_up
    }
    fn ask_witness(&mut self, _guest: &str, request: WitnessRequest) {
        self.asked.push(request);
    }
}

/// Workers that note what they are told.
#[derive(Clone, Default, Debug)]
pub(super) struct Bench {
    pub(super) orders: Arc<Mutex<Vec<primary::Capture>>>,
    pub(super) work: Arc<Mutex<Vec<&'static str>>>,
    /// So often the threads of a guest cannot be started.
    pub(super) threads_missing: Arc<AtomicU64>,
}

impl Checkpointer for Bench {
    fn capture(&self, order: CaptureOrder) -> Result<(), Stuck> {
        self.orders.lock().push(order.capture);
        Ok(())
    }
    fn abort(&self, _epoch: Epoch) {}
    fn acked(&self, _through: Epoch) {}
    fn resume(&self) -> Result<(), Stuck> {
        Ok(())
    }
    fn settle(&self) -> Result<(), Stuck> {
        Ok(())
    }
    fn leave_alone(&self) -> Result<(), Stuck> {
        self.work.lock().push("leave alone");
        Ok(())
    }
    fn finish(self: Box<Self>, _within_max: Duration) {}
}

impl ReplicaThread for Bench {
    fn offer(&self, work: Work) -> Result<(), Work> {
        self.work.lock().push(match work {
            Work::PauseOlder(_) => "pause older",
            Work::EndOlder(_) => "end older",
            Work::Begin(_) => "begin",
            Work::Activate { .. } => "activate",
            Work::Save => "save",
            _ => "other",
        });
        Ok(())
    }
    fn end(self: Box<Self>, _within_max: Duration) -> bool {
        true
    }
}

impl Workers for Bench {
    fn protect(
        &self,
        _source: Box<dyn Source>,
        _page_count: u64,
        _config: ProtectorConfig,
        _participants: Participants,
        _reporter: &Reporter,
    ) -> io::Result<Box<dyn Checkpointer>> {
        let missing = self.threads_missing.load(Ordering::Relaxed);
        if missing > 0 {
            self.threads_missing.store(missing - 1, Ordering::Relaxed);
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(Box::new(self.clone()))
    }
    fn hold(
        &self,
        _held: Held,
        _limits: epoch::Limits,
        _reporter: Reporter,
    ) -> io::Result<Box<dyn ReplicaThread>> {
        Ok(Box::new(self.clone()))
    }
}

impl Host for Bench {
    fn admits(&self, _name: &str, _what: &Description) -> Result<(), HoldRefusal> {
        Ok(())
    }
    fn build(&self, _start: &Start<'_>, _image: Image) -> Result<RunningGuest, NotBuilt> {
        unreachable!("the bench does no work")
    }
    fn rescue(&self, name: &str) -> Option<String> {
        self.work.lock().push("rescue");
        Some(format!("the last commit of {name} is in a file"))
    }
    fn pause_older(&self, _name: &str, _newest: Generation) -> Result<(), HostError> {
        unreachable!("the bench does no work")
    }
    fn end_older(&self, _name: &str, _newest: Generation) -> Result<(), HostError> {
        unreachable!("the bench does no work")
    }
}

/// A guest of the story.
#[derive(Default, Debug)]
pub(super) struct Fake {
    pub(super) has_ended: AtomicBool,
    pub(super) is_paused: AtomicBool,
    /// It was left to whoever comes after this process.
    pub(super) is_left: AtomicBool,
    /// It was destroyed.
    pub(super) is_stopped: AtomicBool,
    /// Xenstore takes marks.
    pub(super) takes_marks: AtomicBool,
    /// Other threads can copy it.
    pub(super) can_reopen: AtomicBool,
    pub(super) marked: AtomicU64,
}

impl Machine for Fake {
    fn pause(&self) {
        self.is_paused.store(true, Ordering::Relaxed);
    }
    fn unpause(&self) {
        self.is_paused.store(false, Ordering::Relaxed);
    }
    fn outlives_us(&self) -> bool {
        true
    }
    fn stop(&self) {
        self.is_stopped.store(true, Ordering::Relaxed);
    }
    fn reopen(&self) -> Option<Result<BoxedSource, HostError>> {
        self.can_reopen.load(Ordering::Relaxed).then(|| Ok(nothing()))
    }
    fn leave(&self) {
        self.is_left.store(true, Ordering::Relaxed);
    }
    fn has_ended(&self) -> bool {
        self.has_ended.load(Ordering::Relaxed)
    }
    fn mark(&self, generation: Generation) {
        if self.takes_marks.load(Ordering::Relaxed) {
            self.marked.store(generation.0, Ordering::Relaxed);
        }
    }
    fn is_marked(&self, generation: Generation) -> bool {
        self.marked.load(Ordering::Relaxed) >= generation.0
    }
    fn has_settled(&self) -> bool {
        true
    }
    fn take_renewed(&self) -> Option<Vec<u8>> {
        None
    }
    fn deliver(&self, _frame: &[u8]) {}
}

/// A guest that does nothing, to be had as a source.
/// A guest that runs on this machine, and whose checkpoints nobody made before.
pub(super) fn running(machine: &Arc<Fake>, output: &HeldOutput) -> RunningGuest {
    let (machine, output) = (machine.clone(), output.clone());
    RunningGuest { machine, source: nothing(), output, past: None, compared_bytes: 0 }
}

pub(super) fn nothing() -> BoxedSource {
    BoxedSource(Box::new(Still::described(description())))
}

pub(super) fn description() -> Description {
    Description {
        kind: GuestKind::Pvh,
        page_count: 16,
        libxc_version: 3,
        xen_version: (4, 17),
        config: b"web".to_vec(),
        static_records: Vec::new(),
        disks_bytes: Vec::new(),
    }
}

pub(super) fn node(name: &str) -> NodeName {
    NodeName(name.into())
}

pub(super) fn node_config() -> NodeConfig {
    let nowhere = std::net::SocketAddr::from(([127, 0, 0, 1], 1));
    let ms = Span::from_ms;
    NodeConfig {
        node: node("b"),
        listen: vec![nowhere],
        peers: BTreeMap::from([(node("a"), vec![nowhere.into()])]),
        witness: None,
        control: std::path::PathBuf::new(),
        state: std::path::PathBuf::new(),
        metrics: None,
        uplink: None,
        taps: None,
        lab_disks: None,
        lab: Conditions::NONE,
        colo: ColoConfig::default(),
        timing: Timing {
            pacing: Pacing::Clock { interval: ms(25) },
            heartbeat: ms(50),
            silence_max: ms(300),
            link_grace: ms(100),
            takeover_grace: ms(250),
            hold_max: ms(5_000),
            witness_retry: ms(200),
            fence: understudy_session::lease::Terms::new(ms(5_000)).unwrap(),
            slow_max: ms(2_000),
            slow_policy: SlowPolicy::Stretch,
        },
        limits: Limits::default(),
        transport: Transport::PlainLoopback,
        guests: GuestConfigs::Lab(Vec::new()),
    }
}
