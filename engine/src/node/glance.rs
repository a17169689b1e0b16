//! A guest's state for the simulator's judges, who see a node from outside. Operators get more, and in words, from
//! [`status`](super::status).

use understudy_checkpoint::{Epoch, Generation};
use understudy_session::{Time, primary, secondary};

/// The state of one guest.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Glance {
    /// It runs here.
    Primary {
        /// Its session's state.
        state: primary::State,
        /// The generation in which it runs.
        generation: Generation,
        /// Epochs captured and not acked.
        in_flight: usize,
        /// Whether an operator wants it protected.
        wished: bool,
        /// When the newest checkpoint was acked.
        committed_at: Option<Time>,
        /// What leaves does so by a match with the copy that was set to this epoch.
        live_base: Option<Epoch>,
    },
    /// It is held here.
    Secondary {
        /// Its session's state.
        state: secondary::State,
        /// The newest generation that its session knows of.
        generation: Generation,
        /// A copy that was set to this epoch runs here, and its primary is told what it sends.
        live_base: Option<Epoch>,
        /// An epoch is whole, and is acked once the copy stands still.
        is_halting: bool,
    },
}
