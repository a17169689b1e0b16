//! Saves a domain for libxl: once (`xl save`, `xl migrate`), or as an endless sequence of checkpoints (`xl remus`).
//!
//! ```text
//!   head │ live passes │ suspend, what is left │ state │ END                                 plain
//!   head │ live passes │ suspend, what is left │ state │ CHECKPOINT │ libxl's part │          Remus
//!                      ▲ each epoch: suspend, copy to staging, state, RESUME, and only then the writing
//! ```
//!
//! Stock Xen writes an epoch's pages while the guest is suspended. Here the guest continues as soon as they are in
//! staging. Pages that do not fit are written within the pause, which is slow but correct.
//!
//! Not here: the guest's memory and state ([`XenSource`](crate::domain::XenSource)), and the messages ([`Channel`]).

use super::channel::{Channel, ChannelError, Level};
use super::toolstack::Libxl;
use crate::domain::XenSource;
use std::io::{self, Write};
use std::time::Instant;
use understudy_checkpoint::Pfn;
use understudy_checkpoint::domain::{DomainError, DomainState, GuestKind, Source};
use understudy_checkpoint::epoch::Staging;
use understudy_checkpoint::pages::DirtyBitmap;
use understudy_checkpoint::stream::libxc::{DomainType, LibxcHeader, Record, write_page_data_head};
use understudy_checkpoint::stream::limits::BATCH_ENTRIES_MAX;
use zerocopy::IntoBytes;

/// Live passes at most, as in stock Xen …
const LIVE_PASSES_MAX: u32 = 5;
/// … which end when fewer pages than this are dirty.
const LIVE_STOP_PAGES: u64 = 50;

/// Pages of staging: what one pause can copy without writing. 64 MiB, whole batches.
const STAGING_PAGES: usize = 16 * BATCH_ENTRIES_MAX;

/// How a domain is saved.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StreamKind {
    /// Once; the guest stays suspended.
    Plain,
    /// Checkpoint after checkpoint, until somebody ends it.
    Remus,
}

