//! One round: clients at work, a failure, what follows, and the judgement.

use super::check::{Expectation, check};
use super::error::DrillError;
use super::history::{ClientId, History, Moment, Operation, Outcome as Known};
use super::plan::Failure;
use super::report::{Figures, Millis, Round, Times, Traffic as TrafficReport};
use super::script::{Outcome, Script};
use super::sightings::{HostId, Sightings};
use super::spread::{Spread, Spreads};
use super::traffic::{Crew, Traffic};
use super::view::{GuestView, Takeover};
use super::watch::Watch;
use super::world::World;
use std::collections::BTreeMap;
use std::time::Duration;
use understudy_session::Mode;

/// How long the clients work under protection before the failure, at least.
const BEFORE: Duration = Duration::from_millis(250);
/// The failure strikes by chance within this time after that, so that it meets every part of an epoch.
const STRIKE_WITHIN: Duration = Duration::from_millis(60);
/// How long the clients work on when all is well again.
const AFTER: Duration = Duration::from_millis(100);

/// Violations told one by one; a broken engine makes thousands, which say the same.
const VIOLATIONS_TOLD_MAX: usize = 10;

/// What a round is played with.
pub struct Stage<'a> {
    /// The processes.
    pub world: &'a mut World,
    /// The clients, by guest; taken for the round and put back.
    pub crews: &'a mut Vec<Crew>,
    /// Waits.
    pub watch: &'a mut Watch,
}

/// Plays one round. `chance` decides when the failure strikes.
pub fn play(
    stage: &mut Stage<'_>,
    number: usize,
    failure: Failure,
    chance: u64,
) -> Result<Round, DrillError> {
    let began = Moment::now();
    let before = stage.world.wait_protected(stage.watch)?;
    let spreads_before = stage.world.spreads();
    let old_owners = stage.world.owners.clone();
    stage.world.end_sightings();
    let clients: Vec<_> = stage.crews.iter().map(Crew::clients).collect();
    let traffic = stage.crews.drain(..).map(Crew::start).collect::<Result<Vec<_>, _>>()?;

    let mode = stage.world.mode();
    if mode == Mode::Colo {
        stage.world.wait_live(stage.watch)?;
    }
    let wait = BEFORE + Duration::from_nanos(chance % STRIKE_WITHIN.as_nanos() as u64);
    stage.watch.rest("clients at work under protection", wait)?;
    let protected = stage.world.wait_protected(stage.watch)?;
    let spreads_after = stage.world.spreads();
    let outcome = Script { world: stage.world, watch: stage.watch }.play(failure)?;
    stage.watch.rest("clients at work after the failure", AFTER)?;

    let histories = finish(traffic, stage.crews)?;
    let sightings = stage.world.end_sightings();
    let mut violations = Vec::new();
    for (guest, (history, seen)) in histories.iter().zip(&sightings).enumerate() {
        let expectation = expect(mode, &outcome, guest, old_owners[guest], seen, clients[guest].clone());
        let found = check(history, seen, &expectation);
        violations.extend(found.into_iter().map(|violation| violation.to_string()));
    }
    let told: Vec<_> = histories.iter().map(History::final_values).collect();
    violations.extend(stage.world.check_disks(&told, stage.watch)?);
    let held = violations.is_empty();
    let more = violations.len().saturating_sub(VIOLATIONS_TOLD_MAX);
    if more > 0 {
        violations.truncate(VIOLATIONS_TOLD_MAX);
        violations.push(format!("… and {more} more"));
    }
    let figures = figures(&before, &protected);
    Ok(Round {
        round: number,
        failure: failure.to_string(),
        ending: outcome.ending.clone(),
        held,
        violations,
        times: times(&outcome, &old_owners, &histories, &sightings),
        traffic: count(&histories, &sightings),
        ratio: figures.ratio(),
        figures,
        duration_ms: Moment::now().since(began).into(),
        spreads: Spreads {
            pause: spreads_after.pause.since(&spreads_before.pause),
            commit: spreads_after.commit.since(&spreads_before.commit),
            gap: Spread::of_gaps(histories.iter().flat_map(gaps)),
        },
    })
}

fn finish(traffic: Vec<Traffic>, crews: &mut Vec<Crew>) -> Result<Vec<History>, DrillError> {
    traffic
        .into_iter()
        .map(|traffic| {
            let (crew, history) = traffic.finish()?;
            crews.push(crew);
            Ok(history)
        })
        .collect()
}

