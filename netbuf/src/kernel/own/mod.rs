//! [`OwnQueue`]: a guest's output goes through taps into this process, is held in one [`EpochQueue`](crate::EpochQueue)
//! for each interface, and returns to the interface it came from.
//!
//! ```text
//!   cut, release, pass, fence ──► Nic ◄── reader: one thread for all interfaces of a guest
//!                                  ▲  ◄── sender: one more
//!                                  └───── guard: one more, which asks the kernel and repairs
//! ```
//!
//! Only attaching and detaching wait for the kernel. Any number of epochs may be in flight.
//!
//! Memory is bounded by [`Limits`] for each interface. If this process dies, its taps vanish and the redirects to them
//! drop what the guest sends, until another process attaches.
//!
//! Not here: the redirects that bring frames in and back out ([`wiring`]).

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
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::{JoinHandle, sleep};
use std::time::Duration;
use understudy_checkpoint::Epoch;
use wiring::Wiring;

/// How long a thread that has panicked waits before it goes on: a panic that comes again and again must not take the processor.
const AGAIN_AFTER: Duration = Duration::from_millis(100);

/// The output of a guest's interfaces, held in this process.
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
    /// Starts to intercept the output of `vifs` in the network namespace of the calling thread. `open` is the open
    /// epoch; `limits` apply to each interface.
    ///
    /// Replaces redirects that a dead process left, without letting a frame by. Needs CAP_NET_ADMIN, CAP_BPF, and the
    /// modules tun, sch_ingress, cls_bpf and act_mirred. Waits for the kernel.
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

    /// Sets the callback for "an interface nears a limit", "output waits" and "a fault was found". The queue's own
    /// threads call it, so it must be quick. Later calls have no effect.
    pub fn on_alarm(&self, alarm: impl Fn() + Send + Sync + 'static) {
        self.shared.signals.set_alarm(alarm);
        // Of what happened before it there was nobody to tell.
        self.shared.signals.alarm();
    }

    /// Sends a frame that teaches every switch where the address `mac` is. It counts as the guest's own and leaves when
    /// the guest's frames may.
    pub fn announce(&self, mac: [u8; 6]) {
        let frame = reverse_arp(mac);
        self.shared.nics.iter().for_each(|nic| nic.push(&frame));
        self.shared.signals.sender.ring();
    }

    /// Assigns everything held since attaching to epoch `open`: the guest's other interfaces were cut meanwhile, this
    /// one was not.
    pub fn reopen(&self, open: Epoch) {
        self.shared.nics.iter().for_each(|nic| nic.reopen(open));
    }

    /// The interfaces, by the names they had when they were attached.
    pub fn interfaces(&self) -> impl Iterator<Item = &str> {
        self.shared.nics.iter().map(Nic::name)
    }

    /// Asks the kernel how many frames have arrived at the interfaces since they were made. More than zero right after
    /// attaching means that some may not have been held. Waits for the kernel.
    pub fn ask_received(&self) -> Result<u64, KernelError> {
        self.shared.guard.ask_received(&self.shared.nics)
    }

    /// The first fault by which held output may have left, since everything was last allowed to leave.
    pub fn leak(&self) -> Option<Fault> {
        self.shared.guard.leak()
    }

    /// The fault of this moment.
    pub fn fault(&self) -> Option<Fault> {
        self.shared.guard.fault()
    }

    /// The newest fault, and the number of faults.
    pub fn faults(&self) -> (Option<Fault>, u64) {
        self.shared.guard.faults()
    }

    /// Whether one of the interfaces is gone.
    pub fn is_gone(&self) -> bool {
        self.shared.guard.gone().is_some()
    }

    /// Removes the taps and redirects. Every interface must pass, or be gone. Waits for the kernel.
    ///
    /// No frame is lost; the last ones may overtake each other.
    pub fn detach(mut self) -> Result<(), KernelError> {
        let Shared { nics, guard, .. } = &*self.shared;
        if nics.iter().any(|nic| !nic.is_passing() && !guard.ask_whether_gone(nic)) {
            return Err(KernelError::StillHolding);
        }
        self.shared.drain();
        guard.remove(nics)?;
        self.stop();
        for thread in self.threads.drain(..) {
            // It has survived its panics.
            let _ = thread.join();
        }
        self.shared.drain();
        Ok(())
    }

    fn start(&mut self, name: &str, work: fn(&Shared)) -> io::Result<()> {
        let shared = Arc::clone(&self.shared);
        // Its message is printed. Without the thread nothing would leave, or nobody would look after what holds output.
        let work = move || {
            while catch_unwind(AssertUnwindSafe(|| work(&shared))).is_err() {
                sleep(AGAIN_AFTER);
            }
        };
        let thread = std::thread::Builder::new().name(name.into()).spawn(work)?;
        self.threads.push(thread);
        Ok(())
    }

    fn stop(&self) {
        self.shared.signals.stop();
        self.shared.guard.wake();
    }
}

