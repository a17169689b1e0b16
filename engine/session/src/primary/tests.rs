//! How a primary begins with a guest that outlived its engine, with a real witness at the other end. Everything else of
//! this session is judged by the simulator.

use super::fixtures::{config, fresh, node};
use super::*;
use crate::witness::{self, Witness};
use crate::{Copy, Record, Standing, Time};
use alloc::borrow::ToOwned;
use alloc::collections::VecDeque;
use alloc::vec;
use alloc::vec::Vec;

fn record(generation: u64, owner: &str, copy: Copy) -> Record {
    Record { revision: 5, generation: Generation(generation), owner: node(owner), copy }
}

/// Lets a session of `origin` talk to a witness that holds `held` until both are silent; what else the session wanted,
/// and what the witness holds then.
fn begin(origin: Origin, held: Record) -> (Primary, Vec<Output>, Record) {
    let mut witness = Witness::new([("g".to_owned(), held)]);
    let mut session = Primary::new(config(true), origin, Time(0));
    let (mut wanted, mut inputs) = (Vec::new(), VecDeque::from([Input::WitnessUp]));
    while let Some(input) = inputs.pop_front() {
        session.handle(Time(0), input);
        let out: Vec<_> = core::iter::from_fn(|| session.poll_output()).collect();
        for output in out {
            match output {
                Output::AskWitness(request) => inputs.extend(ask(&mut witness, request).map(Input::Witness)),
                other => wanted.push(other),
            }
        }
    }
    let held = witness.record("g").expect("a record stays").clone();
    (session, wanted, held)
}

fn ask(witness: &mut Witness, request: WitnessRequest) -> Option<WitnessReply> {
    let mut out = Vec::new();
    let input = witness::Input::Request { client: 1, from: node("a"), guest: "g".into(), request };
    witness.handle(input);
    out.extend(core::iter::from_fn(|| witness.poll_output()));
    while let Some(witness::Output::Persist { ticket, .. }) = out.first().cloned() {
        out.clear();
        witness.handle(witness::Input::Persisted { ticket });
        out.extend(core::iter::from_fn(|| witness.poll_output()));
    }
    out.into_iter().find_map(|output| match output {
        witness::Output::Reply { reply, .. } => Some(reply),
        witness::Output::Persist { .. } | witness::Output::NoRoom { .. } => None,
    })
}

fn adopted(generation: u64, is_halted: bool) -> Origin {
    Origin::Adopted { generation: Generation(generation), is_halted }
}

#[test]
fn a_restarted_engine_goes_on_with_its_guest_in_a_new_generation() {
    let (session, wanted, held) = begin(adopted(3, false), record(3, "a", fresh()));
    assert_eq!((session.state(), session.generation()), (State::Unprotected, Generation(4)));
    assert_eq!((held.generation, &held.owner, &held.copy), (Generation(4), &node("a"), &Copy::Stale));
    // Fresh to stale, then the new generation: one revision each.
    assert_eq!(held.revision, 7);
    assert!(wanted.contains(&Output::PassOutput), "{wanted:?}");
    assert!(!wanted.contains(&Output::ResumeGuest), "it never stood still: {wanted:?}");
}

#[test]
fn a_guest_that_was_left_paused_runs_once_it_is_claimed() {
    let (_, wanted, _) = begin(adopted(3, true), record(3, "a", fresh()));
    let at = |wish: &Output| wanted.iter().position(|output| output == wish);
    assert!(
        at(&Output::ResumeGuest).is_some() && at(&Output::PassOutput) < at(&Output::ResumeGuest),
        "{wanted:?}"
    );
}

#[test]
fn a_guest_that_another_host_took_over_does_not_go_on_here() {
    for held in [record(4, "b", Copy::Stale), record(4, "b", fresh())] {
        let (session, wanted, after) = begin(adopted(3, true), held.clone());
        assert_eq!(session.state(), State::ClaimRefused);
        assert_eq!(after, held, "the record is not touched");
        assert!(
            !wanted.contains(&Output::PassOutput) && !wanted.contains(&Output::ResumeGuest),
            "{wanted:?}"
        );
    }
}

