//! Judges a register whose only writer sets 1, 2, 3 …: a read must return the last set acknowledged before it was
//! requested, or one requested later, and never an older value than anybody has seen.
//!
//! A set of unknown outcome may be seen or not. Since the writer's requests reach the guest in order, an older
//! set cannot overtake a newer one, so values only rise.

use super::Violation;
use super::timeline::Highest;
use crate::drill::history::{Action, Key, Operation};

/// Judges all operations on one register that held `baseline`.
pub(super) fn check(key: Key, baseline: u64, operations: &[&Operation], found: &mut Vec<Violation>) {
    let sets = || {
        operations.iter().filter_map(|operation| match operation.action {
            Action::Set(value) => Some((*operation, value)),
            Action::Incr | Action::Get => None,
        })
    };
    let asked = Highest::new(sets().map(|(set, value)| (set.invoked, value)).collect());
    let acknowledged = Highest::new(sets().filter_map(|(set, _)| set.answer()).collect());
    let seen = Highest::new(operations.iter().filter_map(|operation| operation.answer()).collect());

    for operation in operations.iter().filter(|operation| operation.action == Action::Get) {
        let Some((at, value)) = operation.answer() else { continue };
        let client = operation.client;
        let least = acknowledged.before(operation.invoked).max(baseline);
        let seen = seen.before(operation.invoked).max(baseline);
        let most = asked.until(at).max(baseline);
        if value < least {
            found.push(Violation::LostWrite { key, client, at, value, least });
        } else if value < seen {
            found.push(Violation::WentBack { key, client, at, value, seen });
        } else if value > most {
            found.push(Violation::FromNowhere { key, client, at, value, most });
        }
    }
}
