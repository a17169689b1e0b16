//! What copying pages ahead of the pause gains: the same dirty pages, of which the guest writes all, some, a tenth or none
//! again while they are copied.
//!
//! Where it writes all of them again, nothing is copied ahead after a few checkpoints, and the pause copies everything:
//! the peer of the other rows, in the same run.
//!
//! Not here: what real guests write ([`pause`](super::pause)).

use super::testbed::Testbeds;
use crossbeam::channel::{Receiver, bounded};
use mio::{Poll, Token, Waker};
use std::time::Duration;
use understudy::drill::DrillError;
use understudy::guest::{
    CaptureOrder, LoopWaker, Outlet, OutletClosed, OutputMaker, PauseTimes, Protector, ProtectorConfig,
    Report, Reporter, RuntimeId,
};
use understudy_checkpoint::domain::{Description, DomainError, DomainState, Sink, Source};
use understudy_checkpoint::epoch::{EpochHead, EpochPart, Image, Staging};
use understudy_checkpoint::pages::DirtyBitmap;
use understudy_checkpoint::{Epoch, Generation, PAGE_SIZE, PageEntry, PageType, Pfn};
use understudy_session::Time;
use understudy_session::primary::Capture;

const GUEST_PAGES: u64 = 131_072;
const DIRTY_PAGES: u64 = 8192;
/// Percent of the dirty pages that are written again.
const HOT: [u64; 4] = [100, 40, 10, 0];
const CHECKPOINTS: usize = 41;
/// The aim at a tenth, of the pause in which everything is copied.
const SHARE_MAX: f64 = 0.3;
const PATIENCE: Duration = Duration::from_secs(60);

/// A guest that writes the same pages in each epoch, and some of them again while they are copied.
struct Hot {
    image: Image,
    log: DirtyBitmap,
    written: DirtyBitmap,
    written_again: DirtyBitmap,
    is_suspended: bool,
}

impl Hot {
    fn new(percent: u64) -> Self {
        let mut image = Image::new(GUEST_PAGES);
        for pfn in 0..GUEST_PAGES {
            image.apply_page(PageEntry::new(Pfn(pfn), PageType::Normal), Some(&[pfn as u8 | 1; PAGE_SIZE]));
        }
        let (mut written, mut written_again) = (DirtyBitmap::new(GUEST_PAGES), DirtyBitmap::new(GUEST_PAGES));
        let stretch = GUEST_PAGES / DIRTY_PAGES;
        for index in 0..DIRTY_PAGES {
            let pfn = Pfn(index * stretch + index * 7919 % stretch);
            written.set(pfn);
            if index % 100 < percent {
                written_again.set(pfn);
            }
        }
        Self { image, log: DirtyBitmap::new(GUEST_PAGES), written, written_again, is_suspended: false }
    }
}

impl Source for Hot {
    fn describe(&mut self) -> Result<Description, DomainError> {
        Err(DomainError::Failed("it is not asked for".into()))
    }
    fn begin_log_dirty(&mut self) -> Result<(), DomainError> {
        Ok(())
    }
    fn end_log_dirty(&mut self) -> Result<(), DomainError> {
        Ok(())
    }
    fn suspend(&mut self) -> Result<(), DomainError> {
        self.is_suspended = true;
        Ok(())
    }
    fn resume(&mut self) -> Result<(), DomainError> {
        self.is_suspended = false;
        self.log.merge(&self.written);
        Ok(())
    }
    fn drain_dirty(&mut self, into: &mut DirtyBitmap) -> Result<(), DomainError> {
        self.log.drain_into(into);
        Ok(())
    }
    fn copy_pages(
        &mut self,
        wanted: &DirtyBitmap,
        from: Pfn,
        staging: &mut Staging,
        copiers: usize,
    ) -> Result<Option<Pfn>, DomainError> {
        if !self.is_suspended {
            self.log.merge(&self.written_again);
        }
        Ok(self.image.copy_pages(wanted, from, staging, copiers))
    }
    fn capture_state(&mut self, _into: &mut DomainState) -> Result<(), DomainError> {
        Ok(())
    }
}

