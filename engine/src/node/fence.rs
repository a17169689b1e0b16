//! Which guests need fencing, and what becomes of them as this host's lease stands.
//!
//! ```text
//!   need of a guest     runs here, fence=enforce: arm      fence=log, or its copy is held here: renew
//!                       its copy takes over, or waits for the fencing of its peer: arm
//! ```
//!
//! Not here: the lease itself ([`fencing`](super::fencing)).

use super::context::Context;
use super::fencing::Need;
use super::guests::Guests;
use super::inbound::GuestName;
use crate::control::status::FencingStatus;
use std::collections::BTreeSet;
use understudy_link::{HoldReason, HoldRefusal};
use understudy_session::lease::LeaseReply;
use understudy_session::{NodeName, Time};

impl Guests {
    /// One iteration: renews the lease as far as guests need it, tells them how it stands, and fences hosts whose guests wait.
    pub(super) fn run_fencing(&mut self, cx: &mut dyn Context) {
        let need = self.fencing_need();
        self.fencing.run(need, cx);
        let (held, trouble) = (self.fencing.held(), self.fencing.trouble().map(str::to_owned));
        self.guests.values_mut().for_each(|guest| guest.lease_stands(held, trouble.as_deref(), cx));
        let awaited: BTreeSet<NodeName> = self
            .guests
            .values()
            .filter(|guest| guest.awaits_fencing())
            .map(|guest| guest.peer().clone())
            .collect();
        self.fencing.take_from(&awaited, cx);
        let is_armed = held == super::fencing::Held::Armed;
        for host in awaited.iter().filter(|_| is_armed) {
            if self.fencing.is_fenced(host) {
                let waiting =
                    self.guests.values_mut().filter(|guest| guest.peer() == host && guest.awaits_fencing());
                waiting.for_each(|guest| guest.fenced(cx));
                self.fencing.forget(host);
            }
        }
    }

    /// How this host's lease and watchdog stand; nothing if no guest needs them.
    pub fn fencing_status(&self, now: Time) -> Option<FencingStatus> {
        self.fencing.status(now)
    }

    /// What the guests need together.
    pub(super) fn fencing_need(&self) -> Need {
        self.guests.values().map(|guest| guest.fencing_need()).max().unwrap_or_default()
    }

    /// The witness's answer about a host's lease.
    pub fn lease_reply(&mut self, host: &NodeName, reply: LeaseReply, cx: &mut dyn Context) {
        self.fencing.told(host, reply, cx);
        self.run_fencing(cx);
    }

    /// A peer says that its guest needs fencing. A host whose watchdog cannot be set holds no copy of it.
    pub(super) fn needs_fencing(&mut self, name: &GuestName, peer: &NodeName, cx: &mut dyn Context) {
        let key = (name.clone(), peer.clone());
        self.offers.entry(key.clone()).and_modify(|offer| offer.needs_fencing = true);
        let Some(guest) = self.guests.get_mut(name).filter(|guest| guest.peer() == peer) else { return };
        guest.needs_fencing();
        // What is held already stays: it is told of in `status` if it cannot be started.
        if guest.held().is_some()
            && guest.is_vacant()
            && let Err(refusal) = self.can_fence(true)
        {
            self.guests.remove(name);
            self.refuse(&key, refusal, cx);
        }
    }

    /// Whether the watchdog of this host can be set, if a guest needs that.
    pub(super) fn can_fence(&mut self, is_needed: bool) -> Result<(), HoldRefusal> {
        if !is_needed {
            return Ok(());
        }
        self.fencing.probe().map_err(|why| {
            let why = format!(
                "the guest needs fencing, and the watchdog of {} cannot be set: {why}",
                self.config.node
            );
            HoldRefusal::new(HoldReason::Fencing, why)
        })
    }
}
