//! The script of each kind of round: what is done, and how it must end.
//!
//! | failure    | done                                  | must end in                                              |
//! |------------|---------------------------------------|----------------------------------------------------------|
//! | kill       | SIGKILL primary; start a new process  | takeover; protected by the host that returned             |
//! | hang       | SIGSTOP primary; SIGCONT afterwards   | takeover; the old primary fenced, back as secondary      |
//! | partition  | gates closed; opened afterwards       | one host goes on, decided at the witness; then protected |
//! | secondary  | SIGKILL secondary; start a new one    | service goes on unprotected; then protected              |
//! | witness    | SIGKILL witness; start it again       | still protected, no takeover; a switchover works         |
//! | switchover | asked of the primary                  | the other host runs the guest; then protected            |
//!
//! This is for one guest. With several, each ends according to its own roles.

use super::error::DrillError;
use super::history::Moment;
use super::plan::{Cut, Failure};
use super::sightings::HostId;
use super::view::{self, Takeover};
use super::watch::Watch;
use super::world::World;
use std::time::Duration;

/// How long the witness stays away: several times what any host waits for an answer.
const WITNESS_AWAY: Duration = Duration::from_millis(400);
/// How long a returned old primary is watched to see that it stays quiet.
const ZOMBIE_WATCHED: Duration = Duration::from_millis(100);

/// How a failure ended.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// When the failure struck.
    pub struck: Moment,
    /// For each guest, how it was taken over, if it was.
    pub takeovers: Vec<Option<Takeover>>,
    /// Whether the old owner could do nothing from `struck` on.
    pub stopped_at_once: bool,
    /// Whether it was a switchover.
    pub is_planned: bool,
    /// When every guest was protected again.
    pub protected: Moment,
    /// The result in words.
    pub ending: String,
}

/// A round in progress.
pub struct Script<'a> {
    /// The processes.
    pub world: &'a mut World,
    /// Waits.
    pub watch: &'a mut Watch,
}

