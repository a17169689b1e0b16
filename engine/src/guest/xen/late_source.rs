//! The source of a guest that has just been started here. It is opened as late as necessary: a guest that runs must not
//! be reported as failed because its checkpoints cannot be made yet.
//!
//! ```text
//!   Awaited ──open──► Open ── every call is passed on
//!      │  └ fails: the call fails with the reason, and the next full sync tries again
//!      └ describe: the guest's description when its copy was taken
//! ```
//!
//! The session repeats a full sync for as long as the guest is unprotected, so nothing here waits or gives up.
//!
//! Not here: a source whose threads have failed ([`remake`](super::remake)).

use super::error::XenGuestError;
use crate::guest::machine::BoxedSource;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread::sleep;
use std::time::{Duration, Instant};
use understudy_checkpoint::Pfn;
use understudy_checkpoint::domain::{Calls, Description, DomainError, DomainState, LogTells, Source};
use understudy_checkpoint::epoch::Staging;
use understudy_checkpoint::pages::DirtyBitmap;

/// Time between two attempts of [`await_open`](LateSource::await_open).
const RETRY: Duration = Duration::from_millis(20);

/// Opens a source. Also returns the memory that comparing takes.
type Open = Box<dyn FnMut() -> Result<(BoxedSource, u64), XenGuestError> + Send>;

/// A source that is opened when first needed.
pub(in crate::guest) struct LateSource {
    what: Description,
    open: Open,
    state: State,
}

enum State {
    Awaited {
        why: String,
    },
    Open {
        source: Box<dyn Source>,
        compared_bytes: u64,
        /// The engine has described the guest already.
        is_described: bool,
    },
}

impl LateSource {
    /// A source of a guest described by `what`, which `open` will open.
    pub(in crate::guest) fn new(
        what: Description,
        open: impl FnMut() -> Result<(BoxedSource, u64), XenGuestError> + Send + 'static,
    ) -> Self {
        let why = "what makes checkpoints of it has not been found yet".to_owned();
        Self { what, open: Box::new(open), state: State::Awaited { why } }
    }

    /// Tries to open it for at most `time_max`. Returns why it is not open, if it is not.
    pub(in crate::guest) fn await_open(&mut self, time_max: Duration) -> Option<&str> {
        let begun = Instant::now();
        while let Err(_) = self.opened()
            && begun.elapsed() < time_max
        {
            sleep(RETRY);
        }
        match &self.state {
            State::Awaited { why } => Some(why),
            State::Open { .. } => None,
        }
    }

    /// Memory used to find changes by comparing, if it is known.
    pub(in crate::guest) fn compared_bytes(&self) -> u64 {
        match self.state {
            State::Awaited { .. } => 0,
            State::Open { compared_bytes, .. } => compared_bytes,
        }
    }

    /// Opens the source unless it is open. A panic counts as a failure like others, because the guest runs.
    fn opened(&mut self) -> Result<(), DomainError> {
        if let State::Open { .. } = self.state {
            return Ok(());
        }
        let found = catch_unwind(AssertUnwindSafe(&mut self.open));
        let found = found.unwrap_or_else(|_| Err(XenGuestError::Panicked));
        let why = match found {
            Ok((source, compared_bytes)) => {
                self.state = State::Open { source: source.0, compared_bytes, is_described: false };
                return Ok(());
            }
            Err(why) => why.to_string(),
        };
        self.state = State::Awaited { why: why.clone() };
        Err(DomainError::Failed(format!("the guest runs here, and nothing can copy it yet: {why}")))
    }

    fn source(&mut self) -> Result<&mut dyn Source, DomainError> {
        match &mut self.state {
            State::Open { source, .. } => Ok(&mut **source),
            State::Awaited { why } => Err(DomainError::Failed(why.clone())),
        }
    }
}

/// Whether a copy that was offered under one description can be made from the other. Configurations are compared
/// elsewhere.
fn is_same(one: &Description, other: &Description) -> bool {
    *one == Description { config: one.config.clone(), ..other.clone() }
}

