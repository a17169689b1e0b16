//! [`Receiver`], the secondary's side of an epoch: turns batches into a committed image. An epoch counts as a whole or
//! not at all.
//!
//! ```text
//!                begin(Delta, base)          finish: digest agrees           commit
//!   Standing(n) ───────────────────► open ───────────────────────► complete ─────────► Standing(n+1)
//!       ▲   ▲                         │        (may be acked)      (several may wait)
//!       │   └───── error, drop_incomplete: image untouched
//!       │
//!   Nothing ── begin(Seed) ─► open, applied as it comes ─ finish ─► Standing(seed)
//!       ▲                         │
//!       └──── error, drop_incomplete, drop_image: the image is lost
//! ```
//!
//! Pages of a delta epoch are decoded when they arrive, against the newest complete epoch. A commit therefore only
//! copies, and cannot fail because of an epoch's content.
//!
//! Not here: acks, links, time.

use super::Staging;
use super::buffer::{EpochBuffer, PagePool};
use super::checks::Checked;
use super::intake::{Base, Room, apply_seed, buffer_delta};
use super::kept::{KeepLimits, KeptEpochs, NotKept};
use super::refusal::ReceiveError;
use crate::domain::{DomainState, Sink};
use crate::pages::{BatchError, Decoder, Digest, DirtyBitmap, EpochSummary, FORM_CHECKS, FORM_STATE};
use crate::room::reserve;
use crate::{Epoch, EpochKind, Pfn};
use std::collections::VecDeque;

/// Emptied buffers that are kept: one epoch arrives while the previous one is committed.
const SPARE_BUFFERS_MAX: usize = 2;

/// Limits of a receiver.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes for all uncommitted epochs, including their state.
    pub buffer_bytes_max: usize,
    /// The number of pfns.
    pub page_count: u64,
}

/// Rebuilds a guest's image from epochs.
#[derive(Debug)]
pub struct Receiver<S> {
    sink: S,
    limits: Limits,
    decoder: Decoder,
    pool: PagePool,
    committed: Option<Epoch>,
    kept: KeptEpochs,
    /// Complete epochs after `committed`, oldest first.
    complete: VecDeque<EpochBuffer>,
    open: Option<Open>,
    /// Emptied buffers, kept for reuse.
    spare: Vec<EpochBuffer>,
}

/// The epoch that is arriving.
#[derive(Debug)]
struct Open {
    epoch: Epoch,
    digest: Digest,
    checked: Checked,
    pages: OpenPages,
}

#[derive(Debug)]
enum OpenPages {
    /// Applied as it arrives; `covered` marks the frames that have arrived.
    Seed {
        covered: DirtyBitmap,
        state: DomainState,
    },
    Delta {
        buffer: EpochBuffer,
    },
}

impl OpenPages {
    fn buffer(&self) -> Option<&EpochBuffer> {
        match self {
            Self::Seed { .. } => None,
            Self::Delta { buffer } => Some(buffer),
        }
    }

    fn state(&self) -> &DomainState {
        match self {
            Self::Seed { state, .. } => state,
            Self::Delta { buffer } => &buffer.state,
        }
    }

    fn state_mut(&mut self) -> &mut DomainState {
        match self {
            Self::Seed { state, .. } => state,
            Self::Delta { buffer } => &mut buffer.state,
        }
    }
}

impl<S: Sink> Receiver<S> {
    /// A receiver that holds nothing.
    pub fn new(sink: S, limits: Limits) -> Self {
        Self {
            sink,
            limits,
            decoder: Decoder::new(),
            pool: PagePool::default(),
            committed: None,
            kept: KeptEpochs::new(KeepLimits { epochs_max: 0, bytes_max: 0 }),
            complete: VecDeque::new(),
            open: None,
            spare: Vec::new(),
        }
    }

    /// Allows epochs of the past to be kept; none is by default.
    pub fn allow_kept(&mut self, limits: KeepLimits) {
        self.kept = KeptEpochs::new(limits);
    }

    /// Starts an epoch. A delta must build on the newest complete epoch; a full sync gives up whatever is held.
    pub fn begin(&mut self, epoch: Epoch, kind: EpochKind, base: Option<Epoch>) -> Result<(), ReceiveError> {
        if let Some(open) = &self.open {
            return Err(ReceiveError::StillOpen(epoch, open.epoch));
        }
        let pages = match kind {
            EpochKind::Seed => {
                let covered = DirtyBitmap::try_new(self.limits.page_count)?;
                self.drop_image();
                OpenPages::Seed { covered, state: DomainState::default() }
            }
            EpochKind::Delta => {
                let standing = self.newest_complete();
                if standing.is_none() || base != standing || Some(epoch) <= standing {
                    return Err(ReceiveError::WrongBase { epoch, base, standing });
                }
                let mut buffer = self.spare.pop().unwrap_or_else(|| EpochBuffer::new(epoch));
                buffer.epoch = epoch;
                OpenPages::Delta { buffer }
            }
        };
        self.open = Some(Open { epoch, digest: Digest::new(), checked: Checked::default(), pages });
        Ok(())
    }

