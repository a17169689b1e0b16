//! The guest: memory, registers, and the program that runs on them. No thread, clock or socket: frames and
//! elapsed time come in, frames go out, and equal guests given equal input do equal things.
//!
//! ```text
//!   frames: | 0 … table … | free: the load's working set … | store | console |
//!            └ 1/8 of memory                                └ special frames of a PVH guest, unused
//! ```
//!
//! [`network`](self::network) answers ARP, ping and key-value requests; the load dirties the free frames.

mod network;
mod table;

use crate::conditions::Moment;
use crate::config::{GuestConfig, MEMORY_BYTES_MIN};
use crate::load::{Rate, write_page};
use crate::mac::Mac;
use crate::nic::Port;
use crate::ram::{Ram, RamError, pages_for};
use crate::random::Random;
use crate::registers::{Counters, Registers};
use crate::state::StateError;
use crate::wire::{Arp, ArpOp, Body, Frame};
use table::Table;
use understudy_checkpoint::domain::DomainState;
use understudy_checkpoint::epoch::Image;
use understudy_checkpoint::{OutOfMemory, Pfn};

/// Store and console frame.
const SPECIAL_FRAMES: u64 = 2;
/// A write costs this much credit; credit grows by nanoseconds × rate.
const CREDIT_PER_PAGE: u64 = 1_000_000_000;
/// Writes that could not be done for this long are not caught up with: a guest that was starved of CPU
/// does not come back with a storm.
const LOAD_BACKLOG_NS_MAX: u64 = 10_000_000;
/// Writes of a slow load are done in batches this far apart, so that an almost idle guest really sleeps.
const LOAD_TICK_NS: u64 = 1_000_000;
/// A started guest says this often where it is, in case a switch loses one.
const ANNOUNCEMENTS: u64 = 3;
const ANNOUNCE_EVERY_NS: u64 = 50_000_000;

/// An image and state that are no lab guest.
#[derive(thiserror::Error, Clone, PartialEq, Eq, Debug)]
pub enum RestoreError {
    /// The state cannot be read.
    #[error(transparent)]
    State(#[from] StateError),
    /// The memory is not whole.
    #[error(transparent)]
    Ram(#[from] RamError),
    /// State and memory do not belong together.
    #[error(
        "The state is of a guest with {state} frames, the image has {image}; they do not belong together"
    )]
    Size {
        /// Frames by the state.
        state: u64,
        /// Frames of the image.
        image: u64,
    },
    /// The vCPU's thread could not be started.
    #[error("The host starts no thread for the guest's vCPU: {0}")]
    Thread(String),
}

/// Memory and registers of a guest, and its program.
#[derive(Debug)]
pub struct Guest {
    ram: Ram,
    registers: Registers,
    /// Where frames are written before they leave; holds nothing between calls.
    outgoing: Vec<u8>,
}

impl Guest {
    /// A guest that was never run, if the host has memory for it. The configuration was [checked](GuestConfig::check).
    pub fn boot(config: &GuestConfig) -> Result<Self, OutOfMemory> {
        let page_count = pages_for(config.memory_bytes);
        let registers = Registers {
            name: config.name.clone(),
            mac: config.mac,
            ip: config.ip,
            load: config.load,
            page_count,
            time_ns: 0,
            random: Random(config.seed),
            load_cursor: 0,
            load_credit: 0,
            announcements_due: ANNOUNCEMENTS,
            announce_at_ns: 0,
            counters: Counters::default(),
        };
        Ok(Self { ram: Ram::new(page_count)?, registers, outgoing: Vec::new() })
    }

    /// The guest that an image with its state stands for, exactly as it was captured.
    pub fn from_image(image: Image) -> Result<Self, RestoreError> {
        let registers = Registers::read_state(image.state())?;
        let (state, frames) = (registers.page_count, image.page_count());
        if state != frames || frames < pages_for(MEMORY_BYTES_MIN) {
            return Err(RestoreError::Size { state, image: frames });
        }
        Ok(Self { ram: Ram::from_image(image)?, registers, outgoing: Vec::new() })
    }

    /// Memory.
    pub fn ram(&self) -> &Ram {
        &self.ram
    }

    /// Memory, for the hypervisor's log-dirty.
    pub fn ram_mut(&mut self) -> &mut Ram {
        &mut self.ram
    }

    /// Registers.
    pub fn registers(&self) -> &Registers {
        &self.registers
    }

