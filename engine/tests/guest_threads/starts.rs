//! A copy of which no guest can be started: it stays whole between attempts, and is saved once nobody makes any more.

use super::rig::{GENERATION, HANG, PAGES, description};
use crossbeam::channel::{Receiver, unbounded};
use mio::{Poll, Token, Waker};
use parking_lot::Mutex;
use std::path::PathBuf;
use std::sync::Arc;
use understudy::guest::{
    CopyRoom, Held, Host, HostError, Keep, LoopWaker, NotBuilt, NotSaved, NotStarted, Replica, ReplicaHandle,
    Report, Reporter, RunningGuest, RuntimeId, Start, SteppedReplica, Work,
};
use understudy_checkpoint::domain::{Description, DomainState, Sink};
use understudy_checkpoint::epoch::{Image, Limits};
use understudy_checkpoint::{Epoch, Generation, PAGE_SIZE, Page, PageEntry, PageType, Pfn};
use understudy_link::HoldRefusal;

/// A host that starts nothing, and gives back what it was to start it from.
#[derive(Clone, Default, Debug)]
struct Stubborn {
    /// What the first page of each image held that was to be started or saved.
    tried: Arc<Mutex<Vec<Option<u8>>>>,
    saved: Arc<Mutex<Vec<Option<u8>>>>,
    /// Its disk is full.
    is_full: Arc<Mutex<bool>>,
    loses_images: bool,
}

fn first(image: &impl Sink) -> Option<u8> {
    image.page(Pfn(0)).map(|page| page[0])
}

impl Host for Stubborn {
    fn admits(&self, _name: &str, _what: &Description) -> Result<(), HoldRefusal> {
        Ok(())
    }
    fn build(&self, _start: &Start<'_>, image: Image) -> Result<RunningGuest, NotBuilt> {
        self.tried.lock().push(first(&image));
        Err(if self.loses_images {
            "it is gone".into()
        } else {
            NotBuilt::with("too many open files", image)
        })
    }
    fn save(&self, _name: &str, _what: &Description, image: &Image) -> Result<PathBuf, NotSaved> {
        if *self.is_full.lock() {
            return Err(NotSaved::Unwritten { path: "/somewhere".into(), why: "no space is left".into() });
        }
        self.saved.lock().push(first(image));
        Ok("/somewhere".into())
    }
    fn pause_older(&self, _name: &str, _newest: Generation) -> Result<(), HostError> {
        Ok(())
    }
    fn end_older(&self, _name: &str, _newest: Generation) -> Result<(), HostError> {
        Ok(())
    }
}

const LIMITS: Limits = Limits { buffer_bytes_max: 64 << 20, page_count: PAGES };
const ACTIVATE: Work = Work::Activate { generation: GENERATION, open: Epoch(1), through: None };

fn held(host: &Stubborn) -> (Held, Reporter, Receiver<(RuntimeId, Report)>, Poll) {
    let poll = Poll::new().unwrap();
    let waker = LoopWaker::new(Waker::new(poll.registry(), Token(0)).unwrap());
    let (to_reports, reports) = unbounded();
    let room = CopyRoom::new(u64::MAX);
    let held = Held {
        name: "g".into(),
        description: description(),
        host: Arc::new(host.clone()),
        room,
        keep: Keep::default(),
    };
    (held, Reporter::new(RuntimeId(1), to_reports, waker), reports, poll)
}

/// A copy whose first page holds 7.
fn copy(held: Held, reporter: Reporter) -> SteppedReplica {
    let mut replica = SteppedReplica::new(held, LIMITS, reporter);
    let entry = PageEntry::new(Pfn(0), PageType::Normal);
    replica.receiver_mut().sink_mut().apply_page(entry, Some(&[7; PAGE_SIZE]));
    replica
}

