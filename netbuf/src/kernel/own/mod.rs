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
mod signals;
mod wiring;

use super::KernelError;
use super::breach::Breach;
use super::commit::{KernelStats, OutputCommit, Start};
use super::netlink::Connection;
use crate::{Limits, Waiting};
pub use guard::Fault;
use guard::Guard;
use nic::{Nic, Turn};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use signals::Signals;
use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::thread::JoinHandle;
use understudy_checkpoint::Epoch;
use wiring::Wiring;

/// Output of a guest's interfaces, held in this process.
#[derive(Debug)]
pub struct OwnQueue {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    nics: Vec<Nic>,
    guard: Guard,
    signals: Signals,
}

impl OwnQueue {
    /// Takes hold of the output of `vifs`, whose open epoch is `open`, in the network namespace of the calling
    /// thread. `limits` are for each interface.
    ///
    /// Replaces the redirects that a dead process left on them, without letting a frame by. Needs CAP_NET_ADMIN
    /// and CAP_BPF, and the modules tun, sch_ingress, cls_bpf and act_mirred. It waits for the kernel.
    pub fn attach(vifs: &[&str], open: Epoch, limits: Limits, start: Start) -> Result<Self, KernelError> {
        let mut connection = Connection::open()?;
        let wiring = Wiring::new()?;
        let mut nics = Vec::new();
        for vif in vifs {
            let parts = wiring.open(&mut connection, vif)?;
            nics.push(Nic::new(parts, open, limits, start));
        }
        let guard = Guard::new(connection, wiring)?;
        let shared = Arc::new(Shared { nics, guard, signals: Signals::new()? });
        let mut queue = Self { shared, threads: Vec::new() };
        queue.start("netbuf-read", Shared::read)?;
        queue.start("netbuf-send", Shared::send)?;
        // From here on frames arrive.
        queue.shared.guard.install(&queue.shared.nics)?;
        queue.start("netbuf-guard", |shared| shared.guard.run(&shared.nics, &shared.signals))?;
        Ok(queue)
    }

    /// Has `alarm` called whenever an interface came near a limit, and whenever something is wrong with what holds, by
    /// threads that have other work: it must be quick. Only the first one given counts.
    pub fn on_alarm(&self, alarm: impl Fn() + Send + Sync + 'static) {
        self.shared.signals.set_alarm(alarm);
        // Of what happened before it there was nobody to tell.
        self.shared.signals.alarm();
    }

    /// Has every switch learn where the address `mac` is: a frame that the guest might have sent, and that leaves when the
    /// guest's frames may.
    pub fn announce(&self, mac: [u8; 6]) {
        let frame = reverse_arp(mac);
        self.shared.nics.iter().for_each(|nic| nic.push(&frame));
        self.shared.signals.sender.ring();
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
        self.shared.signals.stop();
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

impl Drop for OwnQueue {
    /// Stops without detaching: the taps vanish once the threads have ended, which nobody waits for, and output is held
    /// as it is when the process dies.
    fn drop(&mut self) {
        self.stop();
    }
}

impl Shared {
    /// Reads frames until told to stop.
    fn read(&self) {
        while !self.signals.is_stopped() {
            let turns: Vec<_> = self.nics.iter().map(Nic::receive).collect();
            if self.nics.iter().any(Nic::has_leaving) {
                self.signals.sender.ring();
            }
            if self.nics.iter().any(|nic| nic.is_pressed() || nic.has_news()) {
                self.signals.alarm();
            }
            if turns.iter().any(|turn| matches!(turn, Ok(Turn::Busy))) {
                continue;
            }
            let parts: Vec<_> = self.nics.iter().map(Nic::parts).collect();
            let mut wait = vec![PollFd::new(self.signals.reader.as_fd(), PollFlags::POLLIN)];
            // The tap of a failed interface would be ready for ever.
            let sound = parts.iter().filter(|parts| !parts.has_failed());
            wait.extend(sound.map(|parts| PollFd::new(parts.tap.as_fd(), PollFlags::POLLIN)));
            let _ = poll(&mut wait, PollTimeout::NONE);
            self.signals.reader.clear();
        }
    }

    /// Sends what may leave until told to stop. Apart from reading, for a frame's way through the host's network
    /// takes longer than the next may wait in the tap's ring.
    fn send(&self) {
        while !self.signals.is_stopped() {
            let turns = self.nics.iter().map(Nic::send);
            if turns.filter(|turn| matches!(turn, Ok(Turn::Busy))).count() == 0 {
                self.signals.sender.clear();
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

    /// Does `call` on every interface and has the sender send what may leave.
    fn let_out(&self, call: impl Fn(&Nic)) -> Result<(), KernelError> {
        self.nics.iter().for_each(call);
        self.signals.sender.ring();
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
