//! The receive thread of a guest held as secondary: parts of epochs in, a committed image kept, and the guest
//! started from it when the session says so.
//!
//! ```text
//!   link ─► event loop ──work, bounded──► receive thread ──► Receiver<Box<dyn Replica>>
//!               ▲                              │
//!               └── Complete, Broken, Committed, RunningGuest ──┘
//! ```
//!
//! What is damaged or does not fit ends its epoch, never the image before it.

mod activation;

use super::in_memory::InMemory;
use super::keeping::Keeping;
use super::past::Past;
use super::work::{Committed, Held, Work};
use crate::guest::copy::CopyOrder;
use crate::guest::disks::HeldDisks;
use crate::guest::disks::held::DisksError;
use crate::guest::host::Host;
use crate::guest::replica::Replica;
use crate::guest::report::{Report, Reporter};
use crate::memory;
use crossbeam::channel::{Receiver as Inbox, TryRecvError, select};
use std::sync::Arc;
use understudy_checkpoint::domain::{Description, Sink};
use understudy_checkpoint::epoch::{EpochHead, EpochPart, Image, Limits, ReceiveError, Receiver, Staging};
use understudy_checkpoint::{Epoch, Generation};
use understudy_disk::sync::talk::Say;
use understudy_link::{HoldReason, HoldRefusal};
use understudy_session::{Decline, EpochKind};

/// Batches from one look at the host's memory to the next: some megabytes of pages.
const WATCHED_BATCHES: u32 = 64;

/// Memory of this process for an image of `page_count` frames.
fn in_memory(page_count: u64, host: &Arc<dyn Host>) -> Box<dyn Replica> {
    Box::new(InMemory::new(Image::new(page_count), host.clone()))
}

pub(in crate::guest) struct ReceiveThread {
    held: Held,
    pub(in crate::guest) receiver: Receiver<Box<dyn Replica>>,
    /// The copy that runs beside the image.
    copy: Keeping,
    /// The guest's disks, from its first full copy on.
    disks: Option<HeldDisks>,
    /// The generation of the acked epochs.
    generation: Generation,
    /// Whether the host was asked for a replica.
    is_prepared: bool,
    /// The epoch that parts belong to; `None` while parts are to be skipped.
    open: Option<(Generation, Epoch)>,
    limits: Limits,
    unwatched_batches: u32,
    /// Whether a takeover has begun, so that nobody else has this image.
    is_last_copy: bool,
    past: Past,
    /// Returns how much memory is available.
    pub(in crate::guest) available_bytes: fn() -> Option<u64>,
    reporter: Reporter,
}

/// What there is to do next.
enum Next {
    Work(Work),
    /// For whoever reads a kept epoch; `None` if nobody does any more.
    Emptied(Option<Staging>),
    /// Nothing has arrived.
    Nothing,
    /// The loop has dropped its end.
    End,
}

impl ReceiveThread {
    pub(in crate::guest) fn new(held: Held, limits: Limits, reporter: Reporter) -> Self {
        let mut receiver = Receiver::new(in_memory(limits.page_count, &held.host), limits);
        let past = Past::new(&held, &mut receiver);
        Self {
            past,
            held,
            receiver,
            copy: Keeping::default(),
            disks: None,
            generation: Generation(0),
            is_prepared: false,
            open: None,
            limits,
            unwatched_batches: 0,
            is_last_copy: false,
            available_bytes: memory::available_bytes,
            reporter,
        }
    }

    /// Works until the loop drops its end; calls `did` after each piece of work.
    pub(super) fn run(mut self, inbox: &Inbox<Work>, did: impl Fn()) {
        loop {
            match self.next(inbox) {
                Next::Work(work) => {
                    let Some(goes_on) = self.take(work) else { return };
                    self = goes_on;
                    did();
                }
                Next::Emptied(staging) => self.past.read_on(&mut self.receiver, staging),
                Next::Nothing => {}
                Next::End => break,
            }
            self.set_on();
        }
        self.save();
    }

    /// Arriving work goes first. A copy that is being set waits for nothing.
    fn next(&self, inbox: &Inbox<Work>) -> Next {
        let emptied = &self.past.emptied;
        match inbox.try_recv() {
            Ok(work) => return Next::Work(work),
            Err(TryRecvError::Disconnected) => return Next::End,
            Err(TryRecvError::Empty) => {}
        }
        if self.copy.is_setting() {
            return match emptied.try_recv() {
                Ok(staging) => Next::Emptied(Some(staging)),
                Err(TryRecvError::Disconnected) => Next::Emptied(None),
                Err(TryRecvError::Empty) => Next::Nothing,
            };
        }
        if !self.past.is_read() {
            return inbox.recv().map_or(Next::End, Next::Work);
        }
        select! {
            recv(inbox) -> work => work.map_or(Next::End, Next::Work),
            recv(emptied) -> staging => Next::Emptied(staging.ok()),
        }
    }

