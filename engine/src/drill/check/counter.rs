//! Judges a counter that many clients increment by one: each answer must lie between two bounds, which the other
//! requests and answers determine.
//!
//! ```text
//!            least: baseline + increments acknowledged before this request left   (else a write is lost)
//!                   highest value anyone had seen by then                         (else the counter went back)
//!   value ──┤
//!            most:  baseline + increments anyone had asked for when this answer came   (else from nowhere)
//! ```
//! Two increments never get the same value. An increment of unknown outcome raises `most`, never `least`.

use super::Violation;
use super::timeline::{Count, Highest};
use crate::drill::history::{Action, Key, Operation};
use std::collections::HashMap;

/// Judges all operations on one counter that held `baseline`.
pub(super) fn check(key: Key, baseline: u64, operations: &[&Operation], found: &mut Vec<Violation>) {
    let increments = || operations.iter().filter(|operation| operation.action == Action::Incr);
    let asked = Count::new(increments().map(|operation| operation.invoked).collect());
    let acknowledged = Count::new(increments().filter_map(|o| o.answer()).map(|(at, _)| at).collect());
    let seen = Highest::new(operations.iter().filter_map(|operation| operation.answer()).collect());

    let mut given: HashMap<u64, &Operation> = HashMap::new();
    for operation in operations {
        let Some((at, value)) = operation.answer() else { continue };
        let client = operation.client;
        let own = u64::from(operation.action == Action::Incr);
        let acknowledged = baseline + acknowledged.before(operation.invoked) + own;
        let seen = seen.before(operation.invoked).max(baseline) + own;
        let most = baseline + asked.until(at);
        if value < acknowledged {
            found.push(Violation::LostWrite { key, client, at, value, least: acknowledged });
        } else if value < seen {
            found.push(Violation::WentBack { key, client, at, value, seen });
        } else if value > most {
            found.push(Violation::FromNowhere { key, client, at, value, most });
        }
        if own == 1
            && let Some(first) = given.insert(value, operation)
        {
            found.push(Violation::SameValueTwice { key, value, first: first.client, second: client, at });
        }
    }
}
