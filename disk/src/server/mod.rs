//! One disk of a guest that runs here: what becomes of each request, in which order, and when it is answered.
//!
//! ```text
//!   request ─► intent map ─► order ─► record, ledger ─► local disk ─► answer
//!                  │           │            │
//!        a new region waits    │      no room: marked only, and nothing waits
//!        for its mark's flush  └ waits for earlier ones that overlap
//! ```
//!
//! So the rules of `docs/DISKS.md` hold by construction: a write is recorded before it is answered, as it is before it is
//! submitted (R1); nothing waits for the peer (R3); what overlaps is recorded and carried out in one order (R4); a flush,
//! and a write with FUA, is answered after the local disk says so (R7); a region is durable in the map first (R8).
//!
//! A write whose local disk failed is recorded nevertheless: its content is undefined here, and the guest is told.
//!
//! Not here: sockets, files, threads. Who owns a server carries out its [`Action`]s, in any order, and says what came of
//! each.

use crate::batch::{Content, Write};
use crate::flight::{Access, Flight, Ticket};
use crate::intent::{Intent, Pending};
use crate::ledger::Ledger;
use crate::nbd::{Command, Errno, Reply};
use crate::record::Record;
use crate::words::{DiskNumber, Extent};
use std::collections::{BTreeMap, VecDeque};
use understudy_checkpoint::Epoch;
use understudy_checkpoint::time::Time;

/// A request that is being worked on.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Job {
    /// It has a place in the order of requests.
    Ordered(Ticket),
    /// A flush, by its number.
    Flush(u64),
}

/// What is to be done. `B` holds a request's data.
#[derive(Debug)]
pub enum Action<B> {
    /// Read the local disk, then [`Server::done`] with the data.
    Read(Job, Extent),
    /// Write to the local disk; with *forced* flush it, too. Then [`Server::done`].
    Write {
        /// For `done`.
        job: Job,
        /// The sectors.
        extent: Extent,
        /// What; zeros if none.
        data: Option<B>,
        /// FUA.
        is_forced: bool,
    },
    /// Flush the local disk, then [`Server::done`].
    Flush(Job),
    /// Write and flush the intent map, then [`Server::marked`].
    Mark(Pending),
    /// Answer the kernel.
    Answer {
        /// What it is told.
        reply: Reply,
        /// Of a read.
        data: Option<B>,
    },
    /// A read for a sync: its content may be sent now, before any later write of the same place.
    Bulk {
        /// The sectors.
        extent: Extent,
        /// Its content, if the disk gave it.
        data: Result<B, Errno>,
    },
    /// The kernel ended the device.
    End,
}

/// Where writes are noted.
#[derive(Debug)]
pub enum Book<'a> {
    /// In the record of the open epoch.
    Record(&'a mut Record),
    /// Only as marks, in this epoch: there is no peer, or its copy is stale.
    Marks(Epoch),
}

#[derive(Debug)]
enum Wish<B> {
    Read { cookie: u64 },
    Bulk,
    Write { cookie: u64, data: Option<B>, is_forced: bool },
}

#[derive(Debug)]
enum Stage {
    /// Waits for earlier requests.
    Queued,
    /// Its turn has come; it waits for its region's mark.
    Marking,
    /// With the local disk; a write was noted in this epoch.
    Working(Epoch),
}

#[derive(Debug)]
struct Request<B> {
    extent: Extent,
    wish: Wish<B>,
    stage: Stage,
}

/// Of one disk.
#[derive(Debug)]
pub struct Server<B> {
    disk: DiskNumber,
    flight: Flight,
    intent: Intent,
    ledger: Ledger,
    requests: BTreeMap<Ticket, Request<B>>,
    flushes: BTreeMap<u64, u64>,
    next_flush: u64,
    actions: VecDeque<Action<B>>,
}