    /// Processes a batch of pages. After an error the epoch is dropped.
    pub fn pages(&mut self, batch: &[u8]) -> Result<(), ReceiveError> {
        let result = self.take_batch(batch);
        if result.is_err() {
            self.drop_incomplete();
        }
        result
    }

    /// Processes a piece of the epoch's libxc records. Pieces are joined.
    pub fn libxc_state(&mut self, bytes: &[u8]) -> Result<(), ReceiveError> {
        self.take_state(bytes, |state| &mut state.libxc)
    }

    /// Processes a piece of the epoch's libxl records. Pieces are joined.
    pub fn libxl_state(&mut self, bytes: &[u8]) -> Result<(), ReceiveError> {
        self.take_state(bytes, |state| &mut state.libxl)
    }

    /// Refuses the epoch for what it has for disks.
    pub fn refuse_disks(&mut self, why: String) -> Result<(), ReceiveError> {
        if self.open.is_none() {
            return Err(ReceiveError::NoEpoch);
        }
        self.drop_incomplete();
        Err(ReceiveError::Disks(why))
    }

    /// Ends the epoch. If everything has arrived and is right, the epoch is complete and may be acknowledged; a full
    /// sync is then also committed. After an error the epoch is dropped.
    pub fn finish(&mut self, sent: EpochSummary) -> Result<(), ReceiveError> {
        let open = self.open.as_ref().ok_or(ReceiveError::NoEpoch)?;
        if let Err(error) = open.verify(sent) {
            self.drop_incomplete();
            return Err(error);
        }
        let Open { epoch, pages, .. } = self.open.take().expect("looked at above");
        match pages {
            OpenPages::Seed { state, .. } => {
                self.sink.apply_state(&state);
                self.check_sink()?;
                self.committed = Some(epoch);
            }
            OpenPages::Delta { buffer } => {
                self.complete.push_back(buffer);
                self.check_sink()?;
            }
        }
        Ok(())
    }

    /// Checks that the image could be activated now, because an acknowledgement promises that. If it could not, the
    /// image is given up.
    pub fn check_sink(&mut self) -> Result<(), ReceiveError> {
        let Some(fault) = self.sink.check() else { return Ok(()) };
        self.drop_image();
        Err(ReceiveError::Sink(fault))
    }

    /// Why a part was refused. A fault of the sink comes first, because its pages then differ from those that were
    /// sent.
    pub fn explain(&mut self, error: ReceiveError) -> ReceiveError {
        self.check_sink().err().unwrap_or(error)
    }

    /// Applies every complete epoch up to `epoch` to the image. If the sink fails to apply one, the image is given up.
    pub fn commit(&mut self, epoch: Epoch) {
        self.commit_telling(epoch, |_| {});
    }

    /// [`commit`](Self::commit), which calls `changed` for each frame of the image that it writes.
    pub fn commit_telling(&mut self, epoch: Epoch, mut changed: impl FnMut(Pfn)) {
        while self.complete.front().is_some_and(|front| front.epoch <= epoch) {
            let buffer = self.complete.pop_front().expect("just seen");
            for (entry, held) in buffer.entries() {
                self.kept.before(entry.pfn(), &self.sink);
                self.sink.apply_page(*entry, held.page(&self.pool));
                changed(entry.pfn());
            }
            self.sink.apply_state(&buffer.state);
            self.committed = Some(buffer.epoch);
            self.recycle(buffer);
            if self.sink.fault().is_some() {
                return self.drop_image();
            }
        }
    }

    /// Drops the epoch that is arriving, if any. If it was a full sync, no image is left.
    pub fn drop_incomplete(&mut self) {
        if let Some(Open { pages: OpenPages::Delta { buffer }, .. }) = self.open.take() {
            self.recycle(buffer);
        }
    }

    /// Drops the arriving epoch and every complete but uncommitted one, because they will not be acknowledged.
    pub fn drop_uncommitted(&mut self) {
        self.drop_incomplete();
        while let Some(buffer) = self.complete.pop_front() {
            self.recycle(buffer);
        }
    }

    /// Drops everything. Only a full sync can follow.
    pub fn drop_image(&mut self) {
        self.drop_uncommitted();
        self.committed = None;
        self.kept.clear();
    }

    /// The newest complete epoch, committed or not; `None` if there is no image.
    pub fn newest_complete(&self) -> Option<Epoch> {
        self.complete.back().map(|buffer| buffer.epoch).or(self.committed)
    }

    /// The epoch of the sink's image; `None` if there is no image.
    pub fn committed(&self) -> Option<Epoch> {
        self.committed
    }

    /// Bytes of uncommitted epochs, which [`Limits::buffer_bytes_max`] bounds.
    pub fn buffered_bytes(&self) -> usize {
        let open = self.open.as_ref().and_then(|open| open.pages.buffer());
        let epochs = self.complete.iter().chain(open);
        self.pool.used_bytes() + epochs.map(EpochBuffer::overhead_bytes).sum::<usize>()
    }

