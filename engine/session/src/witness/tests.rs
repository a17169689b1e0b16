//! The witness's rules, told as stories.

use super::*;
use alloc::borrow::ToOwned;
use alloc::format;
use alloc::vec::Vec;
use proptest::prelude::*;

fn node(name: &str) -> NodeName {
    NodeName(name.to_owned())
}

fn record(revision: u64, generation: u64, owner: &str, holder: Option<&str>) -> Record {
    let copy = holder.map_or(Copy::Stale, |holder| Copy::Fresh { holder: node(holder) });
    Record { revision, generation: Generation(generation), owner: node(owner), copy }
}

/// A witness whose disk always works, asked by one host after the other.
struct Asked {
    witness: Witness,
    ids: u64,
}

impl Asked {
    fn new() -> Self {
        Self { witness: Witness::new([]), ids: 0 }
    }

    fn swap(&mut self, from: &str, new: Record) -> WitnessOutcome {
        self.ask(from, |id| WitnessRequest::Swap { id, expect: new.revision - 1, new })
    }

    fn reclaim(&mut self, from: &str, new: Record) -> WitnessOutcome {
        self.ask(from, |id| WitnessRequest::Reclaim { id, expect: new.revision - 1, new })
    }

    fn ask(&mut self, from: &str, request: impl FnOnce(RequestId) -> WitnessRequest) -> WitnessOutcome {
        self.ids += 1;
        let request = request(RequestId(self.ids));
        let mut out = Vec::new();
        let input = Input::Request { client: 1, from: node(from), guest: "g".to_owned(), request };
        self.witness.handle(input);
        out.extend(core::iter::from_fn(|| self.witness.poll_output()));
        if let [Output::Persist { ticket, .. }] = out[..] {
            out.clear();
            self.witness.handle(Input::Persisted { ticket });
            out.extend(core::iter::from_fn(|| self.witness.poll_output()));
        }
        match &out[..] {
            [Output::Reply { reply, .. }] => reply.outcome,
            other => panic!("one reply, not {other:?}"),
        }
    }
}

#[test]
fn a_takeover_needs_a_fresh_copy_and_only_its_holder_may_ask() {
    let mut asked = Asked::new();
    assert_eq!(asked.swap("a", record(1, 1, "a", None)), WitnessOutcome::Swapped);
    assert_eq!(asked.swap("b", record(2, 2, "b", None)), WitnessOutcome::Illegal, "the copy is stale");
    assert_eq!(
        asked.swap("b", record(2, 1, "a", Some("b"))),
        WitnessOutcome::Illegal,
        "only its owner says so"
    );
    assert_eq!(asked.swap("a", record(2, 1, "a", Some("b"))), WitnessOutcome::Swapped);
    assert_eq!(asked.swap("c", record(3, 2, "c", None)), WitnessOutcome::Illegal, "c holds nothing");
    assert_eq!(
        asked.swap("a", record(3, 2, "a", None)),
        WitnessOutcome::Illegal,
        "b may take over: no new start"
    );
    assert_eq!(asked.swap("b", record(3, 3, "b", None)), WitnessOutcome::Illegal, "one generation at a time");
    assert_eq!(asked.swap("b", record(3, 2, "b", None)), WitnessOutcome::Swapped);
    assert_eq!(asked.swap("a", record(3, 1, "a", None)), WitnessOutcome::Conflict, "a comes too late");
}

/// Claims a guest for a node; `None` if there is no room for it.
fn claim(witness: &mut Witness, guest: &str, owner: &str) -> Option<WitnessOutcome> {
    let request = WitnessRequest::Swap { id: RequestId(1), expect: 0, new: record(1, 1, owner, None) };
    let mut out = Vec::new();
    witness.handle(Input::Request { client: 1, from: node(owner), guest: guest.to_owned(), request });
    out.extend(core::iter::from_fn(|| witness.poll_output()));
    match out[..] {
        [Output::NoRoom { .. }] => return None,
        [Output::Persist { ticket, .. }] => {
            out.clear();
            witness.handle(Input::Persisted { ticket });
            out.extend(core::iter::from_fn(|| witness.poll_output()));
        }
        _ => {}
    }
    match &out[..] {
        [Output::Reply { reply, .. }] => Some(reply.outcome),
        other => panic!("one reply, not {other:?}"),
    }
}

