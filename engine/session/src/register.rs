//! What a host knows about its guest's record at the witness, and its one open request there.
//!
//! It does not decide what the record should say. It knows when an answer is *final*: a swap may still be in transit
//! long after its sender has changed its mind, and only a record with a later revision makes it void.
//!
//! ```text
//!   known: revision 5, stale      sent: swap 5 → 6 fresh (no answer, connection lost)
//!   Read tells: revision 5, stale           not final: the swap may arrive yet and make the copy fresh
//!   sent: swap 5 → 6 stale, swapped         final: whatever still expects 5 conflicts
//! ```

use super::{Copy, NodeName, Record, RequestId, Span, Time, WitnessOutcome, WitnessReply, WitnessRequest};
use understudy_checkpoint::Generation;

/// What the witness has said so far.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Known {
    /// Nothing yet.
    Unknown,
    /// It has no record of the guest.
    Absent,
    /// This is the newest record seen.
    Is(Record),
}

#[derive(Debug)]
struct Asking {
    request: WitnessRequest,
    again_at: Time,
}

#[derive(Debug)]
pub(super) struct Register {
    retry: Span,
    connected: bool,
    known: Known,
    asking: Option<Asking>,
    ids_used: u64,
    /// Whether a swap that expects the known revision was sent and its outcome is unknown.
    loose: bool,
}

impl Register {
    pub(super) fn new(retry: Span, known: Known) -> Self {
        Self { retry, connected: false, known, asking: None, ids_used: 0, loose: false }
    }

    pub(super) fn known(&self) -> &Known {
        &self.known
    }

    pub(super) fn record(&self) -> Option<&Record> {
        match &self.known {
            Known::Is(record) => Some(record),
            Known::Unknown | Known::Absent => None,
        }
    }

    /// Whether the record says `copy`, and no swap of ours that says otherwise can still arrive.
    pub(super) fn is_final(&self, copy: &Copy) -> bool {
        !self.loose && self.record().is_some_and(|record| record.copy == *copy)
    }

    /// The connection is up: repeats the open request, or else reads the record.
    pub(super) fn connect(&mut self, now: Time) -> WitnessRequest {
        self.connected = true;
        let again_at = now + self.retry;
        match &mut self.asking {
            Some(asking) => {
                asking.again_at = again_at;
                asking.request.clone()
            }
            None => self.read(now),
        }
    }

    pub(super) fn disconnect(&mut self) {
        self.connected = false;
    }

    /// Asks what the record says.
    pub(super) fn read(&mut self, now: Time) -> WitnessRequest {
        let id = self.fresh_id();
        self.ask(now, WitnessRequest::Read { id })
    }

    /// Asks for the record to become `owner`'s with `generation` and `copy`. Nothing if the same request is open
    /// already or the witness is away; a read while no record is known to start from.
    pub(super) fn propose(
        &mut self,
        now: Time,
        generation: Generation,
        owner: &NodeName,
        copy: Copy,
    ) -> Option<WitnessRequest> {
        if !self.connected {
            return None;
        }
        let expect = match &self.known {
            Known::Unknown => return self.asking.is_none().then(|| self.read(now)),
            Known::Absent => 0,
            Known::Is(record) => record.revision,
        };
        let proposed = Record { revision: expect + 1, generation, owner: owner.clone(), copy };
        if self.proposal() == Some(&proposed) {
            return None;
        }
        self.loose = true;
        let id = self.fresh_id();
        Some(self.ask(now, WitnessRequest::Swap { id, expect, new: proposed }))
    }

    /// As [`Self::propose`], on a person's order: `owner` takes the guest from whoever has it in the known record.
    pub(super) fn reclaim(
        &mut self,
        now: Time,
        generation: Generation,
        owner: &NodeName,
    ) -> Option<WitnessRequest> {
        let expect = self.record().map_or(0, |record| record.revision);
        let new = Record { revision: expect + 1, generation, owner: owner.clone(), copy: Copy::Stale };
        if !self.connected || self.known == Known::Unknown || self.proposal() == Some(&new) {
            return None;
        }
        self.loose = true;
        let id = self.fresh_id();
        Some(self.ask(now, WitnessRequest::Reclaim { id, expect, new }))
    }

    /// Without a witness the record is this host's own opinion, and final at once.
    pub(super) fn decide_alone(&mut self, copy: Copy) {
        if let Known::Is(record) = &mut self.known {
            record.copy = copy;
        }
    }

    /// Without a witness: this host runs the guest in `generation`, and there is no copy.
    pub(super) fn begin_alone(&mut self, generation: Generation, owner: &NodeName) {
        let record = Record { revision: 0, generation, owner: owner.clone(), copy: Copy::Stale };
        self.known = Known::Is(record);
    }

    /// The record that the open swap would make.
    pub(super) fn proposal(&self) -> Option<&Record> {
        match &self.asking {
            Some(Asking {
                request: WitnessRequest::Swap { new, .. } | WitnessRequest::Reclaim { new, .. },
                ..
            }) => Some(new),
            _ => None,
        }
    }

    /// Whether a request is open.
    pub(super) fn is_asking(&self) -> bool {
        self.asking.is_some()
    }

    pub(super) fn is_connected(&self) -> bool {
        self.connected
    }

