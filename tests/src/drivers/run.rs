//! Runs one seed from its start to its verdict.

use super::GuestId;
use super::cluster::Cluster;
use super::events::Event;
use super::faults::{Aimed, Fault, Moment};
use super::fenced;
use super::invariant::{Invariant, Violation};
use super::judge::Judges;
use super::liveness;
use super::mutant::Mutant;
use super::options::Options;
use super::plan::{self, FAULTS_END};
use super::rng::Rng;
use super::settings::{INPUT_FRAMES_MAX, MATCH_MAX, SENT_FRAMES_MAX, Settings};
use super::trace::Trace;
use super::weights::Weights;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use understudy::config::ColoConfig;
use understudy::guest::CopyLimits;
use understudy::metrics::Metrics;
use understudy_colo::{comparer, mirror, unreleased};
use understudy_session::colo::{AfterCrash, Colo};
use understudy_session::primary::{Budgets, Pacing, SlowPolicy};
use understudy_session::{Mode, Span, Time};

/// The result of a run.
#[derive(Debug)]
pub struct Outcome {
    /// Its seed.
    pub seed: u64,
    /// The first invariant that did not hold.
    pub violation: Option<Violation>,
    /// Events handled.
    pub events: u64,
    /// Frames that left.
    pub frames: u64,
    /// The faults, in words.
    pub faults: Vec<String>,
    /// States that sessions were in.
    pub moments: Vec<Moment>,
    /// One line for each event, if requested.
    pub trace: Option<Trace>,
}

/// Draws a seed's settings.
pub fn settings(rng: &mut Rng) -> Settings {
    Settings {
        in_flight_max: 1 + rng.below(4) as u32,
        pacing: pacing(rng),
        slow_policy: if rng.chance(70) { SlowPolicy::Stretch } else { SlowPolicy::Unprotect },
        has_witness: !rng.chance(20),
        guests: if rng.chance(25) { 2 } else { 1 },
        outlives: rng.chance(30),
        scrubs: rng.chance(60),
        stands_by: rng.chance(40),
        autostarts: rng.chance(20),
        has_spare: false,
        is_fenced: false,
        witness_forgets: rng.chance(10),
        disks: false,
        answers: None,
        modes: Default::default(),
        colo: ColoConfig::default(),
        metrics: metrics(),
    }
}

/// What sets the chain for disks apart from that of all else.
const DISKS: u64 = 0xD15C_D15C_D15C_D15C;

/// In one seed of five guests have disks, of those where no guest runs twice: a guest with a disk does not. Such a guest ends with
/// its engine, which serves its disk.
fn draw_disks(rng: &mut Rng, settings: &mut Settings, wanted: Option<bool>) {
    let by_seed = rng.chance(20);
    if settings.answers.is_none() && wanted.unwrap_or(by_seed) {
        (settings.disks, settings.outlives) = (true, false);
    }
}

/// What sets the chain for copies apart from that of all else.
const COPIES: u64 = 0xC010_C010_C010_C010;

/// The same for a second network, which one seed of four has.
const SPARE: u64 = 0x5BA2_E5BA_2E5B_A2E5;

/// The same for guests that need fencing, whose seeds are long: one of fifty.
const FENCED: u64 = 0xFE2C_EDFE_2CED_FE2C;

/// In one seed of four guests may run twice. All that this needs is drawn from a chain of its own, so that the other seeds are
/// as they would be without.
fn draw_copies(rng: &mut Rng, settings: &mut Settings, wanted: Option<bool>) {
    let by_seed = rng.chance(25);
    if !wanted.unwrap_or(by_seed) {
        return;
    }
    settings.answers = Some([0, 0, 2, 10, 50][rng.below(5) as usize]);
    let mut mode = || match rng.below(20) {
        0..=12 => Mode::Colo,
        13..=17 => Mode::Auto,
        _ => Mode::Remus,
    };
    settings.modes = [mode(), mode()];
    settings.colo = colo_of(
        rng.span_us(20_000, 120_000),
        rng.span_us(8_000, MATCH_MAX.0 / 1_000),
        if rng.chance(30) { 6 } else { SENT_FRAMES_MAX },
        if rng.chance(70) { AfterCrash::Refuse } else { AfterCrash::FromCommit },
    );
}

