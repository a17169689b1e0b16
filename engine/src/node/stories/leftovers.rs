//! Stories of what is left on a host of a guest that another host has run since: when it makes way, and when it is a person's.

use super::outside::{Said, node_config};
use super::*;

/// The peer runs the guest in generation 2.
fn with_a_newer_primary() -> Story {
    let mut story = with_a_witness();
    story.offer(Generation(2));
    story
}

fn with_a_witness() -> Story {
    let nowhere = std::net::SocketAddr::from(([127, 0, 0, 1], 2));
    let mut story = Story::of(NodeConfig { witness: Some(WitnessConfig::Own(nowhere)), ..node_config() });
    story.outside.is_witness_up = true;
    story
}

fn is_found(story: &mut Story) {
    story.found(Some(PreviousRun { generation: Generation(1), is_halted: true }));
}

/// The witness has generation 2 as the peer's.
fn witness_tells(story: &mut Story) {
    let record = Record { revision: 3, generation: Generation(2), owner: node("a"), copy: Copy::Stale };
    witness_says(story, WitnessOutcome::Told, record);
}

/// The answer to what was asked last.
fn witness_says(story: &mut Story, outcome: WitnessOutcome, record: Record) {
    let id = story.outside.asked.last().expect("it asks").id();
    let reply = WitnessReply { id, outcome, record: Some(record) };
    story.guests.witness_reply("web", reply, &mut story.outside);
    story.guests.run(&mut story.outside);
}

/// No copy of that one comes any more, and nobody but a person can say what is to become of what is left here.
#[test]
fn what_a_dead_engine_left_is_a_persons_once_the_newer_guest_has_ended() {
    let mut story = with_a_newer_primary();
    let generation = Generation(2);
    story.primary(ToSecondary::Farewell { generation });
    is_found(&mut story);
    assert_eq!(story.secondary(), Some(secondary::State::Empty), "it may only be unprotected");
    story.primary(ToSecondary::Heartbeat { generation });
    story.pass(Span::from_ms(60_000));
    is_found(&mut story);
    assert_eq!(story.secondary(), Some(secondary::State::Empty), "so it was");

    story.primary(ToSecondary::Farewell { generation });
    story.pass(Span::from_ms(60_000));
    is_found(&mut story);
    witness_tells(&mut story);
    assert_eq!(story.state(), Some(primary::State::ClaimRefused), "it is kept");
    story.guests.wish("web", Wish::Reclaim, &mut story.outside).unwrap();
}

/// What held the copy is gone, and the peer is told so: it says nothing more. What it offered still stands.
#[test]
fn what_a_dead_engine_left_makes_way_also_if_its_peer_was_told_that_no_copy_can_be_held() {
    let mut story = with_a_newer_primary();
    story.report(1, Report::Panicked { worker: "receive", message: "as the story says".into() });
    assert!(story.outside.said.contains(&Said::Declined(HoldReason::Internal)), "{:?}", story.outside.said);
    is_found(&mut story);
    assert_eq!(story.state(), Some(primary::State::Claiming));
    witness_tells(&mut story);
    assert_eq!(story.secondary(), Some(secondary::State::Empty), "a copy of that one is held");
    assert_eq!(story.outside.said.last(), Some(&Said::Ready));
}

/// The peer offered again before it read that no copy can be held any more, and reads that last.
#[test]
fn an_offer_that_crosses_a_refusal_is_answered_by_ready() {
    let mut story = with_a_newer_primary();
    story.report(1, Report::Panicked { worker: "receive", message: "as the story says".into() });
    let told = |story: &Story| {
        story
            .outside
            .said
            .iter()
            .filter(|said| matches!(said, Said::Declined(_) | Said::Ready))
            .cloned()
            .collect()
    };
    assert_eq!(told(&story), [Said::Declined(HoldReason::Internal)], "not before it looks again");
    story.outside.said.clear();
    story.offer(Generation(2));
    assert_eq!(story.secondary(), Some(secondary::State::Empty));
    let told: Vec<Said> = told(&story);
    assert_eq!(told, [Said::Ready]);
}

/// The peer's guest is over, by its own word: it is no rival of what is left here.
#[test]
fn what_a_dead_engine_left_does_not_make_way_for_an_offer_whose_guest_has_ended() {
    let mut story = with_a_newer_primary();
    story.primary(ToSecondary::Farewell { generation: Generation(2) });
    story.report(1, Report::Panicked { worker: "receive", message: "as the story says".into() });
    is_found(&mut story);
    witness_tells(&mut story);
    assert_eq!(story.state(), Some(primary::State::ClaimRefused));
}

/// The peer's host lost power with the newer guest, and comes back without it: the link is there, and nobody speaks.
fn with_a_peer_that_has_lost_the_newer_guest(mut story: Story) -> Story {
    story.primary(ToSecondary::Heartbeat { generation: Generation(2) });
    story.guests.link_down(&node("a"), &mut story.outside);
    story.guests.link_up(&node("a"), &mut story.outside);
    story.guests.run(&mut story.outside);
    story
}

