//! The own queue: output goes through a tap into this process, is held in an [`EpochQueue`](crate::EpochQueue)
//! for each interface, and is given back to the interface it came from.
//!
//! ```text
//!   cut, release, pass, fence ──► Nic ◄── reader: one thread for all interfaces of a guest
//!                                  ▲  ◄── sender: another
//!                                  └───── guard: another, which asks the kernel and puts right
//! ```
//!
//! None of these calls waits for the kernel; attaching and detaching do.
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
mod guard;
mod inspect;
mod nic;
#[cfg(test)]
mod programs;

use super::breach::Breach;
use super::commit::{KernelStats, OutputCommit, Start};
use super::netlink::filter::{Matcher, Target};
use super::netlink::{Connection, link, qdisc};
use super::owner::Owner;
use super::redirect::{Device, Redirect, Way};
use super::tap::{Offloads, Tap};
use super::{KernelError, sys};
use crate::{Limits, Waiting};
pub use guard::Fault;
use guard::Guard;
use nic::{Nic, Parts, Turn};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::{EfdFlags, EventFd};
use std::fmt::{self, Debug, Formatter};
use std::io;
use std::os::fd::{AsFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::{JoinHandle, sleep};
use std::time::{Duration, Instant};
use understudy_checkpoint::Epoch;

/// Frames that a tap keeps for a reader that is late: at 10 Gbit/s and full frames, 10 ms.
const RING_FRAMES: u32 = 8192;
/// The largest MTU the kernel gives a tap: whatever the vif's MTU is or becomes, its frames fit.
const TAP_MTU_BYTES: u32 = 65_521;
/// The mark of released frames (`fwmark`), by which the vif knows not to send them round again. A guest cannot
/// set one: a mark belongs to the host's buffers and is no part of a frame. The host's firewall sees it.
const RELEASED_MARK: u32 = 0x5553_0001;
/// How long a tap that is let go may still be there, and how often that is tried.
const LET_GO_MAX: Duration = Duration::from_secs(1);
const LET_GO_RETRY: Duration = Duration::from_millis(5);

/// Output of a guest's interfaces, held in this process.
#[derive(Debug)]
pub struct OwnQueue {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

struct Shared {
    nics: Vec<Nic>,
    guard: Guard,
    /// Called after a turn that left an interface near a limit, or after a fault of what holds.
    alarm: OnceLock<Box<dyn Fn() + Send + Sync>>,
    /// Wakes the reader: other taps, or stop.
    reader_bell: EventFd,
    /// Wakes the sender: frames may leave, or stop.
    sender_bell: EventFd,
    stop: AtomicBool,
}

impl OwnQueue {
    /// Takes hold of the output of `vifs`, whose open epoch is `open`, in the network namespace of the calling
    /// thread. `limits` are for each interface.
    ///
    /// Replaces the redirects that a dead process left on them, without letting a frame by. Needs CAP_NET_ADMIN
    /// and CAP_BPF, and the modules tun, sch_ingress, cls_bpf and act_mirred. It waits for the kernel.
    pub fn attach(vifs: &[&str], open: Epoch, limits: Limits, start: Start) -> Result<Self, KernelError> {
        let mut connection = Connection::open()?;
        let owner = Owner::this_process()?;
        // The redirects keep the program once they are there.
        let marker = sys::load_marker(RELEASED_MARK).map_err(KernelError::Classifier)?;
        let mut nics = Vec::new();
        for vif in vifs {
            let vif = Device::find(&mut connection, vif)?;
            let tap = create_tap(&vif.intermediate_name())?;
            let tap_device = Device::find(&mut connection, tap.name())?;
            prepare(&mut connection, &tap_device, &vif)?;
            nics.push(Nic::new(Parts::new(vif, tap_device, tap), open, limits, start));
        }
        let shared = Arc::new(Shared {
            guard: Guard::new(connection, owner, marker, bell(EfdFlags::EFD_NONBLOCK)?)?,
            nics,
            alarm: OnceLock::new(),
            reader_bell: bell(EfdFlags::EFD_NONBLOCK)?,
            sender_bell: bell(EfdFlags::empty())?,
            stop: AtomicBool::new(false),
        });
        let mut queue = Self { shared, threads: Vec::new() };
        queue.start("netbuf-read", Shared::read)?;
        queue.start("netbuf-send", Shared::send)?;
        // From here on frames arrive.
        queue.shared.guard.install(&queue.shared.nics)?;
        queue.start("netbuf-guard", |shared| shared.guard.run(shared))?;
        Ok(queue)
    }

    /// Has `alarm` called whenever an interface came near a limit, and whenever something is wrong with what holds, by
    /// threads that have other work: it must be quick. Only the first one given counts.
    pub fn on_alarm(&self, alarm: impl Fn() + Send + Sync + 'static) {
        let _ = self.shared.alarm.set(Box::new(alarm));
        // Of what happened before it there was nobody to tell.
        self.shared.alarm();
    }

    /// Has every switch learn where the address `mac` is: a frame that the guest might have sent, and that leaves when the
    /// guest's frames may.
    pub fn announce(&self, mac: [u8; 6]) {
        let frame = reverse_arp(mac);
        self.shared.nics.iter().for_each(|nic| nic.push(&frame));
        ring(&self.shared.sender_bell);
    }

    /// What was held since attaching counts as of `open`: others of the guest's interfaces have been cut meanwhile, and
    /// this one has not.
    pub fn reopen(&self, open: Epoch) {
        self.shared.nics.iter().for_each(|nic| nic.reopen(open));
    }

    /// The interfaces, by the names they had when they were attached.
    pub fn interfaces(&self) -> impl Iterator<Item = &str> {
        self.shared.nics.iter().map(Nic::name)
    }

    /// Frames that the interfaces received since they were made, as the kernel says: more than zero right after
    /// attaching means that some may not have been held. It waits for the kernel.
    pub fn ask_received(&self) -> Result<u64, KernelError> {
        self.shared.guard.ask_received(&self.shared.nics)
    }

    /// What may have left that should have been held, since everything was allowed to leave last.
    pub fn leak(&self) -> Option<Fault> {
        self.shared.guard.leak()
    }

    /// What is wrong at this moment with what holds.
    pub fn fault(&self) -> Option<Fault> {
        self.shared.guard.fault()
    }

    /// The newest fault of what holds, and how many there were.
    pub fn faults(&self) -> (Option<Fault>, u64) {
        self.shared.guard.faults()
    }

    /// Whether one of the interfaces is gone.
    pub fn is_gone(&self) -> bool {
        self.shared.guard.gone().is_some()
    }

    /// Gives the interfaces' output its direct way again. Every interface must pass, or be gone. It waits for the kernel.
    ///
    /// No frame is lost; those of the last instant may overtake each other.
    pub fn detach(mut self) -> Result<(), KernelError> {
        let Shared { nics, guard, .. } = &*self.shared;
        if nics.iter().any(|nic| !nic.is_passing() && !guard.ask_whether_gone(nic)) {
            return Err(KernelError::StillHolding);
        }
        self.shared.drain();
        guard.remove(nics)?;
        self.stop();
        for thread in self.threads.drain(..) {
            // None panics; if one did, its message has been printed.
            let _ = thread.join();
        }
        self.shared.drain();
        Ok(())
    }

    fn start(&mut self, name: &str, work: fn(&Shared)) -> io::Result<()> {
        let shared = Arc::clone(&self.shared);
        let thread = std::thread::Builder::new().name(name.into()).spawn(move || work(&shared))?;
        self.threads.push(thread);
        Ok(())
    }

    fn stop(&self) {
        self.shared.stop.store(true, Ordering::Release);
        ring(&self.shared.reader_bell);
        ring(&self.shared.sender_bell);
        self.shared.guard.wake();
    }
}

/// "Who has this Ethernet address?", asked by itself (RFC 903): no address of IP is needed, and every switch on the way
/// learns.
fn reverse_arp(mac: [u8; 6]) -> Vec<u8> {
    const HEAD: [u8; 10] = [0x80, 0x35, 0, 1, 8, 0, 6, 4, 0, 3];
    let (broadcast, nobody) = ([0xff; 6], [0; 4]);
    let mut frame = [&broadcast[..], &mac, &HEAD, &mac, &nobody, &mac, &nobody].concat();
    frame.resize(60, 0);
    frame
}

/// The tap `name`. One of this process that has just been let go may be there for a moment.
fn create_tap(name: &str) -> Result<Tap, KernelError> {
    let begun = Instant::now();
    loop {
        match Tap::create(name, Offloads::All) {
            Err(KernelError::InUse { .. }) if begun.elapsed() < LET_GO_MAX => sleep(LET_GO_RETRY),
            created => return created,
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
    /// Stops without detaching: the taps vanish once the threads have ended, which nobody waits for, and output is held
    /// as it is when the process dies.
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
            if self.nics.iter().any(|nic| nic.is_pressed() || nic.has_news()) {
                self.alarm();
            }
            if turns.iter().any(|turn| matches!(turn, Ok(Turn::Busy))) {
                continue;
            }
            let parts: Vec<_> = self.nics.iter().map(Nic::parts).collect();
            let mut wait = vec![PollFd::new(self.reader_bell.as_fd(), PollFlags::POLLIN)];
            // The tap of a failed interface would be ready for ever.
            let sound = parts.iter().filter(|parts| !parts.has_failed());
            wait.extend(sound.map(|parts| PollFd::new(parts.tap.as_fd(), PollFlags::POLLIN)));
            let _ = poll(&mut wait, PollTimeout::NONE);
            let _ = self.reader_bell.read();
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

    fn alarm(&self) {
        if let Some(alarm) = self.alarm.get() {
            alarm();
        }
    }

    /// Does `call` on every interface and has the sender send what may leave.
    fn let_out(&self, call: impl Fn(&Nic)) -> Result<(), KernelError> {
        self.nics.iter().for_each(call);
        ring(&self.sender_bell);
        self.nics.iter().map(|nic| self.explain(nic, nic.check())).fold(Ok(()), Result::and)
    }

    /// What an error means to whoever knows only the interface: that the interface is gone, or else that what holds its
    /// output is. A tap that another program deleted, or that is being made anew, is no unplugged card.
    fn explain(&self, nic: &Nic, result: Result<(), KernelError>) -> Result<(), KernelError> {
        let is_gone = self.guard.gone().is_some_and(|place| self.nics[place].name() == nic.name());
        let name = || nic.name().to_owned();
        match result {
            _ if is_gone => Err(KernelError::Gone { name: name() }),
            Err(KernelError::Gone { .. }) => {
                Err(KernelError::NotHeld { name: name(), breach: Breach::HolderGone })
            }
            result => result,
        }
    }
}

impl OwnQueue {
    /// After a fence: holds again, in a newer generation of the guest. Nothing from before leaves.
    pub fn revive(&self) {
        self.shared.nics.iter().for_each(Nic::revive);
    }

    /// As [`EpochQueue::has_news`](crate::EpochQueue::has_news), of any interface. The alarm is given when there is.
    pub fn has_news(&self) -> bool {
        self.shared.nics.iter().any(Nic::has_news)
    }

    /// As [`EpochQueue::waiting`](crate::EpochQueue::waiting), of all interfaces together.
    pub fn waiting(&self) -> Waiting {
        self.shared.nics.iter().map(Nic::waiting).sum()
    }

    /// From how many answers on there is news, as [`EpochQueue::tell_at`](crate::EpochQueue::tell_at), by each interface.
    pub fn tell_at(&self, answers: Option<u32>) {
        self.shared.nics.iter().for_each(|nic| nic.tell_at(answers));
    }
}

impl OutputCommit for OwnQueue {
    fn cut(&self, epoch: Epoch) -> Result<(), KernelError> {
        let Shared { nics, guard, .. } = &*self.shared;
        if nics.iter().any(Nic::is_passing) {
            // What happened while everything could leave leaked nothing, but has to be put right before.
            guard.look(nics);
            guard.verdict()?;
        }
        let mut result = Ok(());
        for nic in nics {
            let cut = nic.cut(epoch);
            result = result.and(self.shared.explain(nic, cut));
        }
        #[cfg(feature = "mutant-releases-early")]
        self.release(epoch)?;
        guard.look(nics);
        match guard.gone() {
            Some(gone) => Err(KernelError::Gone { name: nics[gone].name().into() }),
            None => result.and(guard.verdict()),
        }
    }

    fn release(&self, through: Epoch) -> Result<(), KernelError> {
        self.shared.let_out(|nic| nic.release(through))
    }

    fn pass(&self) -> Result<(), KernelError> {
        let passed = self.shared.let_out(Nic::pass);
        self.shared.guard.forgive();
        passed
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
        let Shared { nics, guard, .. } = &*self.shared;
        guard.look(nics);
        if let Some(gone) = guard.gone() {
            return Err(KernelError::Gone { name: nics[gone].name().into() });
        }
        let mut sum = KernelStats::default();
        self.shared.nics.iter().for_each(|nic| nic.add_stats(&mut sum));
        Ok(sum)
    }
}
