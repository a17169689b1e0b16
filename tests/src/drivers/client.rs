//! What the world asks of guests that answer, and the steps of their copies.

use super::cluster::Cluster;
use super::events::Event;
use super::facts::Fact;
use super::frame::request;
use super::guest::SharedDomain;
use super::host::Item;
use super::{GuestId, HostId};

impl Cluster {
    pub(super) fn asks_later(&mut self, guest: GuestId) {
        let pause = self.rng.span_us(500, 5_000);
        self.agenda.add(self.now + pause, Event::Asks { guest });
    }

    /// A client asks a guest. What a host does not hear while it hangs is lost, as on any network.
    pub(super) fn client_asks(&mut self, guest: GuestId) {
        self.asked[guest] += 1;
        let frame = request(guest, self.asked[guest]);
        for at in 0..2 {
            if self.nodes[at].hangs_until > self.now || !self.hosts[at].keeps(guest) {
                continue;
            }
            if let Some(engine) = &self.hosts[at].engine {
                engine.guests.deliver(&frame);
                self.turn(at, Item::Nothing);
            }
        }
        self.asks_later(guest);
    }

    /// A copy that runs takes steps.
    pub(super) fn copy_steps_later(&mut self, host: HostId, guest: GuestId) {
        let Some(copy) = self.hosts[host].yard.get().copies[guest].clone() else { return };
        let mut copy = copy.get();
        if !copy.runs() || std::mem::replace(&mut copy.is_stepping, true) {
            return;
        }
        // Now and then a thread of it waits for something that the guest does not wait for.
        let waits = copy.knob > 0 && self.rng.chance(2);
        let pause = if waits { self.rng.span_us(20_000, 90_000) } else { self.rng.span_us(300, 3_000) };
        self.agenda.add(self.now + pause, Event::CopySteps { host, guest, id: copy.id });
    }

    pub(super) fn copy_steps(&mut self, at: HostId, guest: GuestId, id: u64) {
        let chance = self.rng.bits();
        let Some(copy) = self.hosts[at].yard.get().copies[guest].clone() else { return };
        if copy.get().id != id {
            return;
        }
        copy.get().is_stepping = false;
        if copy.get().runs() {
            copy.get().step(chance);
            self.on_the_bridge(at, &copy);
            if self.state_steps(at, guest, &copy) > 0 {
                self.turn(at, Item::Nothing);
            }
        }
        self.copy_steps_later(at, guest);
    }

    /// States what steps a guest, or its copy, has taken; returns how many.
    pub(super) fn state_steps(&mut self, host: HostId, guest: GuestId, domain: &SharedDomain) -> usize {
        let (steps, by_copy, generation) = {
            let mut domain = domain.get();
            (std::mem::take(&mut domain.steps), domain.is_copy, domain.generation)
        };
        for step in &steps {
            self.state_fact(guest, &Fact::Stepped { host, generation, by_copy, step: *step });
        }
        if !steps.is_empty() && self.settings.disks {
            let state = domain.get().state;
            self.state_fact(guest, &Fact::Knows { state });
        }
        steps.len()
    }

    /// A copy's vCPU stops for good.
    pub(super) fn copy_crashes(&mut self, guest: GuestId) {
        for host in 0..2 {
            let copy = self.hosts[host].yard.get().copies[guest].clone();
            if let Some(copy) = copy.filter(|copy| !copy.get().gone) {
                let mut copy = copy.get();
                copy.gone = true;
                copy.card.iter().for_each(super::card::Card::end);
                drop(copy);
                self.state_fact(guest, &Fact::CopyCrashed { host });
            }
        }
    }
}
