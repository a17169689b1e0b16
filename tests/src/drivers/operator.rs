//! What people and the system around engines do: start engines and guests, and look for what was left behind.

use super::cluster::Cluster;
use super::events::Event;
use super::facts::Fact;
use super::host::{self, Item};
use super::mutant::Mutant;
use super::names;
use super::network::WITNESS;
use super::{GuestId, HostId};
use understudy::control::Wish;
use understudy::node::Glance;
use understudy_checkpoint::{Epoch, Generation};
use understudy_session::primary::State;
use understudy_session::{Span, secondary};

/// How often an engine looks for guests, and an operator for lost ones.
const FINDS_EVERY: Span = Span::from_ms(5);
const LOOKS_EVERY: Span = Span::from_ms(40);

impl Cluster {
    /// Starts an engine on a host that has none.
    pub(super) fn start_engine(&mut self, at: HostId) {
        let (settings, mutant) = (self.settings.clone(), self.mutant);
        self.hosts[at].start(at, &settings, mutant);
        for guest in 0..settings.guests {
            self.state_fact(guest, &Fact::EngineBegan { host: at });
        }
        let life = self.hosts[at].life;
        self.agenda.add(self.now + FINDS_EVERY, Event::Finds { host: at, life });
    }

    /// The operator starts a guest on a host.
    pub(super) fn start_here(&mut self, at: HostId, guest: GuestId) {
        self.note(at, || format!("the operator starts the {} guest here", names::guest_name(guest)));
        let built = self.hosts[at].yard.get().build(guest, None, Epoch(0));
        let activated = match built {
            Ok(activated) => activated,
            Err(why) => return self.note(at, || format!("it cannot be started: {why}")),
        };
        self.state_disks(at);
        if self.mutant == Some(Mutant::NoClaim) {
            activated.output.pass();
        }
        let id = self.hosts[at].yard.get().domains[guest].as_ref().map(|domain| domain.get().id);
        self.turn(at, Item::Found(guest, Box::new(activated)));
        if let Some(id) = id {
            self.step_later(at, guest, id);
        }
    }

    /// After a power loss, some hosts start the guests that they ran before, whoever runs them meanwhile.
    pub(super) fn toolstack_starts(&mut self, at: HostId) {
        if !(self.settings.autostarts && std::mem::take(&mut self.hosts[at].boots)) {
            return;
        }
        for guest in 0..self.settings.guests {
            let domain = self.hosts[at].yard.get().domains[guest].clone();
            if domain.is_some_and(|domain| domain.get().gone) {
                self.note(at, || format!("the toolstack starts the {} guest", names::guest_name(guest)));
                let built = self.hosts[at].yard.get().build(guest, None, Epoch(0));
                self.state_disks(at);
                match built {
                    Ok(_) => self.steps_from_now(at, guest),
                    Err(why) => self.note(at, || format!("it cannot be started: {why}")),
                }
            }
        }
    }

    pub(super) fn steps_from_now(&mut self, at: HostId, guest: GuestId) {
        let id = self.hosts[at].yard.get().domains[guest].as_ref().map(|domain| domain.get().id);
        if let Some(id) = id {
            self.step_later(at, guest, id);
        }
    }

    /// An engine looks for guests without an engine, once the witness can be asked.
    pub(super) fn finds(&mut self, at: HostId) {
        let life = self.hosts[at].life;
        self.agenda.add(self.now + FINDS_EVERY, Event::Finds { host: at, life });
        if (self.now.0 / FINDS_EVERY.0).is_multiple_of(8) {
            self.look_after(at);
        }
        let may_claim = |engine: &host::Engine| !self.settings.has_witness || engine.cx.witness_up;
        if !self.hosts[at].engine.as_ref().is_some_and(may_claim) {
            return;
        }
        for guest in 0..self.settings.guests {
            let is_looked_for = is_looked_for(self.hosts[at].glance(guest));
            let found = if is_looked_for { self.hosts[at].yard.get().find(guest) } else { None };
            if let Some(mut found) = found {
                if let (Some(Mutant::GenerationReused), Some(past)) = (self.mutant, &mut found.past) {
                    past.generation.0 = past.generation.0.saturating_sub(1);
                }
                self.note(at, || format!("finds the {} guest: {:?}", names::guest_name(guest), found.past));
                if self.mutant == Some(Mutant::AdoptedPassesAtOnce) {
                    found.output.pass();
                }
                self.turn(at, Item::Found(guest, Box::new(found)));
            }
        }
    }