/// What must hold for one guest, by how the round ended.
fn expect(
    mode: Mode,
    outcome: &Outcome,
    guest: usize,
    old_owner: HostId,
    seen: &Sightings,
    clients: Vec<ClientId>,
) -> Expectation {
    let struck = outcome.struck;
    let Some(takeover) = outcome.takeovers[guest] else {
        return Expectation {
            owners: vec![old_owner],
            owed_before: struck,
            repeats_before: None,
            clients,
            resumed: struck,
        };
    };
    let owed_before = if outcome.stopped_at_once { struck } else { takeover.authority };
    Expectation {
        owners: vec![old_owner, old_owner.other()],
        owed_before,
        repeats_before: (mode != Mode::Remus).then_some(owed_before),
        clients,
        resumed: seen.began(old_owner.other()).unwrap_or(struck),
    }
}

fn times(outcome: &Outcome, old_owners: &[HostId], histories: &[History], sightings: &[Sightings]) -> Times {
    let after = |moment: Moment| Millis::from(moment.since(outcome.struck));
    let takeovers = || outcome.takeovers.iter().flatten();
    let last = |pick: fn(&Takeover) -> Moment| takeovers().map(pick).max().map(after);
    let first_replies = (0..histories.len()).filter_map(|guest| {
        outcome.takeovers[guest]?;
        let began = sightings[guest].began(old_owners[guest].other())?;
        let answers = histories[guest].operations.iter().filter_map(Operation::answer);
        answers.map(|(at, _)| at).filter(|at| *at >= began).min()
    });
    Times {
        detected_ms: if outcome.is_planned { None } else { last(|takeover| takeover.detected) },
        authority_ms: last(|takeover| takeover.authority),
        activated_ms: last(|takeover| takeover.activated),
        first_reply_ms: first_replies.max().map(after),
        gap_ms: histories.iter().filter_map(longest_gap).max().map(Millis::from),
        protected_ms: Some(after(outcome.protected)),
    }
}

/// Longest time that any one client was without an answer.
fn longest_gap(history: &History) -> Option<Duration> {
    gaps(history).into_iter().max()
}

/// The times between each client's answers.
fn gaps(history: &History) -> Vec<Duration> {
    let mut answers: BTreeMap<_, Vec<Moment>> = BTreeMap::new();
    for operation in &history.operations {
        if let Some((at, _)) = operation.answer() {
            answers.entry(operation.client).or_default().push(at);
        }
    }
    let gaps = answers.into_values().flat_map(|mut moments| {
        moments.sort_unstable();
        moments.windows(2).map(|pair| pair[1].since(pair[0])).collect::<Vec<_>>()
    });
    gaps.collect()
}

fn count(histories: &[History], sightings: &[Sightings]) -> TrafficReport {
    let mut report = TrafficReport::default();
    for operation in histories.iter().flat_map(|history| &history.operations) {
        report.requests += 1;
        match operation.outcome {
            Known::Unknown => report.unknown += 1,
            Known::Answered { .. } | Known::Nonsense { .. } => report.replies += 1,
        }
    }
    report.repeated = histories.iter().map(|history| history.surplus.len() as u64).sum();
    report.late = sightings.iter().map(|seen| seen.late.len() as u64 + seen.late_uncounted).sum();
    report
}

/// The engine's figures between two looks at it, over all guests; percentiles are the worst guest's.
fn figures(before: &[GuestView], after: &[GuestView]) -> Figures {
    let mut figures = Figures::default();
    for view in after {
        let earlier = before.iter().find(|earlier| earlier.name == view.name);
        let since = |now: u64, pick: fn(&GuestView) -> u64| now.saturating_sub(earlier.map_or(0, pick));
        figures.epochs += since(view.epochs, |view| view.epochs);
        figures.matched += since(view.matched, |view| view.matched);
        figures.raw_bytes += since(view.raw_bytes, |view| view.raw_bytes);
        figures.link_bytes += since(view.link_bytes, |view| view.link_bytes);
        figures.pause_us_p50 = figures.pause_us_p50.max(view.pause_us_p50);
        figures.pause_us_p99 = figures.pause_us_p99.max(view.pause_us_p99);
        figures.commit_us_p50 = figures.commit_us_p50.max(view.commit_us_p50);
        figures.commit_us_p99 = figures.commit_us_p99.max(view.commit_us_p99);
    }
    figures
}