impl Source for LateSource {
    fn describe(&mut self) -> Result<Description, DomainError> {
        match &mut self.state {
            State::Awaited { .. } => Ok(self.what.clone()),
            State::Open { source, is_described, .. } => {
                let now = source.describe()?;
                *is_described = true;
                Ok(now)
            }
        }
    }

    fn begin_log_dirty(&mut self) -> Result<(), DomainError> {
        self.opened()?;
        if let State::Open { source, is_described: false, .. } = &mut self.state
            && !is_same(&self.what, &source.describe()?)
        {
            return Err(DomainError::Outgrown("it was described before it could be looked at".into()));
        }
        self.source()?.begin_log_dirty()
    }

    fn end_log_dirty(&mut self) -> Result<(), DomainError> {
        match &mut self.state {
            // Nothing of this process tracks it.
            State::Awaited { .. } => Ok(()),
            State::Open { source, .. } => source.end_log_dirty(),
        }
    }

    fn suspend(&mut self) -> Result<(), DomainError> {
        self.source()?.suspend()
    }

    fn resume(&mut self) -> Result<(), DomainError> {
        match &mut self.state {
            // Nobody has asked it to suspend since it was let go.
            State::Awaited { .. } => Ok(()),
            State::Open { source, .. } => source.resume(),
        }
    }

    fn after_resume(&mut self) {
        if let State::Open { source, .. } = &mut self.state {
            source.after_resume();
        }
    }

    fn settle(&mut self) -> Result<bool, DomainError> {
        match &mut self.state {
            State::Awaited { .. } => Ok(true),
            State::Open { source, .. } => source.settle(),
        }
    }

    fn look_after(&mut self) -> Result<(), DomainError> {
        match &mut self.state {
            State::Awaited { .. } => Ok(()),
            State::Open { source, .. } => source.look_after(),
        }
    }

    fn drain_dirty(&mut self, into: &mut DirtyBitmap) -> Result<(), DomainError> {
        self.source()?.drain_dirty(into)
    }

    fn copy_pages(
        &mut self,
        wanted: &DirtyBitmap,
        from: Pfn,
        staging: &mut Staging,
        copiers: usize,
    ) -> Result<Option<Pfn>, DomainError> {
        self.source()?.copy_pages(wanted, from, staging, copiers)
    }

    fn calls(&self) -> Calls {
        match &self.state {
            State::Awaited { .. } => Calls::default(),
            State::Open { source, .. } => source.calls(),
        }
    }

    fn log_tells(&self) -> LogTells {
        match &self.state {
            State::Awaited { .. } => LogTells::Nothing,
            State::Open { source, .. } => source.log_tells(),
        }
    }

    fn next_held(&self, from: Pfn, end: Pfn) -> Option<Pfn> {
        match &self.state {
            State::Awaited { .. } => (from < end).then_some(from),
            State::Open { source, .. } => source.next_held(from, end),
        }
    }

    fn look_at_pages(
        &mut self,
        wanted: &DirtyBitmap,
        from: Pfn,
        staging: &mut Staging,
    ) -> Result<Option<Pfn>, DomainError> {
        self.source()?.look_at_pages(wanted, from, staging)
    }

    fn capture_state(&mut self, into: &mut DomainState) -> Result<(), DomainError> {
        self.source()?.capture_state(into)
    }

    fn capture_device_model(&mut self, into: &mut DomainState) -> Result<(), DomainError> {
        self.source()?.capture_device_model(into)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::VecDeque;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};
    use understudy_checkpoint::domain::GuestKind;

    fn was(page_count: u64) -> Description {
        Description {
            kind: GuestKind::Pvh,
            page_count,
            libxc_version: 3,
            xen_version: (4, 17),
            config: b"as it was configured there".to_vec(),
            static_records: Vec::new(),
            disks_bytes: Vec::new(),
        }
    }

    /// Counts how often its log was switched on.
    struct Found(Arc<AtomicU32>);