#[test]
fn a_guest_of_an_earlier_generation_or_a_new_guest_is_not_mistaken_for_the_last_one() {
    for origin in [adopted(2, false), Origin::Started] {
        let (session, wanted, after) = begin(origin, record(3, "a", fresh()));
        assert_eq!((session.state(), after), (State::ClaimRefused, record(3, "a", fresh())));
        assert!(!wanted.contains(&Output::PassOutput), "{wanted:?}");
    }
}

#[test]
fn after_a_takeover_no_full_sync_begins_before_the_guest_uses_its_devices_again() {
    let stale = record(3, "a", Copy::Stale);
    let took_over = Origin::TookOver { record: stale.clone(), next_epoch: Epoch(8) };
    let (mut session, wanted, _) = begin(took_over, stale);
    assert!(wanted.contains(&Output::PassOutput), "its clients do not wait: {wanted:?}");
    let mut tell = |input| {
        session.handle(Time(1), input);
        let out: Vec<_> = core::iter::from_fn(|| session.poll_output()).collect();
        out.iter().any(|output| matches!(output, Output::Capture { capture: Capture::Seed, .. }))
    };
    let stand = ToPrimary::Stand { generation: Generation(3), standing: Standing::Nothing };
    assert!(!tell(Input::LinkUp) && !tell(Input::Message(stand)), "its clients wait while it is copied");
    assert!(tell(Input::GuestSettled));
}

/// A session in a phase of its own, what it is told, and what it wants then.
fn told_of_a_leak(phase: phase::Phase) -> (Primary, Vec<Output>) {
    let (mut session, _, _) = begin(adopted(3, false), record(3, "a", fresh()));
    session.phase = phase;
    let mut out = Vec::new();
    session.handle(Time(0), Input::OutputLeaks);
    out.extend(core::iter::from_fn(|| session.poll_output()));
    session.handle(Time(0), Input::OutputLeaks);
    out.extend(core::iter::from_fn(|| session.poll_output()));
    (session, out)
}

#[test]
fn a_protected_guest_whose_output_leaks_is_paused_until_its_copy_is_stale() {
    // The witness holds it stale still: nothing has armed it.
    let (session, wanted) = told_of_a_leak(phase::Phase::Protected);
    let at = |wish: &Output| wanted.iter().position(|output| output == wish);
    assert_eq!(at(&Output::PauseGuest), Some(0), "{wanted:?}");
    assert!(at(&Output::PassOutput) < at(&Output::ResumeGuest), "{wanted:?}");
    assert_eq!(session.state(), State::Unprotected);
    assert_eq!(wanted.iter().filter(|it| **it == Output::PauseGuest).count(), 1, "{wanted:?}");
}

#[test]
fn a_guest_runs_again_once_its_copy_is_stale_even_if_its_capture_has_not_ended() {
    let stale = record(3, "a", Copy::Stale);
    let took_over = Origin::TookOver { record: stale.clone(), next_epoch: Epoch(8) };
    let (mut session, _, _) = begin(took_over, stale);
    let tell = |session: &mut Primary, input| {
        session.handle(Time(1), input);
        let out: Vec<_> = core::iter::from_fn(|| session.poll_output()).collect();
        out
    };
    tell(&mut session, Input::LinkUp);
    let stand = ToPrimary::Stand { generation: Generation(3), standing: Standing::Nothing };
    tell(&mut session, Input::Message(stand));
    tell(&mut session, Input::GuestSettled);
    session.phase = phase::Phase::Protected;
    let wanted = tell(&mut session, Input::OutputLeaks);
    let at = |wish: &Output| wanted.iter().position(|output| output == wish);
    assert!(
        at(&Output::PauseGuest).is_some() && at(&Output::PauseGuest) < at(&Output::ResumeGuest),
        "{wanted:?}"
    );
    assert!(at(&Output::AbortCapture).is_some(), "{wanted:?}");
    assert_eq!(at(&Output::PassOutput), None, "the capture may still cut: {wanted:?}");
    let again = tell(&mut session, Input::OutputLeaks);
    let moved = [Output::PauseGuest, Output::ResumeGuest];
    assert!(!again.iter().any(|output| moved.contains(output)), "told of the same leak again: {again:?}");
}

#[test]
fn leaks_of_an_unprotected_guest_do_not_matter() {
    let (session, wanted) = told_of_a_leak(phase::Phase::Unprotected { seed_at: Time(0) });
    assert_eq!((session.state(), wanted), (State::Unprotected, vec![]));
}
