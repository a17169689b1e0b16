//! Claims: which records are an authority over a guest, and what a refused one waits for.

use super::*;

#[test]
fn a_witness_that_knows_less_than_the_guests_host_has_no_authority_over_the_guest() {
    let adopted = Origin::Adopted { generation: Generation(3), is_halted: false };
    for held in [None, Some(record(1, 1, "a", Copy::Stale))] {
        let mut story = Story::begin(adopted.clone(), held, true);
        assert_eq!(story.session.state(), State::ClaimRefused);
        assert_eq!(story.session.refusal(), Some(&Refusal::Older { known: Generation(3) }));
        assert!(!story.wants(&Output::PassOutput) && !story.is_destroyed());
        // A person decides, and generations still only grow.
        story.hear(Input::Operator(Wish::Reclaim));
        assert_eq!((story.session.state(), story.session.generation()), (State::Unprotected, G));
    }
}

#[test]
fn a_generation_that_a_peer_mentioned_while_claiming_is_not_used_again() {
    let mut story = Story::begin(Origin::Started, None, true);
    assert_eq!(story.session.generation(), Generation(1));
    let mut story = {
        story.session = Primary::new(config(true), Origin::Started, Time(0));
        story.hear(Input::Rival { generation: Generation(7) });
        story
    };
    story.hear(Input::WitnessUp);
    assert_eq!(story.session.state(), State::ClaimRefused);
}

#[test]
fn a_refused_claim_is_tried_again_until_the_record_allows_it() {
    // Both hosts lost power: a is back first, its record names a copy at b.
    let mut story = Story::begin(Origin::Started, Some(record(5, 3, "a", fresh())), true);
    assert_eq!(story.session.state(), State::ClaimRefused);
    assert!(story.wants(&Output::PauseGuest) && !story.is_destroyed());
    story.wait(60_000);
    let read = |output: &&Output| matches!(output, Output::AskWitness(WitnessRequest::Read { .. }));
    let reads = story.wanted.iter().filter(read).count();
    assert!((10..30).contains(&reads), "{reads} looks in a minute");
    // b is back without a copy, and renounces it.
    let renounce = WitnessRequest::Swap { id: RequestId(9), expect: 5, new: record(6, 3, "a", Copy::Stale) };
    story.ask(node("b"), renounce);
    story.wait(10_000);
    assert_eq!((story.session.state(), story.session.generation()), (State::Unprotected, G));
    assert!(story.wants(&Output::ResumeGuest));
}

/// Both hosts lost power: this one, which held the copy, has booted a guest of that name from its disk, and the owner has
/// lost the guest as well. Whoever waited for the other would wait for ever.
#[test]
fn a_refused_claim_renounces_the_copy_that_the_record_wrongly_has_here() {
    let held_here = || Copy::Fresh { holder: node("a") };
    let mut story = Story::begin(Origin::Started, Some(record(5, 3, "b", held_here())), true);
    assert_eq!(story.session.state(), State::ClaimRefused);
    assert_eq!(story.held(), record(6, 3, "b", Copy::Stale));
    story.wait(60_000);
    assert_eq!(story.held().revision, 6, "it is said once");
    assert!(!story.is_destroyed() && !story.wants(&Output::PassOutput), "b decides");
}

#[test]
fn a_witness_that_does_not_answer_is_asked_again_to_renounce_the_copy() {
    let held_here = || Copy::Fresh { holder: node("a") };
    let mut story = Story::begin(Origin::Started, Some(record(5, 3, "b", Copy::Stale)), true);
    assert_eq!(story.session.state(), State::ClaimRefused);
    // The owner's swap of before its death arrives late, and the answer to this host's gets lost.
    let late = WitnessRequest::Swap { id: RequestId(9), expect: 5, new: record(6, 3, "b", held_here()) };
    story.ask(node("b"), late);
    story.hear(Input::WitnessDown);
    story.wait(10_000);
    story.hear(Input::WitnessUp);
    story.wait(10_000);
    assert_eq!(story.held(), record(7, 3, "b", Copy::Stale));
}

/// A record that is older than what is known here may name another owner; it is no authority all the same, and that owner's
/// word ends no guest of a later generation.
#[test]
fn an_older_record_of_another_owner_decides_nothing_about_a_guest_of_a_later_generation() {
    let adopted = Origin::Adopted { generation: Generation(5), is_halted: false };
    let older = record(5, 3, "b", Copy::Fresh { holder: node("a") });
    let mut story = Story::begin(adopted, Some(older.clone()), true);
    assert_eq!(story.session.refusal(), Some(&Refusal::Older { known: Generation(5) }));
    story.hear(Input::Rival { generation: Generation(3) });
    story.wait(60_000);
    assert!(!story.is_destroyed() && !story.wants(&Output::PassOutput));
    assert_eq!(story.held(), older, "nothing is said about it either");
}

#[test]
fn a_refused_guest_makes_way_for_the_owner_that_speaks() {
    let mut story = Story::begin(Origin::Started, Some(record(5, 3, "b", Copy::Stale)), true);
    assert!(story.session.state() == State::ClaimRefused && !story.is_destroyed());
    story.hear(Input::Rival { generation: Generation(3) });
    assert!(story.is_destroyed());
}
