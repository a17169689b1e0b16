//! The bench: the pending work of an engine's guest threads. The engine gives orders as to real threads; the cluster
//! carries them out with the engine's own code when their virtual time has come.

use super::GuestId;
use super::guest::{SharedDomain, State};
use super::mutant::Mutant;
use super::names::guest_of;
use super::yard::SharedYard;
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use understudy::guest::{
    CaptureOrder, Checkpointer, CopyOrder, Held, Participants, ProtectorConfig, ReplicaThread, Report,
    Reporter, SteppedCapture, SteppedReplica, Stuck, Traffic, Work, Workers,
};
use understudy_checkpoint::domain::Source;
use understudy_checkpoint::epoch::Limits;
use understudy_checkpoint::{Epoch, Generation};
use understudy_session::primary::Capture;
use understudy_session::{EpochKind, Time};

/// Most work that waits for a receive thread, as in the engine.
pub(super) const WORK_MAX: usize = 16;

/// One order to a capture thread.
pub(super) enum Order {
    Capture(CaptureOrder),
    Resume,
    Settle,
    LeaveAlone,
}

/// A capture, as it was ordered.
#[derive(Clone, Copy)]
pub(super) struct Taken {
    pub(super) generation: Generation,
    pub(super) epoch: Epoch,
    pub(super) capture: Capture,
    pub(super) ordered_at: Time,
}

/// A guest that runs here.
pub(super) struct Capturing {
    pub(super) guest: GuestId,
    pub(super) domain: SharedDomain,
    /// `None` once its thread has died.
    pub(super) work: Option<Box<SteppedCapture>>,
    pub(super) orders: VecDeque<Order>,
    /// What a full sync was ordered as that waits.
    pub(super) waits: Option<Taken>,
    /// Whether an event for it is on the agenda.
    pub(super) scheduled: bool,
    pub(super) reporter: Reporter,
    pub(super) participants: Participants,
}

/// A guest that is held here as secondary.
pub(super) struct Holding {
    pub(super) guest: GuestId,
    /// `None` once its thread has ended.
    pub(super) work: Option<SteppedReplica>,
    pub(super) waiting: VecDeque<Work>,
    pub(super) scheduled: bool,
    /// An event for setting its copy is on the agenda.
    pub(super) sets_scheduled: bool,
    pub(super) reporter: Reporter,
    /// The generation that sent each epoch.
    pub(super) sent_in: BTreeMap<Epoch, Generation>,
    /// The image after the last piece of work.
    pub(super) image: Option<(Generation, Epoch, State)>,
    /// The most work that ever waited.
    pub(super) waited_max: usize,
    /// What passes between its copy and the world, once there was one.
    pub(super) traffic: Option<Arc<Traffic>>,
}

impl Holding {
    /// Updates [`image`](Self::image).
    pub(super) fn look(&mut self) {
        self.image = self.work.as_ref().and_then(|work| {
            let epoch = work.receiver().committed()?;
            Some((*self.sent_in.get(&epoch)?, epoch, State::kept(&**work.receiver().sink())?))
        });
    }
}

/// All pending work of one engine.
#[derive(Default)]
pub(super) struct Bench {
    pub(super) captures: Vec<Option<Capturing>>,
    pub(super) replicas: Vec<Option<Holding>>,
    mutant: Option<Mutant>,
}

/// The bench, shared by the engine and the cluster.
#[derive(Clone, Default)]
pub(super) struct SharedBench(Arc<Mutex<Bench>>);

impl SharedBench {
    pub(super) fn new(mutant: Option<Mutant>) -> Self {
        Self(Arc::new(Mutex::new(Bench { mutant, ..Bench::default() })))
    }

    pub(super) fn get(&self) -> MutexGuard<'_, Bench> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for SharedBench {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Bench")
    }
}

impl Bench {
    /// The image of a guest that is held here.
    pub(super) fn holding(&self, guest: GuestId) -> Option<&Holding> {
        self.replicas.iter().flatten().rfind(|holding| holding.guest == guest)
    }
}

/// Puts guests' work on the bench.
#[derive(Debug)]
pub(super) struct SimWorkers {
    pub(super) bench: SharedBench,
    pub(super) yard: SharedYard,
}

