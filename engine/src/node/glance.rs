//! A guest's state for the simulator's judges, who see a node from outside. Operators get more, and in words, from
//! [`status`](super::status).

use understudy_checkpoint::Generation;
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
    },
    /// It is held here.
    Secondary {
        /// Its session's state.
        state: secondary::State,
        /// The newest generation that its session knows of.
        generation: Generation,
    },
}
