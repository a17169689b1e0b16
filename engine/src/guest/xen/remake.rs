//! Makes a source again after its threads have failed, in a separate thread: finding a guest's memory may take long,
//! and the loop has other guests.
//!
//! ```text
//!   take() ─┬─ the old source is still held somewhere ── "not yet"      two would read one dirty log
//!           └─ a thread makes it ──┬─ within a moment ── the source
//!                                  └─ later ──────────── "not yet", handed out at a later call
//! ```
//!
//! Not here: when this is repeated (the node), and how a source is found ([`XenHost`](super::XenHost)).

use super::error::XenGuestError;
use crate::guest::machine::BoxedSource;
use crossbeam::channel::{Receiver, RecvTimeoutError, bounded};
use parking_lot::Mutex;
use std::fmt;
use std::sync::{Arc, Weak};
use std::thread::Builder;
use std::time::Duration;

/// How long the loop waits for a source.
const WAIT: Duration = Duration::from_millis(50);

/// Held by a source as long as it exists.
pub(in crate::guest) type Alive = Arc<()>;

type Made = Result<BoxedSource, XenGuestError>;
type Make = Arc<dyn Fn(Alive) -> Made + Send + Sync>;

/// Why there is no new source yet.
#[derive(thiserror::Error, Debug)]
pub(in crate::guest) enum NotRemade {
    #[error("the threads that copied it have not ended yet")]
    OldLives,
    #[error("its memory is being found anew")]
    UnderWay,
    #[error("finding its memory anew panicked")]
    Panicked,
    #[error(transparent)]
    Failed(#[from] XenGuestError),
}

/// Makes a guest's source again.
pub(in crate::guest) struct Remake {
    make: Make,
    state: Mutex<State>,
}

struct State {
    alive: Weak<()>,
    under_way: Option<Receiver<Made>>,
}

impl fmt::Debug for Remake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Remake")
    }
}

impl Remake {
    /// Calls `make` once nobody holds `alive` any more. The source that it makes keeps the value it is given.
    pub(in crate::guest) fn new(alive: &Alive, make: impl Fn(Alive) -> Made + Send + Sync + 'static) -> Self {
        let state = State { alive: Arc::downgrade(alive), under_way: None };
        Self { make: Arc::new(make), state: Mutex::new(state) }
    }

    /// The new source. Does not wait long.
    pub(in crate::guest) fn take(&self) -> Result<BoxedSource, NotRemade> {
        let mut state = self.state.lock();
        let made = match state.under_way.take() {
            Some(made) => made,
            None if state.alive.strong_count() > 0 => return Err(NotRemade::OldLives),
            None => {
                let alive = Alive::default();
                state.alive = Arc::downgrade(&alive);
                self.begin(alive)?
            }
        };
        match made.recv_timeout(WAIT) {
            Ok(result) => result.map_err(NotRemade::Failed),
            Err(RecvTimeoutError::Timeout) => {
                state.under_way = Some(made);
                Err(NotRemade::UnderWay)
            }
            Err(RecvTimeoutError::Disconnected) => Err(NotRemade::Panicked),
        }
    }

    fn begin(&self, alive: Alive) -> Result<Receiver<Made>, NotRemade> {
        let (to, made) = bounded(1);
        let make = self.make.clone();
        let work = move || {
            // Without the machine nobody wants it.
            let _ = to.send(make(alive));
        };
        let thread = Builder::new().name("remake".into()).spawn(work);
        Ok(thread.map(|_| made).map_err(XenGuestError::from)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guest::still::Still;
    use std::sync::atomic::{AtomicU32, Ordering};
    use understudy_checkpoint::epoch::Image;

    fn made(alive: Alive) -> Made {
        Ok(BoxedSource(Box::new(Still::with(Image::new(0)).holding(alive))))
    }

    fn awaited(remake: &Remake) -> Result<BoxedSource, NotRemade> {
        loop {
            match remake.take() {
                Err(NotRemade::UnderWay) => {}
                result => return result,
            }
        }
    }

    #[test]
    fn there_is_one_source_at_a_time() {
        let first = Alive::default();
        let remake = Remake::new(&first, made);
        assert!(matches!(remake.take(), Err(NotRemade::OldLives)));
        drop(first);
        let second = awaited(&remake).unwrap();
        assert!(matches!(remake.take(), Err(NotRemade::OldLives)), "what was made counts, too");
        drop(second);
        awaited(&remake).unwrap();
    }

    #[test]
    fn a_source_that_takes_long_to_make_is_not_waited_for_and_is_made_once() {
        let (go, wait) = bounded::<()>(0);
        let begun = Arc::new(AtomicU32::new(0));
        let counted = begun.clone();
        let remake = Remake::new(&Alive::default(), move |alive| {
            counted.fetch_add(1, Ordering::SeqCst);
            let _ = wait.recv();
            made(alive)
        });
        for _ in 0..3 {
            assert!(matches!(remake.take(), Err(NotRemade::UnderWay)));
        }
        drop(go);
        awaited(&remake).unwrap();
        assert_eq!(begun.load(Ordering::SeqCst), 1);
    }

    #[test]
    fn what_fails_or_panics_is_told_and_tried_again() {
        let attempt = AtomicU32::new(0);
        let remake =
            Remake::new(&Alive::default(), move |alive| match attempt.fetch_add(1, Ordering::SeqCst) {
                0 => Err(XenGuestError::Dying),
                1 => panic!("as the test says"),
                _ => made(alive),
            });
        assert!(matches!(awaited(&remake), Err(NotRemade::Failed(XenGuestError::Dying))));
        assert!(matches!(awaited(&remake), Err(NotRemade::Panicked)));
        awaited(&remake).unwrap();
    }
}