    /// Stops repeating a swap that is open. It may still come to pass.
    pub(super) fn stop_proposing(&mut self) {
        if self.proposal().is_some() {
            self.asking = None;
        }
    }

    /// Stops repeating the open request. If it is a swap, it may still come to pass.
    pub(super) fn stop_asking(&mut self) {
        self.asking = None;
    }

    /// Takes in an answer. Answers to requests that are no longer open count as well, since revisions only grow.
    pub(super) fn learn(&mut self, reply: &WitnessReply) {
        if reply.record.as_ref().is_some_and(|told| !is_possible(told)) {
            return;
        }
        // A witness that has lost a record, or went back to an older one, has no authority: the request stays open
        // until the witness answers with a newer record.
        let forgetful = match (&reply.record, self.record()) {
            (told, Some(known)) => told.as_ref().is_none_or(|told| age_of(told) < age_of(known)),
            (_, None) => false,
        };
        match (&reply.record, &self.known) {
            (Some(told), Known::Is(known)) if age_of(told) <= age_of(known) => {}
            (Some(told), _) => {
                self.known = Known::Is(told.clone());
                self.loose = false;
            }
            (None, Known::Unknown) => self.known = Known::Absent,
            (None, Known::Absent | Known::Is(_)) => {}
        }
        let answered = self.asking.as_ref().is_some_and(|asking| asking.request.id() == reply.id);
        if answered && !forgetful && reply.outcome != WitnessOutcome::Illegal {
            self.asking = None;
        }
    }

    /// When [`Self::on_timeout`] has something to repeat.
    pub(super) fn next_timeout(&self) -> Option<Time> {
        self.asking.as_ref().filter(|_| self.connected).map(|asking| asking.again_at)
    }

    /// Repeats an unanswered request when that is due.
    pub(super) fn on_timeout(&mut self, now: Time) -> Option<WitnessRequest> {
        let retry = self.retry;
        let due = |asking: &&mut Asking| self.connected && asking.again_at <= now;
        self.asking.as_mut().filter(due).map(|asking| {
            asking.again_at = now + retry;
            asking.request.clone()
        })
    }

    fn ask(&mut self, now: Time, request: WitnessRequest) -> WitnessRequest {
        self.asking = Some(Asking { request: request.clone(), again_at: now + self.retry });
        request
    }

    fn fresh_id(&mut self) -> RequestId {
        self.ids_used += 1;
        RequestId(self.ids_used)
    }
}

/// Revision and generation grow together. After a witness went back to an older state, a newer generation may have a
/// smaller revision: it is in charge nevertheless.
fn age_of(record: &Record) -> (Generation, u64) {
    (record.generation, record.revision)
}

/// Revisions and generations grow one by one from 1. A number beyond this is damaged or made up, and must not be
/// counted on from.
fn is_possible(record: &Record) -> bool {
    record.revision <= u64::MAX >> 1 && record.generation.0 <= u64::MAX >> 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::borrow::ToOwned;

    fn told(request: &WitnessRequest, outcome: WitnessOutcome, revision: u64, copy: Copy) -> WitnessReply {
        let owner = NodeName("a".to_owned());
        let record = Some(Record { revision, generation: Generation(1), owner, copy });
        WitnessReply { id: request.id(), outcome, record }
    }

    #[test]
    fn a_stale_record_is_not_final_while_a_swap_to_fresh_may_still_arrive() {
        let node = NodeName("a".to_owned());
        let mut register = Register::new(Span::from_ms(10), Known::Unknown);
        let read = register.connect(Time(0));
        register.learn(&told(&read, WitnessOutcome::Told, 5, Copy::Stale));
        assert!(register.is_final(&Copy::Stale));

        let fresh = Copy::Fresh { holder: NodeName("b".to_owned()) };
        register.propose(Time(0), Generation(1), &node, fresh).expect("a swap to fresh");
        register.disconnect();
        register.stop_asking();
        let read = register.connect(Time(1));
        register.learn(&told(&read, WitnessOutcome::Told, 5, Copy::Stale));
        assert!(!register.is_final(&Copy::Stale), "the swap may arrive yet");

        let stale = register.propose(Time(2), Generation(1), &node, Copy::Stale).expect("a swap to stale");
        register.learn(&told(&stale, WitnessOutcome::Swapped, 6, Copy::Stale));
        assert!(register.is_final(&Copy::Stale), "whatever expects revision 5 conflicts now");
    }

    #[test]
    fn an_impossible_record_is_ignored() {
        let mut register = Register::new(Span::from_ms(10), Known::Unknown);
        let read = register.connect(Time(0));
        register.learn(&told(&read, WitnessOutcome::Told, u64::MAX, Copy::Stale));
        assert_eq!(register.known(), &Known::Unknown);
        assert!(register.is_asking(), "it is asked again");
    }

    #[test]
    fn an_older_record_of_a_witness_is_ignored_and_the_request_repeated() {
        let mut register = Register::new(Span::from_ms(10), Known::Unknown);
        let read = register.connect(Time(0));
        register.learn(&told(&read, WitnessOutcome::Told, 5, Copy::Stale));
        let read = register.read(Time(0));
        register.learn(&WitnessReply { id: read.id(), outcome: WitnessOutcome::Told, record: None });
        assert_eq!(register.record().map(|record| record.revision), Some(5));
        assert_eq!(register.on_timeout(Time(0) + Span::from_ms(10)), Some(read));
    }
}