    impl Source for Found {
        fn describe(&mut self) -> Result<Description, DomainError> {
            Ok(Description { config: b"as it is configured here".to_vec(), ..was(16) })
        }
        fn begin_log_dirty(&mut self) -> Result<(), DomainError> {
            self.0.fetch_add(1, Ordering::Relaxed);
            Ok(())
        }
        fn end_log_dirty(&mut self) -> Result<(), DomainError> {
            Err(DomainError::Failed("asked".into()))
        }
        fn suspend(&mut self) -> Result<(), DomainError> {
            Ok(())
        }
        fn resume(&mut self) -> Result<(), DomainError> {
            Ok(())
        }
        fn drain_dirty(&mut self, _into: &mut DirtyBitmap) -> Result<(), DomainError> {
            Ok(())
        }
        fn copy_pages(
            &mut self,
            _wanted: &DirtyBitmap,
            _from: Pfn,
            _staging: &mut Staging,
            _copiers: usize,
        ) -> Result<Option<Pfn>, DomainError> {
            Ok(None)
        }
        fn log_tells(&self) -> LogTells {
            LogTells::Everything
        }
        fn capture_state(&mut self, _into: &mut DomainState) -> Result<(), DomainError> {
            Ok(())
        }
    }

    enum Try {
        Fails(&'static str),
        Panics,
        Works,
    }

    /// Of a guest that had so many frames, found as `tries` say, one after the other.
    fn late(page_count: u64, tries: Vec<Try>) -> (LateSource, Arc<AtomicU32>) {
        let (logs, mut tries) = (Arc::new(AtomicU32::new(0)), VecDeque::from(tries));
        let counted = logs.clone();
        let open = move || match tries.pop_front().expect("it is not asked once it is open") {
            Try::Fails(why) => Err(std::io::Error::other(why).into()),
            Try::Panics => panic!("as the test says"),
            Try::Works => Ok((BoxedSource(Box::new(Found(counted.clone()))), 7)),
        };
        (LateSource::new(was(page_count), open), logs)
    }

    #[test]
    fn whatever_fails_after_a_guest_runs_is_tried_again_with_each_full_copy_until_it_works() {
        let steps = ["its cards cannot be held", "its configuration is no JSON", "too many open files"];
        let tries = steps.map(Try::Fails).into_iter().chain([Try::Panics, Try::Works]).collect();
        let (mut source, logs) = late(16, tries);
        for why in steps.into_iter().chain(["panicked"]) {
            assert_eq!(source.describe().unwrap(), was(16), "it is known what runs");
            source.end_log_dirty().unwrap();
            let error = source.begin_log_dirty().unwrap_err();
            assert!(matches!(&error, DomainError::Failed(said) if said.contains(why)), "{error}");
            source.resume().and_then(|()| source.look_after()).unwrap();
            assert!(source.suspend().is_err() && source.capture_state(&mut DomainState::default()).is_err());
        }
        source.begin_log_dirty().unwrap();
        assert_eq!(logs.load(Ordering::Relaxed), 1);
        assert_eq!((source.log_tells(), source.compared_bytes()), (LogTells::Everything, 7));
        source.suspend().unwrap();
        assert!(source.end_log_dirty().is_err(), "from here on it is the source's own word");
    }

    #[test]
    fn a_guest_that_is_not_as_it_was_described_is_described_anew_before_it_is_copied() {
        let (mut source, logs) = late(15, vec![Try::Works]);
        assert!(matches!(source.begin_log_dirty().unwrap_err(), DomainError::Outgrown(_)));
        assert_eq!(source.describe().unwrap().page_count, 16);
        assert_eq!(logs.load(Ordering::Relaxed), 0);
        source.begin_log_dirty().unwrap();
    }

    #[test]
    fn it_is_waited_for_no_longer_than_is_said() {
        let (mut source, _) = late(16, vec![Try::Fails("no"), Try::Fails("not yet"), Try::Works]);
        assert_eq!(source.await_open(Duration::ZERO), Some("no"));
        assert_eq!(source.await_open(Duration::from_secs(60)), None);
        source.begin_log_dirty().unwrap();
    }
}
