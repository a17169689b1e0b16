//! [`ReplicaHandle`]: the loop's handle to a receive thread.
//!
//! ```text
//!   loop ── offer ──► bounded channel ──► receive thread
//!     │  ◄── full: given back                  │ did one thing
//!     └──────────── woken, if it waits ◄───────┘
//! ```
//!
//! Not here: what the thread does ([`receive`](super::receive)).

use super::receive::ReceiveThread;
use super::work::{Held, Work};
use crate::guest::report::Reporter;
use crate::guest::thread;
use crossbeam::channel::{Receiver, RecvTimeoutError, Sender, TrySendError, bounded};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use understudy_checkpoint::epoch::Limits;

/// Most parts that wait for the thread. A part is a page batch or a piece of state, so this is about two megabytes for
/// each guest, and more than one epoch of a quiet guest.
const WORK_MAX: usize = 16;

/// A handle to the thread, which ends some time after this is dropped.
#[derive(Debug)]
pub struct ReplicaHandle {
    work: Sender<Work>,
    refused: Refused,
    /// Disconnected once the thread has ended.
    ended: Receiver<()>,
}

/// Whether the loop had to keep work back, and waits to be woken.
#[derive(Clone, Debug, Default)]
struct Refused(Arc<AtomicBool>);

impl Refused {
    fn remember(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    fn take(&self) -> bool {
        self.0.load(Ordering::SeqCst) && self.0.swap(false, Ordering::SeqCst)
    }
}

impl ReplicaHandle {
    /// Starts the thread.
    pub fn start(held: Held, limits: Limits, reporter: Reporter) -> io::Result<Self> {
        let (work, inbox) = bounded(WORK_MAX);
        let (told, refused) = (reporter.clone(), Refused::default());
        let waited_for = refused.clone();
        let (lives, ended) = bounded::<()>(0);
        thread::spawn("receive", reporter, move || {
            // Dropped last, a panic or not.
            let _lives = lives;
            let wake = told.clone();
            ReceiveThread::new(held, limits, told).run(&inbox, || {
                if waited_for.take() {
                    wake.wake();
                }
            });
        })?;
        Ok(Self { work, refused, ended })
    }

    /// Ends the thread, and waits at most `within_max` until nothing of the guest is left on this host. Returns whether
    /// that is so.
    pub fn end(self, within_max: Duration) -> bool {
        drop(self.work);
        self.ended.recv_timeout(within_max) == Err(RecvTimeoutError::Disconnected)
    }

    /// Passes work to the thread, or returns it if the thread has enough to do. The loop is woken when there is room
    /// again.
    pub fn offer(&self, work: Work) -> Result<(), Work> {
        self.try_offer(work).or_else(|work| {
            // Once more, lest the thread became idle just before it could see that somebody waits.
            self.refused.remember();
            self.try_offer(work)
        })
    }

    fn try_offer(&self, work: Work) -> Result<(), Work> {
        match self.work.try_send(work) {
            Ok(()) | Err(TrySendError::Disconnected(_)) => Ok(()),
            Err(TrySendError::Full(work)) => Err(work),
        }
    }
}
