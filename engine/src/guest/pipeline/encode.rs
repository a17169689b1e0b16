//! The encode thread of a protected guest: encodes staged pages for the link, while the guest runs.
//!
//! ```text
//!   Begin  Pages* End │ Begin  Pages* Abandon │ Forget │ …        jobs, from the capture thread
//!                     ▼
//!   EpochBegin  PageBatch*  LibxcState  LibxlState  EpochEnd      parts, into the link's bounded queue
//!                        └─ the last ones: checks of clean pages, digest of the state
//! ```
//!
//! A full queue blocks this thread, which keeps staging full, which delays the next capture. A slow link thus makes
//! epochs longer, and no buffer larger. When the connection has ended, the rest of the epoch is dropped; the session
//! resynchronises on the next connection.

use super::job::Job;
use super::outlet::{Outlet, OutletClosed};
use super::unmarked::Found;
use crate::guest::disks::recording::WritesOf;
use crate::guest::figures::Encoded;
use crate::guest::report::{Report, Reporter};
use crossbeam::channel::{Receiver, Sender};
use std::sync::Arc;
use std::time::{Duration, Instant};
use understudy_checkpoint::Epoch;
use understudy_checkpoint::domain::DomainState;
use understudy_checkpoint::epoch::{EpochEnd, EpochHead, EpochPart, Staging, WritesEnd};
use understudy_checkpoint::pages::{Batches, Check, Encoder, put_checks, put_state_digest};
use understudy_disk::record::Tagged;
use understudy_session::EpochKind;

/// An epoch that is being encoded.
pub(in crate::guest) struct Open {
    head: EpochHead,
    /// `None` once the connection has ended.
    outlet: Option<Box<dyn Outlet>>,
    encoded: Encoded,
}

impl Open {
    fn begin(head: EpochHead, mut outlet: Box<dyn Outlet>) -> Self {
        let sent = outlet.begin(head);
        let mut open = Self { head, outlet: Some(outlet), encoded: Encoded::default() };
        open.count(sent);
        open
    }

    fn send(&mut self, part: EpochPart<&[u8]>) {
        if let Some(outlet) = &mut self.outlet {
            let sent = outlet.send(part);
            self.count(sent);
        }
    }

    fn writes(&mut self, batches: &[Arc<Tagged>]) {
        let generation = self.head.generation;
        for tagged in batches {
            self.send(EpochPart::Writes { generation, tag: tagged.tag, batch: &tagged.batch });
        }
    }

    fn count(&mut self, sent: Result<u64, OutletClosed>) {
        match sent {
            Ok(bytes) => self.encoded.link_bytes += bytes,
            Err(OutletClosed) => self.outlet = None,
        }
    }
}

/// The state of the thread.
pub(in crate::guest) struct EncodeThread {
    pub(in crate::guest) encoder: Encoder,
    pub(in crate::guest) batches: Batches,
    pub(in crate::guest) empty: Sender<Staging>,
    pub(in crate::guest) states: Sender<DomainState>,
    /// Frames that changed without a mark.
    pub(in crate::guest) found: Found,
    pub(in crate::guest) reporter: Reporter,
    /// For the metrics.
    pub(in crate::guest) staging_bytes: u64,
}

impl EncodeThread {
    /// Works until the capture thread drops its end.
    pub(in crate::guest) fn run(mut self, jobs: &Receiver<Job>) {
        let mut open = None;
        for job in jobs {
            open = self.step(job, open);
        }
    }

    pub(in crate::guest) fn step(&mut self, job: Job, mut open: Option<Open>) -> Option<Open> {
        match job {
            Job::Begin { head, outlet } => {
                self.encoder.begin_epoch(head.epoch, head.kind);
                return Some(Open::begin(head, outlet));
            }
            Job::Pages(staging) => self.pages(staging, open.as_mut()),
            Job::Writes(batches) => {
                if let Some(open) = &mut open {
                    open.writes(&batches);
                }
            }
            Job::Ask(ask) => {
                if let Some(open) = &mut open {
                    let EpochHead { generation, epoch, .. } = open.head;
                    open.send(EpochPart::Ask { generation, epoch, ask: &ask.encode() });
                }
            }
            Job::End { state, checks, writes } => {
                self.end(&state, checks, writes, open.take());
                self.put_back_state(state);
            }
            Job::Abandon { stand } => {
                if open.take().is_some() {
                    self.stand_at(stand);
                }
            }
            Job::Forget { after } => self.encoder.forget_after(after),
            Job::Answer(to) => {
                let outlet = open.as_mut().and_then(|open| open.outlet.as_mut());
                // Whoever asked may have given up.
                let _ = to.send(outlet.map_or(Duration::ZERO, |outlet| outlet.take_waited()));
            }
            Job::Hurry => {
                open.iter_mut().filter_map(|open| open.outlet.as_mut()).for_each(|outlet| outlet.hurry());
            }
            Job::PutBack(staging) => self.put_back(staging),
            Job::PutBackState(state) => self.put_back_state(state),
        }
        open
    }

