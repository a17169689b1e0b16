//! What a guest keeps on its disk: the frames of its table, each in its place.
//!
//! ```text
//!   set   table in memory ─► write, forced ────────────► STORED
//!   incr  table in memory ─► write ─► flush ───────────► NUMBER        replies leave in the order of the requests,
//!   get   ──────────────────────────────────────────────► VALUE         so nobody is told what the disk may lack
//!
//!   boot     the table is read from the disk before the first frame is taken
//!   restore  what was unanswered is written again; then the disk is read and compared with the table
//! ```
//!
//! So a frame that nothing is under way for is the same in memory and on the disk, at every moment that a guest can be
//! continued from. A guest that finds another content has memory and disk of different times, and counts it.

use super::Guest;
use super::table;
use super::table::Entry;
use crate::disk_request::{DISK_REQUESTS_MAX, DiskAnswer, DiskRequest, DiskWish};
use crate::mac::Mac;
use crate::memcached::{self, PORT, Reply};
use crate::nic::Port;
use crate::registers::{Client, DiskRegisters, Said, Step, Waiting};
use crate::wire::{Body, Flow, Frame, Udp};
use std::collections::VecDeque;
use std::ops::Range;
use understudy_checkpoint::{PAGE_SIZE, Pfn};

/// Frames of one read.
const CHUNK_FRAMES: u64 = 16;
/// A frame that overtakes another is taken with it.
const FRAMES_AT_ONCE: usize = 2;

/// What a guest has under way in this life beside what its registers say.
#[derive(Debug, Default)]
pub(super) struct Store {
    outbox: VecDeque<DiskRequest>,
    reading: Option<Reading>,
    /// Frames that are still to be compared.
    uncompared: Range<u64>,
    /// A read failed. It is not tried again: a guest that cannot read its disk at boot serves nothing, and one that cannot
    /// compare never says that it has.
    cannot_read: bool,
}

#[derive(Debug)]
struct Reading {
    id: u64,
    frames: Range<u64>,
    /// What is in memory, if it is to be there as well; otherwise the disk's content goes into memory.
    expected: Option<Vec<u8>>,
}

impl Store {
    /// Of a guest that was restored: all of it again.
    pub(super) fn again(guest: &Guest) -> Self {
        let mut store = Self::default();
        if let Some(disk) = &guest.registers.disk {
            let again = disk
                .waiting
                .iter()
                .filter_map(|waiting| request(guest, waiting.id, waiting.frame, waiting.step));
            store.outbox.extend(again);
            store.uncompared = 0..disk.loaded_frames;
        }
        store
    }
}

fn request(guest: &Guest, id: u64, frame: u64, step: Step) -> Option<DiskRequest> {
    let write = |is_forced| DiskWish::Write {
        offset: frame * PAGE_SIZE as u64,
        data: guest.ram.page(Pfn(frame)).to_vec(),
        is_forced,
    };
    let wish = match step {
        Step::Writing => write(false),
        Step::WritingForced => write(true),
        Step::Flushing => DiskWish::Flush,
        Step::Done | Step::Failed => return None,
    };
    Some(DiskRequest { id, wish })
}

impl Guest {
    /// Whether the guest takes a frame now: its table has been read, and there is room for what the frame may have written.
    pub fn takes_frames(&self) -> bool {
        self.registers.disk.as_ref().is_none_or(|disk| {
            disk.loaded_frames == table(&self.registers).frames
                && disk.waiting.len() + FRAMES_AT_ONCE <= DISK_REQUESTS_MAX
        })
    }

    /// The next request for the disk.
    pub fn next_disk_request(&mut self) -> Option<DiskRequest> {
        self.store.outbox.pop_front().or_else(|| self.next_read())
    }

    /// Whether the guest's disk has been compared with its memory since it was restored.
    pub fn is_compared(&self) -> bool {
        self.store.uncompared.is_empty() && self.store.reading.is_none() && !self.store.cannot_read
    }

    /// Whether replies wait for the disk.
    pub(super) fn has_unanswered(&self) -> bool {
        self.registers.disk.as_ref().is_some_and(|disk| !disk.waiting.is_empty())
    }

    /// Writes a frame of the table, or waits for those that are being written. The client hears of it in its turn.
    pub(super) fn store(&mut self, frame: Pfn, client: Option<Client>, said: Said) {
        let step = match said {
            Said::Stored => Step::WritingForced,
            Said::Number(_) => Step::Writing,
            Said::Value(_) | Said::Miss => Step::Done,
        };
        let Some(disk) = &mut self.registers.disk else { return };
        let id = disk.take_id();
        disk.waiting.push(Waiting { id, frame: frame.0, step, client, said });
        let request = request(self, id, frame.0, step);
        self.store.outbox.extend(request);
    }

