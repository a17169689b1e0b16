//! A guest whose memory the test writes, its threads, and its copy: what orders and reports do to both.
//!
//! ```text
//!   test ─ write ─► Memory ◄─ Scripted ◄─ Protector ─ Wire ─► Rig::carry ─► ReplicaHandle
//!        ─ order ────────────────────────────┘                                  │
//!        ◄──────────────────────── reports ─────────────────────────────────────┘
//! ```

use crossbeam::channel::{Receiver, Sender, bounded};
use mio::{Poll, Token, Waker};
use parking_lot::Mutex;
use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};
use understudy::guest::{
    CaptureOrder, CopyRoom, Held, Keep, LabCards, LabHost, LoopWaker, Outlet, OutletClosed, OutputMaker,
    Protector, ProtectorConfig, ReplicaHandle, Report, Reporter, RuntimeId, Work,
};
use understudy_checkpoint::domain::{Description, DomainError, DomainState, GuestKind, LogTells, Source};
use understudy_checkpoint::epoch::{EpochHead, EpochPart, KeepLimits, Limits, Staging};
use understudy_checkpoint::pages::DirtyBitmap;
use understudy_checkpoint::{Epoch, Generation, PAGE_SIZE, Page, PageEntry, PageType, Pfn};
use understudy_session::primary::Capture;
use understudy_session::{Span, Time};

pub(crate) const PAGES: u64 = 600;
pub(crate) const GENERATION: Generation = Generation(1);
/// Guards against hanging.
pub(crate) const HANG: Duration = Duration::from_secs(30);

/// Memory that the test writes between checkpoints.
#[derive(Clone, Default)]
pub(crate) struct Memory(pub(crate) Arc<Mutex<Frames>>);

#[derive(Default)]
pub(crate) struct Frames {
    pub(crate) content: BTreeMap<u64, u8>,
    pub(crate) dirty: Vec<u64>,
}

impl Memory {
    pub(crate) fn write(&self, pfn: u64, value: u8) {
        let mut frames = self.0.lock();
        frames.content.insert(pfn, value);
        frames.dirty.push(pfn);
    }

    /// A write that no log tells of.
    pub(crate) fn write_unseen(&self, pfn: u64, value: u8) {
        self.0.lock().content.insert(pfn, value);
    }

    pub(crate) fn content(&self, pfn: u64) -> u8 {
        self.0.lock().content.get(&pfn).copied().unwrap_or(0)
    }
}

/// Copies pages as a source does that has nothing else to copy; `fill` gives each its content.
pub(crate) fn copy_each(
    wanted: &DirtyBitmap,
    from: Pfn,
    staging: &mut Staging,
    mut fill: impl FnMut(u64, &mut Page),
) -> Option<Pfn> {
    for pfn in wanted.runs(from).flatten() {
        if staging.room() == 0 {
            return Some(Pfn(pfn));
        }
        fill(pfn, &mut staging.extend([PageEntry::new(Pfn(pfn), PageType::Normal)])[0]);
    }
    None
}

/// A guest that fails when it is told to.
struct Scripted {
    memory: Memory,
    /// Captures of state that fail from now on.
    failures: Arc<AtomicU32>,
    /// Drains that lose the dirty log from now on.
    log_losses: Arc<AtomicU32>,
    tells: LogTells,
}

fn happens(times_left: &AtomicU32) -> bool {
    times_left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok()
}

impl Source for Scripted {
    fn describe(&mut self) -> Result<Description, DomainError> {
        Ok(description())
    }
    fn begin_log_dirty(&mut self) -> Result<(), DomainError> {
        self.memory.0.lock().dirty.clear();
        Ok(())
    }
    fn end_log_dirty(&mut self) -> Result<(), DomainError> {
        Ok(())
    }
    fn suspend(&mut self) -> Result<(), DomainError> {
        Ok(())
    }
    fn resume(&mut self) -> Result<(), DomainError> {
        Ok(())
    }
    fn drain_dirty(&mut self, into: &mut DirtyBitmap) -> Result<(), DomainError> {
        let mut frames = self.memory.0.lock();
        if happens(&self.log_losses) {
            frames.dirty.clear();
            return Err(DomainError::LogLost("as the script says".into()));
        }
        frames.dirty.drain(..).for_each(|pfn| into.set(Pfn(pfn)));
        Ok(())
    }
    fn log_tells(&self) -> LogTells {
        self.tells
    }
    fn copy_pages(
        &mut self,
        wanted: &DirtyBitmap,
        from: Pfn,
        staging: &mut Staging,
        _copiers: usize,
    ) -> Result<Option<Pfn>, DomainError> {
        Ok(copy_each(wanted, from, staging, |pfn, page| page.fill(self.memory.content(pfn))))
    }
    fn capture_state(&mut self, into: &mut DomainState) -> Result<(), DomainError> {
        if happens(&self.failures) {
            return Err(DomainError::Failed("as the script says".into()));
        }
        into.libxc.extend_from_slice(&[7; 64]);
        Ok(())
    }
}

