//! What tests of a primary begin with: nodes a and b, a fresh copy, and a configuration.

use super::{Config, Pacing, SlowPolicy};
use crate::colo::Colo;
use crate::{Copy, NodeName, Span};

pub(super) fn node(name: &str) -> NodeName {
    NodeName(name.into())
}

/// The copy that node b holds.
pub(super) fn fresh() -> Copy {
    Copy::Fresh { holder: node("b") }
}

/// Node a, with b as its peer.
pub(super) fn config(has_witness: bool) -> Config {
    Config {
        node: node("a"),
        peer: node("b"),
        pacing: Pacing::Clock { interval: Span::from_ms(25) },
        in_flight_max: 4,
        heartbeat: Span::from_ms(50),
        silence_max: Span::from_ms(300),
        link_grace: Span::from_ms(100),
        hold_max: Span::from_ms(5000),
        witness_retry: Span::from_ms(200),
        slow_max: Span::from_ms(2000),
        slow_policy: SlowPolicy::Stretch,
        has_witness,
        colo: Colo::default(),
    }
}
