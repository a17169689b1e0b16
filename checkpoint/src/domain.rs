//! The traits between the engine and a guest: [`Source`], a guest that can be checkpointed; [`Sink`], which holds a
//! guest's committed image; and [`LiveCopy`], a guest that runs beside its image. Xen, the lab and recorded streams
//! implement them. The engine accesses guests in no other way.
//!
//! ```text
//!   describe ─► begin_log_dirty ─┬─► [ drain_dirty ─► copy_pages ]*       while the guest runs (first copy)
//!                                │
//!                                └─► suspend ─► drain_dirty ─► copy_pages ─► capture_state ─► resume   each epoch
//! ```

use crate::bitmap::DirtyBitmap;
use crate::staging::Staging;
use crate::{OutOfMemory, Page, PageEntry, PageType, Pfn};
use std::fmt;

/// The kind of guest, in libxl's terms.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum GuestKind {
    /// Paravirtualised; libxc type 1.
    Pv,
    /// Hardware-virtualised with a device model; libxc type 2.
    Hvm,
    /// Hardware-virtualised without a device model; libxc type 2.
    Pvh,
}

impl fmt::Display for GuestKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pv => "PV",
            Self::Hvm => "HVM",
            Self::Pvh => "PVH",
        })
    }
}

/// What never changes while a guest is protected: enough to write the head of an `xl restore` file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Description {
    /// Kind of guest.
    pub kind: GuestKind,
    /// The number of pfns, including holes (Xen: p2m_size = maximum gpfn + 1).
    pub page_count: u64,
    /// Version of the libxc stream that the records below come from: 2 or 3.
    pub libxc_version: u32,
    /// `xen_major`, `xen_minor` of the libxc domain header.
    pub xen_version: (u32, u32),
    /// libxl's JSON configuration with its terminating NUL, as in xl's header; empty if there is none.
    pub config: Vec<u8>,
    /// The libxc records that come once, verbatim: X86_PV_INFO, X86_CPUID_POLICY, X86_MSR_POLICY, STATIC_DATA_END,
    /// X86_PV_P2M_FRAMES.
    pub static_records: Vec<u8>,
    /// The sizes of the disks that are replicated with it, in the order of their numbers.
    pub disks_bytes: Vec<u64>,
}

/// The part of a checkpoint besides pages: records, verbatim and padded, ready for a v2 stream.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct DomainState {
    /// libxc records: TSC, HVM context and params, or shared info and vCPUs.
    pub libxc: Vec<u8>,
    /// libxl records: device model state. Empty without a device model.
    pub libxl: Vec<u8>,
}

impl DomainState {
    /// Empties both parts and keeps their memory.
    pub fn clear(&mut self) {
        self.libxc.clear();
        self.libxl.clear();
    }
}

/// Whose writes the dirty log of a [`Source`] records. The scrub judges differences by it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LogTells {
    /// Every write. A frame that changed without a mark shows that a mark was lost.
    Everything,
    /// The guest's own writes. The hypervisor and backends write some frames without a mark: vCPU info, event channels,
    /// rings.
    GuestWrites {
        /// The most frames that they may write. More must have another cause.
        others_frames_max: u64,
    },
    /// None: there is no log that could lose a mark. Changes are found by comparing.
    Nothing,
}

/// Why a source or a sink could not do what was asked.
#[derive(thiserror::Error, Debug)]
pub enum DomainError {
    /// The guest ended by itself: shut down, crashed, destroyed. Protection ends with it.
    #[error("The guest is gone: {0}")]
    Gone(String),
    /// The source has no further epoch (a recording ends).
    #[error("The recording has no further epoch")]
    EndOfRecording,
    /// The guest did not suspend in time. It continues to run.
    #[error("The guest did not suspend within {0} ms; it runs on unprotected until the next try")]
    SuspendTimeout(u64),
    /// The dirty log was lost: everything must be sent again.
    #[error("The dirty log was lost; a full sync is needed: {0}")]
    LogLost(String),
    /// The guest no longer matches [`Source::describe`]: describe it again, and send everything again.
    #[error("The guest has changed, so that it has to be described anew and copied in full: {0}")]
    Outgrown(String),
    /// Any other error, with its cause.
    #[error("{0}")]
    Failed(String),
}