#[test]
fn one_node_cannot_fill_a_witness_and_known_guests_keep_their_places() {
    let mut witness = Witness::new([("old".to_owned(), record(3, 2, "a", Some("b")))]);
    witness.room = Room { guests_max: 10, of_one_max: 4 };
    for number in 0..4 {
        assert_eq!(claim(&mut witness, &format!("x{number}"), "x"), Some(WitnessOutcome::Swapped));
    }
    assert_eq!(claim(&mut witness, "one more", "x"), None);
    assert_eq!(claim(&mut witness, "g", "a"), Some(WitnessOutcome::Swapped), "others are not concerned");
    for number in 0..4 {
        assert_eq!(claim(&mut witness, &format!("y{number}"), "y"), Some(WitnessOutcome::Swapped));
    }
    assert_eq!(claim(&mut witness, "one more", "a"), None, "the witness is full");
    // What it knows goes on: the copy takes over, and what is not there is told.
    let mut out = Vec::new();
    let takeover = WitnessRequest::Swap { id: RequestId(2), expect: 3, new: record(4, 3, "b", None) };
    let asked = |guest: &str, request| Input::Request {
        client: 1,
        from: node("b"),
        guest: guest.to_owned(),
        request,
    };
    witness.handle(asked("old", takeover));
    out.extend(core::iter::from_fn(|| witness.poll_output()));
    assert!(matches!(out[..], [Output::Persist { .. }]), "{out:?}");
    out.clear();
    witness.handle(asked("nothing", WitnessRequest::Read { id: RequestId(3) }));
    out.extend(core::iter::from_fn(|| witness.poll_output()));
    assert!(matches!(&out[..], [Output::Reply { reply, .. }] if reply.record.is_none()), "{out:?}");
    assert_eq!(witness.guests.len(), 10);
}

#[test]
fn nodes_are_known_since_their_first_record() {
    let mut witness = Witness::new([("old".to_owned(), record(3, 2, "a", Some("b")))]);
    claim(&mut witness, "g1", "c");
    claim(&mut witness, "g2", "d");
    claim(&mut witness, "g3", "a");
    let known = witness.known_nodes();
    assert_eq!((known[&node("a")], known[&node("b")]), (0, 0));
    assert!(0 < known[&node("c")] && known[&node("c")] < known[&node("d")]);
    assert!(!known.contains_key(&node("e")));
}

#[test]
fn an_owner_voids_its_own_delayed_swap_by_marking_stale_what_is_stale() {
    let mut asked = Asked::new();
    asked.swap("a", record(1, 1, "a", None));
    assert_eq!(asked.swap("a", record(2, 1, "a", None)), WitnessOutcome::Swapped);
    assert_eq!(asked.swap("a", record(2, 1, "a", Some("b"))), WitnessOutcome::Conflict, "the delayed one");
}

#[test]
fn a_holder_may_renounce_and_then_the_owner_may_start_anew() {
    let mut asked = Asked::new();
    asked.swap("a", record(1, 1, "a", None));
    asked.swap("a", record(2, 1, "a", Some("b")));
    assert_eq!(asked.swap("b", record(3, 1, "a", None)), WitnessOutcome::Swapped);
    assert_eq!(
        asked.swap("b", record(4, 2, "b", None)),
        WitnessOutcome::Illegal,
        "b has said that it has nothing"
    );
    assert_eq!(asked.swap("a", record(4, 2, "a", None)), WitnessOutcome::Swapped);
}

#[test]
fn a_persons_word_gives_the_guest_to_its_host_in_a_later_generation() {
    let mut asked = Asked::new();
    assert_eq!(asked.reclaim("a", record(1, 7, "a", None)), WitnessOutcome::Swapped, "the record was lost");
    asked.swap("a", record(2, 7, "a", Some("b")));
    assert_eq!(asked.swap("b", record(3, 8, "b", None)), WitnessOutcome::Swapped);
    // b cannot start it, and a still has it.
    assert_eq!(asked.swap("a", record(4, 9, "a", None)), WitnessOutcome::Illegal, "not by itself");
    assert_eq!(asked.reclaim("a", record(4, 8, "a", None)), WitnessOutcome::Illegal, "generations only grow");
    assert_eq!(asked.reclaim("a", record(4, 9, "b", None)), WitnessOutcome::Illegal, "for itself alone");
    assert_eq!(asked.reclaim("a", record(4, 9, "a", None)), WitnessOutcome::Swapped);
    assert_eq!(asked.reclaim("b", record(4, 10, "b", None)), WitnessOutcome::Conflict, "b comes too late");
}