impl Script<'_> {
    /// Causes `failure` and waits until all is well again.
    pub fn play(&mut self, failure: Failure) -> Result<Outcome, DrillError> {
        // Guests may come to run on both hosts; the first one's host counts as the primary.
        let primary = self.world.owners[0];
        match failure {
            Failure::Kill => self.kill(primary),
            Failure::Hang => self.hang(primary),
            Failure::Partition(cut) => self.partition(cut, primary),
            Failure::Secondary => self.kill(primary.other()),
            Failure::Witness => self.witness(primary),
            Failure::Switchover => self.switchover(primary),
        }
    }

    fn kill(&mut self, host: HostId) -> Result<Outcome, DrillError> {
        let struck = self.world.kill_host(host)?;
        let takeovers = self.wait_for_loss_of(host, struck)?;
        self.world.start_secondary(host)?;
        let then = format!("a new {host} protects it");
        // ssh takes a moment to kill.
        let stopped_at_once = !self.world.is_far(host);
        self.protected(Outcome { stopped_at_once, ..outcome(struck, takeovers) }, &then)
    }

    fn hang(&mut self, host: HostId) -> Result<Outcome, DrillError> {
        self.world.process(host)?.stop().map_err(DrillError::system("stop a host"))?;
        let struck = Moment::now();
        let takeovers = self.wait_for_loss_of(host, struck)?;
        self.world.process(host)?.go_on().map_err(DrillError::system("let a host go on"))?;
        self.watch.rest("the old primary is back; watching that it stays quiet", ZOMBIE_WATCHED)?;
        let then = format!("{host} woke up fenced and protects it");
        self.protected(Outcome { stopped_at_once: true, ..outcome(struck, takeovers) }, &then)
    }

    fn partition(&mut self, cut: Cut, primary: HostId) -> Result<Outcome, DrillError> {
        let struck = Moment::now();
        self.world.wires.cut(cut, primary);
        let settled = self.wait_settled(struck);
        self.world.wires.heal();
        self.protected(outcome(struck, settled?), "after it healed the other protects it")
    }

    fn witness(&mut self, primary: HostId) -> Result<Outcome, DrillError> {
        let before = self.world.wait_protected(self.watch)?;
        let away = self.world.kill_witness()?;
        self.watch.rest("the witness is away", WITNESS_AWAY)?;
        let during = self.world.look();
        for (guest, view) in before.iter().enumerate() {
            let now = during.running(self.world.owners[guest], guest);
            if !now.is_some_and(|now| now.is_protected && now.generation == view.generation) {
                let name = &view.name;
                return Err(DrillError::WrongEnding(format!(
                    "Protection of {name} did not go on while the witness was away"
                )));
            }
        }
        self.world.start_witness()?;
        // Only a change of authority shows that it came back with its records.
        let moved = self.switchover(primary)?;
        Ok(Outcome { struck: away, ending: format!("protected without it; back: {}", moved.ending), ..moved })
    }

    fn switchover(&mut self, host: HostId) -> Result<Outcome, DrillError> {
        let control = self.world.control_path(host);
        let look = self.world.look();
        let struck = Moment::now();
        for view in (0..self.world.owners.len()).filter_map(|guest| look.running(host, guest)) {
            view::switch_over(&control, &view.name).map_err(|error| DrillError::Refused {
                host,
                wish: "switch over",
                reason: error.to_string(),
            })?;
        }
        let takeovers = self.wait_for_loss_of(host, struck)?;
        self.protected(
            Outcome { is_planned: true, ..outcome(struck, takeovers) },
            &format!("{host} protects it"),
        )
    }

    /// Waits until every guest of `host` is taken over by the other host, and every guest of the other host continues
    /// without its copy (unless it was only a switchover: then its copy is still there).
    fn wait_for_loss_of(
        &mut self,
        host: HostId,
        struck: Moment,
    ) -> Result<Vec<Option<Takeover>>, DrillError> {
        let is_alive = self.world.is_running(host);
        let takeovers =
            self.world.wait_for_each(self.watch, "waiting for the takeover", |guest, owner, look| {
                let view = look.running(host.other(), guest)?;
                if owner == host {
                    view.takeover.filter(|takeover| takeover.activated > struck).map(Some)
                } else {
                    (is_alive || view.is_alone).then_some(None)
                }
            })?;
        self.move_owners(&takeovers);
        Ok(takeovers)
    }

    /// Waits until the partition is decided: every guest is taken over, or continues alone where it was.
    fn wait_settled(&mut self, struck: Moment) -> Result<Vec<Option<Takeover>>, DrillError> {
        let what = "waiting until one host goes on";
        let takeovers = self.world.wait_for_each(self.watch, what, |guest, owner, look| {
            if look.running(owner, guest).is_some_and(|view| view.is_alone) {
                return Some(None);
            }
            let moved = look.running(owner.other(), guest)?;
            moved.takeover.filter(|takeover| takeover.activated > struck).map(Some)
        })?;
        self.move_owners(&takeovers);
        Ok(takeovers)
    }

    fn move_owners(&mut self, takeovers: &[Option<Takeover>]) {
        for (owner, takeover) in self.world.owners.iter_mut().zip(takeovers) {
            if takeover.is_some() {
                *owner = owner.other();
            }
        }
    }

    /// Waits until every guest is protected again, and completes the outcome.
    fn protected(&mut self, outcome: Outcome, then: &str) -> Result<Outcome, DrillError> {
        self.world.wait_protected(self.watch)?;
        let moved = outcome.takeovers.iter().flatten().count();
        let owner = self.world.owners[0];
        let ending = match (moved, outcome.takeovers.len() - moved) {
            (_, 0) if outcome.is_planned => format!("{owner} runs it by plan, {then}"),
            (_, 0) => format!("{owner} took over, {then}"),
            (0, _) => format!("{owner} went on, {then}"),
            (moved, stayed) => format!("{moved} guests were taken over, {stayed} went on, {then}"),
        };
        Ok(Outcome { protected: Moment::now(), ending, ..outcome })
    }
}

/// An outcome without its end.
fn outcome(struck: Moment, takeovers: Vec<Option<Takeover>>) -> Outcome {
    Outcome {
        struck,
        takeovers,
        stopped_at_once: false,
        is_planned: false,
        protected: struck,
        ending: String::new(),
    }
}
