//! The own queue: output goes through a tap into this process, is held in an [`EpochQueue`](crate::EpochQueue)
//! for each interface, and is given back to the interface it came from.
//!
//! ```text
//!   cut, release, pass, fence ──► Nic ◄── reader: one thread for all interfaces of a guest
//!                                  │   ◄── sender: another
//!                                  └── the first frames of a release are sent by the caller itself
//! ```
//!
//! Any number of epochs may be in flight. What was released goes this way:
//!
//! ```text
//!   vif receives ─ marked? ─ no ──► tap, to be read      tap is written to ─ marked, redirected ─┐
//!        ▲            └───── yes ─► bridge                                                       │
//!        └───────────────────────────────────────────────────────────────────────────────────────┘
//! ```
//!
//! Memory is bounded by [`Limits`] for each interface. If this process dies, its taps vanish and the redirects
//! to them drop what the guest sends, until another process attaches.

#[cfg(test)]
mod faults;
mod nic;

use super::commit::{KernelStats, OutputCommit, Start};
use super::netlink::filter::{Matcher, Target};
use super::netlink::{Connection, link, qdisc};
use super::owner::Owner;
use super::redirect::{self, Device, Redirect, Way};
use super::tap::Tap;
use super::{KernelError, sys};
use crate::Limits;
use nic::{Nic, Turn};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::{EfdFlags, EventFd};
use parking_lot::Mutex;
use std::fmt::{self, Debug, Formatter};
use std::io;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use understudy_checkpoint::Epoch;

/// Frames that a tap keeps for a reader that is late: at 10 Gbit/s and full frames, 10 ms.
const RING_FRAMES: u32 = 8192;
/// The largest MTU the kernel gives a tap: whatever the vif's MTU is or becomes, its frames fit.
const TAP_MTU_BYTES: u32 = 65_521;
/// The mark of released frames (`fwmark`), by which the vif knows not to send them round again. A guest cannot
/// set one: a mark belongs to the host's buffers and is no part of a frame. The host's firewall sees it.
const RELEASED_MARK: u32 = 0x5553_0001;

/// Output of a guest's interfaces, held in this process.
#[derive(Debug)]
pub struct OwnQueue {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

struct Shared {
    nics: Vec<Nic>,
    /// Called by the reader after a turn that left an interface near a limit.
    alarm: OnceLock<Box<dyn Fn() + Send + Sync>>,
    /// Wakes the reader: only to stop.
    reader_bell: EventFd,
    /// Wakes the sender: frames may leave, or stop.
    sender_bell: EventFd,
    stop: AtomicBool,
    connection: Mutex<Connection>,
    owner: Owner,
}

impl OwnQueue {
    /// Takes hold of the output of `vifs`, whose open epoch is `open`, in the network namespace of the calling
    /// thread. `limits` are for each interface.
    ///
    /// Replaces the redirects that a dead process left on them, without letting a frame by. Needs CAP_NET_ADMIN
    /// and CAP_BPF, and the modules tun, sch_ingress, cls_bpf and act_mirred.
    pub fn attach(vifs: &[&str], open: Epoch, limits: Limits, start: Start) -> Result<Self, KernelError> {
        let mut connection = Connection::open()?;
        let owner = Owner::this_process()?;
        // The redirects keep the program once they are there.
        let marker = sys::load_marker(RELEASED_MARK).map_err(KernelError::Classifier)?;
        let mut nics = Vec::new();
        let mut redirects = Vec::new();
        for vif in vifs {
            let vif = Device::find(&mut connection, vif)?;
            let tap = Tap::create(&vif.intermediate_name())?;
            let tap_device = Device::find(&mut connection, tap.name())?;
            prepare(&mut connection, &tap_device, &vif)?;
            redirects.extend(both_ways(&vif, &tap_device, marker.as_raw_fd()));
            nics.push(Nic::new(vif, tap_device, tap, open, limits, start));
        }
        let shared = Arc::new(Shared {
            nics,
            alarm: OnceLock::new(),
            reader_bell: bell(EfdFlags::EFD_NONBLOCK)?,
            sender_bell: bell(EfdFlags::empty())?,
            stop: AtomicBool::new(false),
            connection: Mutex::new(connection),
            owner,
        });
        let mut queue = Self { shared, threads: Vec::new() };
        queue.start("netbuf-read", Shared::read)?;
        queue.start("netbuf-send", Shared::send)?;
        // Last, for from here on frames arrive. The way back comes first in each pair.
        redirect::install(&mut queue.shared.connection.lock(), &redirects, &owner)?;
        Ok(queue)
    }