#[test]
fn no_request_about_a_guest_is_answered_while_its_record_is_being_written() {
    let mut witness = Witness::new([]);
    let mut out = Vec::new();
    let ask = |request| Input::Request { client: 1, from: node("a"), guest: "g".to_owned(), request };
    let swap = WitnessRequest::Swap { id: RequestId(1), expect: 0, new: record(1, 1, "a", None) };
    witness.handle(ask(swap));
    out.extend(core::iter::from_fn(|| witness.poll_output()));
    assert!(matches!(out[..], [Output::Persist { ticket: 1, .. }]));
    out.clear();
    witness.handle(ask(WitnessRequest::Read { id: RequestId(2) }));
    out.extend(core::iter::from_fn(|| witness.poll_output()));
    assert_eq!(out, []);
    witness.handle(Input::PersistFailed { ticket: 1 });
    out.extend(core::iter::from_fn(|| witness.poll_output()));
    let told = WitnessReply { id: RequestId(2), outcome: WitnessOutcome::Told, record: None };
    assert_eq!(
        out,
        [Output::Reply { client: 1, guest: "g".to_owned(), reply: told }],
        "and the swap has no answer"
    );
}

#[test]
fn requests_that_wait_for_the_disk_are_bounded() {
    let mut witness = Witness::new([]);
    let mut out = Vec::new();
    let ask = |request| Input::Request { client: 1, from: node("a"), guest: "g".to_owned(), request };
    let swap = WitnessRequest::Swap { id: RequestId(0), expect: 0, new: record(1, 1, "a", None) };
    witness.handle(ask(swap));
    out.extend(core::iter::from_fn(|| witness.poll_output()));
    for id in 1..=2 * WAITING_MAX as u64 {
        witness.handle(ask(WitnessRequest::Read { id: RequestId(id) }));
        out.extend(core::iter::from_fn(|| witness.poll_output()));
    }
    out.clear();
    witness.handle(Input::Persisted { ticket: 1 });
    out.extend(core::iter::from_fn(|| witness.poll_output()));
    assert_eq!(out.len(), 1 + WAITING_MAX);
}

proptest! {
    /// Whatever is asked by whomever: a generation has one owner, generations grow by one, and none begins but
    /// from a fresh copy at its new owner, or from a stale one at its old.
    #[test]
    fn authority_changes_hands_only_as_the_rules_say(
        asks in proptest::collection::vec((0u8..3, 0u64..4, 0u64..3, 0u8..3, 0u8..4), 1..60)
    ) {
        let names = ["a", "b", "c"];
        let mut asked = Asked::new();
        for (from, ahead, generation, owner, holder) in asks {
            let held = asked.witness.record("g").cloned();
            let revision = held.as_ref().map_or(0, |held| held.revision);
            let now = held.as_ref().map_or(0, |held| held.generation.0);
            let holder = names.get(usize::from(holder)).copied();
            let new = record((revision + ahead).max(1), now + generation, names[usize::from(owner)], holder);
            let from = names[usize::from(from)];
            let outcome = asked.swap(from, new.clone());
            let after = asked.witness.record("g").cloned();
            if outcome != WitnessOutcome::Swapped {
                prop_assert_eq!(&after, &held);
                continue;
            }
            prop_assert_eq!(after.as_ref(), Some(&new));
            prop_assert_eq!(new.revision, revision + 1);
            let Some(held) = held else {
                prop_assert_eq!((new.generation, new.copy), (Generation(1), Copy::Stale));
                continue;
            };
            if new.generation == held.generation {
                prop_assert_eq!(&new.owner, &held.owner);
            } else {
                prop_assert_eq!(new.generation, held.generation.next());
                prop_assert_eq!(&new.owner, &node(from));
                prop_assert_eq!(&new.copy, &Copy::Stale);
                let may = held.copy == Copy::Fresh { holder: node(from) }
                    || (held.copy == Copy::Stale && held.owner == node(from));
                prop_assert!(may);
            }
        }
    }
}