    /// The epochs of the past that are kept.
    pub fn kept(&self) -> &KeptEpochs {
        &self.kept
    }

    /// Keeps the committed epoch, if there is one, with the time: nanoseconds since 1970.
    pub fn keep(&mut self, at_unix_ns: u64) {
        if let Some(epoch) = self.committed {
            self.kept.keep(epoch, at_unix_ns, &self.sink);
        }
    }

    /// Keeps an epoch at least until [`unpin`](Self::unpin), for somebody who reads it: `epoch`, or the committed one.
    /// Returns which that is.
    pub fn pin(&mut self, epoch: Option<Epoch>, at_unix_ns: u64) -> Result<Epoch, NotKept> {
        let committed = self.committed.ok_or(NotKept::Nothing)?;
        self.kept.pin(epoch, committed, at_unix_ns, &self.sink)
    }

    /// Drops what is kept of the past, since the memory is needed.
    pub fn drop_kept(&mut self) {
        self.kept.clear();
    }

    /// Nobody reads the pinned epoch any more.
    pub fn unpin(&mut self) {
        self.kept.unpin(&self.sink);
    }

    /// Some frames of a kept epoch, from `from` on.
    pub fn read_kept(&self, epoch: Epoch, from: Pfn, staging: &mut Staging) -> Result<Option<Pfn>, NotKept> {
        self.kept.read(epoch, from, self.limits.page_count, &self.sink, staging)
    }

    /// The sink.
    pub fn sink(&self) -> &S {
        &self.sink
    }

    /// The sink, for changes that do not concern the guest's pages or state.
    pub fn sink_mut(&mut self) -> &mut S {
        &mut self.sink
    }

    /// Returns the sink, at the epoch [`committed`](Self::committed). A takeover commits first.
    pub fn into_sink(self) -> S {
        self.sink
    }

    fn recycle(&mut self, mut buffer: EpochBuffer) {
        buffer.reuse(&mut self.pool);
        if self.spare.len() < SPARE_BUFFERS_MAX {
            self.spare.push(buffer);
        }
    }

    fn take_state(
        &mut self,
        bytes: &[u8],
        part: fn(&mut DomainState) -> &mut Vec<u8>,
    ) -> Result<(), ReceiveError> {
        let limit = self.limits.buffer_bytes_max;
        let buffered = self.buffered_bytes();
        let open = self.open.as_mut().ok_or(ReceiveError::NoEpoch)?;
        let state = open.pages.state_mut();
        let held = buffered.max(state.libxc.len() + state.libxl.len());
        if held + bytes.len() > limit {
            self.drop_incomplete();
            return Err(ReceiveError::TooLarge(limit));
        }
        let part = part(state);
        if let Err(error) = reserve(part, bytes.len()) {
            self.drop_incomplete();
            return Err(error.into());
        }
        part.extend_from_slice(bytes);
        Ok(())
    }

    fn take_batch(&mut self, batch: &[u8]) -> Result<(), ReceiveError> {
        let Some(Open { digest, checked, pages, .. }) = &mut self.open else {
            return Err(ReceiveError::NoEpoch);
        };
        match (batch.first(), &*pages) {
            (Some(&FORM_STATE), _) => return Ok(checked.state(batch)?),
            (Some(&FORM_CHECKS), OpenPages::Seed { .. }) => return Err(BatchError::Checks.into()),
            (Some(&FORM_CHECKS), OpenPages::Delta { .. }) => {
                let base = Base { complete: &self.complete, sink: &self.sink };
                let page = |pfn| base.page(pfn, &self.pool);
                return Ok(checked.pages(batch, self.limits.page_count, page)?);
            }
            _ => {}
        }
        let mut entries = self.decoder.open(batch, self.limits.page_count)?;
        match pages {
            OpenPages::Seed { covered, .. } => apply_seed(&mut entries, &mut self.sink, covered, digest),
            OpenPages::Delta { buffer } => {
                let base = Base { complete: &self.complete, sink: &self.sink };
                let others = self.complete.iter().map(EpochBuffer::overhead_bytes).sum();
                let room = Room { limit: self.limits.buffer_bytes_max, others };
                buffer_delta(&mut entries, buffer, &base, &mut self.pool, room, digest)
            }
        }
    }
}

impl Open {
    /// Whether everything that was sent has arrived.
    fn verify(&self, sent: EpochSummary) -> Result<(), ReceiveError> {
        let received = self.digest.summary();
        if received != sent {
            return Err(ReceiveError::Mismatch { sent, received });
        }
        if let OpenPages::Seed { covered, .. } = &self.pages
            && let Some(missing) = (0..covered.page_count()).map(Pfn).find(|pfn| !covered.get(*pfn))
        {
            return Err(ReceiveError::SeedIncomplete(missing));
        }
        self.checked.verify(self.epoch, self.pages.state())
    }
}
