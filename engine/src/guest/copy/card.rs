//! The way to a copy's network card.

use std::fmt::Debug;

/// A handle to a copy's network card, which does not keep the copy alive.
pub trait CopyCard: Send + Debug {
    /// Whether this is a frame for the card at all, be there room or not. A frame that is not gets no number.
    fn takes(&self, frame: &[u8]) -> bool;
    /// Delivers a frame. The copy may take it only once [`notify`](Self::notify) is called. Never waits.
    fn deliver(&self, frame: &[u8]) -> Delivery;
    /// Tells the copy of the frames that were delivered.
    fn notify(&self) {}
    /// The number of the next frame that the card accepts. The guest takes frames in this order.
    fn next_number(&self) -> u64;
    /// Whether the copy has ended, for whatever reason. Never waits.
    fn has_ended(&self) -> bool;
}

/// Result of a delivery.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Delivery {
    /// The card accepted the frame under this number.
    Taken(u64),
    /// The card is full; try again later.
    NoRoom,
    /// No card accepts such a frame, or the guest has ended.
    Lost,
}
