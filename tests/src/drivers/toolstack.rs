//! A host of the simulator, as the engine asks it for domains, copies and replicas. The domains are the yard's.

use super::card::Card;
use super::copy::SimCopy;
use super::guest::{SharedDomain, State};
use super::mutant::Mutant;
use super::names::guest_of;
use super::port::SharedPort;
use super::standing::SimStanding;
use super::watchdog::SimWatchdog;
use super::yard::{SHORT, SharedYard};
use std::io;
use std::path::Path;
use std::sync::Arc;
use understudy::guest::watchdog::Watchdog;
use understudy::guest::{
    DisksError, HeldDisks, Host, HostCopy, HostError, NotBuilt, NotCopied, Replica, RunningGuest, Start,
};
use understudy_checkpoint::domain::Description;
use understudy_checkpoint::epoch::Image;
use understudy_checkpoint::{Epoch, Generation};
use understudy_lab::Port;
use understudy_link::HoldRefusal;

impl Host for SharedYard {
    fn admits(&self, _name: &str, _what: &Description) -> Result<(), HoldRefusal> {
        Ok(())
    }

    fn replica(&self, name: &str, what: &Description) -> Option<Box<dyn Replica>> {
        let mut yard = self.get();
        if !yard.stands_by {
            return None;
        }
        let unseen = yard.mutant == Some(Mutant::AcksWithoutDomain);
        let standing = SimStanding::new(what.page_count, unseen, self.clone());
        yard.standing[guest_of(name)] = Some(standing.stand());
        Some(Box::new(standing))
    }

    fn disks(&self, name: &str, what: &Description) -> Result<HeldDisks, DisksError> {
        if what.disks_bytes.is_empty() {
            return Err(DisksError::Unsupported);
        }
        let mut yard = self.get();
        let guest = guest_of(name);
        yard.let_go(guest);
        HeldDisks::open(&yard.machine.place(guest))
    }

    fn build(&self, start: &Start<'_>, image: Image) -> Result<RunningGuest, NotBuilt> {
        if self.get().is_short() {
            return Err(NotBuilt::with(SHORT, image));
        }
        self.start(start, State::of(&image)).map_err(NotBuilt::from)
    }

    fn watchdog(&self, _state: &Path) -> Result<Box<dyn Watchdog>, HostError> {
        Ok(Box::new(SimWatchdog(self.clone())))
    }

    fn has_left_watchdog(&self, _state: &Path) -> io::Result<bool> {
        Ok(self.get().timer.runs())
    }

    fn runs_copies(&self) -> bool {
        self.get().answers.is_some()
    }

    fn copy(
        &self,
        name: &str,
        _what: &Description,
        image: Image,
        port: Arc<dyn Port>,
    ) -> Result<Box<dyn HostCopy>, NotCopied> {
        let mut yard = self.get();
        yard.made += 1;
        let (guest, id) = (guest_of(name), (yard.made << 1) | yard.host as u64);
        let domain =
            SharedDomain::new(id, guest, yard.host, State::of(&image), yard.outputs.frames(Epoch(0)));
        let card = Card::taking(guest, if yard.mutant == Some(Mutant::InputTwice) { 2 } else { 1 });
        {
            let mut domain = domain.get();
            (domain.is_copy, domain.paused, domain.run_by) = (true, true, 0);
            (domain.port, domain.card) = (Some(SharedPort(port)), Some(card.clone()));
            domain.knob = yard.answers.unwrap_or(0);
            domain.logs_all_writes = yard.logs_all_writes;
            domain.logs_from_here();
        }
        yard.copies[guest] = Some(domain.clone());
        Ok(Box::new(SimCopy::new(domain, card, self.clone(), yard.mutant)))
    }

    fn pause_older(&self, name: &str, newest: Generation) -> Result<(), HostError> {
        if let Some(domain) = &self.get().domains[guest_of(name)] {
            let mut domain = domain.get();
            domain.paused |= domain.mark < newest && domain.generation < newest;
        }
        Ok(())
    }

    fn end_older(&self, name: &str, newest: Generation) -> Result<(), HostError> {
        if let Some(domain) = &self.get().domains[guest_of(name)] {
            let mut domain = domain.get();
            if domain.mark < newest && domain.generation < newest {
                domain.gone = true;
            }
        }
        Ok(())
    }
}
