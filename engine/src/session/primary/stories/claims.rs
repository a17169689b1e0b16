//! Claims: which records are an authority over a guest, and what a refused one waits for.

use super::*;

#[test]
fn a_witness_that_knows_less_than_the_guest_is_no_authority_over_it() {
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
fn a_generation_that_was_heard_of_while_claiming_is_not_begun_again() {
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

#[test]
fn a_refused_guest_makes_way_for_the_owner_that_speaks() {
    let mut story = Story::begin(Origin::Started, Some(record(5, 3, "b", Copy::Stale)), true);
    assert!(story.session.state() == State::ClaimRefused && !story.is_destroyed());
    story.hear(Input::Rival { generation: Generation(3) });
    assert!(story.is_destroyed());
}