/// A reverse ARP request (RFC 903) of the address for itself: it needs no IP address, and every switch on its way
/// learns the address.
fn reverse_arp(mac: [u8; 6]) -> Vec<u8> {
    const HEAD: [u8; 10] = [0x80, 0x35, 0, 1, 8, 0, 6, 4, 0, 3];
    let (broadcast, nobody) = ([0xff; 6], [0; 4]);
    let mut frame = [&broadcast[..], &mac, &HEAD, &mac, &nobody, &mac, &nobody].concat();
    frame.resize(60, 0);
    frame
}

impl Drop for OwnQueue {
    /// Stops without detaching: the taps vanish when the threads have ended, which nobody waits for. Until then, and
    /// afterwards, output is cut off as if the process had died.
    fn drop(&mut self) {
        self.stop();
    }
}

impl Shared {
    /// The reader thread: reads frames until the queue stops.
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

    /// The sender thread: sends released frames until the queue stops. It is a thread of its own because a frame's way
    /// through the host's network takes longer than the next frame may wait in the tap's ring.
    fn send(&self) {
        while !self.signals.is_stopped() {
            let turns = self.nics.iter().map(Nic::send);
            if turns.filter(|turn| matches!(turn, Ok(Turn::Busy))).count() == 0 {
                self.signals.sender.clear();
            }
        }
    }

    /// Moves frames in the calling thread until none is left to move.
    fn drain(&self) {
        for nic in &self.nics {
            while matches!(nic.receive(), Ok(Turn::Busy)) {}
            while matches!(nic.send(), Ok(Turn::Busy)) {}
        }
    }

    /// Does `call` on every interface and wakes the sender.
    fn let_out(&self, call: impl Fn(&Nic)) -> Result<(), KernelError> {
        self.nics.iter().for_each(call);
        self.signals.sender.ring();
        self.nics.iter().map(|nic| self.explain(nic, nic.check())).fold(Ok(()), Result::and)
    }

    /// Turns an error of the tap into one of the interface: the interface is gone, or else the device that holds its
    /// output is. A deleted tap is not an unplugged network card.
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
    /// Holds again after a fence, for a newer generation of the guest. Nothing from before the fence leaves.
    pub fn revive(&self) {
        self.shared.nics.iter().for_each(Nic::revive);
    }

    /// [`EpochQueue::has_news`](crate::EpochQueue::has_news) of any interface. The alarm is raised when this becomes
    /// true.
    pub fn has_news(&self) -> bool {
        self.shared.nics.iter().any(Nic::has_news)
    }

    /// [`EpochQueue::waiting`](crate::EpochQueue::waiting), summed over the interfaces.
    pub fn waiting(&self) -> Waiting {
        self.shared.nics.iter().map(Nic::waiting).sum()
    }

    /// [`EpochQueue::tell_at`](crate::EpochQueue::tell_at), for each interface.
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
