//! A whole drill: the world is built, rounds are played in it one after the other, and all is summed up.
//!
//! A round that broke a promise is followed by the next one in the same world. After a round that could not be
//! played to its end nobody knows how the world stands, so the next round gets a new one.

use super::chance::Chance;
use super::error::DrillError;
use super::history::Moment;
use super::plan::{Failure, Plan};
use super::report::{Figures, Report, Round, Settings, Times, Traffic};
use super::round::{Stage, play};
use super::spread::Spreads;
use super::traffic::Crew;
use super::watch::Watch;
use super::workdir::Workdir;
use super::world::World;
use crate::config::PacingSettings;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long a guest that runs may take to answer its first requests.
const FIRST_ANSWERS_MAX: Duration = Duration::from_secs(10);

/// A finished drill.
#[derive(Debug)]
pub struct Finished {
    pub report: Report,
    /// Where the processes' logs are, if they were kept.
    pub logs: Option<PathBuf>,
}

/// A drill under way.
struct Drill<'a> {
    plan: &'a Plan,
    program: &'a Path,
    // Fields are dropped in order: first the processes, then the directory they use.
    scene: Option<Scene>,
    workdir: Workdir,
    watch: Watch,
}

/// What rounds are played in.
struct Scene {
    world: World,
    crews: Vec<Crew>,
}

/// Runs a drill with `program` (this one) for its processes. Must be called from the main thread, before any
/// other thread. `after_each` is shown each round when it has ended.
pub fn run(plan: &Plan, program: &Path, mut after_each: impl FnMut(&Round)) -> Result<Finished, DrillError> {
    let began = Moment::now();
    let watch = Watch::new()?;
    let workdir = Workdir::create("drill").map_err(DrillError::system("create a directory in /tmp"))?;
    let mut drill = Drill { plan, program, scene: None, workdir, watch };
    if plan.keep_logs {
        drill.workdir.keep();
    }
    let mut chance = Chance::new(plan.seed);
    let mut rounds = Vec::with_capacity(plan.rounds.len());
    for (index, failure) in plan.rounds.iter().enumerate() {
        let round = drill.round(index + 1, *failure, chance.number())?;
        drill.watch.clear();
        after_each(&round);
        rounds.push(round);
    }
    let report = Report::new(settings(plan), rounds, Moment::now().since(began));
    let logs = drill.workdir.is_kept().then(|| drill.workdir.path().to_owned());
    Ok(Finished { report, logs })
}

impl Drill<'_> {
    /// Plays a round; an error is one that the drill cannot go on from.
    fn round(&mut self, number: usize, failure: Failure, chance: u64) -> Result<Round, DrillError> {
        self.watch.set_scene(format!("round {number} of {}, {failure}: ", self.plan.rounds.len()));
        let round = match self.play(number, failure, chance) {
            Err(error) if error.is_fatal() => return Err(error),
            Err(error) => {
                self.scene = None;
                failed(number, failure, &error)
            }
            Ok(round) => round,
        };
        if !round.held {
            self.workdir.keep();
        }
        Ok(round)
    }

    fn play(&mut self, number: usize, failure: Failure, chance: u64) -> Result<Round, DrillError> {
        let scene = match &mut self.scene {
            Some(scene) => scene,
            none => {
                none.insert(Scene::build(self.plan, self.program, &self.workdir, &mut self.watch, number)?)
            }
        };
        let Scene { world, crews } = scene;
        play(&mut Stage { world, crews, watch: &mut self.watch }, number, failure, chance)
    }
}

impl Scene {
    /// Starts everything, in a directory named after the first round that is played in it.
    fn build(
        plan: &Plan,
        program: &Path,
        workdir: &Workdir,
        watch: &mut Watch,
        round: usize,
    ) -> Result<Self, DrillError> {
        let directory = workdir.path().join(format!("from-round-{round}"));
        std::fs::create_dir(&directory).map_err(DrillError::system("create a directory in /tmp"))?;
        let mut world = World::start(plan, program.to_owned(), directory)?;
        world.wait_started(watch)?;
        let mut crews = (0..plan.guests)
            .map(|guest| Crew::connect(world.switch_path(), guest, plan.clients, plan.seed))
            .collect::<Result<Vec<_>, _>>()?;
        crews.iter_mut().try_for_each(|crew| crew.prepare(FIRST_ANSWERS_MAX))?;
        Ok(Self { world, crews })
    }
}

fn settings(plan: &Plan) -> Settings {
    Settings {
        seed: plan.seed,
        pacing: PacingSettings::from(plan.pacing).to_string(),
        mode: plan.mode.name(),
        diverge: plan.diverge.map(|what| what.to_string()),
        suspend_takes_ms: Duration::from(plan.suspend_takes).into(),
        memory_bytes: plan.memory_bytes,
        disk_bytes: plan.disk_bytes,
        load: plan.load.clone(),
        guests: plan.guests,
        clients: plan.clients,
    }
}

/// A round that could not be played to its end.
fn failed(number: usize, failure: Failure, error: &DrillError) -> Round {
    Round {
        round: number,
        failure: failure.to_string(),
        ending: error.to_string(),
        held: false,
        violations: Vec::new(),
        times: Times::default(),
        traffic: Traffic::default(),
        figures: Figures::default(),
        ratio: 0.0,
        duration_ms: Duration::ZERO.into(),
        spreads: Spreads::default(),
    }
}