/// How copies are used: the times are in the proportion of those of sessions.
fn colo_of(period: Span, match_max: Span, frames_max: usize, after_crash: AfterCrash) -> ColoConfig {
    ColoConfig {
        session: Colo {
            gap_min: Span::from_ms(2),
            period,
            live_max: Span::from_ms(15),
            window: Span::from_ms(100),
            frames_min: 5,
            rest: Span::from_ms(40),
            rest_max: Span::from_ms(320),
            ..Colo::default()
        },
        limits: CopyLimits {
            comparer: comparer::Limits {
                match_min: Span::from_ms(2),
                match_max,
                silence_max: Span::from_ms(60),
                frames_max,
                ..comparer::Limits::default()
            },
            input: mirror::Limits { frames_max: INPUT_FRAMES_MAX, ..mirror::Limits::default() },
            sent: unreleased::Limits { frames_max, ..unreleased::Limits::default() },
        },
        after_crash,
    }
}

/// Half of the guests are paced by a clock, half by their output.
fn pacing(rng: &mut Rng) -> Pacing {
    let interval = rng.span_us(3_000, 12_000);
    if rng.chance(50) {
        return Pacing::Clock { interval };
    }
    Pacing::Output(Budgets {
        interval_min: Span::from_us(500),
        interval_max: Span(interval.0 * 4),
        pause_percent_max: 50,
        link_bytes_per_s_max: 1 << 30,
        cpu_percent_max: 100,
    })
}

/// Metrics that all engines of a thread share: nobody reads them, and making a registry takes time.
fn metrics() -> Metrics {
    thread_local!(static METRICS: Metrics = Metrics::new());
    METRICS.with(Metrics::clone)
}

/// Runs one seed: faults for a while, then healing, then the verdict on liveness.
pub fn run_seed(seed: u64, options: Options) -> Outcome {
    let mut rng = Rng::new(seed);
    let mut settings = settings(&mut rng);
    settings.scrubs = options.scrubs.unwrap_or(settings.scrubs);
    let weights = Weights::draw(&mut rng, options.mutant.map_or(&[], Mutant::rife));
    let mut plan = plan::plan(&mut rng, &weights);
    let mut aimed = plan::aimed(&mut rng, &weights);
    let mut of_copies = Rng::new(seed ^ COPIES);
    let wanted = options.copies.or(options.mutant.map(Mutant::needs_copies));
    draw_copies(
        &mut of_copies,
        &mut settings,
        wanted.or(options.disks.filter(|disks| *disks).map(|_| false)),
    );
    settings.has_spare = Rng::new(seed ^ SPARE).chance(25);
    let disks = options.disks.or(options.mutant.map(Mutant::needs_disks));
    draw_disks(&mut Rng::new(seed ^ DISKS), &mut settings, disks);
    if let Some(mutant) = options.mutant {
        mutant.prepare(&mut settings, &mut rng, &mut aimed);
    }
    let mut of_fencing = Rng::new(seed ^ FENCED);
    let by_seed = of_fencing.chance(2);
    if options.fences.or(options.mutant.map(Mutant::needs_fencing)).unwrap_or(by_seed) {
        fenced::prepare(&mut settings);
        (plan, aimed) = (fenced::plan(&mut of_fencing, options.mutant), Vec::new());
    }
    if settings.answers.is_some() {
        let (more, more_aimed) = plan::of_copies(&mut of_copies, &weights);
        plan.extend(more);
        aimed.extend(more_aimed);
    }
    let faults = describe(&plan, &aimed);
    let mut cluster = Cluster::new(rng, settings, options);
    for (at, fault) in plan {
        cluster.agenda.add(at, Event::Strikes(fault));
    }
    cluster.aimed = aimed;
    cluster.run(if cluster.settings.is_fenced { fenced::END } else { FAULTS_END }, u64::MAX);
    finish(&mut cluster);
    Outcome {
        seed,
        violation: cluster.violation.take(),
        events: cluster.events_handled,
        frames: cluster.judges.iter().map(Judges::frames_seen).sum(),
        faults,
        moments: std::mem::take(&mut cluster.moments),
        trace: cluster.take_trace(),
    }
}

fn describe(plan: &[(Time, Fault)], aimed: &[Aimed]) -> Vec<String> {
    let planned = plan.iter().map(|(at, fault)| format!("{} us: {fault:?}", at.0 / 1000));
    let waiting = aimed
        .iter()
        .map(|aimed| format!("{} us after {:?}: {:?}", aimed.after.0 / 1000, aimed.moment, aimed.fault));
    planned.chain(waiting).collect()
}

