//! How a guest stands, for whoever judges a node from outside: the simulator. Operators get more and in words, from
//! [`status`](super::status).

use understudy_checkpoint::Generation;
use understudy_session::{Time, primary, secondary};

/// How one guest stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Glance {
    /// It runs here.
    Primary {
        /// Of its session.
        state: primary::State,
        /// It is run in this one.
        generation: Generation,
        /// Epochs captured and not acked.
        in_flight: usize,
        /// Whether an operator wishes it protected.
        wished: bool,
        /// When the newest checkpoint was acked.
        committed_at: Option<Time>,
    },
    /// It is held here.
    Secondary {
        /// Of its session.
        state: secondary::State,
        /// The newest that its session knows of.
        generation: Generation,
    },
}
