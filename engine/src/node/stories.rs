//! Stories of a node's guests, told frame by frame: real sessions and drivers, workers that do nothing, a machine that does
//! what the story wants of it.

mod defects;
mod leftovers;
mod outside;
mod starts;
mod unseen;

use super::glance::Glance;
use super::guests::Guests;
use super::inbound::Inbound;
use super::new_primary::NewPrimary;
use crate::config::{FindChanges, NodeConfig, WitnessConfig, XenGuestConfig};
use crate::control::{GuestState, GuestStatus, Wish};
use crate::guest::{
    HeldOutput, LoopWaker, Machine, OutputMaker, PreviousRun, Report, RunningGuest, RuntimeId,
};
use crate::metrics::Metrics;
use crossbeam::channel::{Receiver, Sender};
use outside::{Bench, Fake, G, Outside, Said, description, node, node_config, running};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use understudy_checkpoint::epoch::{EpochEnd, EpochPart};
use understudy_checkpoint::pages::EpochSummary;
use understudy_checkpoint::{Epoch, Generation};
use understudy_lab::Port;
use understudy_link::{HoldReason, HoldRefusal};
use understudy_session::primary::Pacing;
use understudy_session::{
    Copy, EpochKind, Record, Span, Standing, Time, ToPrimary, ToSecondary, WitnessOutcome, WitnessReply,
    primary, secondary,
};

/// Node b, its peer a, and the guest "web". There is no witness.
struct Story {
    guests: Guests,
    outside: Outside,
    bench: Bench,
    outputs: OutputMaker,
    metrics: Metrics,
    /// What workers say and the loop has not heard.
    reports: Receiver<(RuntimeId, Report)>,
    to_loop: Sender<(RuntimeId, Report)>,
}

impl Story {
    fn new() -> Self {
        Self::of(node_config())
    }

    fn of(config: NodeConfig) -> Self {
        let (bench, (to_loop, reports)) = (Bench::default(), crossbeam::channel::unbounded());
        let metrics = Metrics::new();
        let outputs =
            OutputMaker { limits: understudy_netbuf::Limits::default(), waker: LoopWaker::silent() };
        let host = Arc::new(bench.clone());
        let mut guests =
            Guests::new(config, metrics.clone(), host.clone(), host, to_loop.clone(), outputs.clone());
        guests.set_available_bytes(|| None);
        let outside = Outside { is_link_up: true, ..Outside::default() };
        Self { guests, outside, bench, outputs, metrics, reports, to_loop }
    }

    /// A guest that an engine ran here in generation 3; the peer holds nothing of it.
    fn adopted(machine: &Arc<Fake>) -> (Self, HeldOutput) {
        Self::adopting(Self::new(), machine)
    }

    fn adopting(mut story: Self, machine: &Arc<Fake>) -> (Self, HeldOutput) {
        let output = story.outputs.frames(Epoch(0));
        let past = Some(PreviousRun { generation: Generation(3), is_halted: false });
        let found = RunningGuest { past, ..running(machine, &output) };
        story.guests.add(NewPrimary::of("web", found, node("a")), &mut story.outside).unwrap();
        (story, output)
    }

    fn hear(&mut self, what: Inbound) {
        self.guests.arrived(node("a"), "web".into(), what, &mut self.outside);
        self.guests.run(&mut self.outside);
    }

    fn primary(&mut self, message: ToSecondary) {
        self.hear(Inbound::ToSecondary(message));
    }

    fn offer(&mut self, generation: Generation) {
        self.hear(Inbound::Offer(Some(generation), Box::new(description())));
        self.primary(ToSecondary::Offer { generation, acked: None });
    }

    /// A guest is found running on this host.
    fn found(&mut self, past: Option<PreviousRun>) -> HeldOutput {
        self.found_on(Arc::new(Fake::default()), past)
    }