    /// Takes an answer of the disk. One that nothing waits for is that of an earlier life, and is ignored.
    pub fn disk_answered(&mut self, answer: DiskAnswer, port: &dyn Port) {
        if let Some(reading) = self.store.reading.take_if(|reading| reading.id == answer.id) {
            return self.has_read(reading, answer);
        }
        let Some(disk) = &mut self.registers.disk else { return };
        let asked = |waiting: &&mut Waiting| waiting.id == answer.id && waiting.step.is_asked();
        let Some(waiting) = disk.waiting.iter_mut().find(asked) else { return };
        waiting.step = match (waiting.step, &answer.result) {
            (_, Err(_)) => Step::Failed,
            (Step::Writing, Ok(_)) => Step::Flushing,
            (_, Ok(_)) => Step::Done,
        };
        match waiting.step {
            Step::Flushing => {
                self.store.outbox.push_back(DiskRequest { id: answer.id, wish: DiskWish::Flush });
            }
            Step::Failed => disk.counters.failed += 1,
            _ => disk.counters.stored += 1,
        }
        self.reply_in_turn(port);
    }

    /// Replies leave in the order of the requests.
    fn reply_in_turn(&mut self, port: &dyn Port) {
        while let Some(disk) = &mut self.registers.disk
            && disk.waiting.first().is_some_and(|waiting| !waiting.step.is_asked())
        {
            let waiting = disk.waiting.remove(0);
            if let Some(client) = waiting.client {
                self.reply(&client, &waiting, port);
            }
        }
    }

    fn reply(&mut self, client: &Client, waiting: &Waiting, port: &dyn Port) {
        let mut datagram = Vec::with_capacity(memcached::DATAGRAM_BYTES_MAX);
        memcached::write_header(client.request, &mut datagram);
        let found = match waiting.said {
            Said::Value(slot) => table(&self.registers).slot(&self.ram, Pfn(waiting.frame), slot),
            _ => None,
        };
        let reply = match (waiting.step, waiting.said, found) {
            (Step::Failed, ..) => Reply::ServerError("the disk failed"),
            (_, Said::Stored, _) => Reply::Stored,
            (_, Said::Number(number), _) => Reply::Number(number),
            (_, _, Some((key, Entry { flags, value }))) => Reply::Value { key, flags, value },
            (_, Said::Value(_) | Said::Miss, None) => Reply::Miss,
        };
        reply.write(&mut datagram);
        memcached::mark(client.mark, &mut datagram);
        let udp = Udp { src_port: PORT, dst_port: client.port, payload: &datagram };
        let flow = Flow { src: self.registers.ip, dst: client.ip };
        let (dst, src) = (Mac(client.mac), self.registers.mac);
        self.send(&Frame { dst, src, body: Body::Udp(flow, udp) }, port);
    }

    /// Begins the next read, if one is due and none is under way.
    fn next_read(&mut self) -> Option<DiskRequest> {
        let frames_all = table(&self.registers).frames;
        let disk = self
            .registers
            .disk
            .as_mut()
            .filter(|_| self.store.reading.is_none() && !self.store.cannot_read)?;
        let loads = disk.loaded_frames < frames_all;
        let from = if loads { disk.loaded_frames } else { self.store.uncompared.start };
        let end = if loads { frames_all } else { self.store.uncompared.end };
        let frames = from..(from + CHUNK_FRAMES).min(end);
        let is_open =
            disk.waiting.iter().any(|waiting| waiting.step.is_asked() && frames.contains(&waiting.frame));
        if frames.is_empty() || is_open {
            return None;
        }
        let (id, bytes) = (disk.take_id(), (frames.end - frames.start) as u32 * PAGE_SIZE as u32);
        let page = |frame| self.ram.page(Pfn(frame)).iter().copied();
        let expected = (!loads).then(|| frames.clone().flat_map(page).collect());
        let offset = frames.start * PAGE_SIZE as u64;
        self.store.reading = Some(Reading { id, frames, expected });
        Some(DiskRequest { id, wish: DiskWish::Read { offset, bytes } })
    }

    fn has_read(&mut self, reading: Reading, answer: DiskAnswer) {
        let Some(disk) = &mut self.registers.disk else { return };
        let Reading { frames, expected, .. } = reading;
        let content = answer
            .result
            .ok()
            .filter(|content| content.len() as u64 == (frames.end - frames.start) * PAGE_SIZE as u64);
        let Some(content) = content else {
            disk.counters.failed += 1;
            self.store.cannot_read = true;
            return;
        };
        let pages = content.chunks_exact(PAGE_SIZE);
        match expected {
            Some(expected) => {
                let differing = pages.zip(expected.chunks_exact(PAGE_SIZE)).filter(|(a, b)| a != b).count();
                disk.counters.compared += frames.end - frames.start;
                disk.counters.differing += differing as u64;
                self.store.uncompared.start = frames.end;
            }
            None => {
                disk.loaded_frames = frames.end;
                for (frame, page) in frames.zip(pages) {
                    self.ram.page_mut(Pfn(frame)).copy_from_slice(page);
                }
            }
        }
    }
}

impl Step {
    /// The disk has not answered yet.
    fn is_asked(self) -> bool {
        matches!(self, Self::Writing | Self::WritingForced | Self::Flushing)
    }
}

impl DiskRegisters {
    /// Whether all that it says is within a table of so many frames.
    pub(super) fn fits(&self, frames: u64) -> bool {
        self.loaded_frames <= frames
            && self.waiting.len() <= DISK_REQUESTS_MAX
            && self.waiting.iter().all(|waiting| waiting.frame < frames && waiting.id <= self.next_id)
    }

    fn take_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }
}