/// Parts go straight to the copy, or nowhere once the line is cut.
struct Wire {
    to: Sender<Work>,
    cut: bool,
}

impl Wire {
    fn carry(&self, work: Work) -> Result<u64, OutletClosed> {
        if self.cut {
            return Err(OutletClosed);
        }
        self.to.send(work).map_err(|_| OutletClosed)?;
        Ok(0)
    }
}

impl Outlet for Wire {
    fn begin(&mut self, head: EpochHead) -> Result<u64, OutletClosed> {
        self.carry(Work::Begin(head))
    }
    fn send(&mut self, part: EpochPart<&[u8]>) -> Result<u64, OutletClosed> {
        self.carry(Work::Part(part.map(<[u8]>::to_vec)))
    }
}

/// A link that takes nothing until the other half is dropped, and nothing of this epoch then.
pub(crate) struct Clogged(pub(crate) Receiver<()>);

impl Outlet for Clogged {
    fn begin(&mut self, _head: EpochHead) -> Result<u64, OutletClosed> {
        let _ = self.0.recv();
        Err(OutletClosed)
    }
    fn send(&mut self, _part: EpochPart<&[u8]>) -> Result<u64, OutletClosed> {
        let _ = self.0.recv();
        Err(OutletClosed)
    }
}

pub(crate) struct Rig {
    pub(crate) memory: Memory,
    pub(crate) failures: Arc<AtomicU32>,
    pub(crate) log_losses: Arc<AtomicU32>,
    pub(crate) protector: Protector,
    pub(crate) replica_thread: ReplicaHandle,
    pub(crate) reports: Receiver<(RuntimeId, Report)>,
    pub(crate) to_copy: Sender<Work>,
    pub(crate) at_copy: Receiver<Work>,
    /// An epoch has begun at the copy and not ended.
    pub(crate) is_receiving: Cell<bool>,
    pub(crate) next: Epoch,
    pub(crate) _poll: Poll,
}

pub(crate) fn description() -> Description {
    Description {
        kind: GuestKind::Pvh,
        page_count: PAGES,
        libxc_version: 3,
        xen_version: (4, 17),
        config: Vec::new(),
        static_records: Vec::new(),
        disks_bytes: Vec::new(),
    }
}

fn held(outputs: OutputMaker, page_count: u64) -> Held {
    Held {
        name: "g".into(),
        description: Description { page_count, ..description() },
        host: Arc::new(LabHost::new(LabCards::new(outputs, None))),
        room: CopyRoom::new(u64::MAX),
        // Whatever a test is about, the past is kept beside it.
        keep: Keep { limits: KeepLimits { epochs_max: 4, bytes_max: 64 << 20 }, every: Duration::ZERO },
    }
}

impl Rig {
    /// A guest whose staging holds a fraction of its pages, and its copy.
    pub(crate) fn new() -> Self {
        Self::whose_log_tells(LogTells::Everything)
    }

    pub(crate) fn whose_log_tells(tells: LogTells) -> Self {
        Self::scripted(tells, HANG)
    }

    pub(crate) fn scripted(tells: LogTells, pause_wait_max: Duration) -> Self {
        let (memory, failures, log_losses) = <(Memory, Arc<AtomicU32>, Arc<AtomicU32>)>::default();
        let source = Box::new(Scripted {
            memory: memory.clone(),
            failures: failures.clone(),
            log_losses: log_losses.clone(),
            tells,
        });
        Self { memory, failures, log_losses, ..Self::that_waits(source, PAGES, pause_wait_max) }
    }

    /// A guest of this source, and its copy.
    pub(crate) fn of(source: Box<dyn Source>, page_count: u64) -> Self {
        Self::that_waits(source, page_count, HANG)
    }