    fn found_on(&mut self, machine: Arc<Fake>, past: Option<PreviousRun>) -> HeldOutput {
        let output = self.outputs.frames(Epoch(0));
        let found = RunningGuest { past, ..running(&machine, &output) };
        let (name, peer, find_changes) = ("web".into(), node("a"), FindChanges::Log);
        let pacing = Pacing::Clock { interval: Span::from_ms(25) };
        self.guests.found(
            XenGuestConfig {
                name,
                peer,
                mode: Default::default(),
                fence: Default::default(),
                pacing,
                find_changes,
            },
            found,
            &mut self.outside,
        );
        self.guests.run(&mut self.outside);
        output
    }

    fn report(&mut self, runtime: u64, report: Report) {
        self.guests.report(RuntimeId(runtime), report, &mut self.outside);
        self.guests.run(&mut self.outside);
    }

    fn pass(&mut self, span: Span) {
        self.outside.now += span.0;
        self.guests.run(&mut self.outside);
    }

    /// A full sync of the guest is held here.
    fn standing() -> Self {
        let mut story = Self::new();
        story.offer(G);
        story.primary(seed());
        let summary = EpochSummary { entries: 0, data_pages: 0, digest: 0 };
        story.hear(Inbound::Part(EpochPart::End(EpochEnd { generation: G, epoch: Epoch(1), summary })));
        story.report(1, Report::Complete { generation: G, epoch: Epoch(1) });
        story
    }

    /// The guest was to be started here in generation 2, on a person's word, and is being started.
    fn taking_over() -> Self {
        let mut story = Self::standing();
        story.guests.wish("web", Wish::ForceTakeover, &mut story.outside).unwrap();
        assert_eq!(story.secondary(), Some(secondary::State::Activating));
        story.outside.said.clear();
        story
    }

    fn secondary(&self) -> Option<secondary::State> {
        match self.guests.glance("web") {
            Some(Glance::Secondary { state, .. }) => Some(state),
            _ => None,
        }
    }

    fn state(&self) -> Option<primary::State> {
        match self.guests.glance("web") {
            Some(Glance::Primary { state, .. }) => Some(state),
            _ => None,
        }
    }

    fn status(&mut self) -> GuestStatus {
        self.guests.status(Time(self.outside.now)).remove(0)
    }
}

fn leaves(output: &HeldOutput) -> usize {
    let mut frames = Vec::new();
    output.take_into(&mut frames);
    frames.len()
}

fn stands_with_nothing(generation: Generation) -> Said {
    Said::ToPrimary(ToPrimary::Stand { generation, standing: Standing::Nothing })
}

/// A person had the guest back on the other host: its first word there is answered, and nothing is refused.
#[test]
fn a_guest_that_could_not_be_started_here_is_held_anew_at_the_first_word_of_a_later_generation() {
    let mut story = Story::taking_over();
    story.report(1, Report::ActivationFailed { error: "no room".into() });
    assert_eq!(story.secondary(), Some(secondary::State::ActivationFailed));
    story.primary(ToSecondary::Heartbeat { generation: G });
    assert_eq!(story.secondary(), Some(secondary::State::ActivationFailed), "an older one changes nothing");
    story.outside.said.clear();
    story.primary(ToSecondary::Offer { generation: Generation(3), acked: None });
    assert_eq!(story.secondary(), Some(secondary::State::Empty));
    let said = &story.outside.said;
    assert!(said.contains(&stands_with_nothing(Generation(3))), "{said:?}");
    assert!(!said.iter().any(|said| matches!(said, Said::Declined(_))), "{said:?}");
}

/// Its offer came while the guest was still being started here, and nobody answered: it is asked for again.
#[test]
fn an_offer_that_came_while_a_guest_was_being_started_in_vain_is_asked_for_again() {
    let mut story = Story::taking_over();
    story.primary(ToSecondary::Offer { generation: Generation(3), acked: None });
    story.report(1, Report::ActivationFailed { error: "no room".into() });
    story.primary(ToSecondary::Heartbeat { generation: Generation(3) });
    assert_eq!(story.secondary(), Some(secondary::State::Empty));
    assert!(story.outside.said.contains(&Said::Ready), "{:?}", story.outside.said);
}