/// Otherwise it would wait for a copy that never comes, and nobody could have it back.
#[test]
fn what_a_dead_engine_left_is_a_persons_once_the_newer_guest_is_lost_with_its_host() {
    let mut story = with_a_newer_primary();
    witness_tells(&mut story);
    let mut story = with_a_peer_that_has_lost_the_newer_guest(story);
    is_found(&mut story);
    assert_eq!(story.state(), Some(primary::State::Claiming));
    witness_tells(&mut story);
    assert_eq!(story.state(), Some(primary::State::ClaimRefused), "it is kept");
    story.guests.wish("web", Wish::Reclaim, &mut story.outside).unwrap();
}

/// What the newer guest answered is lost with it, which only a person may accept.
#[test]
fn without_a_witness_too() {
    let mut story = Story::new();
    story.offer(Generation(2));
    let mut story = with_a_peer_that_has_lost_the_newer_guest(story);
    is_found(&mut story);
    story.hear(Inbound::ToPrimary(ToPrimary::Stand {
        generation: Generation(0),
        standing: Standing::Nothing,
    }));
    assert_eq!(story.state(), Some(primary::State::Contested), "though the peer holds nothing of it");
    story.guests.wish("web", Wish::Reclaim, &mut story.outside).unwrap();
}

/// The thread that halts what is left had no time for that.
#[test]
fn what_a_dead_engine_left_does_not_run_once_a_newer_generation_is_known() {
    let mut story = with_a_newer_primary();
    witness_tells(&mut story);
    let mut story = with_a_peer_that_has_lost_the_newer_guest(story);
    let (machine, left) = (Arc::new(outside::Fake::default()), |generation| {
        Some(PreviousRun { generation: Generation(generation), is_halted: false })
    });
    story.found_on(machine.clone(), left(1));
    assert!(machine.is_paused.load(Ordering::Relaxed));

    let mut story = with_a_peer_that_has_lost_the_newer_guest(with_a_newer_primary());
    let machine = Arc::new(outside::Fake::default());
    story.found_on(machine.clone(), left(2));
    assert!(!machine.is_paused.load(Ordering::Relaxed), "it is the newer one, as far as is known");
}

/// It was refused for the guest that ran here, and would be looked at again after up to half a minute.
#[test]
fn a_peers_offer_is_taken_at_once_when_the_guest_of_its_name_ends_here() {
    let machine = Arc::new(outside::Fake::default());
    machine.takes_marks.store(true, Ordering::Relaxed);
    let (mut story, _) = Story::adopted(&machine);
    let stands = ToPrimary::Stand { generation: Generation(0), standing: Standing::Nothing };
    story.hear(Inbound::ToPrimary(stands));
    story.hear(Inbound::Offer(Some(Generation(9)), Box::new(description())));
    assert!(story.outside.said.contains(&Said::Declined(HoldReason::NameTaken)), "{:?}", story.outside.said);
    machine.has_ended.store(true, Ordering::Relaxed);
    story.pass(Span::from_ms(1));
    assert_eq!(story.secondary(), Some(secondary::State::Empty));
    assert_eq!(story.outside.said.last(), Some(&Said::Ready));
}

/// It was started from the copy of that very guest, and nothing of it has left. Kept, it would be found again and again.
#[test]
fn a_guest_that_somebody_had_back_while_it_was_being_started_here_ends_when_that_one_speaks() {
    let mut story = with_a_witness();
    story.offer(G);
    story.primary(seed());
    let summary = EpochSummary { entries: 0, data_pages: 0, digest: 0 };
    story.hear(Inbound::Part(EpochPart::End(EpochEnd { generation: G, epoch: Epoch(1), summary })));
    story.report(1, Report::Complete { generation: G, epoch: Epoch(1) });
    story.guests.wish("web", Wish::ForceTakeover, &mut story.outside).unwrap();
    let fresh = Copy::Fresh { holder: node("b") };
    let told = Record { revision: 2, generation: G, owner: node("a"), copy: fresh };
    witness_says(&mut story, WitnessOutcome::Told, told);
    let taken = Record { revision: 3, generation: Generation(2), owner: node("b"), copy: Copy::Stale };
    witness_says(&mut story, WitnessOutcome::Swapped, taken);
    assert_eq!(story.secondary(), Some(secondary::State::Activating));

    let heartbeat = ToSecondary::Heartbeat { generation: Generation(3) };
    story.primary(heartbeat.clone());
    let (machine, output) = (Arc::new(outside::Fake::default()), story.outputs.frames(Epoch(2)));
    story.report(1, Report::Activated { guest: running(&machine, &output) });
    let had_back = Record { revision: 4, generation: Generation(3), owner: node("a"), copy: Copy::Stale };
    witness_says(&mut story, WitnessOutcome::Told, had_back);
    assert_eq!(story.state(), Some(primary::State::ClaimRefused));
    story.primary(heartbeat);
    assert!(machine.is_stopped.load(Ordering::Relaxed));
    assert_eq!(story.secondary(), Some(secondary::State::Empty), "a copy of that one is held");
}

/// Its own engine has restarted, and the peer's offer is there before its first word.
#[test]
fn what_a_dead_engine_left_is_not_taken_in_beside_the_offer_of_a_later_generation() {
    let mut story = with_a_witness();
    story.hear(Inbound::Offer(Some(Generation(2)), Box::new(description())));
    is_found(&mut story);
    assert_eq!(story.secondary(), Some(secondary::State::Empty));
}
