//! The traits everything hangs on: [`Source`], a guest that can be checkpointed, [`Sink`], a guest being rebuilt, and
//! [`LiveCopy`], a guest that runs beside its image. Xen, the lab and recorded streams implement them; the engine knows
//! nothing else of a guest.
//!
//! ```text
//!   describe ─► begin_log_dirty ─┬─► [ drain_dirty ─► copy_pages ]*       while the guest runs (first copy)
//!                                │
//!                                └─► suspend ─► drain_dirty ─► copy_pages ─► capture_state ─► resume   each epoch
//! ```

use crate::bitmap::DirtyBitmap;
use crate::staging::Staging;
use crate::{OutOfMemory, Page, PageEntry, Pfn};
use std::fmt;

/// What kind of guest this is, as libxl tells them apart.
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

/// What never changes while a guest is protected, enough to write the head of an `xl restore` file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Description {
    /// Kind of guest.
    pub kind: GuestKind,
    /// Pfns are below this (Xen: p2m_size = maximum gpfn + 1). Holes count.
    pub page_count: u64,
    /// Version of the libxc stream the records below were taken from: 2 or 3.
    pub libxc_version: u32,
    /// `xen_major`, `xen_minor` of the libxc domain header.
    pub xen_version: (u32, u32),
    /// libxl's JSON configuration with its terminating NUL, as xl's header carries it; empty if there is none.
    pub config: Vec<u8>,
    /// libxc records that come once, verbatim: X86_PV_INFO, X86_CPUID_POLICY, X86_MSR_POLICY,
    /// STATIC_DATA_END, X86_PV_P2M_FRAMES.
    pub static_records: Vec<u8>,
}

/// What besides pages makes up a checkpoint: records, verbatim and padded, ready for a v2 stream.
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

/// Whose writes the log of a [`Source`] tells of: what the scrub may hold against whom.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LogTells {
    /// Every write. A frame that changed without a mark shows that a mark was lost.
    Everything,
    /// What the guest itself writes. The hypervisor and backends write some frames without a mark: vCPU info, event
    /// channels, rings.
    GuestWrites {
        /// More such frames than this are none of theirs.
        others_frames_max: u64,
    },
    /// Nothing: there is no log that could lose a mark, changes are found by comparing.
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
    /// The guest did not suspend in time. It runs on.
    #[error("The guest did not suspend within {0} ms; it runs on unprotected until the next try")]
    SuspendTimeout(u64),
    /// The dirty log was lost: everything must be sent again.
    #[error("The dirty log was lost; a full sync is needed: {0}")]
    LogLost(String),
    /// The guest is not what [`Source::describe`] said any more: it has to be described again, and all of it sent again.
    #[error("The guest has changed, so that it has to be described anew and copied in full: {0}")]
    Outgrown(String),
    /// Anything else, with the cause in its own words.
    #[error("{0}")]
    Failed(String),
}

impl From<OutOfMemory> for DomainError {
    fn from(error: OutOfMemory) -> Self {
        Self::Failed(error.to_string())
    }
}

/// A guest that can be checkpointed. Calls come from one thread in the order of the drawing above.
pub trait Source: Send {
    /// What the guest is. Called before anything else, and again after [`DomainError::Outgrown`].
    fn describe(&mut self) -> Result<Description, DomainError>;

    /// Starts tracking writes. From here on [`drain_dirty`](Self::drain_dirty) reports each page written since
    /// the call before. Nothing is dirty by itself: the caller sends everything once.
    fn begin_log_dirty(&mut self) -> Result<(), DomainError>;

    /// Stops tracking writes. Idempotent.
    fn end_log_dirty(&mut self) -> Result<(), DomainError>;

    /// Suspends the guest; when this returns no vCPU runs and no further frame is transmitted.
    fn suspend(&mut self) -> Result<(), DomainError>;

    /// Lets the guest run on. Idempotent.
    fn resume(&mut self) -> Result<(), DomainError>;

    /// Ends what was begun and not seen through, by this process or one that is gone: afterwards the guest runs, and no
    /// request to suspend is on its way to it. False if it stands still, and so cannot be settled yet.
    fn settle(&mut self) -> Result<bool, DomainError> {
        Ok(true)
    }

    /// Lets the guest run where it has followed a request to suspend that nobody waits for any more. Cheap: asked from
    /// time to time while there is nothing else to do.
    fn look_after(&mut self) -> Result<(), DomainError> {
        Ok(())
    }

    /// Reads and clears the dirty log, adding to `into`. Never allocates.
    fn drain_dirty(&mut self, into: &mut DirtyBitmap) -> Result<(), DomainError>;

