//! [`XenMachine`]: a Xen domain as the engine runs it: paused, unpaused, labelled, destroyed.
//!
//! Not here: how it is found, built and checkpointed ([`xen`](crate::guest::xen)).

use super::cards::{Renewed, Unwatched};
use super::ended::Ended;
use super::noted::Noted;
use super::remake::Remake;
use super::settle::Settled;
use crate::guest::machine::{BoxedSource, HostError, Machine};
use crate::guest::waker::LoopWaker;
use parking_lot::Mutex;
use std::io;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use understudy_checkpoint::Generation;
use understudy_xen::{DomId, Xen, domain_labels, xl};

/// A domain that runs here.
#[derive(Debug)]
pub struct XenMachine {
    xen: Xen,
    domain: DomId,
    name: String,
    /// Whether we have paused it. Xen counts pauses, but a machine is paused once.
    is_paused: AtomicBool,
    renewed: Renewed,
    unwatched: Unwatched,
    settled: Settled,
    /// Makes the source again; set once there is one.
    remake: OnceLock<Remake>,
    ended: Ended,
    /// Whether its output follows its cards.
    is_followed: Mutex<bool>,
    noted: Noted,
}

impl XenMachine {
    /// A domain that is paused or not.
    pub(in crate::guest) fn new(
        xen: &Xen,
        domain: DomId,
        name: &str,
        is_paused: bool,
        waker: &LoopWaker,
    ) -> Self {
        Self {
            xen: xen.clone(),
            domain,
            name: name.to_owned(),
            is_paused: AtomicBool::new(is_paused),
            renewed: Renewed::new(waker.clone()),
            unwatched: Unwatched::default(),
            settled: Settled::not_yet(waker.clone()),
            remake: OnceLock::new(),
            ended: Ended::not_yet(waker.clone()),
            is_followed: Mutex::new(false),
            noted: Noted::new(name, move |to| domain_labels::write(domain, to), waker.clone()),
        }
    }

    pub(in crate::guest) fn name(&self) -> &str {
        &self.name
    }

    pub(in crate::guest) fn renewed(&self) -> &Renewed {
        &self.renewed
    }

    pub(in crate::guest) fn unwatched(&self) -> &Unwatched {
        &self.unwatched
    }

    pub(in crate::guest) fn ended(&self) -> &Ended {
        &self.ended
    }

    pub(in crate::guest) fn settled(&self) -> &Settled {
        &self.settled
    }

    /// Makes `start` follow its cards, once.
    pub(in crate::guest) fn followed_by(&self, start: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        let mut is_followed = self.is_followed.lock();
        if !*is_followed {
            start()?;
            *is_followed = true;
        }
        Ok(())
    }

    /// Sets how its source is made again.
    pub(in crate::guest) fn remade_by(&self, remake: Remake) {
        let _ = self.remake.set(remake);
    }
}

impl Machine for XenMachine {
    fn pause(&self) {
        if self.is_paused.swap(true, Ordering::AcqRel) {
            return;
        }
        if let Err(error) = self.xen.pause(self.domain) {
            tracing::error!(guest = self.name, %error, "The guest cannot be paused");
        }
    }

    fn unpause(&self) {
        if !self.is_paused.swap(false, Ordering::AcqRel) {
            return;
        }
        if let Err(error) = self.xen.unpause(self.domain) {
            tracing::error!(guest = self.name, %error, "The guest cannot be unpaused");
        }
    }

    fn stop(&self) {
        // It stands still from here on. The rest takes xl a while, and the loop has other guests.
        self.pause();
        let (domain, name) = (self.domain, self.name.clone());
        let destroy = move || {
            if let Err(error) = xl::destroy(domain) {
                tracing::error!(guest = name, %error, "The guest is paused, but cannot be destroyed; use xl destroy");
            }
        };
        if let Err(error) = std::thread::Builder::new().name("destroy".into()).spawn(destroy) {
            tracing::error!(guest = self.name, %error, "The guest is paused, but cannot be destroyed; use xl destroy");
        }
    }

    fn outlives_us(&self) -> bool {
        true
    }

    fn has_ended(&self) -> bool {
        self.ended.is_so()
    }

    fn mark(&self, generation: Generation) {
        self.noted.write(generation);
    }

    fn is_marked(&self, generation: Generation) -> bool {
        self.noted.is_written(generation)
    }

    fn leave(&self) {
        self.pause();
        tracing::warn!(
            guest = self.name,
            "The guest is paused, since nobody guards it any more; before `xl unpause`, see that it was not taken over"
        );
    }

    fn reopen(&self) -> Option<Result<BoxedSource, HostError>> {
        Some(self.remake.get()?.take().map_err(Into::into))
    }

    fn has_settled(&self) -> bool {
        self.settled.is_so()
    }

    fn take_renewed(&self) -> Option<Vec<u8>> {
        self.renewed.take()
    }

    fn trouble(&self) -> Option<String> {
        self.unwatched.words()
    }

    fn deliver(&self, _frame: &[u8]) {
        // Its network is the host's.
    }
}
