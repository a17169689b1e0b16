//! What a guest reaches in one turn of the loop: the links, the witness, the time. The node has sockets and a clock for
//! that, the simulator has models of them.

use super::epoch_sender::SendQueue;
use super::inbound::GuestName;
use super::links::Links;
use super::witness::Witness;
use understudy_checkpoint::Generation;
use understudy_checkpoint::domain::Description;
use understudy_link::{Frame, GuestId};
use understudy_session::{NodeName, Time, WitnessRequest};

/// What became of a link on which one guest was silent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Silence {
    /// Nobody else spoke on it: it is closed.
    Closed,
    /// The peer spoke on it, for another guest or for itself: the link stays.
    Kept,
}

/// What guests reach beyond their own threads.
pub trait Context {
    /// The time of this turn.
    fn now(&self) -> Time;
    /// A point in time on `CLOCK_MONOTONIC`, in nanoseconds: comparable between processes of a host.
    fn monotonic_ns(&self, time: Time) -> u64;
    /// Whether the link to `peer` is up.
    fn is_link_up(&self, peer: &NodeName) -> bool;
    /// Gives a guest its number on the link to `peer`, and a queue for its epochs; `None` without a link. The guest is
    /// run in `generation` (0: not yet), and was found to fit.
    fn offer(
        &mut self,
        peer: &NodeName,
        guest: &GuestName,
        generation: Generation,
        description: &Description,
    ) -> Option<(GuestId, SendQueue)>;
    /// The number that `peer` gave a guest it runs, on the present link.
    fn number_of(&self, peer: &NodeName, guest: &GuestName) -> Option<GuestId>;
    /// Sends a frame to `peer`. Without a link it goes nowhere.
    fn send(&mut self, peer: &NodeName, frame: &Frame<'_>);
    /// Ends the link to `peer`; the guests hear of it later in this turn.
    fn close_link(&mut self, peer: &NodeName, why: &str);
    /// One guest's session has heard nothing for too long: the link to `peer` ends unless others speak on it.
    fn end_silent_link(&mut self, peer: &NodeName) -> Silence;
    /// Takes in nothing more from peers without windows of which `is_full` says that a guest of theirs has enough to do.
    fn hold_back(&mut self, is_full: &dyn Fn(&NodeName) -> bool);
    /// Whether bytes from `peer` wait because one of its guests here has enough to do.
    fn is_held_back(&self, peer: &NodeName) -> bool;
    /// Whether the witness can be asked.
    fn is_witness_up(&self) -> bool;
    /// Asks the witness; without a connection the question goes nowhere, and the session repeats it.
    fn ask_witness(&mut self, guest: &str, request: WitnessRequest);
    /// A guest's session has panicked with these words, and is told nothing more. Where that is what is looked for, the run
    /// ends here.
    fn session_failed(&mut self, _guest: &str, _why: &str) {}
}

/// A node's.
#[derive(Debug)]
pub(super) struct NodeContext {
    pub(super) links: Links,
    pub(super) witness: Witness,
    /// The time of this turn.
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

    fn is_witness_up(&self) -> bool {
        self.witness.is_up()
    }

    fn ask_witness(&mut self, guest: &str, request: WitnessRequest) {
        self.witness.ask(guest, request, self.now);
    }
}