/// A link that takes everything.
struct Nowhere;

impl Outlet for Nowhere {
    fn begin(&mut self, _head: EpochHead) -> Result<u64, OutletClosed> {
        Ok(0)
    }
    fn send(&mut self, _part: EpochPart<&[u8]>) -> Result<u64, OutletClosed> {
        Ok(0)
    }
}

/// Measures and prints.
pub(crate) fn run(_testbeds: &mut Testbeds) -> Result<(), DrillError> {
    println!(
        "\nPages copied ahead of the pause, {DIRTY_PAGES} dirty, medians in µs; aim where a tenth is written again: \
         {SHARE_MAX} of a pause that copies all"
    );
    println!("  written again    pause │  drain   copy │ pages ahead   again │ of all");
    let mut all_us = None;
    for percent in HOT {
        let pause = median(pauses(percent));
        let pause_us = pause.total().as_secs_f64() * 1e6;
        let share = pause_us / *all_us.get_or_insert(pause_us);
        println!(
            "  {percent:11} % {pause_us:8.0} │ {:6.0} {:6.0} │ {:11} {:7} │ {share:6.2}",
            pause.drain.as_secs_f64() * 1e6,
            pause.copy.as_secs_f64() * 1e6,
            pause.ahead_pages,
            pause.again_pages,
        );
    }
    Ok(())
}

fn median(mut pauses: Vec<PauseTimes>) -> PauseTimes {
    pauses.sort_by_key(PauseTimes::total);
    pauses[pauses.len() / 2]
}

/// The pauses of some checkpoints, without the first ones.
fn pauses(percent: u64) -> Vec<PauseTimes> {
    let poll = Poll::new().expect("a poll");
    let waker = LoopWaker::new(Waker::new(poll.registry(), Token(0)).expect("a waker"));
    let (to, reports) = bounded(1 << 16);
    let reporter = Reporter::new(RuntimeId(1), to, waker.clone());
    let outputs = OutputMaker { limits: understudy_netbuf::Limits::default(), waker };
    let config = ProtectorConfig {
        staging_bytes: 192 << 20,
        shadow_bytes: 1 << 30,
        copiers: std::thread::available_parallelism().map_or(1, usize::from),
        in_flight_max: 4,
        pause_wait_max: PATIENCE,
    };
    let output = outputs.frames(Epoch(0));
    let guest = Box::new(Hot::new(percent));
    let protector = Protector::start(guest, GUEST_PAGES, config, output.into(), &reporter).expect("threads");
    let capture = |epoch: u64| {
        let capture = if epoch == 0 { Capture::Seed } else { Capture::Delta };
        let (generation, epoch) = (Generation(1), Epoch(epoch));
        let outlet = Box::new(Nowhere);
        let order = CaptureOrder { generation, epoch, capture, stay_paused: false, now: Time(0), outlet };
        protector.capture(order).expect("it takes orders");
        let pause = captured(&reports, epoch);
        protector.acked(epoch);
        pause
    };
    (0..CHECKPOINTS as u64 + 8).map(capture).skip(8).collect()
}

/// The pause of a checkpoint, once its pages are encoded.
fn captured(reports: &Receiver<(RuntimeId, Report)>, epoch: Epoch) -> PauseTimes {
    let mut pause = None;
    loop {
        match reports.recv_timeout(PATIENCE).expect("a report").1 {
            Report::Captured { epoch: of, pause: times, .. } if of == epoch => pause = Some(times),
            Report::Encoded { epoch: of, .. } if of == epoch => break,
            Report::CaptureFailed { why, .. } => panic!("{why}"),
            _ => {}
        }
    }
    pause.expect("what is encoded was captured")
}
