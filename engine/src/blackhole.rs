//! `remus --blackhole`: makes checkpoints and discards them, to show what protecting a guest would cost without another
//! host (`xl remus -b`).
//!
//! ```text
//!   guest ──► Protector: capture thread ─► encode thread ─► Blackhole: counts
//!     ▲                                                       │ whole
//!     └── output held, cut, released ◄── this loop ◄──────────┘ and after the interval: the next capture
//! ```
//!
//! Everything of a checkpoint is done except sending and holding it: pauses, encoding, output that waits. The guest is
//! not protected: there is no session, no witness, no generation. Not here: a guest that a node protects
//! ([`node`](crate::node)).

use crate::config::Limits;
use crate::guest::{
    CaptureOrder, HeldOutput, HostError, LoopWaker, Outlet, OutletClosed, OutputMaker, PauseTimes, Protector,
    ProtectorConfig, Report, Reporter, RunningGuest, RuntimeId, Stuck,
};
use crate::signals::ShutdownSignal;
use crossbeam::channel::{Receiver, Sender, bounded};
use mio::{Events, Interest, Poll, Token, Waker};
use std::io;
use std::time::{Duration, Instant};
use understudy_checkpoint::epoch::{EpochHead, EpochPart};
use understudy_checkpoint::{Epoch, Generation};
use understudy_session::Time;
use understudy_session::primary::Capture;

const BELL: Token = Token(0);
const SIGNAL: Token = Token(1);

/// Most reports that wait; one checkpoint is in progress at a time.
const REPORTS_MAX: usize = 64;

/// How long the end waits for the capture thread; the same as in a node.
const FINISH_MAX: Duration = Duration::from_secs(2);

/// How to make checkpoints.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// The time from the end of one pause to the beginning of the next.
    pub interval: Duration,
    /// The same limits as a node's.
    pub limits: Limits,
    /// How often a [`Summary`] is reported.
    pub tell_every: Duration,
}

/// Why checkpoints cannot be made, or not any more.
#[derive(thiserror::Error, Debug)]
pub enum BlackholeError {
    /// The guest cannot be protected.
    #[error("{0}")]
    Unfit(HostError),
    /// A node runs the guest, or ran it.
    #[error(
        "an engine runs it, or ran it and is gone; `understudy status` shows it, `understudy unprotect` ends that, and \
         `understudy doctor` finds what a dead one left"
    )]
    Protected,
    /// A checkpoint failed. The guest continues, and its output passes.
    #[error("checkpoint {epoch} came to nothing: {why}")]
    CaptureFailed {
        /// The epoch of the checkpoint.
        epoch: Epoch,
        /// The reason, from the capture thread.
        why: String,
    },
    /// A thread panicked.
    #[error("its {worker} thread panicked: {message}")]
    Panicked { worker: &'static str, message: String },
    /// A thread does not answer.
    #[error(transparent)]
    Stuck(#[from] Stuck),
    /// This host's system failed.
    #[error(transparent)]
    System(#[from] io::Error),
}

/// How the checkpoints ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    /// A signal arrived. The guest continues, and its output passes.
    Stopped,
    /// The guest is gone.
    GuestEnded,
}

/// One checkpoint.
#[derive(Clone, Copy, Default, Debug)]
struct Checkpoint {
    pause: Duration,
    dirty_pages: u64,
    bytes: u64,
}

/// The cost of the checkpoints since the last summary.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Summary {
    /// The number of checkpoints.
    pub checkpoints: usize,
    /// The time since the last summary.
    pub within: Duration,
    /// The median pause.
    pub pause: Duration,
    /// The longest pause.
    pub pause_max: Duration,
    /// The median number of pages copied in a pause.
    pub dirty_pages: u64,
    /// The median number of bytes that would be sent to another host, without the link's headers. A full sync's include
    /// everything that was copied while the guest ran.
    pub bytes: u64,
}

