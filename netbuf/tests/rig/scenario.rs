//! What both backends must do alike, told once.

use super::capture::{Capture, PROTOCOLS, frame, let_pass, sender, transmit};
use super::judge::{AckLog, Verdict};
use super::{Rig, inventory};
use parking_lot::{Mutex, RwLock};
use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use understudy_checkpoint::Epoch;
use understudy_netbuf::kernel::OutputCommit;

/// A guest that sends frames labelled with the epoch it is in, and can be suspended.
pub(crate) struct Guest {
    socket: OwnedFd,
    running: RwLock<Epoch>,
}

impl Guest {
    pub(crate) fn new(rig: &Rig, open: Epoch) -> Arc<Self> {
        let socket = rig.guest.run(|| sender("eth0"));
        Arc::new(Self { socket, running: RwLock::new(open) })
    }

    /// Sends frame number `sequence`; every protocol gets its turn.
    pub(crate) fn send(&self, sequence: u64) {
        let epoch = self.running.read();
        let protocol = PROTOCOLS[sequence as usize % PROTOCOLS.len()];
        transmit(&self.socket, &frame(protocol, *epoch, sequence));
    }

    /// Ends the epoch as a checkpoint does: suspend, cut, resume.
    pub(crate) fn checkpoint(&self, output: &dyn OutputCommit) -> Epoch {
        let mut epoch = self.running.write();
        let ended = *epoch;
        output.cut(ended).unwrap();
        *epoch = ended.next();
        ended
    }
}

/// Nothing of any protocol leaves before its epoch's ack; then all of it does, in order.
pub(crate) fn every_protocol_waits_for_its_ack(rig: &Rig, output: &dyn OutputCommit) {
    let capture = Capture::start(&rig.outside);
    let (guest, mut acks) = (Guest::new(rig, Epoch(0)), AckLog::default());
    guest.checkpoint(output);
    acks.ack(Epoch(0));
    output.release(Epoch(0)).unwrap();
    (0..60).for_each(|sequence| guest.send(sequence));
    let_pass();
    let first = guest.checkpoint(output);
    (60..120).for_each(|sequence| guest.send(sequence));
    let_pass();
    let second = guest.checkpoint(output);
    let_pass();
    for ended in [first, second] {
        acks.ack(ended);
        output.release(ended).unwrap();
        let_pass();
    }
    // A plug lets an epoch out that was cut while another was in flight with the next one.
    let third = guest.checkpoint(output);
    acks.ack(third);
    output.release(third).unwrap();
    let seen = capture.finish();
    let verdict = Verdict::of(&seen, &acks, 120);
    assert!(verdict.is_clean(), "{verdict:?}");
    assert_eq!((verdict.seen, verdict.protocols.len()), (120, PROTOCOLS.len()));
    assert_eq!(output.stats().unwrap().dropped(), 0);
}

/// Many frames, an epoch every few milliseconds, several in flight.
pub(crate) fn many_frames(rig: &Rig, output: Arc<dyn OutputCommit>, frames: u64) -> Verdict {
    let capture = Capture::start(&rig.outside);
    let guest = Guest::new(rig, Epoch(0));
    let done = Arc::new(AtomicBool::new(false));
    let session = {
        let (guest, done) = (Arc::clone(&guest), Arc::clone(&done));
        std::thread::spawn(move || session(&guest, &*output, &done))
    };
    for sequence in 0..frames {
        guest.send(sequence);
        // A veth drops what comes faster than its host's processors can take it; this is not its test.
        if sequence % 64 == 0 {
            std::thread::sleep(Duration::from_micros(200));
        }
    }
    let_pass();
    done.store(true, Ordering::Release);
    let acks = session.join().unwrap();
    Verdict::of(&capture.finish(), &acks, frames)
}

const INTERVAL: Duration = Duration::from_millis(5);
const ACK_TIME: Duration = Duration::from_millis(12);

/// Cuts every interval and believes each ack a little later; in the end all is acked.
fn session(guest: &Guest, output: &dyn OutputCommit, done: &AtomicBool) -> AckLog {
    let mut acks = AckLog::default();
    let mut in_flight = VecDeque::new();
    let mut last_rounds = 4;
    while last_rounds > 0 {
        if done.load(Ordering::Acquire) && in_flight.is_empty() {
            last_rounds -= 1;
        }
        in_flight.push_back((guest.checkpoint(output), Instant::now()));
        std::thread::sleep(INTERVAL);
        let over = done.load(Ordering::Acquire);
        while in_flight.front().is_some_and(|(_, cut)| over || cut.elapsed() >= ACK_TIME) {
            let (epoch, _) = in_flight.pop_front().unwrap();
            acks.ack(epoch);
            output.release(epoch).unwrap();
        }
    }
    acks
}

/// Runs a session in the background until dropped: for tests that speak real protocols.
pub(crate) struct Background {
    done: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<AckLog>>,
}

impl Background {
    pub(crate) fn start(rig: &Rig, output: Arc<dyn OutputCommit>) -> Self {
        let done = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&done);
        let guest = Guest::new(rig, Epoch(0));
        let thread = std::thread::spawn(move || session(&guest, &*output, &told));
        Self { done, thread: Some(thread) }
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        self.done.store(true, Ordering::Release);
        let ended = self.thread.take().map(std::thread::JoinHandle::join);
        assert!(ended.is_some_and(|result| result.is_ok()) || std::thread::panicking());
    }
}

/// A backend that releases one epoch more than was acked: what the judge must see.
pub(crate) struct ReleasesEarly<T> {
    pub(crate) real: T,
    pub(crate) cut: Mutex<Option<Epoch>>,
}

impl<T: OutputCommit> OutputCommit for ReleasesEarly<T> {
    fn cut(&self, epoch: Epoch) -> Result<(), understudy_netbuf::kernel::KernelError> {
        *self.cut.lock() = Some(epoch);
        self.real.cut(epoch)
    }

    fn release(&self, through: Epoch) -> Result<(), understudy_netbuf::kernel::KernelError> {
        let newest = self.cut.lock().unwrap_or(through);
        self.real.release(through.next().min(newest))
    }

    fn pass(&self) -> Result<(), understudy_netbuf::kernel::KernelError> {
        self.real.pass()
    }

    fn fence(&self) -> Result<(), understudy_netbuf::kernel::KernelError> {
        self.real.fence()
    }

    fn take_pressure(&self) -> bool {
        self.real.take_pressure()
    }

    fn stats(
        &self,
    ) -> Result<understudy_netbuf::kernel::KernelStats, understudy_netbuf::kernel::KernelError> {
        self.real.stats()
    }
}

/// The host's network is as it was.
pub(crate) fn nothing_is_left(before: &str) {
    assert_eq!(inventory(), before);
}
