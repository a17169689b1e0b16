//! Stories of a node that has not seen yet what runs on its host.

use super::outside::{Outside, Said, node_config};
use super::*;

/// A node that begins: it looks for "web", and its peer offers a guest of that name.
fn begun(config: NodeConfig) -> Story {
    let mut story = Story::of(config);
    story.guests.look_for("web");
    story.offer(Generation(4));
    story
}

fn answers(outside: &Outside) -> Vec<&Said> {
    let is_answer = |said: &&Said| matches!(said, Said::Declined(_) | Said::Ready | Said::ToPrimary(_));
    outside.said.iter().filter(is_answer).collect()
}

#[test]
fn without_a_witness_nothing_is_held_only_once_nothing_was_seen() {
    let mut story = begun(node_config());
    assert_eq!(answers(&story.outside), [&Said::Declined(HoldReason::NameTaken)], "an error is no \"no\"");
    story.pass(Span::from_ms(60_000));
    assert_eq!(story.secondary(), None, "however long it lasts");

    story.guests.looked_for("web", &mut story.outside);
    assert!(answers(&story.outside).contains(&&Said::Ready));
    assert_eq!(story.secondary(), Some(secondary::State::Empty));
}

#[test]
fn a_guest_that_is_seen_to_run_here_was_never_said_to_be_nowhere() {
    let mut story = begun(node_config());
    story.found(Some(PreviousRun { generation: Generation(3), is_halted: false }));
    story.guests.looked_for("web", &mut story.outside);
    let said_of_a_copy = |said: &&Said| matches!(said, Said::Ready | Said::ToPrimary(_));
    assert!(!story.outside.said.iter().any(|said| said_of_a_copy(&said)), "{:?}", story.outside.said);
    assert!(story.state().is_some(), "it runs here");
}

#[test]
fn with_a_witness_whose_guest_it_is_need_not_be_seen_here() {
    let nowhere = std::net::SocketAddr::from(([127, 0, 0, 1], 2));
    let story = begun(NodeConfig { witness: Some(WitnessConfig::Own(nowhere)), ..node_config() });
    assert_eq!(story.secondary(), Some(secondary::State::Empty));
}