impl Summary {
    fn of(checkpoints: &[Checkpoint], within: Duration) -> Option<Self> {
        let median = |of: fn(&Checkpoint) -> u64| {
            let mut all: Vec<u64> = checkpoints.iter().map(of).collect();
            all.sort_unstable();
            all.get(all.len() / 2).copied()
        };
        Some(Self {
            checkpoints: checkpoints.len(),
            within,
            pause: Duration::from_nanos(median(|it| it.pause.as_nanos() as u64)?),
            pause_max: checkpoints.iter().map(|it| it.pause).max()?,
            dirty_pages: median(|it| it.dirty_pages)?,
            bytes: median(|it| it.bytes)?,
        })
    }
}

/// Finds the guest, with queues from `outputs`, and makes checkpoints of it until it ends or `signal` arrives.
pub fn run(
    find: impl FnOnce(OutputMaker) -> Result<RunningGuest, BlackholeError>,
    plan: &Plan,
    signal: &mut ShutdownSignal,
    mut tell: impl FnMut(Summary),
) -> Result<End, BlackholeError> {
    let mut poll = Poll::new()?;
    let waker = LoopWaker::new(Waker::new(poll.registry(), BELL)?);
    poll.registry().register(signal, SIGNAL, Interest::READABLE)?;
    let limits = understudy_netbuf::Limits {
        bytes_max: plan.limits.held_output_bytes as usize,
        ..understudy_netbuf::Limits::default()
    };
    let found = find(OutputMaker { limits, waker: waker.clone() })?;
    if found.past.is_some() {
        return Err(BlackholeError::Protected);
    }
    let mut run = Run::start(found, plan, &waker)?;
    let result = run.until_over(&mut poll, &waker, signal, &mut tell);
    run.end();
    result
}

/// The next step.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// A capture or its encoding is in progress.
    Making { captured: Option<(Instant, PauseTimes, u64)>, whole_bytes: Option<u64> },
    /// The next capture begins at this time.
    Resting { until: Instant },
}

impl Step {
    const BEGUN: Self = Self::Making { captured: None, whole_bytes: None };
}

struct Run {
    protector: Protector,
    output: HeldOutput,
    reports: Receiver<(RuntimeId, Report)>,
    whole: (Sender<u64>, Receiver<u64>),
    waker: LoopWaker,
    plan: Plan,
    epoch: Epoch,
    step: Step,
    made: Vec<Checkpoint>,
    began_at: Instant,
    told_at: Instant,
}

impl Run {
    fn start(found: RunningGuest, plan: &Plan, waker: &LoopWaker) -> Result<Self, BlackholeError> {
        let RunningGuest { mut source, output, .. } = found;
        let description = source.0.describe().map_err(|error| {
            output.let_go();
            BlackholeError::Unfit(error.into())
        })?;
        let config = ProtectorConfig {
            staging_bytes: plan.limits.staging_bytes,
            shadow_bytes: plan.limits.shadow_bytes,
            copiers: std::thread::available_parallelism().map_or(1, usize::from),
            in_flight_max: plan.limits.in_flight_max,
            // Nothing is sent: the encoder alone makes room.
            pause_wait_max: Duration::from_secs(60),
        };
        let (to_reports, reports) = bounded(REPORTS_MAX);
        let reporter = Reporter::new(RuntimeId(0), to_reports, waker.clone());
        let protector =
            Protector::start(source.0, description.page_count, config, output.clone().into(), &reporter)
                .inspect_err(|_| output.let_go())?;
        // As of a guest that has no copy yet: its output waits from the first cut on.
        output.pass();
        let run = Self {
            protector,
            output,
            reports,
            whole: bounded(1),
            waker: waker.clone(),
            plan: *plan,
            epoch: Epoch(0),
            step: Step::BEGUN,
            made: Vec::new(),
            began_at: Instant::now(),
            told_at: Instant::now(),
        };
        Ok(run)
    }

