//! The [`Context`] of a node: its links and its witness, at the time of this iteration.

use super::clock;
use super::context::{Context, Silence};
use super::epoch_sender::SendQueue;
use super::inbound::GuestName;
use super::links::Links;
use super::witness::Witness;
use understudy_checkpoint::Generation;
use understudy_checkpoint::domain::Description;
use understudy_link::{Frame, GuestId, Lane};
use understudy_session::lease::LeaseRequest;
use understudy_session::{NodeName, Time, WitnessRequest};

#[derive(Debug)]
pub(super) struct NodeContext {
    pub(super) links: Links,
    pub(super) witness: Witness,
    /// The time of this iteration.
    pub(super) now: Time,
    /// What `CLOCK_MONOTONIC` said at the node's start, in nanoseconds.
    pub(super) start_ns: u64,
}

impl Context for NodeContext {
    fn now(&self) -> Time {
        self.now
    }

    fn monotonic_ns(&self, time: Time) -> u64 {
        self.start_ns + time.0
    }

    fn is_link_up(&self, peer: &NodeName) -> bool {
        self.links.is_up(peer)
    }

    fn link_version(&self, peer: &NodeName) -> Option<u16> {
        self.links.version(peer)
    }

    fn offer(
        &mut self,
        peer: &NodeName,
        guest: &GuestName,
        generation: Generation,
        description: &Description,
    ) -> Option<(GuestId, SendQueue)> {
        self.links.offer(peer, guest, generation, description)
    }

    fn number_of(&self, peer: &NodeName, guest: &GuestName) -> Option<GuestId> {
        self.links.number_of(peer, guest)
    }

    fn send(&mut self, peer: &NodeName, frame: &Frame<'_>) {
        self.links.send(peer, frame);
    }

    fn has_room(&self, peer: &NodeName, lane: Lane) -> bool {
        self.links.has_room(peer, lane)
    }

    fn close_link(&mut self, peer: &NodeName, why: &str) {
        self.links.close_peer(peer, why, self.now);
    }

    fn end_silent_link(&mut self, peer: &NodeName) -> Silence {
        self.links.silent(peer, self.now)
    }

    fn hold_back(&mut self, is_full: &dyn Fn(&NodeName) -> bool) {
        self.links.hold_back(is_full);
    }

    fn is_held_back(&self, peer: &NodeName) -> bool {
        self.links.is_held_back(peer)
    }

    fn fresh_now(&self) -> Time {
        clock::monotonic_now(self.start_ns)
    }

    fn keeps_leases(&self) -> bool {
        self.witness.keeps_leases()
    }

    fn ask_lease(&mut self, host: &NodeName, request: LeaseRequest) {
        self.witness.ask_lease(host, request, self.now);
    }

    fn is_witness_up(&self) -> bool {
        self.witness.is_up()
    }

    fn ask_witness(&mut self, guest: &str, request: WitnessRequest) {
        self.witness.ask(guest, request, self.now);
    }
}