    /// Has `alarm` called whenever an interface came near a limit, by the thread that reads: it must be quick. Only
    /// the first one given counts.
    pub fn on_pressure(&self, alarm: impl Fn() + Send + Sync + 'static) {
        let _ = self.shared.alarm.set(Box::new(alarm));
    }

    /// Sends `frame` as if the guest had sent it, past what is held: for what the host has to say in its guest's
    /// name, such as where it is now. Only for a host that has the authority to speak for the guest.
    pub fn announce(&self, frame: &[u8]) -> Result<(), KernelError> {
        let mut result = Ok(());
        for nic in &self.shared.nics {
            if let Err(error) = nic.announce(frame) {
                result = result.and(Err(self.shared.explain(error, nic)));
            }
        }
        result
    }

    /// The interfaces, by the names they had when they were attached.
    pub fn interfaces(&self) -> impl Iterator<Item = &str> {
        self.shared.nics.iter().map(|nic| nic.vif().name.as_str())
    }

    /// Gives the interfaces' output its direct way again. Every interface must pass, or be gone.
    ///
    /// No frame is lost; those of the last instant may overtake each other.
    pub fn detach(mut self) -> Result<(), KernelError> {
        for nic in &self.shared.nics {
            if !nic.is_passing() && nic.vif().check(&mut self.shared.connection.lock()).is_ok() {
                return Err(KernelError::StillHolding);
            }
        }
        self.shared.drain();
        // Once more, for what stays redirected is cut off when the tap goes, and nobody holds it any more.
        self.remove_redirects().or_else(|_| self.remove_redirects())?;
        self.stop();
        self.shared.drain();
        Ok(())
    }

    fn remove_redirects(&self) -> Result<(), KernelError> {
        let vifs: Vec<_> = self.shared.nics.iter().map(|nic| nic.vif().clone()).collect();
        redirect::remove(&mut self.shared.connection.lock(), &vifs, &self.shared.owner)
    }

    fn start(&mut self, name: &str, work: fn(&Shared)) -> io::Result<()> {
        let shared = Arc::clone(&self.shared);
        let thread = std::thread::Builder::new().name(name.into()).spawn(move || work(&shared))?;
        self.threads.push(thread);
        Ok(())
    }

    fn stop(&mut self) {
        self.shared.stop.store(true, Ordering::Release);
        ring(&self.shared.reader_bell);
        ring(&self.shared.sender_bell);
        for thread in self.threads.drain(..) {
            // Neither panics; if one did, its message has been printed.
            let _ = thread.join();
        }
    }
}

fn bell(flags: EfdFlags) -> Result<EventFd, io::Error> {
    Ok(EventFd::from_flags(EfdFlags::EFD_CLOEXEC | flags)?)
}

fn ring(bell: &EventFd) {
    // Refused only if it has rung 2^64 times unheard.
    let _ = bell.write(1);
}

impl Drop for OwnQueue {
    /// Stops without detaching: the taps vanish and output is held, as it is when the process dies.
    fn drop(&mut self) {
        self.stop();
    }
}

/// Sets a new tap up: the vif's address, so that "for this host" means the same at both; room for late reading;
/// no queue of the host's, and none of the host's own talk.
fn prepare(connection: &mut Connection, tap: &Device, vif: &Device) -> Result<(), KernelError> {
    let described = connection.ask(link::get_by_index(vif.index, &vif.name), link::decode)?;
    let address = described.first().map(|link| link.address.as_slice());
    let room = link::Change {
        mtu_bytes: Some(TAP_MTU_BYTES),
        queue_frames: Some(RING_FRAMES),
        address,
        ..Default::default()
    };
    let silent = link::Change { silent: true, ..Default::default() };
    let up = link::Change { up: Some(true), ..Default::default() };
    let mut requests = [room, up].map(|change| link::change(tap.index, &tap.name, change));
    // Without IPv6 on this host there is no talk to silence, and the kernel refuses to.
    connection.all(&mut [link::change(tap.index, &tap.name, silent)], |_| true)?;
    connection.all(&mut [qdisc::add_noqueue(tap.index, &tap.name)], |_| false)?;
    Ok(connection.all(&mut requests, |_| false)?)
}

/// The way back and the way in, in the order to set them up.
fn both_ways(vif: &Device, tap: &Device, marker: RawFd) -> [Redirect; 2] {
    [
        Redirect { from: tap.clone(), way: Way::To(Matcher::Program(marker), Target::ReceiveOn(vif.index)) },
        Redirect {
            from: vif.clone(),
            way: Way::To(Matcher::Unmarked(RELEASED_MARK), Target::TransmitOn(tap.index)),
        },
    ]
}

impl Debug for Shared {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("nics", &self.nics).finish_non_exhaustive()
    }
}

