//! The drill's small world: a switch and wires inside the drill, and three processes around it.
//!
//! ```text
//!        clients (threads)
//!            │
//!     ┌── switch ──┐            every guest frame is seen here: Sightings
//!   host A       host B         processes, each `understudy node`
//!     └──────┬─────┘
//!         witness               a process, or an etcd that is not the drill's
//! ```
//!
//! Dropping it ends all of them.
//!
//! Not here: the flags and files of the processes (`starting`).

mod starting;

use super::disks::{self, Told};
use super::error::DrillError;
use super::history::{Baseline, Moment};
use super::network::{answered_request, guest_name, sending_guest};
use super::pair::FarDirectory;
use super::plan::Plan;
use super::sightings::{HostId, Sightings};
use super::spread::{Spreads, scrape};
use super::view::{self, GuestView};
use super::watch::Watch;
use super::wires::Wires;
use super::witness::EtcdKeys;
use crate::child::Process;
use parking_lot::Mutex;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use understudy_lab::{Observer, Sighting, Switch};
use understudy_session::Mode;

/// How long anything may take that must happen: a first copy of a large guest on a busy machine is the longest.
pub const WAIT_MAX: Duration = Duration::from_secs(60);

/// How long the end of ssh takes to be the end of the process that it ran.
const FAR_END: Duration = Duration::from_millis(500);

/// The world.
#[derive(Debug)]
pub struct World {
    plan: Plan,
    program: PathBuf,
    directory: PathBuf,
    /// Where everything of the drill is plugged in.
    pub wires: Wires,
    switch: Switch,
    sightings: Arc<Mutex<Vec<Sightings>>>,
    witness: Option<Process>,
    host_a: Option<Process>,
    host_b: Option<Process>,
    // Dropped after the processes that use them.
    etcd: Option<EtcdKeys>,
    far: Option<FarDirectory>,
    /// By guest, the host that owns it now.
    pub owners: Vec<HostId>,
}

/// What both engines say of the guests at one time.
#[derive(Debug)]
pub struct Look {
    a: Vec<GuestView>,
    b: Vec<GuestView>,
}

impl Look {
    /// What `host` says of a guest that it runs; `None` if it does not run it, or does not answer.
    pub fn running(&self, host: HostId, guest: usize) -> Option<&GuestView> {
        let views = match host {
            HostId::A => &self.a,
            HostId::B => &self.b,
        };
        let name = guest_name(guest as u16);
        views.iter().find(|view| view.is_primary && view.name == name)
    }
}

/// What a host's node calls itself.
fn name_of(plan: &Plan, host: HostId) -> String {
    plan.pair.as_ref().map_or_else(|| host.to_string(), |pair| pair.name(host).to_string())
}

/// Notes which host sent a guest's frame.
struct Recorder {
    sightings: Arc<Mutex<Vec<Sightings>>>,
    /// What the nodes call themselves.
    names: [String; 2],
}

impl Observer for Recorder {
    fn seen(&mut self, sighting: &Sighting<'_>) {
        let host = match &self.names {
            [a, _] if *a == sighting.name => HostId::A,
            [_, b] if *b == sighting.name => HostId::B,
            _ => return,
        };
        if let Some(guest) = sending_guest(sighting.frame)
            && let Some(sightings) = self.sightings.lock().get_mut(usize::from(guest))
        {
            sightings.note(host, Moment::now(), answered_request(sighting.frame));
        }
    }
}

impl World {
    /// Starts the switch and the three processes, with all guests on host A. `directory` is empty.
    pub fn start(plan: &Plan, program: PathBuf, directory: PathBuf) -> Result<Self, DrillError> {
        let sightings = Arc::new(Mutex::new(vec![Sightings::default(); usize::from(plan.guests)]));
        let names = [HostId::A, HostId::B].map(|host| name_of(plan, host));
        let recorder = Box::new(Recorder { sightings: sightings.clone(), names });
        let switch = Switch::start(&directory.join("switch.sock"), Some(recorder))
            .map_err(DrillError::system("start the drill's switch"))?;
        let members = plan.etcd.as_ref().map(|etcd| &*etcd.address.members);
        let mut world = Self {
            plan: plan.clone(),
            program,
            directory,
            wires: match &plan.pair {
                Some(pair) => Wires::between(pair),
                None => Wires::lay(plan.needs_relays(), members)?,
            },
            switch,
            sightings,
            witness: None,
            host_a: None,
            host_b: None,
            etcd: plan.etcd.clone().map(EtcdKeys::new).transpose()?,
            far: None,
            owners: vec![HostId::A; usize::from(plan.guests)],
        };
        world.make_certificates()?;
        if world.etcd.is_none() {
            world.start_witness()?;
        }
        world.start_secondary(HostId::B)?;
        world.start_primary(HostId::A)?;
        Ok(world)
    }

    /// Path of the switch's socket.
    pub fn switch_path(&self) -> &std::path::Path {
        self.switch.path()
    }

    /// Whether a host's process is on another machine.
    pub fn is_far(&self, host: HostId) -> bool {
        self.plan.pair.is_some() && host == HostId::B
    }

    /// Where the control socket of a host is.
    pub fn control_path(&self, host: HostId) -> PathBuf {
        self.directory.join(format!("{host}.sock"))
    }

    /// The process of a host.
    pub fn process(&mut self, host: HostId) -> Result<&mut Process, DrillError> {
        let process = self.host_mut(host).as_mut();
        process.ok_or_else(|| DrillError::WrongEnding(format!("Host {host} is not running")))
    }