impl<B: AsRef<[u8]>> Server<B> {
    /// Serves a disk, with what is known of its past.
    pub fn new(disk: DiskNumber, intent: Intent, ledger: Ledger) -> Self {
        Self {
            disk,
            flight: Flight::new(),
            intent,
            ledger,
            requests: BTreeMap::new(),
            flushes: BTreeMap::new(),
            next_flush: 0,
            actions: VecDeque::new(),
        }
    }

    /// The next thing to do.
    pub fn next_action(&mut self) -> Option<Action<B>> {
        self.actions.pop_front()
    }

    /// Requests that are not answered yet, and reads for a sync.
    pub fn count(&self) -> usize {
        self.requests.len() + self.flushes.len()
    }

    /// What the peer may lack.
    pub fn ledger(&mut self) -> &mut Ledger {
        &mut self.ledger
    }

    /// All up to this epoch is on the peer's disk, flushed: what is forgotten, and which regions get cold.
    pub fn applied(&mut self, through: Epoch, now: Time) {
        self.ledger.applied(through);
        self.intent.cool(through, now);
        self.mark();
    }

    /// A full copy is applied at the peer: what the map had of earlier lives is like any other region. The label says so first.
    pub fn copied(&mut self) {
        self.intent.release_inherited();
        self.mark();
    }

    /// The kernel asks for something. `data` are those of a write.
    pub fn request(
        &mut self,
        cookie: u64,
        command: Result<Command, Errno>,
        data: Option<B>,
        book: &mut Book<'_>,
    ) {
        match command {
            Err(error) => self.answer(cookie, Err(error), None),
            Ok(Command::Disconnect) => self.actions.push_back(Action::End),
            Ok(Command::Flush) => {
                self.next_flush += 1;
                self.flushes.insert(self.next_flush, cookie);
                self.actions.push_back(Action::Flush(Job::Flush(self.next_flush)));
            }
            Ok(Command::Read(extent)) => self.enter(extent, Access::Read, Wish::Read { cookie }, book),
            Ok(Command::Write { extent, is_forced }) => {
                let is_whole =
                    data.as_ref().is_some_and(|data| data.as_ref().len() == extent.bytes() as usize);
                assert!(is_whole, "a write comes with its data");
                self.change(extent, Wish::Write { cookie, data, is_forced }, book);
            }
            Ok(Command::Zero { extent, is_forced }) => {
                self.change(extent, Wish::Write { cookie, data: None, is_forced }, book);
            }
        }
    }

    /// A sync wants to know what is there. The answer is [`Action::Bulk`].
    pub fn bulk(&mut self, extent: Extent, book: &mut Book<'_>) {
        self.enter(extent, Access::Read, Wish::Bulk, book);
    }

    /// The local disk is done with a job; of a read, `data` is the content.
    pub fn done(&mut self, job: Job, result: Result<Option<B>, Errno>, book: &mut Book<'_>, now: Time) {
        match job {
            Job::Flush(number) => {
                let cookie = self.flushes.remove(&number).expect("a flush is done once");
                self.answer(cookie, result.map(|_| ()), None);
            }
            Job::Ordered(ticket) => self.ended(ticket, result, book, now),
        }
    }

    /// The intent map was written and flushed, or not.
    pub fn marked(&mut self, pending: &Pending, is_written: bool, book: &mut Book<'_>, now: Time) {
        if is_written {
            self.intent.done(pending);
        } else {
            self.intent.failed();
        }
        let waits = |request: &Request<B>| matches!(request.stage, Stage::Marking);
        let waiting: Vec<_> =
            self.requests.iter().filter(|(_, request)| waits(request)).map(|(ticket, _)| *ticket).collect();
        for ticket in waiting {
            // Those that wait for their marks overlap none of each other, so none of them ends with another.
            let extent = self.requests[&ticket].extent;
            if self.intent.is_durable(extent) {
                self.start(ticket, book);
            } else if !is_written {
                self.ended(ticket, Err(Errno::Io), book, now);
            }
        }
        self.mark();
    }