    /// What a platform tells a guest that runs on in a new place: say where you are.
    pub fn announce_soon(&mut self) {
        self.registers.announcements_due = ANNOUNCEMENTS;
        self.registers.announce_at_ns = self.registers.time_ns;
    }

    /// Becomes what `state` says, in memory that was put right before.
    pub(crate) fn put_state(&mut self, state: &DomainState) -> Result<(), RestoreError> {
        let registers = Registers::read_state(state)?;
        let (state, frames) = (registers.page_count, self.ram.page_count());
        if state != frames {
            return Err(RestoreError::Size { state, image: frames });
        }
        self.registers = registers;
        Ok(())
    }

    /// Lets guest time pass.
    pub fn advance(&mut self, elapsed_ns: u64) {
        self.registers.time_ns += elapsed_ns;
        if let Rate::PagesPerSecond(rate) = self.registers.load.rate {
            let most = LOAD_BACKLOG_NS_MAX * rate;
            let credit = self.registers.load_credit + elapsed_ns.min(LOAD_BACKLOG_NS_MAX) * rate;
            // A rate below one write in the backlog's time still gets there.
            self.registers.load_credit = credit.min(most.max(CREDIT_PER_PAGE));
        }
    }

    /// Takes one frame in, at a usual moment, and sends what answers it.
    pub fn deliver(&mut self, frame: &[u8], port: &dyn Port) {
        self.deliver_at(Moment::default(), frame, port);
    }

    /// As [`deliver`](Self::deliver), with what the guest's host does to it meanwhile.
    pub fn deliver_at(&mut self, moment: Moment, frame: &[u8], port: &dyn Port) {
        self.registers.counters.frames_received += 1;
        match Frame::parse(frame) {
            Some(frame) => self.answer(&frame, moment, port),
            None => self.registers.counters.frames_ignored += 1,
        }
    }

    /// Sends the announcement that is due, if one is.
    pub fn run_timers(&mut self, port: &dyn Port) {
        let registers = &mut self.registers;
        if registers.announcements_due == 0 || registers.time_ns < registers.announce_at_ns {
            return;
        }
        registers.announcements_due -= 1;
        registers.announce_at_ns = registers.time_ns + ANNOUNCE_EVERY_NS;
        let (mac, ip) = (registers.mac, registers.ip);
        let gratuitous =
            Arp { op: ArpOp::Reply, sender_mac: mac, sender_ip: ip, target_mac: mac, target_ip: ip };
        self.send(&Frame { dst: Mac::BROADCAST, src: mac, body: Body::Arp(gratuitous) }, port);
    }

    /// Whether the load has a write to do now.
    pub fn load_is_due(&self) -> bool {
        match self.registers.load.rate {
            Rate::Max => true,
            Rate::PagesPerSecond(_) => self.registers.load_credit >= CREDIT_PER_PAGE,
        }
    }

    /// Does one write of the load, due or not.
    pub fn write_load_page(&mut self) {
        let registers = &mut self.registers;
        let first = table(registers).frames;
        let free = registers.page_count - first - SPECIAL_FRAMES;
        let set = registers.load.set_pages.min(free);
        let frame = first + registers.load.pick(set, registers.load_cursor, &mut registers.random);
        write_page(registers.load.content, self.ram.page_mut(Pfn(frame)), &mut registers.random);
        registers.load_cursor += 1;
        registers.load_credit = registers.load_credit.saturating_sub(CREDIT_PER_PAGE);
        registers.counters.load_pages += 1;
    }

    /// Guest time until something is due without a frame arriving; `None` if nothing ever is.
    pub fn next_due_ns(&self) -> Option<u64> {
        let registers = &self.registers;
        let load = match registers.load.rate {
            _ if self.load_is_due() => Some(0),
            Rate::Max | Rate::PagesPerSecond(0) => None,
            Rate::PagesPerSecond(rate) => {
                Some((CREDIT_PER_PAGE - registers.load_credit).div_ceil(rate).max(LOAD_TICK_NS))
            }
        };
        let announcement = (registers.announcements_due > 0)
            .then(|| registers.announce_at_ns.saturating_sub(registers.time_ns));
        load.into_iter().chain(announcement).min()
    }

    fn send(&mut self, frame: &Frame<'_>, port: &dyn Port) {
        frame.write(&mut self.outgoing);
        port.transmit(&self.outgoing);
        self.registers.counters.frames_sent += 1;
    }
}

fn table(registers: &Registers) -> Table {
    Table { frames: registers.page_count / 8 }
}
