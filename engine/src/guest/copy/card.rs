//! The way to a copy's network card.

use std::fmt::Debug;

/// The way to a copy's card. It does not keep the copy.
pub trait CopyCard: Send + Debug {
    /// Whether this is a frame for the card at all, be there room or not. A frame that is not gets no number.
    fn takes(&self, frame: &[u8]) -> bool;
    /// Hands it a frame. Never waits.
    fn deliver(&self, frame: &[u8]) -> Delivery;
    /// The number of the next frame that it takes, in the order in which the guest takes them.
    fn next_number(&self) -> u64;
    /// Whether the copy is no more, for whatever reason. Never waits.
    fn has_ended(&self) -> bool;
}

/// What became of a frame for a copy's card.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Delivery {
    /// The card has it, under this number.
    Taken(u64),
    /// There is no room now.
    NoRoom,
    /// No card takes it, or there is no guest any more.
    Lost,
}
