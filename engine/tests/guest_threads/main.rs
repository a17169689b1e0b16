//! The threads of a guest that runs and of its copy, joined by a plain channel instead of a link: whatever goes
//! wrong on the way, the copy ends as the guest was.

mod ahead;
mod scrub;
mod starts;
mod unmarked;

use crossbeam::channel::{Receiver, Sender, bounded};
use mio::{Poll, Token, Waker};
use parking_lot::Mutex;
use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};
use understudy::guest::{
    CaptureOrder, CopyRoom, Held, LabCards, LabHost, LoopWaker, Outlet, OutletClosed, OutputMaker,
    PauseTimes, Protector, ProtectorConfig, ReplicaHandle, Report, Reporter, RuntimeId, Work,
};
use understudy_checkpoint::domain::{Description, DomainError, DomainState, GuestKind, LogTells, Source};
use understudy_checkpoint::epoch::{EpochHead, EpochPart, Limits, Staging};
use understudy_checkpoint::pages::DirtyBitmap;
use understudy_checkpoint::{Epoch, Generation, PAGE_SIZE, Page, PageEntry, PageType, Pfn};
use understudy_session::primary::Capture;
use understudy_session::{Span, Time};

const PAGES: u64 = 600;
const GENERATION: Generation = Generation(1);
/// Guards against hanging.
const HANG: Duration = Duration::from_secs(30);

/// Memory that the test writes between checkpoints.
#[derive(Clone, Default)]
struct Memory(Arc<Mutex<Frames>>);

#[derive(Default)]
struct Frames {
    content: BTreeMap<u64, u8>,
    dirty: Vec<u64>,
}

impl Memory {
    fn write(&self, pfn: u64, value: u8) {
        let mut frames = self.0.lock();
        frames.content.insert(pfn, value);
        frames.dirty.push(pfn);
    }

    /// A write that no log tells of.
    fn write_unseen(&self, pfn: u64, value: u8) {
        self.0.lock().content.insert(pfn, value);
    }

    fn content(&self, pfn: u64) -> u8 {
        self.0.lock().content.get(&pfn).copied().unwrap_or(0)
    }
}

/// Copies pages as a source does that has nothing else to copy; `fill` gives each its content.
fn copy_each(
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
struct Clogged(Receiver<()>);

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

struct Rig {
    memory: Memory,
    failures: Arc<AtomicU32>,
    log_losses: Arc<AtomicU32>,
    protector: Protector,
    replica_thread: ReplicaHandle,
    reports: Receiver<(RuntimeId, Report)>,
    to_copy: Sender<Work>,
    at_copy: Receiver<Work>,
    /// An epoch has begun at the copy and not ended.
    is_receiving: Cell<bool>,
    next: Epoch,
    _poll: Poll,
}

fn description() -> Description {
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
    }
}

impl Rig {
    /// A guest whose staging holds a fraction of its pages, and its copy.
    fn new() -> Self {
        Self::whose_log_tells(LogTells::Everything)
    }

    fn whose_log_tells(tells: LogTells) -> Self {
        Self::scripted(tells, HANG)
    }