/// Of two hosts that were given the guest, the later one has it: what is started for the earlier one lets nothing out.
#[test]
fn a_guest_that_somebody_had_back_while_it_was_being_started_here_claims_before_it_sends() {
    let mut story = Story::taking_over();
    story.primary(ToSecondary::Heartbeat { generation: Generation(3) });
    let output = story.outputs.frames(Epoch(2));
    let machine = Arc::new(Fake { takes_marks: true.into(), ..Fake::default() });
    story.report(1, Report::Activated { guest: running(&machine, &output) });
    output.transmit(b"a frame");
    assert_eq!(story.state(), Some(primary::State::Asking));
    story.primary(ToSecondary::Heartbeat { generation: Generation(3) });
    assert_eq!(story.state(), Some(primary::State::Contested));
    assert_eq!(leaves(&output), 0);
}

/// What an engine left here runs on until it is told not to.
#[test]
fn what_a_dead_engine_left_stands_still_from_the_first_word_of_a_primary_on() {
    let mut story = Story::new();
    story.hear(Inbound::Offer(Some(Generation(4)), Box::new(description())));
    story.primary(ToSecondary::Offer { generation: Generation(0), acked: None });
    assert!(story.bench.work.lock().is_empty(), "a question is no newer generation");
    for _ in 0..3 {
        story.primary(ToSecondary::Heartbeat { generation: Generation(4) });
    }
    assert_eq!(*story.bench.work.lock(), ["pause older"]);
}

#[test]
fn a_guest_that_ends_while_no_checkpoint_is_made_of_it_is_seen_to_have_ended() {
    let machine = Arc::new(Fake::default());
    machine.takes_marks.store(true, Ordering::Relaxed);
    let (mut story, _) = Story::adopted(&machine);
    story.hear(Inbound::ToPrimary(ToPrimary::Stand {
        generation: Generation(0),
        standing: Standing::Nothing,
    }));
    story.guests.wish("web", Wish::Unprotect, &mut story.outside).unwrap();
    assert_eq!(story.state(), Some(primary::State::Unprotected));
    machine.has_ended.store(true, Ordering::Relaxed);
    story.pass(Span::from_ms(1));
    assert_eq!(story.state(), Some(primary::State::Ended));
    assert_eq!(story.status().reason, "the guest has ended");
}

#[test]
fn an_unprotected_guest_is_left_alone_so_that_other_tools_may_save_it() {
    let machine = Arc::new(Fake::default());
    machine.takes_marks.store(true, Ordering::Relaxed);
    let (mut story, _) = Story::adopted(&machine);
    let nothing = ToPrimary::Stand { generation: Generation(0), standing: Standing::Nothing };
    story.hear(Inbound::ToPrimary(nothing));
    assert_eq!(story.state(), Some(primary::State::Unprotected));
    assert_eq!(story.bench.work.lock().last(), Some(&"leave alone"));
}

#[test]
fn nothing_leaves_before_the_guest_is_marked_with_its_generation() {
    let machine = Arc::new(Fake::default());
    let (mut story, output) = Story::adopted(&machine);
    let nothing = ToPrimary::Stand { generation: Generation(0), standing: Standing::Nothing };
    story.hear(Inbound::ToPrimary(nothing));
    assert_eq!(story.state(), Some(primary::State::Unprotected));
    output.transmit(b"a frame");
    story.pass(Span::from_ms(10_000));
    assert_eq!(leaves(&output), 0);
    let reason = story.status().reason;
    assert!(reason.contains("marked with generation 4 in xenstore, which does not answer"), "{reason}");
    machine.takes_marks.store(true, Ordering::Relaxed);
    story.pass(Span::from_ms(1));
    assert_eq!(leaves(&output), 1);
    assert!(!story.status().reason.contains("xenstore"));
}

