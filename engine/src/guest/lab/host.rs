//! The lab as a host: guests in this process, which begin and end with it.

use super::copy::{HostedCopy, card_of, running_through};
use super::tap::{LabCard, LabCards};
use crate::config::LabGuestConfig;
use crate::guest::copy::{Heard, HostCopy, Traffic};
use crate::guest::host::{Host, NotBuilt, NotCopied};
use crate::guest::machine::{BoxedSource, HostError, Machine, RunningGuest};
use crate::guest::replica::Start;
use std::io;
use std::sync::Arc;
use understudy_checkpoint::domain::Description;
use understudy_checkpoint::epoch::Image;
use understudy_checkpoint::{Epoch, Generation};
use understudy_lab::{Conditions, ConfigError, GuestConfig, LabCopy, LabGuest, LoadError, Mac, Port};
use understudy_link::{HoldReason, HoldRefusal};
use understudy_netbuf::kernel::KernelError;

/// The lab: guests in this process.
#[derive(Clone, Debug)]
pub struct LabHost {
    cards: LabCards,
    conditions: Conditions,
}

/// Why a guest of the lab did not begin.
#[derive(thiserror::Error, Debug)]
pub enum LabStartError {
    /// Its load is none.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// It gets no network card.
    #[error(transparent)]
    Card(#[from] KernelError),
    /// It cannot be what it is configured to be.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// It gets no thread for its tap.
    #[error("The guest's network card gets no thread: {0}")]
    Thread(#[from] io::Error),
}

impl LabHost {
    /// Whose guests get their network cards from `cards`.
    pub fn new(cards: LabCards) -> Self {
        Self { cards, conditions: Conditions::NONE }
    }

    /// The same, which does this to its guests and copies.
    pub fn under(self, conditions: Conditions) -> Self {
        Self { conditions, ..self }
    }

    /// As `build`, of a guest whose connections `traffic` rewrites.
    fn build_through(
        &self,
        start: &Start<'_>,
        image: Image,
        card: LabCard,
        traffic: &Arc<Traffic>,
    ) -> Result<RunningGuest, NotBuilt> {
        // It sends as soon as it is there.
        traffic.idle();
        traffic.begin(Epoch(start.open.0.saturating_sub(1)), card.port());
        let port: Arc<dyn Port> = traffic.clone();
        let guest =
            LabGuest::restore_under(self.conditions, image, port).map_err(|error| error.to_string())?;
        traffic.connect(card_of(&guest));
        running_through(guest, traffic, card).map_err(|error| error.to_string().into())
    }

    /// Starts a guest that nobody ran before.
    pub fn start(&self, guest: &LabGuestConfig) -> Result<RunningGuest, LabStartError> {
        let config = GuestConfig {
            memory_bytes: guest.memory_bytes,
            load: guest.load.parse()?,
            ..GuestConfig::new(guest.name.clone(), Mac(guest.mac), guest.ip)
        };
        let card = self.cards.make(&guest.name, Epoch(0))?;
        let machine = LabGuest::start_under(self.conditions, &config, card.port())?;
        Ok(activated(machine, card)?)
    }
}

impl Host for LabHost {
    fn admits(&self, name: &str, what: &Description) -> Result<(), HoldRefusal> {
        if !what.disks_bytes.is_empty() {
            return Err(HoldRefusal::new(HoldReason::Unfit, "it has disks, and this host has none for it"));
        }
        self.cards.check(name).map_err(|error| HoldRefusal::new(HoldReason::Network, error.to_string()))
    }

    fn build(&self, start: &Start<'_>, image: Image) -> Result<RunningGuest, NotBuilt> {
        let card = match self.cards.make(start.name, start.open) {
            Ok(card) => card,
            Err(error) => return Err(NotBuilt::with(error, image)),
        };
        if let Some(traffic) = start.through {
            return self.build_through(start, image, card, traffic);
        }
        let guest = LabGuest::restore_under(self.conditions, image, card.port())
            .map_err(|error| error.to_string())?;
        activated(guest, card).map_err(|error| error.to_string().into())
    }

    fn runs_copies(&self) -> bool {
        true
    }

    fn copy(
        &self,
        _name: &str,
        _what: &Description,
        image: Image,
        port: Arc<dyn Port>,
    ) -> Result<Box<dyn HostCopy>, NotCopied> {
        let copy = LabCopy::new(self.conditions, image, port)?;
        Ok(Box::new(HostedCopy::new(copy, self.cards.clone())))
    }

    fn pause_older(&self, _name: &str, _newest: Generation) -> Result<(), HostError> {
        // Lab guests end with their engine.
        Ok(())
    }

    fn end_older(&self, _name: &str, _newest: Generation) -> Result<(), HostError> {
        // Lab guests end with their engine.
        Ok(())
    }
}

/// A lab guest that sends by `card`.
pub fn activated(guest: LabGuest, card: LabCard) -> std::io::Result<RunningGuest> {
    let taken = guest.inlet();
    let heard = Heard::new(move || taken.frames_taken(), card.waker());
    let output = card.plug(&guest, &heard)?;
    let source = BoxedSource(Box::new(guest.source()));
    let machine = Arc::new(LabMachine { guest, heard });
    Ok(RunningGuest { source, machine, output, past: None, compared_bytes: 0 })
}

/// A lab guest, and what it hears.
#[derive(Debug)]
pub(super) struct LabMachine {
    pub(super) guest: LabGuest,
    pub(super) heard: Arc<Heard>,
}

impl Machine for LabMachine {
    fn reopen(&self) -> Option<Result<BoxedSource, HostError>> {
        Some(Ok(BoxedSource(Box::new(self.guest.source()))))
    }
    fn pause(&self) {
        self.guest.pause();
    }
    fn unpause(&self) {
        self.guest.unpause();
    }
    fn stop(&self) {
        self.guest.stop();
    }
    fn outlives_us(&self) -> bool {
        false
    }
    fn leave(&self) {
        // It lives in this process.
        self.guest.stop();
    }
    fn has_ended(&self) -> bool {
        self.guest.has_ended()
    }
    fn mark(&self, _generation: Generation) {
        // It ends with this process: nobody will find it.
    }
    fn is_marked(&self, _generation: Generation) -> bool {
        true
    }
    fn has_settled(&self) -> bool {
        true
    }

    fn take_renewed(&self) -> Option<Vec<u8>> {
        // Its devices never change.
        None
    }
    fn deliver(&self, frame: &[u8]) {
        // A full ring drops it, as a network card does.
        self.heard.hear(frame, |frame| self.guest.inject_numbered(frame));
    }
    fn heard(&self) -> Option<Arc<Heard>> {
        Some(self.heard.clone())
    }
}