    /// Does one piece of work; `None` once the guest was to be started.
    pub(in crate::guest) fn take(mut self, work: Work) -> Option<Self> {
        if let Work::Activate { generation, open, through } = work {
            self.copy.drop_copy();
            return self.activate(generation, open, through.as_ref());
        }
        if let Work::ActivateCopy { generation, open } = work {
            return self.activate_copy(generation, open);
        }
        self.step(work);
        Some(self)
    }

    pub(in crate::guest) fn step(&mut self, work: Work) {
        match work {
            Work::Begin(head) => self.begin(head),
            Work::Part(part) => self.part(&part),
            Work::LookAgain { generation, epoch } => self.look_again(generation, epoch),
            Work::Commit(epoch) if self.copy.is_setting() => self.copy.put_off(epoch),
            Work::Commit(epoch) => self.commit(epoch),
            Work::DropIncomplete => {
                // Acked epochs that wait for the copy are not incomplete.
                self.set_to_end();
                self.open = None;
                self.receiver.drop_uncommitted();
                self.drop_writes();
            }
            Work::DropImage => {
                self.copy.drop_copy();
                self.open = None;
                self.drop_image();
                self.drop_writes();
            }
            Work::Renew(description) => {
                self.copy.drop_copy();
                self.renew(*description);
            }
            Work::LiveCopy(order) => self.order(order),
            Work::Read(request) => self.past.begin_reading(&mut self.receiver, request),
            Work::Copy(to) => {
                let _ = to.send(self.copy());
            }
            Work::Save => self.save(),
            Work::PauseOlder(newest) => self.pause_older(newest),
            Work::EndOlder(newest) => self.end_older(newest),
            Work::Activate { .. } | Work::ActivateCopy { .. } => unreachable!("it ends the thread, see take"),
        }
    }

    fn begin(&mut self, head: EpochHead) {
        let EpochHead { generation, epoch, kind, base } = head;
        self.open = Some((generation, epoch));
        self.generation = generation;
        if kind == EpochKind::Seed {
            self.copy.drop_copy();
            self.past.begin_anew();
            self.prepare();
        }
        self.take_in(|receiver| receiver.begin(epoch, kind, base));
        self.begin_writes(&head);
    }

    fn part(&mut self, part: &EpochPart<Vec<u8>>) {
        if matches!(part, EpochPart::End(_)) {
            self.fall_back();
        }
        self.take_in_writes(part);
        match part {
            EpochPart::Writes { .. } | EpochPart::WritesEnd(_) | EpochPart::Ask { .. }
                if self.disks.is_some() => {}
            part => self.take_in(|receiver| receiver.part(part)),
        }
        self.complete_writes(part);
        match part {
            EpochPart::Pages(_) => self.watch_memory(),
            EpochPart::End(_) => {
                if let Some((generation, epoch)) = self.open.take() {
                    self.reporter.tell(Report::Complete { generation, epoch });
                }
            }
            EpochPart::LibxcState(_)
            | EpochPart::LibxlState(_)
            | EpochPart::Writes { .. }
            | EpochPart::WritesEnd(_)
            | EpochPart::Ask { .. } => {}
        }
    }

    /// A complete epoch is acked only if the image could be activated at that moment.
    fn look_again(&mut self, generation: Generation, epoch: Epoch) {
        self.fall_back();
        let error = match self.receiver.check_sink() {
            Ok(()) if self.receiver.newest_complete() == Some(epoch) => {
                return self.reporter.tell(Report::Complete { generation, epoch });
            }
            Ok(()) => "the epoch was dropped before its ack".to_owned(),
            Err(error) => error.to_string(),
        };
        self.reporter.tell(Report::Broken { generation, epoch, why: Decline::ImageLost, error });
    }

    /// The disks are opened by the first full copy.
    fn begin_writes(&mut self, head: &EpochHead) {
        let Held { name, description, host, .. } = &self.held;
        if description.disks_bytes.is_empty() || self.open.is_none() {
            return;
        }
        if self.disks.is_none() {
            match host.disks(name, description) {
                Ok(disks) => self.disks = Some(disks),
                Err(error) => return self.refuse_disks(&error),
            }
        }
        self.with_disks(|disks| disks.begin(head));
    }