    /// A write or zeros: its region first.
    fn change(&mut self, extent: Extent, wish: Wish<B>, book: &mut Book<'_>) {
        if self.intent.begin(extent).is_err() {
            if let Wish::Write { cookie, .. } = wish {
                self.answer(cookie, Err(Errno::Io), None);
            }
            return;
        }
        self.mark();
        self.enter(extent, Access::Write, wish, book);
    }

    fn enter(&mut self, extent: Extent, access: Access, wish: Wish<B>, book: &mut Book<'_>) {
        let (ticket, goes) = self.flight.enter(extent, access);
        self.requests.insert(ticket, Request { extent, wish, stage: Stage::Queued });
        if goes {
            self.turn(ticket, book);
        }
    }

    /// No earlier request is in its way.
    fn turn(&mut self, ticket: Ticket, book: &mut Book<'_>) {
        let request = self.requests.get_mut(&ticket).expect("who waits is there");
        if matches!(request.wish, Wish::Write { .. }) && !self.intent.is_durable(request.extent) {
            request.stage = Stage::Marking;
        } else {
            self.start(ticket, book);
        }
    }

    fn start(&mut self, ticket: Ticket, book: &mut Book<'_>) {
        let request = self.requests.get_mut(&ticket).expect("who waits is there");
        let (job, extent) = (Job::Ordered(ticket), request.extent);
        let tag = match book {
            Book::Record(record) => record.tag(),
            Book::Marks(tag) => *tag,
        };
        request.stage = Stage::Working(tag);
        let Wish::Write { data, is_forced, .. } = &mut request.wish else {
            self.actions.push_back(Action::Read(job, extent));
            return;
        };
        if let Book::Record(record) = book {
            let content = data.as_ref().map_or(Content::Zeros, |data| Content::Data(data.as_ref()));
            // Without room it is marked below, and the record says so when its epoch ends.
            let _ = record.write(Write { disk: self.disk, extent, content });
        }
        self.ledger.mark(extent, tag);
        self.actions.push_back(Action::Write { job, extent, data: data.take(), is_forced: *is_forced });
    }

    /// A request is over, and with it those that waited for it and can never go.
    fn ended(&mut self, ticket: Ticket, result: Result<Option<B>, Errno>, book: &mut Book<'_>, now: Time) {
        let mut ready = VecDeque::new();
        self.end(ticket, result, &mut ready, now);
        while let Some(ticket) = ready.pop_front() {
            self.turn(ticket, book);
            if self.intent.has_failed() && matches!(self.requests[&ticket].stage, Stage::Marking) {
                self.end(ticket, Err(Errno::Io), &mut ready, now);
            }
        }
    }

    fn end(
        &mut self,
        ticket: Ticket,
        result: Result<Option<B>, Errno>,
        ready: &mut VecDeque<Ticket>,
        now: Time,
    ) {
        let request = self.requests.remove(&ticket).expect("a request ends once");
        match request.wish {
            Wish::Bulk => {
                let data = result.and_then(|data| data.ok_or(Errno::Io));
                self.actions.push_back(Action::Bulk { extent: request.extent, data });
            }
            Wish::Read { cookie } => match result {
                Ok(data) => self.answer(cookie, Ok(()), data),
                Err(error) => self.answer(cookie, Err(error), None),
            },
            Wish::Write { cookie, .. } => {
                // One that was given up before its turn was noted nowhere.
                let tag = if let Stage::Working(tag) = request.stage { tag } else { Epoch(0) };
                self.intent.end(request.extent, tag, now);
                self.answer(cookie, result.map(|_| ()), None);
            }
        }
        let mut next = Vec::new();
        self.flight.leave(ticket, &mut next);
        ready.extend(next);
    }

    fn mark(&mut self) {
        self.actions.extend(self.intent.take().map(Action::Mark));
    }

    fn answer(&mut self, cookie: u64, result: Result<(), Errno>, data: Option<B>) {
        self.actions.push_back(Action::Answer { reply: Reply { cookie, result }, data });
    }
}

#[cfg(test)]
mod tests;
