//! Judges that no two owners reply: compares what the switch saw with who may own the guest in this round.
//!
//! After the new owner's first frame, an old owner's frame is a violation, with one exception that the rules of
//! authority allow: an ack that arrived before the takeover and was read after it may still release its epoch, because
//! that epoch is in the taken-over state. Such a frame answers a request that was made before the old owner could have
//! lost its authority, in this round or in one before it. Its content is judged like any answer's, by the counter and
//! register rules, so output of a lost epoch does not slip through here; an answer to a request that nobody made is
//! judged as surplus.

use super::{Expectation, Unowed, Violation};
use crate::drill::history::{ClientId, History, Moment, Operation};
use crate::drill::sightings::{Late, Sightings};
use std::collections::HashMap;

/// Requests by client and number, with the moments at which each was made.
type Requests<'a> = HashMap<(ClientId, u16), Vec<&'a Operation>>;

/// Judges who sent the guest's frames.
pub(super) fn check(
    history: &History,
    sightings: &Sightings,
    expectation: &Expectation,
    found: &mut Vec<Violation>,
) {
    let mut allowed = expectation.owners.iter();
    for run in sightings.runs.iter().filter(|run| run.frames > 0) {
        if !allowed.any(|owner| *owner == run.host) {
            found.push(Violation::StrayOwner { host: run.host, at: run.first, frames: run.frames });
        }
    }
    if sightings.late.is_empty() {
        return;
    }
    let mut requests = Requests::new();
    for operation in &history.operations {
        requests.entry((operation.client, operation.request)).or_default().push(operation);
    }
    for late in &sightings.late {
        if let Some(why) = unowed(late, &requests, expectation.owed_before) {
            found.push(Violation::TwoOwners { host: late.host, at: late.at, why });
        }
    }
    if sightings.late_uncounted > 0
        && let Some(last) = sightings.late.last()
    {
        found.push(Violation::TwoOwners { host: last.host, at: last.at, why: Unowed::TooMany });
    }
}

/// Why a late frame is not the answer to a request made before `owed_before`; `None` if it is.
fn unowed(late: &Late, requests: &Requests<'_>, owed_before: Moment) -> Option<Unowed> {
    let Some(answered) = late.answers else { return Some(Unowed::NoAnswer) };
    // A number that was not used in this round is of one before it.
    let asked = requests.get(&answered)?.iter().filter(|operation| operation.invoked <= late.at);
    let newest = asked.map(|operation| operation.invoked).max()?;
    (newest >= owed_before).then(|| Unowed::AskedLater { by: newest.since(owed_before) })
}