    fn take_in_writes(&mut self, part: &EpochPart<Vec<u8>>) {
        if self.open.is_none() {
            return;
        }
        match part {
            EpochPart::Writes { generation, tag, batch } => {
                self.with_disks(|disks| disks.writes(*generation, *tag, batch));
            }
            EpochPart::WritesEnd(end) => self.with_disks(|disks| disks.end(*end)),
            EpochPart::Ask { generation, epoch, ask } => {
                let mut said = None;
                self.with_disks(|disks| {
                    said = disks.ask(*generation, *epoch, ask)?;
                    Ok(())
                });
                self.say_of_disks(*generation, *epoch, said);
            }
            EpochPart::End(_) => self.with_disks(|disks| disks.check_whole()),
            _ => {}
        }
    }

    /// Memory is whole, and so were the writes. After a full copy the disks are at its epoch before it is acked.
    fn complete_writes(&mut self, part: &EpochPart<Vec<u8>>) {
        if !matches!(part, EpochPart::End(_)) || self.open.is_none() {
            return;
        }
        let (Some(disks), Some((generation, epoch))) = (&mut self.disks, self.open) else { return };
        match disks.complete() {
            Ok(is_applied) => self.say_of_disks(generation, epoch, is_applied.then_some(Say::Applied)),
            Err(error) => self.lose_disks(&error),
        }
    }

    fn say_of_disks(&self, generation: Generation, epoch: Epoch, said: Option<Say>) {
        if let Some(say) = said {
            let report = Report::DiskSay { generation, epoch, say: say.encode() };
            match say {
                // What follows at once wakes the loop.
                Say::Applied => self.reporter.note(report),
                Say::Stand(_) | Say::Hashes(_) => self.reporter.tell(report),
            }
        }
    }

    /// An error ends the epoch.
    fn with_disks(&mut self, act: impl FnOnce(&mut HeldDisks) -> Result<(), DisksError>) {
        let Some(disks) = &mut self.disks else { return };
        if let Err(error) = act(disks) {
            self.refuse_disks(&error);
        }
    }

    fn refuse_disks(&mut self, error: &DisksError) {
        self.reporter.note(Report::DiskFails { error: error.to_string() });
        self.take_in(|receiver| receiver.refuse_disks(error.to_string()));
    }

    /// Drops disk writes that are not acked.
    fn drop_writes(&mut self) {
        let whole = self.receiver.newest_complete();
        if let Some(disks) = &mut self.disks {
            disks.drop_after(whole);
        }
    }

    /// The disks have failed, so the image is given up as well.
    fn lose_disks(&mut self, error: &DisksError) {
        let guest = &self.held.name;
        tracing::error!(guest, %error, "The guest's disks cannot be kept here; its copy is given up");
        self.disks = None;
        self.reporter.note(Report::DiskFails { error: error.to_string() });
        self.drop_image();
        if let Some((generation, epoch)) = self.open.take() {
            let (why, error) = (Decline::ImageLost, error.to_string());
            self.reporter.tell(Report::Broken { generation, epoch, why, error });
        }
    }

    /// Frees the image's memory: another guest may need it before this one's next full sync.
    fn drop_image(&mut self) {
        self.receiver.drop_image();
        if self.receiver.sink().is_in_memory() {
            *self.receiver.sink_mut() = in_memory(self.held.description.page_count, &self.held.host);
        }
    }

    fn renew(&mut self, description: Description) {
        self.limits.page_count = description.page_count;
        // A standby domain goes with the former receiver.
        self.receiver = Receiver::new(in_memory(description.page_count, &self.held.host), self.limits);
        (self.held.description, self.is_prepared, self.open) = (description, false, None);
        self.past = Past::new(&self.held, &mut self.receiver);
    }

    /// Prepares a replica for a full sync: the host's, or this process's memory if that failed.
    fn prepare(&mut self) {
        let Held { name, description, host, .. } = &self.held;
        if self.receiver.sink().is_refused() {
            // Another kind of replica would not start either. The host is asked again, and nothing is acked before it accepts.
            self.receiver.drop_image();
            // The former standby domain goes first, because its name is needed.
            *self.receiver.sink_mut() = in_memory(description.page_count, host);
            if let Some(replica) = host.replica(name, description) {
                *self.receiver.sink_mut() = replica;
            }
        } else if let Some(fault) = self.receiver.sink().fault() {
            tracing::warn!(
                guest = name,
                fault,
                "No domain stands by; the image is held in memory from now on"
            );
            self.receiver.drop_image();
            *self.receiver.sink_mut() = in_memory(description.page_count, host);
        } else if !std::mem::replace(&mut self.is_prepared, true) {
            let needed_bytes = match host.replica(name, description) {
                Some(replica) => {
                    *self.receiver.sink_mut() = replica;
                    0
                }
                // If a domain was to hold the image, no memory of this process was reserved.
                None if host.image_bytes(description) == 0 => host.fallback_bytes(description),
                None => 0,
            };
            self.check_memory(needed_bytes);
        }
    }