/// Why a save ended early.
#[derive(thiserror::Error, Debug)]
pub enum SaveError {
    /// The guest or the hypervisor is at fault.
    #[error(transparent)]
    Domain(#[from] DomainError),
    /// libxl does not answer, or refuses.
    #[error(transparent)]
    Channel(#[from] ChannelError),
    /// The stream cannot be written.
    #[error("The stream cannot be written: {0}")]
    Stream(#[from] io::Error),
}

/// A save in progress.
pub struct Save<'a, W> {
    source: &'a mut XenSource<Libxl>,
    out: W,
    kind: StreamKind,
    staging: Staging,
    state: DomainState,
    /// Frames that must still be sent.
    pending: DirtyBitmap,
    /// Bytes collected before they are written.
    buffer: Vec<u8>,
    copiers: usize,
}

impl<'a, W: Write> Save<'a, W> {
    /// Saves `source` into `out`.
    pub fn new(
        source: &'a mut XenSource<Libxl>,
        out: W,
        kind: StreamKind,
        copiers: usize,
    ) -> Result<Self, SaveError> {
        let page_count = source.page_count();
        let staging =
            Staging::new(STAGING_PAGES.min(page_count as usize).next_multiple_of(BATCH_ENTRIES_MAX));
        let mut pending = DirtyBitmap::try_new(page_count).map_err(DomainError::from)?;
        pending.set_all();
        Ok(Self {
            source,
            out,
            kind,
            staging,
            state: DomainState::default(),
            pending,
            buffer: Vec::new(),
            copiers,
        })
    }

    /// Writes the whole stream. With [`StreamKind::Remus`] this ends only by an error.
    pub fn run(mut self, live: bool) -> Result<(), SaveError> {
        let tracks = live || self.kind == StreamKind::Remus;
        let saved = self.save(tracks);
        if tracks {
            // Whatever happened: the guest may run on, and should do so at full speed.
            let ended = self.source.end_log_dirty();
            saved.and(ended.map_err(SaveError::from))
        } else {
            saved
        }
    }

    fn save(&mut self, tracks: bool) -> Result<(), SaveError> {
        self.head()?;
        if tracks {
            self.source.begin_log_dirty()?;
            self.live_passes()?;
        }
        match self.kind {
            StreamKind::Plain => {
                self.source.suspend()?;
                self.last_pass(tracks)?;
                self.write_state()?;
                self.write_record(&Record::End)
            }
            StreamKind::Remus => loop {
                self.checkpoint()?;
            },
        }
    }

    fn channel(&mut self) -> &mut Channel {
        &mut self.source.toolstack().channel
    }

    fn head(&mut self) -> Result<(), SaveError> {
        let what = self.source.describe()?;
        let domain_type = if what.kind == GuestKind::Pv { DomainType::Pv } else { DomainType::Hvm };
        let header = LibxcHeader { version: what.libxc_version, domain_type, xen_version: what.xen_version };
        self.buffer.clear();
        header.write(&mut self.buffer);
        self.buffer.extend_from_slice(&what.static_records);
        self.out.write_all(&self.buffer)?;
        Ok(())
    }

    /// Writes everything once and then what was dirtied meanwhile, while the guest runs.
    fn live_passes(&mut self) -> Result<(), SaveError> {
        for pass in 0..LIVE_PASSES_MAX {
            let dirty = self.pending.count();
            if dirty < LIVE_STOP_PAGES {
                break;
            }
            self.channel().progress(&format!("Frames, pass {pass}"), 0, dirty);
            self.write_pending()?;
            self.source.drain_dirty(&mut self.pending)?;
        }
        Ok(())
    }

    /// Copies and writes all pending frames.
    fn write_pending(&mut self) -> Result<(), SaveError> {
        let mut next = Some(Pfn(0));
        while let Some(from) = next {
            next = self.source.copy_pages(&self.pending, from, &mut self.staging, self.copiers)?;
            self.write_staged()?;
        }
        self.pending.clear();
        Ok(())
    }

    /// Writes what is left once the guest is suspended, and its state.
    fn last_pass(&mut self, tracks: bool) -> Result<(), SaveError> {
        if tracks {
            self.source.drain_dirty(&mut self.pending)?;
        }
        self.write_pending()?;
        self.capture_state()
    }

    /// Writes one epoch: suspend, dirty pages, state, resume, then libxl's part.
    fn checkpoint(&mut self) -> Result<(), SaveError> {
        self.source.suspend()?;
        let suspended = Instant::now();
        self.source.drain_dirty(&mut self.pending)?;
        let mut next = self.source.copy_pages(&self.pending, Pfn(0), &mut self.staging, self.copiers)?;
        while let Some(from) = next {
            self.write_staged()?;
            next = self.source.copy_pages(&self.pending, from, &mut self.staging, self.copiers)?;
        }
        self.capture_state()?;
        self.source.resume()?;
        self.source.after_resume();
        let (pages, stood_still) = (self.pending.count(), suspended.elapsed());
        self.pending.clear();
        self.write_staged()?;
        self.write_state()?;
        self.write_record(&Record::Checkpoint)?;
        self.out.flush()?;
        let text = format!("checkpoint: {pages} pages, stood still for {} us", stood_still.as_micros());
        self.channel().log(Level::Detail, &text);
        match self.channel().checkpoint()? {
            1 => Ok(()),
            reply => Err(ChannelError::Refused { what: "checkpoint", reply }.into()),
        }
    }

    fn capture_state(&mut self) -> Result<(), SaveError> {
        self.state.clear();
        Ok(self.source.capture_state(&mut self.state)?)
    }

    fn write_state(&mut self) -> Result<(), SaveError> {
        Ok(self.out.write_all(&self.state.libxc)?)
    }

    fn write_record(&mut self, record: &Record<'_>) -> Result<(), SaveError> {
        self.buffer.clear();
        record.write(&mut self.buffer);
        Ok(self.out.write_all(&self.buffer)?)
    }

    /// Writes staged pages in batches. In a pass over all pages the batches are aligned blocks of 1,024 pfns, so that
    /// no 2 MiB block is split between records: receivers since Xen 4.21 make a superpage only from a block that comes
    /// whole.
    fn write_staged(&mut self) -> Result<(), SaveError> {
        let mut pages = self.staging.pages();
        for entries in self.staging.entries().chunks(BATCH_ENTRIES_MAX) {
            self.buffer.clear();
            let data_pages = write_page_data_head(&mut self.buffer, entries);
            let (here, rest) = pages.split_at(data_pages);
            self.out.write_all(&self.buffer)?;
            self.out.write_all(here.as_bytes())?;
            pages = rest;
        }
        self.staging.clear();
        Ok(())
    }
}