    fn stand_at(&mut self, epoch: Option<Epoch>) {
        match epoch {
            Some(epoch) => self.encoder.forget_after(epoch),
            None => self.encoder.reset(),
        }
    }

    fn pages(&mut self, staging: Staging, open: Option<&mut Open>) {
        if let Some(open) = open {
            let started = Instant::now();
            self.batches.clear();
            let stats = self.encoder.encode(&staging, &mut self.batches);
            open.encoded.busy += started.elapsed();
            self.put_back(staging);
            let before = open.encoded.link_bytes;
            self.batches.iter().for_each(|batch| open.send(EpochPart::Pages(batch)));
            let link_bytes = open.encoded.link_bytes - before;
            open.encoded.stats += stats;
            open.outlet
                .iter_mut()
                .for_each(|outlet| outlet.passed(stats.data_pages() + stats.no_data, link_bytes));
            if open.head.kind == EpochKind::Seed {
                let pages = open.encoded.stats.data_pages() + open.encoded.stats.no_data;
                self.reporter.note(Report::Seeding { pages });
            }
        } else {
            self.put_back(staging);
        }
    }

    fn end(
        &mut self,
        state: &DomainState,
        mut checks: Vec<Check>,
        writes: Option<WritesOf>,
        open: Option<Open>,
    ) {
        let Some(mut open) = open else { return };
        let started = Instant::now();
        self.batches.clear();
        open.encoded.unmarked_pages = self.take_unmarked(&mut checks);
        put_checks(&checks, &mut self.batches);
        put_state_digest(state, &mut self.batches);
        open.encoded.busy += started.elapsed();
        open.encoded.checked_pages = checks.len() as u64;
        open.encoded.shadow_bytes = self.encoder.shadow_bytes();
        open.encoded.staging_bytes = self.staging_bytes;
        self.batches.iter().for_each(|batch| open.send(EpochPart::Pages(batch)));
        let EpochHead { generation, epoch, kind, .. } = open.head;
        let end = EpochEnd { generation, epoch, summary: self.encoder.end_epoch() };
        open.send(EpochPart::LibxcState(&state.libxc));
        open.send(EpochPart::LibxlState(&state.libxl));
        if let Some(WritesOf { batches, summary }) = writes {
            open.writes(&batches);
            open.send(EpochPart::WritesEnd(WritesEnd { generation, epoch, summary }));
        }
        open.send(EpochPart::End(end));
        self.reporter.note(Report::Encoded { epoch, kind, encoded: open.encoded });
    }

    /// Removes frames that are clean according to the log but differ from what was last encoded of them, and returns
    /// how many there are. Everything staged for this epoch is encoded by now. A frame whose hash is not known is left
    /// in.
    fn take_unmarked(&self, checks: &mut Vec<Check>) -> u64 {
        let Some(contents) = self.encoder.contents() else { return 0 };
        let (mut unmarked, mut found) = (0, Vec::new());
        checks.retain(|check| {
            let agrees = contents.agrees(check);
            if agrees == Some(false) {
                unmarked += 1;
                found.push(check.pfn);
            }
            agrees == Some(true)
        });
        self.found.add(found);
        unmarked
    }

    /// Returns a piece of staging. The channel has room for every piece, so this never waits. Without a capture thread
    /// the piece is not needed any more.
    fn put_back(&self, mut staging: Staging) {
        staging.clear();
        let _ = self.empty.send(staging);
    }

    fn put_back_state(&self, state: DomainState) {
        let _ = self.states.send(state);
    }
}