impl Shared {
    /// Reads frames until told to stop.
    fn read(&self) {
        while !self.stop.load(Ordering::Acquire) {
            let turns: Vec<_> = self.nics.iter().map(Nic::receive).collect();
            if self.nics.iter().any(Nic::has_leaving) {
                ring(&self.sender_bell);
            }
            if self.nics.iter().any(Nic::is_pressed)
                && let Some(alarm) = self.alarm.get()
            {
                alarm();
            }
            if turns.iter().any(|turn| matches!(turn, Ok(Turn::Busy))) {
                continue;
            }
            let mut wait = vec![PollFd::new(self.reader_bell.as_fd(), PollFlags::POLLIN)];
            // The tap of a failed interface would be ready for ever.
            let sound = self.nics.iter().filter(|nic| !nic.has_failed());
            wait.extend(sound.map(|nic| PollFd::new(nic.tap().as_fd(), PollFlags::POLLIN)));
            let _ = poll(&mut wait, PollTimeout::NONE);
        }
    }

    /// Sends what may leave until told to stop. Apart from reading, for a frame's way through the host's network
    /// takes longer than the next may wait in the tap's ring.
    fn send(&self) {
        while !self.stop.load(Ordering::Acquire) {
            let turns = self.nics.iter().map(Nic::send);
            if turns.filter(|turn| matches!(turn, Ok(Turn::Busy))).count() == 0 {
                let _ = self.sender_bell.read();
            }
        }
    }

    /// Moves frames by the caller's hand until nothing is left to move.
    fn drain(&self) {
        for nic in &self.nics {
            while matches!(nic.receive(), Ok(Turn::Busy)) {}
            while matches!(nic.send(), Ok(Turn::Busy)) {}
        }
    }

    /// Does `call` on every interface and sends what may leave: at once as much as a turn allows, the rest by
    /// the sender.
    fn let_out(&self, call: impl Fn(&Nic)) -> Result<(), KernelError> {
        let mut result = Ok(());
        let mut left = false;
        for nic in &self.nics {
            call(nic);
            match nic.send() {
                Ok(turn) => left |= turn == Turn::Busy,
                Err(error) => result = result.and(Err(self.explain(error, nic))),
            }
        }
        if left {
            ring(&self.sender_bell);
        }
        result
    }

    /// If the interface itself is gone, that is the cause to tell, not the tap's failure.
    fn explain(&self, error: KernelError, nic: &Nic) -> KernelError {
        nic.vif().check(&mut self.connection.lock()).err().unwrap_or(error)
    }
}

impl OutputCommit for OwnQueue {
    fn cut(&self, epoch: Epoch) -> Result<(), KernelError> {
        let mut result = Ok(());
        for nic in &self.shared.nics {
            if let Err(error) = nic.cut(epoch) {
                result = result.and(Err(self.shared.explain(error, nic)));
            }
        }
        #[cfg(feature = "mutant-releases-early")]
        self.release(epoch)?;
        result
    }

    fn release(&self, through: Epoch) -> Result<(), KernelError> {
        self.shared.let_out(|nic| nic.release(through))
    }

    fn pass(&self) -> Result<(), KernelError> {
        self.shared.let_out(Nic::pass)
    }

    fn fence(&self) -> Result<(), KernelError> {
        self.shared.nics.iter().for_each(Nic::fence);
        Ok(())
    }

    fn take_pressure(&self) -> bool {
        // Asked of each, for asking resets it.
        self.shared.nics.iter().filter(|nic| nic.take_pressure()).count() > 0
    }

    fn stats(&self) -> Result<KernelStats, KernelError> {
        let mut sum = KernelStats::default();
        for nic in &self.shared.nics {
            nic.add_stats(&mut sum);
            let mut connection = self.shared.connection.lock();
            if nic.has_failed() {
                nic.vif().check(&mut connection)?;
            }
            let tap = nic.tap_device();
            // A tap that is gone counts nothing any more.
            let described = connection.ask(link::get_by_index(tap.index, &tap.name), link::decode);
            sum.dropped_unread +=
                described.ok().and_then(|it| it.first().map(|it| it.tx_dropped)).unwrap_or(0);
        }
        Ok(sum)
    }
}
