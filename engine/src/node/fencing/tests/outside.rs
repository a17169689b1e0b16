//! What surrounds the drivers of leases: a host whose watchdog is a model, and a node that notes what is asked.

use super::real_time::{Clock, SECOND};
use crate::guest::watchdog::Watchdog;
use crate::guest::{Host, HostError, NotBuilt, RunningGuest, Start};
use crate::node::context::{Context, Silence};
use crate::node::epoch_sender::SendQueue;
use crate::node::inbound::GuestName;
use parking_lot::Mutex;
use std::num::NonZeroU32;
use std::path::Path;
use std::sync::Arc;
use understudy_checkpoint::Generation;
use understudy_checkpoint::domain::Description;
use understudy_checkpoint::epoch::Image;
use understudy_link::{Frame, GuestId, HoldRefusal, Lane};
use understudy_session::lease::LeaseRequest;
use understudy_session::{NodeName, Time, WitnessRequest};

/// What resets a host, in real time.
#[derive(Debug)]
pub(super) struct Timer {
    pub(super) now: u64,
    pub(super) clock: Clock,
    pub(super) runs_out: Option<u64>,
    pub(super) sets: u64,
    /// For a mutant: it is set for this long, whatever is said.
    pub(super) whole: Option<u64>,
}

#[derive(Clone, Debug)]
pub(super) struct SimHost(pub(super) Arc<Mutex<Timer>>);

impl Watchdog for SimHost {
    fn set(&mut self, seconds: NonZeroU32) -> Result<(), HostError> {
        let mut timer = self.0.lock();
        let span = timer.whole.unwrap_or(u64::from(seconds.get()) * SECOND);
        timer.runs_out = Some(timer.now + timer.clock.real(span));
        timer.sets += 1;
        Ok(())
    }

    fn disarm(&mut self) -> Result<(), HostError> {
        self.0.lock().runs_out = None;
        Ok(())
    }
}

impl Host for SimHost {
    fn watchdog(&self, _state: &Path) -> Result<Box<dyn Watchdog>, HostError> {
        Ok(Box::new(self.clone()))
    }

    fn admits(&self, _name: &str, _what: &Description) -> Result<(), HoldRefusal> {
        Ok(())
    }

    fn build(&self, _start: &Start<'_>, _image: Image) -> Result<RunningGuest, NotBuilt> {
        Err("there are no guests here".into())
    }

    fn pause_older(&self, _name: &str, _newest: Generation) -> Result<(), HostError> {
        Ok(())
    }

    fn end_older(&self, _name: &str, _newest: Generation) -> Result<(), HostError> {
        Ok(())
    }
}

/// The surroundings of a driver: a time, and what it asks.
#[derive(Default, Debug)]
pub(super) struct Asked {
    pub(super) now: Time,
    pub(super) asked: Vec<(NodeName, LeaseRequest)>,
}

impl Context for Asked {
    fn now(&self) -> Time {
        self.now
    }
    fn monotonic_ns(&self, time: Time) -> u64 {
        time.0
    }
    fn is_link_up(&self, _: &NodeName) -> bool {
        false
    }
    fn link_version(&self, _: &NodeName) -> Option<u16> {
        None
    }
    fn offer(
        &mut self,
        _: &NodeName,
        _: &GuestName,
        _: Generation,
        _: &Description,
    ) -> Option<(GuestId, SendQueue)> {
        None
    }
    fn number_of(&self, _: &NodeName, _: &GuestName) -> Option<GuestId> {
        None
    }
    fn send(&mut self, _: &NodeName, _: &Frame<'_>) {}
    fn has_room(&self, _: &NodeName, _: Lane) -> bool {
        true
    }
    fn close_link(&mut self, _: &NodeName, _: &str) {}
    fn end_silent_link(&mut self, _: &NodeName) -> Silence {
        Silence::Kept
    }
    fn hold_back(&mut self, _: &dyn Fn(&NodeName) -> bool) {}
    fn is_held_back(&self, _: &NodeName) -> bool {
        false
    }
    fn is_witness_up(&self) -> bool {
        true
    }
    fn ask_witness(&mut self, _: &str, _: WitnessRequest) {}
    fn ask_lease(&mut self, host: &NodeName, request: LeaseRequest) {
        self.asked.push((host.clone(), request));
    }
}
