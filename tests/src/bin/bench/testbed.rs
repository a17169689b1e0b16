//! What every part of the bench needs: worlds with the load and interval it wants, one after the other, and
//! the engine's own figures over a stretch of time.

use std::path::{Path, PathBuf};
use std::time::Duration;
use understudy::config::BUDGETS;
use understudy::control::{Client, GuestStatus, Wish};
use understudy::drill::DrillError;
use understudy::drill::history::Moment;
use understudy::drill::network::{client_address, guest_address, guest_name};
use understudy::drill::plan::Plan;
use understudy::drill::sightings::HostId;
use understudy::drill::traffic::Crew;
use understudy::drill::watch::Watch;
use understudy::drill::workdir::Workdir;
use understudy::drill::world::{WAIT_MAX, World};
use understudy_lab::memcached::Request;
use understudy_lab::{Answer, Divergence, Outcome, Patience, Station};
use understudy_session::primary::Pacing;
use understudy_session::{Mode, Span};

/// Time for a world to come to rest after it is protected: the encoder's shadow fills, buffers find their size.
const SETTLE: Duration = Duration::from_millis(1500);
/// The unit of times in /proc: USER_HZ is 100 on every Linux of x86.
const MS_PER_TICK: u64 = 10;
/// A station's number that no client has.
const STATION: u16 = 60_000;

/// What a part asks of its world.
pub(crate) struct Wanted {
    /// The guest's load, in the lab's words.
    pub(crate) load: String,
    /// What decides when checkpoints begin.
    pub(crate) pacing: Pacing,
    /// The guest's memory.
    pub(crate) memory_bytes: u64,
    /// Clients, if any.
    pub(crate) clients: u16,
    /// How it is protected.
    pub(crate) mode: Mode,
    /// What differs between the hosts, for their guests.
    pub(crate) diverge: Option<Divergence>,
    /// How long the guest stands still to suspend, beside the work.
    pub(crate) suspend_takes: Span,
    /// Further flags for both hosts.
    pub(crate) node_flags: Vec<String>,
    /// Links without TLS: the parts that are not about it leave it out.
    pub(crate) plain: bool,
}

impl Default for Wanted {
    fn default() -> Self {
        Self {
            load: "idle".into(),
            pacing: OUTPUT,
            memory_bytes: 256 << 20,
            clients: 1,
            mode: Mode::Remus,
            diverge: None,
            suspend_takes: Span(0),
            node_flags: Vec::new(),
            plain: true,
        }
    }
}

/// As a node paces that is told nothing.
pub(crate) const OUTPUT: Pacing = Pacing::Output(BUDGETS);

/// A checkpoint so long after the end of the pause before.
pub(crate) fn every(interval: Duration) -> Pacing {
    Pacing::Clock { interval: Span(interval.as_nanos() as u64) }
}

/// Builds a testbed after another.
pub(crate) struct Testbeds {
    watch: Watch,
    workdir: Workdir,
    program: PathBuf,
    worlds: usize,
}

/// A world with one guest, protected and at rest.
pub(crate) struct Testbed<'a> {
    /// The processes.
    pub(crate) world: World,
    watch: &'a mut Watch,
}

/// Two looks at a guest and the time between them.
pub(crate) struct Stretch {
    before: GuestStatus,
    /// The guest at the end.
    pub(crate) after: GuestStatus,
    span: Duration,
}

impl Testbeds {
    /// Must be called before any thread is started.
    pub(crate) fn build() -> Result<Self, DrillError> {
        let program = std::env::current_exe().map_err(DrillError::system("find this program's own file"))?;
        Ok(Self {
            watch: Watch::new()?,
            workdir: Workdir::create("bench").map_err(DrillError::system("create a directory in /tmp"))?,
            program,
            worlds: 0,
        })
    }

    /// Where files of a part may be.
    pub(crate) fn directory(&self) -> &Path {
        self.workdir.path()
    }

    /// A world as wanted. The one before must be gone.
    pub(crate) fn testbed(&mut self, wanted: &Wanted) -> Result<Testbed<'_>, DrillError> {
        self.worlds += 1;
        let directory = self.workdir.path().join(self.worlds.to_string());
        std::fs::create_dir(&directory).map_err(DrillError::system("create a directory in /tmp"))?;
        let plan = Plan {
            rounds: Vec::new(),
            seed: 1,
            pacing: wanted.pacing,
            memory_bytes: wanted.memory_bytes,
            disk_bytes: None,
            load: wanted.load.clone(),
            mode: wanted.mode,
            diverge: wanted.diverge,
            suspend_takes: wanted.suspend_takes,
            guests: 1,
            clients: wanted.clients,
            plain: wanted.plain,
            keep_logs: false,
            wants_spreads: false,
            pair: None,
            etcd: None,
            node_flags: wanted.node_flags.clone(),
        };
        let mut world = World::start(&plan, self.program.clone(), directory)?;
        world.wait_started(&mut self.watch)?;
        world.wait_protected(&mut self.watch)?;
        self.watch.rest("coming to rest", SETTLE)?;
        self.watch.clear();
        Ok(Testbed { world, watch: &mut self.watch })
    }
}