#[test]
fn a_copy_of_which_no_guest_can_be_started_yet_stays_what_it_is_and_is_saved_once() {
    let host = Stubborn::default();
    let (held, reporter, reports, _poll) = held(&host);
    let mut replica = copy(held, reporter);
    for _ in 0..3 {
        replica = replica.take(ACTIVATE).expect("it is kept");
        let (_, report) = reports.try_recv().unwrap();
        assert!(
            matches!(&report, Report::ActivationDelayed { error } if error.contains("open files")),
            "{report:?}"
        );
    }
    assert_eq!(*host.tried.lock(), [Some(7); 3]);
    *host.is_full.lock() = true;
    replica = replica.take(Work::Save).unwrap();
    assert_eq!(first(replica.receiver().sink()), Some(7), "it is nowhere else");
    *host.is_full.lock() = false;
    replica = replica.take(Work::Save).unwrap().take(Work::Save).unwrap();
    assert_eq!(*host.saved.lock(), [Some(7)]);
    assert_eq!(first(replica.receiver().sink()), None, "the file has it, and its memory is free");
}

#[test]
fn a_copy_that_is_lost_in_a_takeover_is_not_tried_again() {
    let host = Stubborn { loses_images: true, ..Stubborn::default() };
    let (held, reporter, reports, _poll) = held(&host);
    assert!(copy(held, reporter).take(ACTIVATE).is_none());
    assert!(matches!(reports.try_recv().unwrap().1, Report::ActivationFailed { .. }));
}

#[test]
fn a_copy_whose_takeover_had_begun_is_saved_when_its_thread_ends_and_no_other_is() {
    for (takes_over, saved) in [(true, 1), (false, 0)] {
        let host = Stubborn::default();
        let (held, reporter, reports, _poll) = held(&host);
        let replica_thread = ReplicaHandle::start(held, LIMITS, reporter).unwrap();
        if takes_over {
            replica_thread.offer(ACTIVATE).unwrap();
            reports.recv_timeout(HANG).unwrap();
        }
        assert!(replica_thread.end(HANG));
        assert_eq!(host.saved.lock().len(), saved);
    }
}

/// A replica that its host could not complete and has destroyed: it is no copy any more, and its image is still there.
#[derive(Debug)]
struct GivenUp(Option<Image>);

impl Replica for GivenUp {
    fn fall_back(&mut self) -> Option<(String, Image)> {
        Some(("the bridge is missing".into(), self.0.take()?))
    }
    fn activate(self: Box<Self>, _start: &Start<'_>) -> Result<RunningGuest, NotStarted> {
        Err("it is gone".into())
    }
    fn save(&self, _name: &str, _what: &Description) -> Result<PathBuf, NotSaved> {
        Err(NotSaved::NotHere)
    }
}

impl Sink for GivenUp {
    fn page(&self, pfn: Pfn) -> Option<&Page> {
        self.0.as_ref()?.page(pfn)
    }
    fn page_type(&self, pfn: Pfn) -> PageType {
        self.0.as_ref().map_or(PageType::Absent, |image| image.page_type(pfn))
    }
    fn state(&self) -> &DomainState {
        static NONE: DomainState = DomainState { libxc: Vec::new(), libxl: Vec::new() };
        self.0.as_ref().map_or(&NONE, |image| image.state())
    }
    fn apply_page(&mut self, _entry: PageEntry, _page: Option<&Page>) {}
    fn apply_state(&mut self, _state: &DomainState) {}
    fn check(&mut self) -> Option<String> {
        Some("its domain was destroyed".into())
    }
}

#[test]
fn a_replica_that_its_host_gave_up_costs_no_image_and_no_ack() {
    let host = Stubborn::default();
    let (held, reporter, reports, _poll) = held(&host);
    let mut replica = copy(held, reporter);
    let mut image = Image::new(PAGES);
    image.apply_page(PageEntry::new(Pfn(0), PageType::Normal), Some(&[7; PAGE_SIZE]));
    *replica.receiver_mut().sink_mut() = Box::new(GivenUp(Some(image)));
    let replica = replica.take(Work::LookAgain { generation: GENERATION, epoch: Epoch(1) }).unwrap();
    assert!(replica.receiver().sink().is_in_memory() && first(replica.receiver().sink()) == Some(7));
    let (_, report) = reports.try_recv().unwrap();
    // No epoch is here that could be complete; the replica is not what is told of.
    assert!(!format!("{report:?}").contains("destroyed"), "{report:?}");
}
