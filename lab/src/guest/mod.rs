//! [`Guest`]: memory, registers, and the program that runs on them. No thread, clock or socket: frames and elapsed time
//! come in, frames go out. Equal guests with equal input behave equally.
//!
//! ```text
//!   frames: | 0 … table … | free: the load's working set … | store | console |
//!            └ 1/8 of memory                                └ special frames of a PVH guest, unused
//! ```
//!
//! [`network`](self::network) answers ARP, ping and key-value requests; the load dirties the free frames. Where the guest has a
//! disk, the table is on it as well ([`store`](self::store)).

mod network;
mod store;
mod table;

use crate::conditions::Moment;
use crate::config::{GuestConfig, MEMORY_BYTES_MIN};
use crate::load::{Rate, write_page};
use crate::mac::Mac;
use crate::nic::Port;
use crate::ram::{Ram, RamError, pages_for};
use crate::random::Random;
use crate::registers::{Counters, DiskRegisters, Registers};
use crate::state::StateError;
use crate::wire::{Arp, ArpOp, Body, Frame};
use store::Store;
use table::Table;
use understudy_checkpoint::domain::DomainState;
use understudy_checkpoint::epoch::Image;
use understudy_checkpoint::{OutOfMemory, PAGE_SIZE, Pfn};

/// The frames of the store and console rings.
const SPECIAL_FRAMES: u64 = 2;
/// The credit that a write costs. Credit grows by nanoseconds × rate.
const CREDIT_PER_PAGE: u64 = 1_000_000_000;
/// Writes that are later than this are skipped, so that a guest that was starved of CPU does not come back with a
/// storm.
const LOAD_BACKLOG_NS_MAX: u64 = 10_000_000;
/// Writes of a slow load are batched at this distance, so that an almost idle guest really sleeps.
const LOAD_TICK_NS: u64 = 1_000_000;
/// How often a started guest announces its address, in case a switch loses an announcement.
const ANNOUNCEMENTS: u64 = 3;
const ANNOUNCE_EVERY_NS: u64 = 50_000_000;

/// An image and state that are not a lab guest's.
#[derive(thiserror::Error, Clone, PartialEq, Eq, Debug)]
pub enum RestoreError {
    /// The state cannot be decoded.
    #[error(transparent)]
    State(#[from] StateError),
    /// The memory is incomplete.
    #[error(transparent)]
    Ram(#[from] RamError),
    /// State and memory do not belong together.
    #[error(
        "The state is of a guest with {state} frames, the image has {image}; they do not belong together"
    )]
    Size {
        /// Frames according to the state.
        state: u64,
        /// Frames of the image.
        image: u64,
    },
    /// The vCPU's thread could not be started.
    #[error("The host starts no thread for the guest's vCPU: {0}")]
    Thread(String),
    /// It has a disk, and there is none for it.
    #[error("The guest has a disk of {0} bytes, and this host has none for it")]
    NoDisk(u64),
    /// A copy would need a disk of its own.
    #[error("A guest with a disk is not run beside its image: both would write to the disk")]
    CopyWithDisk,
}

/// Memory and registers of a guest, and its program.
#[derive(Debug)]
pub struct Guest {
    ram: Ram,
    registers: Registers,
    /// A buffer for outgoing frames; empty between calls.
    outgoing: Vec<u8>,
    store: Store,
}