/// Heals the cluster, lets it settle, and judges its liveness. Without a witness nothing resumes by itself, so liveness
/// is not judged. Once all is well for a while, the run is over.
pub fn finish(cluster: &mut Cluster) {
    if cluster.violation.is_some() {
        return;
    }
    cluster.heal();
    cluster.run(cluster.now.max(cluster.hangs_end()) + liveness::SETTLE, u64::MAX);
    let has_witness = cluster.settings.has_witness;
    let asked_for: Vec<GuestId> = (0..cluster.settings.guests)
        .filter(|guest| has_witness && liveness::can_resume(cluster, *guest))
        .filter(|guest| cluster.judges[*guest].hears(Invariant::Liveness))
        .collect();
    let end = cluster.now + liveness::bound(cluster);
    let mut well_since = None;
    let mut verdict = Ok(());
    while cluster.now < end && cluster.violation.is_none() {
        cluster.run(cluster.now + liveness::LOOK_EVERY, u64::MAX);
        let now = cluster.now;
        verdict = asked_for.iter().try_for_each(|guest| liveness::judge(cluster, *guest, now));
        well_since = well_since.or(Some(now)).filter(|_| verdict.is_ok());
        if well_since.is_some_and(|since| since + liveness::WELL <= now) {
            break;
        }
    }
    (0..cluster.settings.guests).for_each(|guest| cluster.say_if_lost(guest));
    if cluster.violation.is_none() {
        cluster.violation = verdict.err();
    }
}

/// Runs seeds on all processors until one fails. Returns the failing outcome with the lowest seed among those found, or
/// the numbers of events and frames.
pub fn run_seeds(seeds: Range<u64>, options: Options) -> Result<(u64, u64), Box<Outcome>> {
    let next = AtomicU64::new(seeds.start);
    let work = || {
        let (mut events, mut frames) = (0, 0);
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end {
                return Ok((events, frames));
            }
            let outcome = run_seed(seed, options);
            if outcome.violation.is_some() {
                next.store(seeds.end, Ordering::Relaxed);
                return Err(Box::new(outcome));
            }
            events += outcome.events;
            frames += outcome.frames;
        }
    };
    let results = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..workers()).map(|_| scope.spawn(work)).collect();
        threads.into_iter().map(|thread| thread.join().expect("a run does not panic")).collect::<Vec<_>>()
    });
    let mut sum = (0, 0);
    let mut failed: Option<Box<Outcome>> = None;
    for result in results {
        match result {
            Ok((events, frames)) => sum = (sum.0 + events, sum.1 + frames),
            Err(outcome) if failed.as_ref().is_none_or(|first| outcome.seed < first.seed) => {
                failed = Some(outcome);
            }
            Err(_) => {}
        }
    }
    failed.map_or(Ok(sum), Err)
}

/// Runs all seeds on all processors, whatever their outcome; outcomes are in the order of the seeds.
pub fn run_all(seeds: Range<u64>, options: Options) -> Vec<Outcome> {
    let next = AtomicU64::new(seeds.start);
    let work = || {
        let mine = || Some(next.fetch_add(1, Ordering::Relaxed)).filter(|seed| *seed < seeds.end);
        std::iter::from_fn(mine).map(|seed| run_seed(seed, options)).collect::<Vec<_>>()
    };
    let mut outcomes: Vec<Outcome> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..workers()).map(|_| scope.spawn(work)).collect();
        threads.into_iter().flat_map(|thread| thread.join().expect("a run does not panic")).collect()
    });
    outcomes.sort_by_key(|outcome| outcome.seed);
    outcomes
}

fn workers() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Settings without chance, for passes over every event.
pub fn plain_settings() -> Settings {
    Settings {
        in_flight_max: 2,
        pacing: Pacing::Clock { interval: Span::from_ms(6) },
        slow_policy: SlowPolicy::Stretch,
        has_witness: true,
        guests: 1,
        outlives: false,
        scrubs: true,
        stands_by: true,
        autostarts: false,
        has_spare: false,
        is_fenced: false,
        witness_forgets: false,
        disks: false,
        answers: None,
        modes: Default::default(),
        colo: ColoConfig::default(),
        metrics: metrics(),
    }
}

/// The same of a guest that has a disk.
pub fn settings_with_disks() -> Settings {
    Settings { disks: true, stands_by: false, ..plain_settings() }
}

/// The same of a guest that runs twice, of whose answers some differ.
pub fn settings_with_copies() -> Settings {
    let colo = colo_of(Span::from_ms(40), Span::from_ms(15), SENT_FRAMES_MAX, AfterCrash::Refuse);
    Settings { answers: Some(5), modes: [Mode::Colo; 2], colo, stands_by: false, ..plain_settings() }
}