    /// Whether a host's process lives and does not hang.
    pub fn is_running(&self, host: HostId) -> bool {
        let process = match host {
            HostId::A => &self.host_a,
            HostId::B => &self.host_b,
        };
        process.as_ref().is_some_and(|process| !process.is_stopped())
    }

    /// The place of a host's process, empty if it was killed.
    fn host_mut(&mut self, host: HostId) -> &mut Option<Process> {
        match host {
            HostId::A => &mut self.host_a,
            HostId::B => &mut self.host_b,
        }
    }

    /// SIGKILL of a host's process. Returns the moment before the signal.
    pub fn kill_host(&mut self, host: HostId) -> Result<Moment, DrillError> {
        let at = Moment::now();
        let process = self.host_mut(host).take();
        process.map_or(Ok(()), |mut process| process.kill()).map_err(DrillError::system("kill a host"))?;
        // The other host's process ends a moment after ssh does: it is to be gone before it is started again.
        if self.is_far(host) {
            std::thread::sleep(FAR_END);
        }
        // A host that died leaves its socket behind, as files do.
        let _ = std::fs::remove_file(self.control_path(host));
        Ok(at)
    }

    /// SIGKILL of the witness.
    pub fn kill_witness(&mut self) -> Result<Moment, DrillError> {
        let at = Moment::now();
        let process = self.witness.take();
        process
            .map_or(Ok(()), |mut process| process.kill())
            .map_err(DrillError::system("kill the witness"))?;
        Ok(at)
    }

    /// Fails if a process ended that was not killed.
    pub fn check_alive(&mut self) -> Result<(), DrillError> {
        let processes =
            [("The witness", &mut self.witness), ("Host A", &mut self.host_a), ("Host B", &mut self.host_b)];
        for (who, process) in processes {
            let Some(process) = process else { continue };
            if let Some(status) = process.ended().map_err(DrillError::system("look after a process"))? {
                return Err(DrillError::ProcessEnded { who: who.into(), status, log: process.log().into() });
            }
        }
        Ok(())
    }

    /// Looks at both engines. Who does not answer, for whatever reason, says nothing.
    pub fn look(&self) -> Look {
        let views = |host: HostId| match self.is_running(host) {
            true => view::of_node(&self.control_path(host), self.is_far(host)),
            false => Vec::new(),
        };
        Look { a: views(HostId::A), b: views(HostId::B) }
    }

    /// Waits until `find` finds something about every guest.
    pub fn wait_for_each<T>(
        &mut self,
        watch: &mut Watch,
        what: &str,
        find: impl Fn(usize, HostId, &Look) -> Option<T>,
    ) -> Result<Vec<T>, DrillError> {
        watch.until(what, WAIT_MAX, || {
            self.check_alive()?;
            let look = self.look();
            Ok(self.owners.iter().enumerate().map(|(guest, owner)| find(guest, *owner, &look)).collect())
        })
    }

    /// Waits until every guest runs somewhere and may be heard.
    pub fn wait_started(&mut self, watch: &mut Watch) -> Result<(), DrillError> {
        let what = "waiting until every guest runs";
        self.wait_for_each(watch, what, |guest, owner, look| {
            look.running(owner, guest).filter(|view| view.is_alone || view.is_protected).map(drop)
        })?;
        Ok(())
    }

    /// Waits until every guest is protected where it runs.
    pub fn wait_protected(&mut self, watch: &mut Watch) -> Result<Vec<GuestView>, DrillError> {
        self.wait_for_each(watch, "waiting until every guest is protected", |guest, owner, look| {
            look.running(owner, guest).filter(|view| view.is_protected).cloned()
        })
    }

    /// Judges both disks of each guest, if they have any; `told` by guest.
    pub fn check_disks(&self, told: &[Baseline], watch: &mut Watch) -> Result<Vec<String>, DrillError> {
        let mut found = Vec::new();
        if self.plan.disk_bytes.is_some() {
            for (number, values) in (0..).zip(told) {
                let (guest, memory_bytes) = (&*guest_name(number), self.plan.memory_bytes);
                found.extend(disks::check(Told { guest, values, memory_bytes }, &self.directory, watch)?);
            }
        }
        Ok(found)
    }

    /// Waits until a copy of every guest runs on the other host, and output leaves by it.
    pub fn wait_live(&mut self, watch: &mut Watch) -> Result<(), DrillError> {
        self.wait_for_each(watch, "waiting until every guest has a live copy", |guest, owner, look| {
            look.running(owner, guest).filter(|view| view.is_live).map(drop)
        })?;
        Ok(())
    }

    /// How long pauses and commits took so far, where both engines count them together; nothing unless a page wants it.
    pub fn spreads(&self) -> Spreads {
        let mut spreads = Spreads::default();
        if self.plan.wants_spreads {
            for host in [HostId::A, HostId::B].into_iter().filter(|host| self.is_running(*host)) {
                spreads.add(&Spreads::of_metrics(&scrape(self.wires.metrics(host))));
            }
        }
        spreads
    }

    /// How the guests are protected.
    pub fn mode(&self) -> Mode {
        self.plan.mode
    }

    /// Ends a round at the switch: what was seen of each guest.
    pub fn end_sightings(&mut self) -> Vec<Sightings> {
        self.sightings.lock().iter_mut().map(Sightings::end_round).collect()
    }
}