impl From<OutOfMemory> for DomainError {
    fn from(error: OutOfMemory) -> Self {
        Self::Failed(error.to_string())
    }
}

/// What a source has asked of its host, for a profile: each of these takes a while, and some of them other processes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Calls {
    /// Hypercalls.
    pub hypercalls: u64,
    /// Requests to xenstored, each a round trip.
    pub store_requests: u64,
    /// Waits for an event of the guest's.
    pub waits: u64,
}

impl Calls {
    /// What was asked since `before`.
    pub fn since(self, before: Self) -> Self {
        Self {
            hypercalls: self.hypercalls.wrapping_sub(before.hypercalls),
            store_requests: self.store_requests.wrapping_sub(before.store_requests),
            waits: self.waits.wrapping_sub(before.waits),
        }
    }
}

/// A guest that can be checkpointed. Calls come from one thread in the order drawn above.
pub trait Source: Send {
    /// Describes the guest. Called first, and again after [`DomainError::Outgrown`].
    fn describe(&mut self) -> Result<Description, DomainError>;

    /// Starts tracking writes. From here on [`drain_dirty`](Self::drain_dirty) reports each page written since its last
    /// call. No page is dirty at first: the caller sends everything once.
    fn begin_log_dirty(&mut self) -> Result<(), DomainError>;

    /// Stops tracking writes. Idempotent.
    fn end_log_dirty(&mut self) -> Result<(), DomainError>;

    /// Suspends the guest; when this returns no vCPU runs and no further frame is transmitted.
    fn suspend(&mut self) -> Result<(), DomainError>;

    /// Lets the guest continue. Idempotent.
    fn resume(&mut self) -> Result<(), DomainError>;

    /// Does what resuming the guest left to do, outside of the pause. Call it when nothing waits any more. What is left
    /// out is done with the next suspend.
    fn after_resume(&mut self) {}

    /// Ends a suspend that this or another process began and did not finish. Afterwards the guest runs, and no request
    /// to suspend is on its way to it. Returns `false` if the guest is paused, so that this must wait.
    fn settle(&mut self) -> Result<bool, DomainError> {
        Ok(true)
    }

    /// Resumes the guest if it has followed a request to suspend for which nobody waits any more. Cheap; called now and
    /// then while there is nothing else to do.
    fn look_after(&mut self) -> Result<(), DomainError> {
        Ok(())
    }

    /// Reads and clears the dirty log, and adds its marks to `into`. Never allocates.
    fn drain_dirty(&mut self, into: &mut DirtyBitmap) -> Result<(), DomainError>;

    /// Copies the frames marked in `wanted` from `from` on, ascending, into `staging` until either is exhausted.
    /// Returns the pfn to continue from, or `None` when no marked frame is left.
    ///
    /// Frames without a page are staged as [`PageType::Absent`] entries. May run
    /// while the guest runs; a frame written meanwhile is reported dirty by the next drain.
    fn copy_pages(
        &mut self,
        wanted: &DirtyBitmap,
        from: Pfn,
        staging: &mut Staging,
        copiers: usize,
    ) -> Result<Option<Pfn>, DomainError>;

    /// Whose writes the dirty log records.
    fn log_tells(&self) -> LogTells {
        LogTells::Everything
    }

    /// The first frame from `from` on and before `end` that held a page at the last look-up; `None` if there is none.
    /// The scrub uses it to skip holes. A source that does not know returns `from`.
    fn next_held(&self, from: Pfn, end: Pfn) -> Option<Pfn> {
        (from < end).then_some(from)
    }

    /// Copies frames for the scrub, while the guest runs. Like [`copy_pages`](Self::copy_pages), but from the frames'
    /// present place, even if no change was reported.
    fn look_at_pages(
        &mut self,
        wanted: &DirtyBitmap,
        from: Pfn,
        staging: &mut Staging,
    ) -> Result<Option<Pfn>, DomainError> {
        self.copy_pages(wanted, from, staging, 1)
    }

    /// What the calling thread has asked of the host so far.
    fn calls(&self) -> Calls {
        Calls::default()
    }