#[test]
fn a_person_lets_out_what_waits_for_a_mark() {
    let machine = Arc::new(Fake::default());
    let (mut story, output) = Story::adopted(&machine);
    let nothing = ToPrimary::Stand { generation: Generation(0), standing: Standing::Nothing };
    story.hear(Inbound::ToPrimary(nothing));
    output.transmit(b"a frame");
    assert_eq!(leaves(&output), 0);
    story.guests.wish("web", Wish::Unprotect, &mut story.outside).unwrap();
    assert_eq!(leaves(&output), 1);
}

/// From the cut of a full sync on, what is sent waits for its ack: clients would wait for the whole of it.
#[test]
fn a_full_sync_does_not_begin_before_what_waits_for_a_mark_has_left() {
    let machine = Arc::new(Fake::default());
    let (mut story, output) = Story::adopted(&machine);
    for generation in [Generation(0), Generation(4)] {
        let stands = ToPrimary::Stand { generation, standing: Standing::Nothing };
        story.hear(Inbound::ToPrimary(stands));
    }
    output.transmit(b"a frame");
    story.pass(Span::from_ms(10));
    assert!(story.bench.orders.lock().is_empty());
    assert!(story.status().reason.contains("xenstore, which does not answer"), "{}", story.status().reason);
    machine.takes_marks.store(true, Ordering::Relaxed);
    story.pass(Span::from_ms(1));
    assert_eq!(leaves(&output), 1);
    assert_eq!(*story.bench.orders.lock(), [primary::Capture::Seed]);
    output.transmit(b"while it is copied");
    assert_eq!(leaves(&output), 1);
}

#[test]
fn a_full_sync_that_waits_for_a_mark_is_given_up_where_a_person_ends_the_protection() {
    let machine = Arc::new(Fake::default());
    let (mut story, output) = Story::adopted(&machine);
    for generation in [Generation(0), Generation(4)] {
        let stands = ToPrimary::Stand { generation, standing: Standing::Nothing };
        story.hear(Inbound::ToPrimary(stands));
    }
    output.transmit(b"a frame");
    story.guests.wish("web", Wish::Unprotect, &mut story.outside).unwrap();
    machine.takes_marks.store(true, Ordering::Relaxed);
    story.pass(Span::from_ms(1));
    assert_eq!((leaves(&output), story.state()), (1, Some(primary::State::Unprotected)));
    assert!(story.bench.orders.lock().is_empty(), "nobody wants it any more");
}

/// A node that is told to end while it starts a guest: the guest is on no other host any more.
#[test]
fn a_guest_that_is_started_while_its_node_ends_is_marked_and_kept_for_the_next_engine() {
    let mut story = Story::taking_over();
    let (machine, output) = (Arc::new(Fake::default()), story.outputs.frames(Epoch(2)));
    machine.takes_marks.store(true, Ordering::Relaxed);
    let guest = running(&machine, &output);
    story.to_loop.send((RuntimeId(1), Report::Activated { guest })).unwrap();
    story.guests.leave(&story.reports, Duration::from_secs(60));
    assert!(machine.is_left.load(Ordering::Relaxed) && machine.is_marked(Generation(2)));
    output.transmit(b"a frame");
    assert_eq!(leaves(&output), 0);
}

#[test]
fn a_guest_whose_start_does_not_end_is_saved_and_the_node_ends_all_the_same() {
    let mut story = Story::taking_over();
    story.guests.leave(&story.reports, Duration::from_millis(20));
    assert_eq!(story.bench.work.lock().last(), Some(&"rescue"));
}