    /// The operator starts a guest that is gone for good: its owner is here without it, and nobody may take it over.
    pub(super) fn operator_looks(&mut self) {
        self.agenda.add(self.now + LOOKS_EVERY, Event::OperatorLooks);
        if !self.settings.has_witness || self.nodes[WITNESS].down {
            return;
        }
        for guest in 0..self.settings.guests {
            let Some(at) = self.witness.deserted_by(guest, &self.hosts) else { continue };
            // One that its toolstack has booted is asked for, or found soon, unless it is paused.
            if self.hosts[at].keeps(guest) {
                self.unpause_what_is_left(at, guest);
                continue;
            }
            if self.hosts[1 - at].engine.is_some() && self.hosts[1 - at].keeps(guest) {
                // Its owner could not start it, or has lost it; the other host has it, fenced.
                if matches!(
                    self.hosts[1 - at].glance(guest),
                    Some(Glance::Primary { state: State::Fenced | State::ClaimRefused, .. })
                ) {
                    self.say_if_lost(guest);
                    self.wished(1 - at, guest, Wish::Reclaim);
                } else {
                    // One that was booted there, and stood still for the owner's, is all that is left.
                    self.unpause_what_is_left(1 - at, guest);
                }
            } else if is_looked_for(self.hosts[at].glance(guest)) {
                self.say_if_lost(guest);
                self.start_here(at, guest);
            } else {
                // The engine has not seen that the guest is gone, or could not start it.
                self.restart_engine(at);
            }
        }
    }

    /// A guest that an engine paused and did not label belongs to nobody once that engine is gone.
    fn unpause_what_is_left(&mut self, at: HostId, guest: GuestId) {
        let domain = self.hosts[at].yard.get().domains[guest].clone();
        if is_looked_for(self.hosts[at].glance(guest))
            && let Some(domain) = domain.filter(|domain| domain.get().is_left_paused())
        {
            self.note(at, || format!("the operator unpauses the {} guest", names::guest_name(guest)));
            domain.get().paused = false;
        }
    }

    /// A restart also drops the image of the other guest that is held there, as if the engine had died.
    fn restart_engine(&mut self, at: HostId) {
        self.note(at, || "the operator restarts the engine".to_owned());
        for guest in 0..self.settings.guests {
            if self.hosts[at].image(guest).is_some() {
                self.state_fact(guest, &Fact::Fault);
            }
        }
        self.engine_ends(at);
        self.start_engine(at);
        self.dial_all(at);
    }

    /// States the fact if a guest is nowhere any more.
    pub(super) fn say_if_lost(&mut self, guest: GuestId) {
        let is_somewhere = self.hosts.iter().any(|host| host.has_begun(guest) || host.image(guest).is_some());
        if !is_somewhere {
            self.state_fact(guest, &Fact::Lost);
        }
    }

    /// A person asks for something about a guest, where it runs or is held.
    pub(super) fn wished(&mut self, at: HostId, guest: GuestId, wish: Wish) {
        // Some: a decision; true: one that may move the guest.
        let decision = match (wish, self.hosts[at].glance(guest)) {
            (Wish::ForceTakeover, Some(Glance::Secondary { .. })) => Some(true),
            (Wish::Reclaim, Some(Glance::Primary { .. })) => Some(true),
            (Wish::Unprotect | Wish::Discard, Some(Glance::Primary { .. })) => Some(false),
            _ => None,
        };
        if let Some(moves) = decision {
            self.state_fact(guest, &Fact::Person { host: at, moves });
        }
        if wish == Wish::Switchover {
            self.state_fact(guest, &Fact::MoveWished);
        }
        self.turn(at, Item::Wish(guest, wish));
    }

    /// An engine's process ends. Its guests continue, halted or not, or end with it.
    pub(super) fn engine_ends(&mut self, at: HostId) {
        self.hosts[at].engine = None;
        self.hosts[at].life += 1;
        for guest in 0..self.settings.guests {
            let domain = self.hosts[at].yard.get().domains[guest].clone();
            let lost = domain.is_some_and(|domain| {
                let mut domain = domain.get();
                let lives = !domain.gone;
                domain.gone |= !domain.outlives;
                lives && domain.gone && domain.generation > Generation(0)
            });
            self.state_fact(guest, &Fact::Crashed { host: at, took_guest: lost });
        }
    }
}

/// Whether an engine in this relation to a guest takes in one that it finds.
fn is_looked_for(glance: Option<Glance>) -> bool {
    match glance {
        Some(Glance::Primary { state, .. }) => state == State::Ended,
        Some(Glance::Secondary { state, .. }) => state == secondary::State::Empty,
        None => true,
    }
}
