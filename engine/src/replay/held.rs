//! A source that does not end when its recording does. A guest that is gone ends its protection, and the secondary then
//! drops its image; so the end is delayed until the image has been examined.

use crossbeam::channel::{Receiver, Sender, bounded};
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use understudy_checkpoint::Pfn;
use understudy_checkpoint::domain::{Description, DomainError, DomainState, LogTells, Source};
use understudy_checkpoint::epoch::Staging;
use understudy_checkpoint::pages::DirtyBitmap;

/// The source, after it was described.
#[derive(Debug)]
pub struct Held<S> {
    source: S,
    description: Description,
    played: Arc<AtomicU64>,
    at_end: Sender<()>,
    let_go: Receiver<()>,
    fault: Arc<Mutex<Option<String>>>,
}

/// A handle to the source. Dropping it lets the source end.
#[derive(Debug)]
pub struct Hold {
    played: Arc<AtomicU64>,
    at_end: Receiver<()>,
    fault: Arc<Mutex<Option<String>>>,
    _let_go: Sender<()>,
}

impl Hold {
    /// Epochs played so far.
    pub fn played(&self) -> u64 {
        self.played.load(Ordering::Acquire)
    }

    /// The fault of a recording that cannot be played further. A node would try a guest again, but a recording does not
    /// change.
    pub fn fault(&self) -> Option<String> {
        self.fault.lock().clone()
    }

    /// Whether the recording has ended. Returns `true` once.
    pub fn is_at_end(&self) -> bool {
        self.at_end.try_recv().is_ok()
    }
}

/// Wraps `source`, and has it describe itself here: that reads a recording's whole first copy, which would block a
/// node's loop.
pub fn hold<S: Source>(mut source: S) -> Result<(Held<S>, Hold), DomainError> {
    let description = source.describe()?;
    let played = Arc::new(AtomicU64::new(0));
    let (at_end, ended) = bounded(1);
    let (go, let_go) = bounded(0);
    let fault = Arc::new(Mutex::new(None));
    let held = Held { source, description, played: played.clone(), at_end, let_go, fault: fault.clone() };
    Ok((held, Hold { played, at_end: ended, fault, _let_go: go }))
}

impl<S> Held<S> {
    /// Records the first error.
    fn noted<T>(&self, result: Result<T, DomainError>) -> Result<T, DomainError> {
        if let Err(error) = &result
            && !matches!(error, DomainError::EndOfRecording)
        {
            self.fault.lock().get_or_insert_with(|| error.to_string());
        }
        result
    }
}

impl<S: Source> Source for Held<S> {
    fn describe(&mut self) -> Result<Description, DomainError> {
        Ok(self.description.clone())
    }

    fn begin_log_dirty(&mut self) -> Result<(), DomainError> {
        self.source.begin_log_dirty()
    }

    fn end_log_dirty(&mut self) -> Result<(), DomainError> {
        self.source.end_log_dirty()
    }

    // Blocks at the recording's end, on the capture thread, which has nothing else to do then.
    fn suspend(&mut self) -> Result<(), DomainError> {
        let result = self.source.suspend();
        match result {
            Ok(()) => drop(self.played.fetch_add(1, Ordering::AcqRel)),
            Err(DomainError::EndOfRecording) => {
                // Whoever held it may be gone already.
                let _ = self.at_end.try_send(());
                let _ = self.let_go.recv();
            }
            Err(_) => {}
        }
        self.noted(result)
    }

    fn resume(&mut self) -> Result<(), DomainError> {
        let result = self.source.resume();
        self.noted(result)
    }

    fn drain_dirty(&mut self, into: &mut DirtyBitmap) -> Result<(), DomainError> {
        let result = self.source.drain_dirty(into);
        self.noted(result)
    }

    fn copy_pages(
        &mut self,
        wanted: &DirtyBitmap,
        from: Pfn,
        staging: &mut Staging,
        copiers: usize,
    ) -> Result<Option<Pfn>, DomainError> {
        let result = self.source.copy_pages(wanted, from, staging, copiers);
        self.noted(result)
    }

    fn log_tells(&self) -> LogTells {
        self.source.log_tells()
    }

    fn capture_state(&mut self, into: &mut DomainState) -> Result<(), DomainError> {
        let result = self.source.capture_state(into);
        self.noted(result)
    }

    fn capture_device_model(&mut self, into: &mut DomainState) -> Result<(), DomainError> {
        let result = self.source.capture_device_model(into);
        self.noted(result)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use understudy_lab::Recorded;

    #[test]
    fn a_recording_that_cannot_be_described_is_not_held() {
        assert!(hold(Recorded::new(&b"garbage!"[..])).is_err());
    }
}