#[test]
fn a_refused_claim_has_its_reason_in_what_programs_read() {
    let nowhere = std::net::SocketAddr::from(([127, 0, 0, 1], 2));
    let mut story = Story::of(NodeConfig { witness: Some(WitnessConfig::Own(nowhere)), ..node_config() });
    story.outside.is_witness_up = true;
    let (mut story, _) = Story::adopting(story, &Arc::new(Fake::default()));
    let id = story.outside.asked.last().expect("it asks").id();
    let record = Record { revision: 8, generation: Generation(4), owner: node("a"), copy: Copy::Stale };
    let reply = WitnessReply { id, outcome: WitnessOutcome::Told, record: Some(record) };
    story.guests.witness_reply("web", reply, &mut story.outside);
    let json = serde_json::to_value(story.status()).unwrap();
    assert_eq!(json["state"], "claim_refused");
    assert_eq!(json["reason"], "the witness has a as the owner of generation 4");
    assert_eq!(json["protected"], false);
}

#[test]
fn without_a_witness_a_peers_refusal_is_shown_beside_what_it_has_not_said() {
    let (mut story, output) = Story::adopted(&Arc::new(Fake::default()));
    let refusal = HoldRefusal::new(HoldReason::Memory, "the image takes 64 MiB and b has 3 MiB for it");
    story.hear(Inbound::Declined(refusal));
    assert_eq!(story.state(), Some(primary::State::Asking));
    let reason = story.status().reason;
    assert!(
        reason.contains("b has 3 MiB for it") && reason.contains("`understudy unprotect` lets it out"),
        "{reason}"
    );
    output.transmit(b"a frame");
    assert_eq!(leaves(&output), 0, "what it has not said is not taken for a no");
}

#[test]
fn a_complete_copy_is_no_protected_guest_and_its_generation_is_the_newest_heard_of() {
    let mut story = Story::new();
    story.hear(Inbound::Offer(Some(Generation(4)), Box::new(description())));
    story.primary(ToSecondary::Heartbeat { generation: Generation(4) });
    let status = story.status();
    assert_eq!((status.generation, status.protected, status.state), (4, false, GuestState::Empty));
    let text = story.metrics.text();
    assert!(text.contains("role_info{generation=\"4\",guest=\"web\",role=\"secondary\"} 1"), "{text}");
}

/// The first full sync of the guest begins.
fn seed() -> ToSecondary {
    ToSecondary::EpochBegin { generation: G, epoch: Epoch(1), kind: EpochKind::Seed, base: None }
}

/// A peer's offer of a guest, of which nothing is held, is no reason to let one of that name run here unheld.
#[test]
fn a_guest_that_is_found_here_is_taken_in_though_a_peer_has_offered_one_of_its_name() {
    let mut story = Story::new();
    story.hear(Inbound::Offer(Some(G), Box::new(description())));
    assert_eq!(story.secondary(), Some(secondary::State::Empty));
    assert!(!story.guests.sees_to("web"), "it is looked for");
    story.outside.said.clear();
    let output = story.found(None);
    output.transmit(&[7; 60]);
    assert_eq!((story.state(), leaves(&output)), (Some(primary::State::Asking), 0));
    let told = |said: &Said| matches!(said, Said::Declined(reason) if *reason == HoldReason::NameTaken);
    assert!(story.outside.said.iter().any(told), "{:?}", story.outside.said);
}

/// Once its offer is declined, a primary says nothing more: what it said before is a rival's word.
#[test]
fn a_guest_that_is_found_here_makes_way_for_the_primary_that_has_spoken_before() {
    let mut story = Story::new();
    story.offer(G);
    let output = story.found(None);
    output.transmit(&[7; 60]);
    assert_eq!((story.secondary(), leaves(&output)), (Some(secondary::State::Empty), 0));
    story.primary(seed());
    assert_eq!(story.secondary(), Some(secondary::State::Seeding), "its copy comes");
}

#[test]
fn what_a_dead_engine_left_is_not_taken_in_beside_a_primary_of_a_later_generation() {
    for (left, is_taken) in [(G.0 - 1, false), (G.0, true)] {
        let mut story = Story::new();
        story.offer(G);
        story.found(Some(PreviousRun { generation: Generation(left), is_halted: true }));
        assert_eq!(story.secondary().is_none(), is_taken, "one of generation {left}");
    }
}