impl Guest {
    /// A new guest, if the host has the memory. The configuration must have been [checked](GuestConfig::check).
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
            disk: config.disk_bytes.map(DiskRegisters::new),
        };
        Ok(Self { ram: Ram::new(page_count)?, registers, outgoing: Vec::new(), store: Store::default() })
    }

    /// The guest of an image with its state, exactly as it was captured.
    pub fn from_image(image: Image) -> Result<Self, RestoreError> {
        let registers = Registers::read_state(image.state())?;
        let (state, frames) = (registers.page_count, image.page_count());
        if state != frames || frames < pages_for(MEMORY_BYTES_MIN) {
            return Err(RestoreError::Size { state, image: frames });
        }
        if registers.disk.as_ref().is_some_and(|disk| !disk.fits(table(&registers).frames)) {
            return Err(StateError::Value("disk").into());
        }
        let mut guest =
            Self { ram: Ram::from_image(image)?, registers, outgoing: Vec::new(), store: Store::default() };
        guest.store = Store::again(&guest);
        Ok(guest)
    }

    /// An error if it has a disk, and there is none.
    pub(crate) fn check_disk(&self, has_disk: bool) -> Result<(), RestoreError> {
        match &self.registers.disk {
            Some(disk) if !has_disk => Err(RestoreError::NoDisk(disk.size_bytes)),
            _ => Ok(()),
        }
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

    /// Makes the guest announce its address, as a platform does when a guest continues in a new place.
    pub fn announce_soon(&mut self) {
        self.registers.announcements_due = ANNOUNCEMENTS;
        self.registers.announce_at_ns = self.registers.time_ns;
    }

    /// Sets the registers to `state`; the memory must match already.
    pub(crate) fn put_state(&mut self, state: &DomainState) -> Result<(), RestoreError> {
        let registers = Registers::read_state(state)?;
        let (state, frames) = (registers.page_count, self.ram.page_count());
        if state != frames {
            return Err(RestoreError::Size { state, image: frames });
        }
        if registers.disk.is_some() {
            return Err(RestoreError::CopyWithDisk);
        }
        self.registers = registers;
        Ok(())
    }

    /// Advances guest time.
    pub fn advance(&mut self, elapsed_ns: u64) {
        self.registers.time_ns += elapsed_ns;
        if let Rate::PagesPerSecond(rate) = self.registers.load.rate {
            let most = LOAD_BACKLOG_NS_MAX * rate;
            let credit = self.registers.load_credit + elapsed_ns.min(LOAD_BACKLOG_NS_MAX) * rate;
            // A rate below one write in the backlog's time still gets there.
            self.registers.load_credit = credit.min(most.max(CREDIT_PER_PAGE));
        }
    }

    /// Takes one frame and sends the answers, under no conditions.
    pub fn deliver(&mut self, frame: &[u8], port: &dyn Port) {
        self.deliver_at(Moment::default(), frame, port);
    }

    /// [`deliver`](Self::deliver) under the host's conditions for this frame.
    pub fn deliver_at(&mut self, moment: Moment, frame: &[u8], port: &dyn Port) {
        self.registers.counters.frames_received += 1;
        match Frame::parse(frame) {
            Some(frame) => self.answer(&frame, moment, port),
            None => self.registers.counters.frames_ignored += 1,
        }
    }

    /// Sends an announcement if one is due.
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

    /// Whether a write of the load is due.
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

    /// Guest time until something is due without a frame arriving; `None` if nothing will be.
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
    let disk_bytes = registers.disk.as_ref().map_or(u64::MAX, |disk| disk.size_bytes);
    table_of(registers.page_count, disk_bytes)
}

fn table_of(page_count: u64, disk_bytes: u64) -> Table {
    Table { frames: (page_count / 8).min(disk_bytes / PAGE_SIZE as u64) }
}

/// What the service of a guest with so much memory has stored under a key, by its disk alone: for judges that read disks of guests.
pub fn value_on_disk(disk: &[u8], memory_bytes: u64, key: &[u8]) -> Result<Option<Vec<u8>>, OutOfMemory> {
    let table = table_of(pages_for(memory_bytes), disk.len() as u64);
    let mut ram = Ram::new(table.frames)?;
    for (pfn, page) in disk.as_chunks::<PAGE_SIZE>().0.iter().take(table.frames as usize).enumerate() {
        ram.page_mut(Pfn(pfn as u64)).copy_from_slice(page);
    }
    Ok(table.get(&ram, key).map(|entry| entry.value.to_vec()))
}