    /// Captures everything but pages and the device model. Only while suspended.
    fn capture_state(&mut self, into: &mut DomainState) -> Result<(), DomainError>;

    /// Captures the device model's state, if the guest has a device model that is captured separately. Only while
    /// suspended.
    fn capture_device_model(&mut self, _into: &mut DomainState) -> Result<(), DomainError> {
        Ok(())
    }
}

/// The holder of a guest's committed image.
///
/// The engine passes only complete, verified epochs, so no `apply` may fail because of their content. If the host
/// cannot apply them (it is out of memory), [`fault`](Self::fault) reports it, and what was applied since is not used.
pub trait Sink: Send {
    /// The committed content of a frame; `None` if the frame holds no page. Deltas are applied to it.
    fn page(&self, pfn: Pfn) -> Option<&Page>;

    /// The committed type of a frame.
    fn page_type(&self, pfn: Pfn) -> PageType;

    /// The committed state.
    fn state(&self) -> &DomainState;

    /// Applies one page of a complete epoch. `page` is `None` exactly if the type carries no data.
    fn apply_page(&mut self, entry: PageEntry, page: Option<&Page>);

    /// Applies the state of a complete epoch.
    fn apply_state(&mut self, state: &DomainState);

    /// Announces a full sync's pages for `count` frames from `first` on, so that memory for them can be allocated in
    /// one piece.
    fn expect_pages(&mut self, _first: Pfn, _count: u64) {}

    /// Whether a guest could be started from this image now: others may have destroyed the domain, or let it run.
    /// Called before each acknowledgement. Returns what [`fault`](Self::fault) returns.
    fn check(&mut self) -> Option<String> {
        self.fault()
    }

    /// Why the applied pages and state are not there, in words for the operator; `None` if all is well.
    fn fault(&self) -> Option<String> {
        None
    }
}

/// A guest that runs on the secondary beside the committed image that it was started from (COLO). It is not the image:
/// its own writes are undone when it is set to the next commit.
///
/// ```text
///   halt ─► drain_dirty ─► put_page (what it wrote, and what the epoch changed) ─► put_state ─► deliver* ─► run ─► deliver*
/// ```
///
/// Calls come from one thread, except for [`deliver`](Self::deliver). After any error its state is undefined: it is
/// dropped, and a new one is made from the image.
pub trait LiveCopy: Send {
    /// Stops the copy where it is, without its cooperation. When this returns, no vCPU runs and no further frame is
    /// transmitted.
    fn halt(&mut self) -> Result<(), DomainError>;

    /// Reads and clears the log of the copy's writes, and adds its marks to `into`. Only while halted. Never allocates.
    fn drain_dirty(&mut self, into: &mut DirtyBitmap) -> Result<(), DomainError>;

    /// Writes one page of the image. Only while halted.
    fn put_page(&mut self, entry: PageEntry, page: Option<&Page>) -> Result<(), DomainError>;

    /// Applies everything but pages, and drops input that the copy has not taken. Only while halted.
    fn put_state(&mut self, state: &DomainState) -> Result<(), DomainError>;

    /// Lets the copy run.
    fn run(&mut self) -> Result<(), DomainError>;

    /// Passes a frame to the copy; `false` if there is no room for it. Never waits. Also while halted: the copy gets
    /// the frame when it runs.
    fn deliver(&self, frame: &[u8]) -> bool;
}

impl<S: Sink + ?Sized> Sink for Box<S> {
    fn page(&self, pfn: Pfn) -> Option<&Page> {
        (**self).page(pfn)
    }

    fn page_type(&self, pfn: Pfn) -> PageType {
        (**self).page_type(pfn)
    }

    fn state(&self) -> &DomainState {
        (**self).state()
    }

    fn apply_page(&mut self, entry: PageEntry, page: Option<&Page>) {
        (**self).apply_page(entry, page);
    }

    fn apply_state(&mut self, state: &DomainState) {
        (**self).apply_state(state);
    }

    fn expect_pages(&mut self, first: Pfn, count: u64) {
        (**self).expect_pages(first, count);
    }

    fn check(&mut self) -> Option<String> {
        (**self).check()
    }

    fn fault(&self) -> Option<String> {
        (**self).fault()
    }
}