impl Workers for SimWorkers {
    fn protect(
        &self,
        mut source: Box<dyn Source>,
        page_count: u64,
        config: ProtectorConfig,
        participants: Participants,
        reporter: &Reporter,
    ) -> io::Result<Box<dyn Checkpointer>> {
        let description = source.describe().map_err(io::Error::other)?;
        let guest = guest_of(&String::from_utf8_lossy(&description.config));
        let domain = self.yard.get().domains[guest].clone();
        let domain = domain.ok_or_else(|| io::Error::other("there is no such domain"))?;
        let work = SteppedCapture::new(source, page_count, config, participants.clone(), reporter)?;
        let mut bench = self.bench.get();
        bench.captures.push(Some(Capturing {
            guest,
            domain,
            work: Some(Box::new(work)),
            orders: VecDeque::new(),
            waits: None,
            scheduled: false,
            reporter: reporter.clone(),
            participants,
        }));
        Ok(Box::new(SimCheckpointer { bench: self.bench.clone(), slot: bench.captures.len() - 1 }))
    }

    fn hold(&self, held: Held, limits: Limits, reporter: Reporter) -> io::Result<Box<dyn ReplicaThread>> {
        let guest = guest_of(&held.name);
        let work = SteppedReplica::new(held, limits, reporter.clone());
        let mut bench = self.bench.get();
        bench.replicas.push(Some(Holding {
            guest,
            work: Some(work),
            waiting: VecDeque::new(),
            scheduled: false,
            sets_scheduled: false,
            reporter,
            sent_in: BTreeMap::new(),
            image: None,
            waited_max: 0,
            traffic: None,
        }));
        Ok(Box::new(SimReplica { bench: self.bench.clone(), slot: bench.replicas.len() - 1 }))
    }
}

#[derive(Debug)]
struct SimCheckpointer {
    bench: SharedBench,
    slot: usize,
}

impl SimCheckpointer {
    fn order(&self, order: Order) -> Result<(), Stuck> {
        let mut bench = self.bench.get();
        let Some(Some(capturing)) = bench.captures.get_mut(self.slot) else { return Err(Stuck) };
        if capturing.work.is_none() {
            return Err(Stuck);
        }
        capturing.orders.push_back(order);
        Ok(())
    }

    fn with(&self, what: impl FnOnce(&SteppedCapture)) {
        if let Some(Some(Capturing { work: Some(work), .. })) = self.bench.get().captures.get(self.slot) {
            what(work);
        }
    }
}

impl Checkpointer for SimCheckpointer {
    fn capture(&self, order: CaptureOrder) -> Result<(), Stuck> {
        self.order(Order::Capture(order))
    }
    fn abort(&self, epoch: Epoch) {
        self.with(|work| work.abort(epoch));
    }
    fn acked(&self, through: Epoch) {
        self.with(|work| work.acked(through));
    }
    fn resume(&self) -> Result<(), Stuck> {
        self.order(Order::Resume)
    }
    fn settle(&self) -> Result<(), Stuck> {
        self.order(Order::Settle)
    }
    fn leave_alone(&self) -> Result<(), Stuck> {
        self.order(Order::LeaveAlone)
    }
    fn finish(self: Box<Self>, _within_max: Duration) {}
}

impl Drop for SimCheckpointer {
    fn drop(&mut self) {
        let capturing = self.bench.get().captures[self.slot].take();
        if let Some(work) = capturing.and_then(|capturing| capturing.work) {
            // A guest that is gone by now tracks nothing either.
            let _ = work.finish();
        }
    }
}

#[derive(Debug)]
struct SimReplica {
    bench: SharedBench,
    slot: usize,
}

impl ReplicaThread for SimReplica {
    fn offer(&self, work: Work) -> Result<(), Work> {
        let mut bench = self.bench.get();
        let unbounded = bench.mutant == Some(Mutant::NoBackpressure);
        let Some(Some(holding)) = bench.replicas.get_mut(self.slot) else { return Ok(()) };
        if holding.work.is_none() {
            return Ok(());
        }
        if holding.waiting.len() >= WORK_MAX && !unbounded {
            return Err(work);
        }
        if let Work::Begin(head) = &work {
            if head.kind == EpochKind::Seed {
                holding.sent_in.clear();
            }
            holding.sent_in.insert(head.epoch, head.generation);
        }
        if let Work::LiveCopy(CopyOrder::Set { traffic, .. }) = &work {
            holding.traffic = Some(traffic.clone());
        }
        holding.waiting.push_back(work);
        holding.waited_max = holding.waited_max.max(holding.waiting.len());
        Ok(())
    }

    fn end(self: Box<Self>, _within_max: Duration) -> bool {
        true
    }
}

impl Drop for SimReplica {
    fn drop(&mut self) {
        let holding = self.bench.get().replicas[self.slot].take();
        drop(holding);
    }
}

/// Makes a thread die; its pending orders are dropped.
pub(super) fn dies(reporter: &Reporter, worker: &'static str) {
    reporter.tell(Report::Panicked { worker, message: "as the simulator wanted it".to_owned() });
}