    fn scripted(tells: LogTells, pause_wait_max: Duration) -> Self {
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
    fn of(source: Box<dyn Source>, page_count: u64) -> Self {
        Self::that_waits(source, page_count, HANG)
    }

    /// The same; in a pause, room is waited for no longer than this.
    fn that_waits(source: Box<dyn Source>, page_count: u64, pause_wait_max: Duration) -> Self {
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
    fn ordered_at(epoch: Epoch) -> Time {
        Time(0) + Span::from_ms(25 * epoch.0)
    }

    fn order(&mut self, capture: Capture, cut: bool) -> Epoch {
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
    fn await_report<T>(&self, wanted: impl Fn(&Report) -> Option<T>) -> T {
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

    fn hand_over(&self, mut work: Work) {
        let begun = Instant::now();
        while let Err(back) = self.replica_thread.offer(work) {
            assert!(begun.elapsed() < HANG, "the copy takes nothing in");
            std::thread::yield_now();
            work = back;
        }
    }

    fn acked(&self, epoch: Epoch) {
        self.await_report(|report| match report {
            Report::Complete { epoch: complete, .. } => (*complete == epoch).then_some(()),
            _ => None,
        });
        self.hand_over(Work::Commit(epoch));
        self.protector.acked(epoch);
    }

    /// The copy is, page by page, what the guest is.
    fn assert_same(&self) {
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

fn seeded() -> Rig {
    seed(Rig::new())
}

fn seed(mut rig: Rig) -> Rig {
    (0..PAGES).step_by(3).for_each(|pfn| rig.memory.write(pfn, 1 + (pfn % 200) as u8));
    let seed = rig.order(Capture::Seed, false);
    rig.acked(seed);
    rig.assert_same();
    rig
}

#[test]
fn more_dirty_pages_than_staging_holds_lengthen_the_pause_and_none_is_lost() {
    let mut rig = seeded();
    (0..PAGES).for_each(|pfn| rig.memory.write(pfn, 250));
    let epoch = rig.order(Capture::Delta, false);
    let pause = rig.await_report(|report| match report {
        Report::Captured { epoch: captured, pause, dirty_pages } if *captured == epoch => {
            Some((*pause, *dirty_pages))
        }
        _ => None,
    });
    assert!(pause.0.overflows > 0, "{pause:?}");
    assert_eq!(pause.1, PAGES);
    rig.acked(epoch);
    rig.assert_same();
}

#[test]
fn a_guest_does_not_stand_still_for_as_long_as_a_slow_link_takes() {
    let mut rig = seed(Rig::scripted(LogTells::Everything, Duration::from_millis(50)));
    (0..PAGES).for_each(|pfn| rig.memory.write(pfn, 250));
    let (clogs, clogged) = bounded(0);
    let (epoch, capture) = (rig.next, Capture::Delta);
    rig.next = epoch.next();
    let outlet = Box::new(Clogged(clogged));
    let order = CaptureOrder {
        generation: GENERATION,
        epoch,
        capture,
        stay_paused: false,
        now: Rig::ordered_at(epoch),
        outlet,
    };
    rig.protector.capture(order).unwrap();
    let why = rig.await_report(|report| match report {
        Report::CaptureFailed { guest_gone: false, needs_seed: false, why, .. } => Some(why.clone()),
        _ => None,
    });
    assert!(why.contains("raise staging"), "{why}");
    // The link takes something again: nothing was lost.
    drop(clogs);
    let epoch = rig.order(Capture::Delta, false);
    rig.acked(epoch);
    rig.assert_same();
}

#[test]
fn a_capture_that_fails_after_its_drain_leaves_its_pages_to_the_next() {
    let mut rig = seeded();
    (100..400).for_each(|pfn| rig.memory.write(pfn, 77));
    rig.failures.store(2, Ordering::SeqCst);
    for _ in 0..2 {
        let epoch = rig.order(Capture::Delta, false);
        rig.await_report(|report| match report {
            Report::CaptureFailed { epoch: failed, guest_gone: false, needs_seed: false, .. } => {
                (*failed == epoch).then_some(())
            }
            _ => None,
        });
    }
    rig.memory.write(5, 78);
    let epoch = rig.order(Capture::Delta, false);
    let begun_anew = rig.await_report(|report| match report {
        Report::Captured { epoch: captured, dirty_pages, .. } => (*captured == epoch).then_some(*dirty_pages),
        _ => None,
    });
    assert_eq!(begun_anew, 301);
    rig.acked(epoch);
    rig.assert_same();
}

#[test]
fn a_lost_dirty_log_makes_the_next_checkpoint_a_copy_of_everything() {
    let mut rig = seeded();
    (100..400).for_each(|pfn| rig.memory.write(pfn, 77));
    rig.log_losses.store(1, Ordering::SeqCst);
    let failed = rig.order(Capture::Delta, false);
    rig.await_report(|report| match report {
        Report::CaptureFailed { epoch, guest_gone: false, needs_seed: true, .. } => {
            (*epoch == failed).then_some(())
        }
        _ => None,
    });
    let epoch = rig.order(Capture::Delta, false);
    let dirty_pages = rig.await_report(|report| match report {
        Report::Captured { epoch: captured, dirty_pages, .. } => (*captured == epoch).then_some(*dirty_pages),
        _ => None,
    });
    assert_eq!(dirty_pages, PAGES);
    rig.acked(epoch);
    rig.assert_same();
}

#[test]
fn epochs_that_a_lost_link_swallowed_come_again_with_the_resync() {
    let mut rig = seeded();
    let base = rig.order(Capture::Delta, false);
    rig.acked(base);
    for round in 0..4u8 {
        (0..50).for_each(|pfn| rig.memory.write(pfn * 7 + u64::from(round), 100 + round));
        let lost = rig.order(Capture::Delta, true);
        rig.await_report(|report| match report {
            Report::Captured { epoch, .. } => (*epoch == lost).then_some(()),
            _ => None,
        });
    }
    let resync = rig.order(Capture::Resync { base }, false);
    rig.acked(resync);
    rig.assert_same();
    rig.memory.write(1, 9);
    let after = rig.order(Capture::Delta, false);
    rig.acked(after);
    rig.assert_same();
}

/// They are made anew after a panic, and do not know what the guest wrote since the copy's epoch.
#[test]
fn new_threads_build_on_no_copy_before_a_full_sync() {
    let mut rig = Rig::new();
    for capture in [Capture::Resync { base: Epoch(0) }, Capture::Delta] {
        let refused = rig.order(capture, false);
        rig.await_report(|report| match report {
            Report::CaptureFailed { epoch, guest_gone: false, needs_seed: true, .. } => {
                (*epoch == refused).then_some(())
            }
            _ => None,
        });
    }
    let seed = rig.order(Capture::Seed, false);
    rig.acked(seed);
    rig.assert_same();
}