    /// Copies the frames set in `wanted` from `from` on, in ascending order, into `staging` until either is
    /// exhausted. Returns the pfn to go on from, or `None` when no wanted frame is left.
    ///
    /// Frames without a page are staged as [`PageType::Absent`](crate::PageType::Absent) entries. May run
    /// while the guest runs; a frame written meanwhile is reported dirty by the next drain.
    fn copy_pages(
        &mut self,
        wanted: &DirtyBitmap,
        from: Pfn,
        staging: &mut Staging,
        copiers: usize,
    ) -> Result<Option<Pfn>, DomainError>;

    /// Whose writes the log tells of.
    fn log_tells(&self) -> LogTells {
        LogTells::Everything
    }

    /// The first frame from `from` on, and before `end`, that held a page when it was looked up last; `None` if there is none.
    /// By this the scrub leaves out what is empty; a source that does not know says `from`.
    fn next_held(&self, from: Pfn, end: Pfn) -> Option<Pfn> {
        (from < end).then_some(from)
    }

    /// Copies frames for the scrub, while the guest runs: as [`copy_pages`](Self::copy_pages), and from where the guest has
    /// them now, though nothing told of a change.
    fn look_at_pages(
        &mut self,
        wanted: &DirtyBitmap,
        from: Pfn,
        staging: &mut Staging,
    ) -> Result<Option<Pfn>, DomainError> {
        self.copy_pages(wanted, from, staging, 1)
    }

    /// Captures everything but pages and the device model. Only while suspended.
    fn capture_state(&mut self, into: &mut DomainState) -> Result<(), DomainError>;

    /// Captures the device model's state, where the guest has one that is captured apart. Only while suspended.
    fn capture_device_model(&mut self, _into: &mut DomainState) -> Result<(), DomainError> {
        Ok(())
    }
}

/// A guest being rebuilt: the holder of the committed image.
///
/// The engine hands over only whole, verified epochs, so neither `apply` may fail for reasons of content. Where a host
/// cannot do it (its memory is used up), [`fault`](Self::fault) says so, and what was applied since is not used.
pub trait Sink: Send {
    /// The committed content of a frame; `None` if the frame holds no page. The base of delta encoding.
    fn page(&self, pfn: Pfn) -> Option<&Page>;

    /// Puts one page of a complete epoch in place. `page` is `None` exactly if the type carries no data.
    fn apply_page(&mut self, entry: PageEntry, page: Option<&Page>);

    /// Puts the state of a complete epoch in place.
    fn apply_state(&mut self, state: &DomainState);

    /// Pages for `count` frames from `first` on come next, of a full sync: whoever needs memory for them can get it in
    /// one piece.
    fn expect_pages(&mut self, _first: Pfn, _count: u64) {}

    /// Whether a guest could be started from what is here at this moment, asked of whoever holds it: a domain may have been
    /// destroyed or let run by others. Asked before each acknowledgement; the answer is as [`fault`](Self::fault)'s.
    fn check(&mut self) -> Option<String> {
        self.fault()
    }

    /// Why what was applied is not there, in words for the operator; `None` as long as all is well.
    fn fault(&self) -> Option<String> {
        None
    }
}

/// A guest that runs on the secondary beside the committed image that it was set to (COLO). It is not the image: what it
/// writes is its own, and is undone when it is set to the next commit.
///
/// ```text
///   halt ─► drain_dirty ─► put_page (what it wrote, and what the epoch changed) ─► put_state ─► deliver* ─► run ─► deliver*
/// ```
///
/// Calls come from one thread, but for [`deliver`](Self::deliver). After an error of any of them it is in no state that
/// stands for anything: it is dropped, and a new one is made from the image.
pub trait LiveCopy: Send {
    /// Stops it where it stands, without its help. When this returns no vCPU runs and no further frame is transmitted.
    fn halt(&mut self) -> Result<(), DomainError>;

    /// Reads and clears the log of what it wrote, adding to `into`. Only while halted. Never allocates.
    fn drain_dirty(&mut self, into: &mut DirtyBitmap) -> Result<(), DomainError>;

    /// Puts one page of the image in place. Only while halted.
    fn put_page(&mut self, entry: PageEntry, page: Option<&Page>) -> Result<(), DomainError>;

    /// Puts everything but pages in place, and drops input that the copy has not taken. Only while halted.
    fn put_state(&mut self, state: &DomainState) -> Result<(), DomainError>;

    /// Lets it run.
    fn run(&mut self) -> Result<(), DomainError>;

    /// Hands it a frame; `false` if it has no room for it. Never waits; also while it is halted, for when it runs.
    fn deliver(&self, frame: &[u8]) -> bool;
}

impl<S: Sink + ?Sized> Sink for Box<S> {
    fn page(&self, pfn: Pfn) -> Option<&Page> {
        (**self).page(pfn)
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
