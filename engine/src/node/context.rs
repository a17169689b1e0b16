//! What a guest's driver can use in one iteration of the loop: the links, the witness, the time. The node implements it
//! with sockets and a clock, the simulator with models of them.

use super::epoch_sender::SendQueue;
use super::inbound::GuestName;
use understudy_checkpoint::Generation;
use understudy_checkpoint::domain::Description;
use understudy_link::{Frame, GuestId, Lane};
use understudy_session::lease::LeaseRequest;
use understudy_session::{NodeName, Time, WitnessRequest};

/// What happened to a link on which one guest was silent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Silence {
    /// It was closed, since nobody else spoke on it.
    Closed,
    /// It stays, since the peer spoke on it for another guest or for itself.
    Kept,
}

/// What drivers can use beyond their own threads.
pub trait Context {
    /// The time of this iteration.
    fn now(&self) -> Time;
    /// A point in time on `CLOCK_MONOTONIC`, in nanoseconds: comparable between processes of a host.
    fn monotonic_ns(&self, time: Time) -> u64;
    /// Whether the link to `peer` is up.
    fn is_link_up(&self, peer: &NodeName) -> bool;
    /// The version of the protocol that the link to `peer` has; `None` without a link.
    fn link_version(&self, peer: &NodeName) -> Option<u16>;
    /// Gives a guest its number on the link to `peer`, and a queue for its epochs; `None` without a link. The guest
    /// runs in `generation` (0: not yet), and was checked to fit the link.
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
    /// Whether what is sent to `peer` in this lane leaves before long. To send more where too much waits ends the link.
    fn has_room(&self, peer: &NodeName, lane: Lane) -> bool;
    /// Ends the link to `peer`; the guests are told later in this iteration.
    fn close_link(&mut self, peer: &NodeName, why: &str);
    /// The peer was silent for too long for one guest's session: the link ends, unless the peer speaks for others.
    fn end_silent_link(&mut self, peer: &NodeName) -> Silence;
    /// Stops reading from peers without windows for which `is_full` says that one of their guests here has enough to
    /// do.
    fn hold_back(&mut self, is_full: &dyn Fn(&NodeName) -> bool);
    /// Whether bytes from `peer` wait because one of its guests here has enough to do.
    fn is_held_back(&self, peer: &NodeName) -> bool;
    /// Whether the witness can be asked.
    fn is_witness_up(&self) -> bool;
    /// Asks the witness. Without a connection the request is dropped, and the session repeats it.
    fn ask_witness(&mut self, guest: &str, request: WitnessRequest);
    /// The time at this moment, not that of the iteration. A simulator's time stands still meanwhile.
    fn fresh_now(&self) -> Time {
        self.now()
    }
    /// Whether the witness can be asked about leases.
    fn keeps_leases(&self) -> bool {
        self.is_witness_up()
    }
    /// Asks the witness about the lease of a host. Without a connection the request is dropped, and repeated.
    fn ask_lease(&mut self, _host: &NodeName, _request: LeaseRequest) {}
    /// A guest's session has panicked with this message, and gets no more inputs. A simulator ends the run here.
    fn session_failed(&mut self, _guest: &str, _why: &str) {}
}