    fn until_over(
        &mut self,
        poll: &mut Poll,
        waker: &LoopWaker,
        signal: &mut ShutdownSignal,
        tell: &mut impl FnMut(Summary),
    ) -> Result<End, BlackholeError> {
        self.capture(Capture::Seed)?;
        let mut events = Events::with_capacity(8);
        loop {
            match poll.poll(&mut events, Some(self.wait())) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error.into()),
                _ => waker.answer(),
            }
            if signal.arrived()?.is_some() {
                self.summarise(tell);
                return Ok(End::Stopped);
            }
            if self.hear()? {
                self.summarise(tell);
                return Ok(End::GuestEnded);
            }
            self.go_on()?;
            if self.told_at.elapsed() >= self.plan.tell_every {
                self.summarise(tell);
            }
        }
    }

    fn wait(&self) -> Duration {
        let telling = self.plan.tell_every.saturating_sub(self.told_at.elapsed());
        match self.step {
            Step::Resting { until } => until.saturating_duration_since(Instant::now()).min(telling),
            Step::Making { .. } => telling,
        }
    }

    fn capture(&mut self, capture: Capture) -> Result<(), Stuck> {
        self.step = Step::BEGUN;
        let outlet = Box::new(Blackhole { bytes: 0, whole: self.whole.0.clone(), waker: self.waker.clone() });
        let order = CaptureOrder {
            generation: Generation(0),
            epoch: self.epoch,
            capture,
            stay_paused: false,
            now: Time(self.began_at.elapsed().as_nanos() as u64),
            outlet,
        };
        self.protector.capture(order)
    }

    /// Handles the threads' reports. Returns whether the guest is gone.
    fn hear(&mut self) -> Result<bool, BlackholeError> {
        while let Ok((_, report)) = self.reports.try_recv() {
            match report {
                Report::Captured { pause, dirty_pages, .. } => {
                    if let Step::Making { captured, .. } = &mut self.step {
                        *captured = Some((Instant::now(), pause, dirty_pages));
                    }
                }
                Report::CaptureFailed { guest_gone: true, .. } => return Ok(true),
                Report::CaptureFailed { epoch, why, .. } => {
                    return Err(BlackholeError::CaptureFailed { epoch, why });
                }
                Report::Panicked { worker, message } => {
                    return Err(BlackholeError::Panicked { worker, message });
                }
                _ => {}
            }
        }
        if let (Ok(bytes), Step::Making { whole_bytes, .. }) = (self.whole.1.try_recv(), &mut self.step) {
            *whole_bytes = Some(bytes);
        }
        Ok(false)
    }

    /// Takes the steps that are due. A complete checkpoint counts as acked.
    fn go_on(&mut self) -> Result<(), Stuck> {
        if let Step::Making { captured: Some((at, pause, dirty_pages)), whole_bytes: Some(bytes) } = self.step
        {
            self.protector.acked(self.epoch);
            self.output.release(self.epoch);
            self.made.push(Checkpoint { pause: pause.total(), dirty_pages, bytes });
            self.epoch = self.epoch.next();
            self.step = Step::Resting { until: at + self.plan.interval };
        }
        match self.step {
            Step::Resting { until } if until <= Instant::now() || self.output.take_health().pressure => {
                self.capture(Capture::Delta)
            }
            _ => Ok(()),
        }
    }

    fn summarise(&mut self, tell: &mut impl FnMut(Summary)) {
        let within = self.told_at.elapsed();
        self.told_at = Instant::now();
        if let Some(summary) = Summary::of(&self.made, within) {
            tell(summary);
        }
        self.made.clear();
    }

    /// Lets the guest continue as if nothing had happened. A capture in progress is given up.
    fn end(self) {
        self.protector.abort(self.epoch);
        self.protector.finish(FINISH_MAX);
        self.output.let_go();
    }
}

/// An outlet that counts what it would send.
struct Blackhole {
    bytes: u64,
    whole: Sender<u64>,
    waker: LoopWaker,
}

impl Outlet for Blackhole {
    fn begin(&mut self, _head: EpochHead) -> Result<u64, OutletClosed> {
        Ok(0)
    }

    fn send(&mut self, part: EpochPart<&[u8]>) -> Result<u64, OutletClosed> {
        let bytes = part.bytes().map_or(0, |bytes| bytes.len() as u64);
        self.bytes += bytes;
        if let EpochPart::End(_) = part {
            // Nobody waits for it any more where this fails.
            let _ = self.whole.send(self.bytes);
            self.waker.wake();
        }
        Ok(bytes)
    }
}