impl Testbed<'_> {
    /// Lets time pass.
    pub(crate) fn rest(&mut self, what: &str, span: Duration) -> Result<(), DrillError> {
        self.watch.rest(what, span)?;
        self.watch.clear();
        Ok(())
    }

    /// The guest as its primary sees it.
    pub(crate) fn guest(&self) -> Result<GuestStatus, DrillError> {
        let status = Client::new(self.world.control_path(HostId::A)).status();
        let status = status.map_err(|error| DrillError::WrongEnding(error.to_string()))?;
        let first = status.guests.into_iter().next();
        first.ok_or_else(|| DrillError::WrongEnding("Host A has no guest".into()))
    }

    /// Processor time that the processes of hosts A and B, and this one, have taken so far. The guest runs in that of host A,
    /// the clients and the switch in this one.
    pub(crate) fn processor_time(&mut self) -> Result<[Duration; 3], DrillError> {
        let hosts = [self.world.process(HostId::A)?.id(), self.world.process(HostId::B)?.id()];
        let [a, b, own] = [hosts[0], hosts[1], std::process::id()].map(processor_time_of);
        Ok([a?, b?, own?])
    }

    /// Lets time pass and looks at the guest before and after.
    pub(crate) fn measure(&mut self, what: &str, span: Duration) -> Result<Stretch, DrillError> {
        let (before, began) = (self.guest()?, Moment::now());
        self.rest(what, span)?;
        let after = self.guest()?;
        Ok(Stretch { before, after, span: Moment::now().since(began) })
    }

    /// Lets the guest go on without protection.
    pub(crate) fn unprotect(&mut self) -> Result<(), DrillError> {
        self.wish(Wish::Unprotect)?;
        self.world.wait_for_each(self.watch, "waiting until it is unprotected", |guest, owner, look| {
            look.running(owner, guest).filter(|view| view.is_alone).map(drop)
        })?;
        Ok(())
    }

    /// Has it protected again, and says how long that took.
    pub(crate) fn protect(&mut self) -> Result<Duration, DrillError> {
        let began = Moment::now();
        self.wish(Wish::Protect)?;
        self.world.wait_protected(self.watch)?;
        Ok(Moment::now().since(began))
    }

    fn wish(&self, wish: Wish) -> Result<(), DrillError> {
        let asked = Client::new(self.world.control_path(HostId::A)).wish(&guest_name(0), wish);
        asked.map_err(|error| DrillError::WrongEnding(error.to_string()))
    }

    /// Clients of the guest, ready to work.
    pub(crate) fn crew(&self, clients: u16) -> Result<Crew, DrillError> {
        let mut crew = Crew::connect(self.world.switch_path(), 0, clients, 1)?;
        crew.prepare(WAIT_MAX)?;
        Ok(crew)
    }

    /// A host on the switch that can ask the guest what it has done.
    pub(crate) fn station(&self) -> Result<Station, DrillError> {
        let own = client_address(understudy::drill::history::ClientId(STATION));
        let station = Station::connect(self.world.switch_path(), "station", own.mac, own.ip);
        station.map_err(|error| DrillError::WrongEnding(error.to_string()))
    }
}

impl Stretch {
    /// Checkpoints committed.
    pub(crate) fn epochs(&self) -> u64 {
        self.after.commit_us.count - self.before.commit_us.count
    }

    /// Checkpoints committed in a second.
    pub(crate) fn epochs_per_second(&self) -> f64 {
        self.epochs() as f64 / self.span.as_secs_f64()
    }

    /// Dirty pages in a checkpoint, on average.
    pub(crate) fn pages_per_epoch(&self) -> f64 {
        let raw_bytes = self.after.raw_bytes - self.before.raw_bytes;
        raw_bytes as f64 / 4096.0 / self.epochs().max(1) as f64
    }

    /// Raw bytes per byte on the link.
    pub(crate) fn ratio(&self) -> f64 {
        let link_bytes = self.after.link_bytes - self.before.link_bytes;
        (self.after.raw_bytes - self.before.raw_bytes) as f64 / link_bytes.max(1) as f64
    }
}

/// Frames that the guest's load has written so far.
pub(crate) fn load_pages(station: &mut Station) -> Result<u64, DrillError> {
    let patience = Patience { timeout: Duration::from_secs(1), attempts: 10 };
    match station.ask(guest_address(0).ip, &Request::Stats, patience) {
        Ok(Outcome::Answered { answer: Answer::Stats { load_pages, .. }, .. }) => Ok(load_pages),
        other => Err(DrillError::WrongEnding(format!("The guest does not tell its counters: {other:?}"))),
    }
}

/// User and system time of all threads of a process, proc_pid_stat(5).
fn processor_time_of(process: u32) -> Result<Duration, DrillError> {
    let path = format!("/proc/{process}/stat");
    let stat = std::fs::read_to_string(&path).map_err(DrillError::system("read the time of a process"))?;
    // The name, in parentheses, may hold anything; utime and stime are the 14th and 15th field.
    let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let ticks: u64 =
        after_name.split_whitespace().skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
    Ok(Duration::from_millis(ticks * MS_PER_TICK))
}

/// Says what the figures were measured on.
pub(crate) fn print_machine() {
    let read = |path| std::fs::read_to_string(path).unwrap_or_default();
    let cpu = read("/proc/cpuinfo");
    let model = cpu.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or("");
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let kernel = read("/proc/sys/kernel/osrelease");
    let load = read("/proc/loadavg");
    let load = load.split(' ').next().unwrap_or("?");
    println!(
        "machine: {cores} cores, {}; Linux {}; load {load}",
        model.trim_start_matches(['\t', ' ', ':']),
        kernel.trim()
    );
}