    /// The same; in a pause, room is waited for no longer than this.
    pub(crate) fn that_waits(source: Box<dyn Source>, page_count: u64, pause_wait_max: Duration) -> Self {
        let poll = Poll::new().unwrap();
        let waker = LoopWaker::new(Waker::new(poll.registry(), Token(0)).unwrap());
        let (to_reports, reports) = bounded(1024);
        let reporter = Reporter::new(RuntimeId(1), to_reports, waker.clone());
        let outputs = OutputMaker { limits: understudy_netbuf::Limits::default(), waker };
        let output = outputs.frames(Epoch(0));
        let config = ProtectorConfig {
            staging_bytes: 40 * PAGE_SIZE as u64,
            shadow_bytes: 100 * PAGE_SIZE as u64,
            copiers: 1,
            in_flight_max: 4,
            pause_wait_max,
        };
        let protector = Protector::start(source, page_count, config, output.into(), &reporter).unwrap();
        let limits = Limits { buffer_bytes_max: 64 << 20, page_count };
        let replica_thread = ReplicaHandle::start(held(outputs, page_count), limits, reporter).unwrap();
        let (to_copy, at_copy) = bounded(4096);
        Self {
            memory: Memory::default(),
            failures: Arc::default(),
            log_losses: Arc::default(),
            protector,
            replica_thread,
            reports,
            to_copy,
            at_copy,
            is_receiving: Cell::new(false),
            next: Epoch(0),
            _poll: poll,
        }
    }

    /// Epochs of 25 ms, as far as the scrub can see.
    pub(crate) fn ordered_at(epoch: Epoch) -> Time {
        Time(0) + Span::from_ms(25 * epoch.0)
    }

    pub(crate) fn order(&mut self, capture: Capture, cut: bool) -> Epoch {
        let epoch = self.next;
        self.next = epoch.next();
        let outlet = Box::new(Wire { to: self.to_copy.clone(), cut });
        let order = CaptureOrder {
            generation: GENERATION,
            epoch,
            capture,
            stay_paused: false,
            now: Rig::ordered_at(epoch),
            outlet,
        };
        self.protector.capture(order).unwrap();
        epoch
    }

    /// Takes the next report that `wanted` makes something of, carrying parts to the copy meanwhile.
    pub(crate) fn await_report<T>(&self, wanted: impl Fn(&Report) -> Option<T>) -> T {
        let begun = Instant::now();
        while begun.elapsed() < HANG {
            while let Ok(work) = self.at_copy.try_recv() {
                self.carry(work);
            }
            if let Ok((_, report)) = self.reports.recv_timeout(Duration::from_millis(1)) {
                if let Some(found) = wanted(&report) {
                    return found;
                }
                assert!(!matches!(report, Report::Panicked { .. } | Report::Broken { .. }), "{report:?}");
            }
        }
        panic!("the report did not come");
    }

    /// What a secondary's session does with a part: an epoch that begins before the one before it has ended
    /// means that the primary gave that one up.
    fn carry(&self, work: Work) {
        match work {
            Work::Begin(_) if self.is_receiving.replace(true) => self.hand_over(Work::DropIncomplete),
            Work::Part(EpochPart::End(_)) => self.is_receiving.set(false),
            _ => {}
        }
        self.hand_over(work);
    }

    pub(crate) fn hand_over(&self, mut work: Work) {
        let begun = Instant::now();
        while let Err(back) = self.replica_thread.offer(work) {
            assert!(begun.elapsed() < HANG, "the copy takes nothing in");
            std::thread::yield_now();
            work = back;
        }
    }

    pub(crate) fn acked(&self, epoch: Epoch) {
        self.await_report(|report| match report {
            Report::Complete { epoch: complete, .. } => (*complete == epoch).then_some(()),
            _ => None,
        });
        self.hand_over(Work::Commit(epoch));
        self.protector.acked(epoch);
    }

    /// The copy is, page by page, what the guest is.
    pub(crate) fn assert_same(&self) {
        let (to, copy) = bounded(1);
        self.hand_over(Work::Copy(to));
        let committed = copy.recv_timeout(HANG).unwrap().unwrap();
        for pfn in 0..PAGES {
            let page = committed.image.page(Pfn(pfn)).expect("a seed covers every frame");
            let is_same = *page == [self.memory.content(pfn); PAGE_SIZE];
            assert!(is_same, "frame {pfn} at epoch {}", committed.epoch);
        }
        assert_eq!(committed.image.state().libxc, [7; 64]);
    }
}

pub(crate) fn seeded() -> Rig {
    seed(Rig::new())
}

pub(crate) fn seed(mut rig: Rig) -> Rig {
    (0..PAGES).step_by(3).for_each(|pfn| rig.memory.write(pfn, 1 + (pfn % 200) as u8));
    let seed = rig.order(Capture::Seed, false);
    rig.acked(seed);
    rig.assert_same();
    rig
}
