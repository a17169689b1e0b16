//! What a guest reaches in one turn of the loop: the links, the witness, the time. The node has sockets and a clock for
//! that, the simulator has models of them.

use super::epoch_sender::SendQueue;
use super::inbound::GuestName;
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