    /// Checks memory again and again while an image grows, because other processes use it as well.
    fn watch_memory(&mut self) {
        self.unwatched_batches += 1;
        if self.unwatched_batches >= WATCHED_BATCHES && self.receiver.sink().is_in_memory() {
            self.unwatched_batches = 0;
            self.check_memory(0);
        }
    }

    /// Gives the guest up if the host has less than `needed_bytes` and a reserve. Otherwise the kernel would kill the process,
    /// and the images of all guests with it.
    fn check_memory(&mut self, needed_bytes: u64) {
        let Some(available) = (self.available_bytes)() else { return };
        if available >= needed_bytes.saturating_add(memory::RESERVE_BYTES) {
            return;
        }
        if let Some(freed) = self.past.free(&mut self.receiver) {
            return self.reporter.note(freed);
        }
        self.open = None;
        self.drop_image();
        let why = format!(
            "the image takes memory of the engine, {} MiB more, and {} MiB are available",
            needed_bytes >> 20,
            available >> 20
        );
        self.reporter.tell(Report::GivenUp { refusal: HoldRefusal::new(HoldReason::Memory, why) });
    }

    /// An error ends the epoch; its remaining parts are skipped.
    fn take_in(&mut self, take: impl FnOnce(&mut Receiver<Box<dyn Replica>>) -> Result<(), ReceiveError>) {
        let Some((generation, epoch)) = self.open else { return };
        if let Err(error) = take(&mut self.receiver) {
            self.open = None;
            let error = self.receiver.explain(error);
            self.drop_writes();
            let why = match error {
                ReceiveError::TooLarge(_) | ReceiveError::OutOfMemory(_) => Decline::TooLarge,
                ReceiveError::WrongBase { .. } => Decline::WrongBase,
                ReceiveError::Diverged { .. } => Decline::Diverged,
                ReceiveError::Sink(_) => Decline::ImageLost,
                _ => Decline::Damaged,
            };
            self.reporter.tell(Report::Broken { generation, epoch, why, error: error.to_string() });
        }
    }

    fn commit(&mut self, epoch: Epoch) {
        let applied = self.disks.as_mut().map_or(Ok(false), |disks| disks.commit(self.generation, epoch));
        match applied {
            Ok(is_applied) => {
                self.say_of_disks(self.generation, epoch, is_applied.then_some(Say::Applied));
            }
            Err(error) => {
                self.lose_disks(&error);
                return self.reporter.tell(Report::CommitFailed { epoch, error: error.to_string() });
            }
        }
        self.receiver.commit_telling(epoch, |pfn| self.copy.changed(pfn));
        self.fall_back();
        let kept = self.past.committed(&mut self.receiver, self.available_bytes);
        kept.into_iter().for_each(|kept| self.reporter.note(kept));
        let committed = self.receiver.committed();
        self.reporter.tell(if committed == Some(epoch) {
            Report::Committed { epoch }
        } else {
            let standing = committed.map_or("no epoch".into(), |epoch| format!("epoch {epoch}"));
            let error = format!("The image stands at {standing} after the commit of epoch {epoch}");
            Report::CommitFailed { epoch, error }
        });
    }

    /// Moves the image to memory of this process, if the host could not complete the replica. Before the replica is checked,
    /// since what could not be completed is no fault of the image.
    fn fall_back(&mut self) {
        let Some((why, image)) = self.receiver.sink_mut().fall_back() else { return };
        *self.receiver.sink_mut() = Box::new(InMemory::new(image, self.held.host.clone()));
        tracing::warn!(
            guest = self.held.name,
            why,
            "No domain stands by; the image is held in memory from now on, and a takeover takes longer"
        );
    }

    fn copy(&self) -> Option<Committed> {
        let epoch = self.receiver.committed()?;
        Some(Committed { epoch, image: self.receiver.sink().to_image()? })
    }

    fn order(&mut self, order: CopyOrder) {
        let is_drop = matches!(order, CopyOrder::Drop);
        if let Some(report) = self.copy.order(order, &self.receiver, &self.held) {
            self.reporter.tell(report);
        }
        if is_drop {
            self.commit_put_off();
        }
    }

    pub(in crate::guest) fn is_setting(&self) -> bool {
        self.copy.is_setting()
    }

    /// Sets some more frames of the copy. Once it is set, does the commits that waited.
    pub(in crate::guest) fn set_on(&mut self) {
        if let Some(report) = self.copy.step(&self.receiver, &self.held) {
            self.reporter.tell(report);
            self.commit_put_off();
        }
    }

    /// Sets the rest of the copy at once, because what comes next cannot be done in between.
    fn set_to_end(&mut self) {
        while self.copy.is_setting() {
            self.set_on();
        }
    }

    fn commit_put_off(&mut self) {
        while let Some(epoch) = self.copy.next_put_off() {
            self.commit(epoch);
        }
    }
}
