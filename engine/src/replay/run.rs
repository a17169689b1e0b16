//! Runs one replay, from starting its processes to its report.

use super::compare::{CompareError, compare};
use super::held::{Hold, hold};
use super::report::{Ingredients, Report};
use crate::child::Process;
use crate::config::bounds::HostMemory;
use crate::config::{LimitSettings, Peer, Settings, TimingSettings};
use crate::control::{Client, ClientError, GuestRole, GuestStatus};
use crate::drill::progress::Progress;
use crate::drill::workdir::Workdir;
use crate::node::{AddError, NOT_EXPORTED, Node, NodeError, NodeHandle, ReplayStats};
use std::fs::{self, File};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::{Duration, Instant};
use understudy_checkpoint::stream::inspect;
use understudy_lab::Recorded;
use understudy_session::{NodeName, Span};

/// The guest's name on the link.
const GUEST: &str = "recorded";

/// How often the node is asked for its progress.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Without progress for this long, the replay has failed.
const STUCK_AFTER: Duration = Duration::from_secs(60);

/// The secondary to replay to.
#[derive(Clone, Debug)]
pub enum Towards {
    /// A process that the replay starts and ends.
    Own,
    /// A secondary that runs already.
    Running {
        /// Its name and address.
        peer: Peer,
        /// Its control socket, if it is on this machine; its image is exported through it.
        control: Option<PathBuf>,
    },
}

/// What to replay, and how.
#[derive(Clone, Debug)]
pub struct Request {
    /// The recording, not compressed. It is read three times.
    pub file: PathBuf,
    /// The secondary.
    pub towards: Towards,
    /// From the end of one pause to the next.
    pub interval: Span,
    /// The engine's limits.
    pub limits: LimitSettings,
}

/// Why a replay failed.
#[derive(thiserror::Error, Debug)]
pub enum ReplayError {
    /// The recording cannot be opened.
    #[error("{path} cannot be read: {source}")]
    Open { path: PathBuf, source: io::Error },
    /// The input cannot be read several times.
    #[error(
        "{0} is no file: a recording is read three times, from its beginning; write it to a file first, such as by \
         `zstd -dc RECORDING.zst > FILE`"
    )]
    NotAFile(PathBuf),
    /// The recording cannot be played.
    #[error(transparent)]
    Recording(#[from] AddError),
    /// The recording is damaged after some epochs.
    #[error("{path} is damaged after its epoch {played}: {reason}")]
    Damaged {
        path: PathBuf,
        /// Epochs played before.
        played: u64,
        /// The fault.
        reason: String,
    },
    /// The settings cannot be used.
    #[error(transparent)]
    Config(#[from] crate::config::ConfigError),
    /// The primary node cannot run.
    #[error(transparent)]
    Node(#[from] NodeError),
    /// The system refused.
    #[error("Cannot {attempt}: {source}")]
    System { attempt: &'static str, source: io::Error },
    /// The secondary did not start.
    #[error("The secondary ended as it began ({how}): {said}")]
    NoSecondary {
        how: ExitStatus,
        /// The end of its log.
        said: String,
    },
    /// The secondary could not write its image.
    #[error("The committed image cannot be written, so that it is not compared: {0}")]
    NotExported(String),
    /// The secondary cannot be asked.
    #[error(transparent)]
    Control(#[from] ClientError),
    /// The images cannot be compared.
    #[error(transparent)]
    Compare(#[from] CompareError),
    /// There is no progress.
    #[error("Nothing went on for {} s after {acked} acked epochs: {state}; is the secondary there?", STUCK_AFTER.as_secs())]
    Stuck {
        /// Epochs acked so far.
        acked: u64,
        /// The guest's state.
        state: String,
    },
}

fn system(attempt: &'static str) -> impl FnOnce(io::Error) -> ReplayError {
    move |source| ReplayError::System { attempt, source }
}

/// Replays a recording. Must be called from the main thread, to which the life of the secondary's process is tied.
pub fn run(request: &Request) -> Result<Report, ReplayError> {
    check_settings(request)?;
    let unreadable = |source| ReplayError::Open { path: request.file.clone(), source };
    // Before it is opened: a pipe would be waited for.
    if !fs::metadata(&request.file).map_err(unreadable)?.is_file() {
        return Err(ReplayError::NotAFile(request.file.clone()));
    }
    let open = || File::open(&request.file).map_err(unreadable);
    let (source, hold) = hold(recorded(open()?, open()?)?).map_err(AddError::from)?;
    let workdir = Workdir::create("replay").map_err(system("create a directory in /tmp"))?;
    let (peer, control, own) = secondary(request, workdir.path())?;
    let name = peer.name.clone();
    let (node, handle) = Node::open(settings(request, peer, workdir.path()).decide()?)?;
    let handle = node.spawn(handle).map_err(system("start a thread"))?;

    let began = Instant::now();
    handle.add_source_guest(GUEST, name, Box::new(source)).ok_or(NodeError::Panicked)??;
    let mut progress = Progress::new();
    let (replay_stats, status) = play(&handle, &hold, &request.file, &mut progress)?;
    let took = began.elapsed();

    progress.show(format_args!("comparing the committed image"));
    let finding = match &control {
        None => None,
        Some(control) => {
            let exported = export(&Client::new(control), &status, workdir.path(), own.as_ref())?;
            Some(compare(open()?, exported)?)
        }
    };
    progress.clear();
    let played = hold.played();
    drop(hold);
    handle.stop()?;
    let (commit, pause) = (status.commit_us, status.pause_us);
    Ok(Report::new(Ingredients { played, replay_stats, commit, pause, took, finding }))
}

/// The recording as a guest with room for every frame in any of its epochs.
fn recorded(recording: File, again: File) -> Result<Recorded<File>, ReplayError> {
    let highest = inspect(again).map_err(system("read the recording"))?.pfn_max;
    Ok(Recorded::new(recording).with_room_up_to(highest.unwrap_or(0)))
}

fn settings(request: &Request, peer: Peer, workdir: &Path) -> Settings {
    Settings {
        node: Some("replay".into()),
        listen: vec![SocketAddr::from((Ipv4Addr::LOCALHOST, 0))],
        peers: vec![peer],
        control: Some(workdir.join("primary.sock")),
        timing: TimingSettings { interval: Some(request.interval), ..TimingSettings::default() },
        limits: request.limits,
        ..Settings::default()
    }
}

/// Refuses what a node refuses, also what only the secondary would, before anything is started.
fn check_settings(request: &Request) -> Result<(), ReplayError> {
    let nobody = Peer {
        name: NodeName("secondary".into()),
        addresses: vec![SocketAddr::from((Ipv4Addr::LOCALHOST, 1)).into()],
    };
    let config = settings(request, nobody, Path::new("/tmp")).decide()?;
    if let Some(memory) = HostMemory::of_this_host() {
        config.check_memory(memory)?;
    }
    Ok(())
}

/// The secondary: its name and address, its control socket, and its process if it is ours.
fn secondary(
    request: &Request,
    workdir: &Path,
) -> Result<(Peer, Option<PathBuf>, Option<Process>), ReplayError> {
    if let Towards::Running { peer, control } = &request.towards {
        return Ok((peer.clone(), control.clone(), None));
    }
    // A port that was free a moment ago; nobody else on this machine is told of it.
    let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .and_then(|listener| listener.local_addr())
        .map_err(system("find a free port"))?;
    let control = workdir.join("secondary.sock");
    let mut arguments = vec![
        "node".to_string(),
        "--node=secondary".into(),
        format!("--listen={address}"),
        format!("--control={}", control.display()),
    ];
    arguments.extend(request.limits.epoch_buffer.map(|bytes| format!("--epoch-buffer={bytes}")));
    let program = std::env::current_exe().map_err(system("find this program"))?;
    let mut process = Process::start(&program, &arguments, &workdir.join("secondary.log"))
        .map_err(system("start the secondary"))?;
    wait_started(&mut process, &Client::new(&control))?;
    let peer = Peer { name: NodeName("secondary".into()), addresses: vec![address.into()] };
    Ok((peer, Some(control), Some(process)))
}

/// Waits until the secondary answers. It is dialed only then, so that no failure is logged.
fn wait_started(process: &mut Process, control: &Client) -> Result<(), ReplayError> {
    let until = Instant::now() + STUCK_AFTER;
    while let Err(error) = control.status() {
        if let Some(how) = process.ended().map_err(system("ask for the secondary's process"))? {
            let log = fs::read_to_string(process.log()).unwrap_or_default();
            return Err(ReplayError::NoSecondary {
                how,
                said: log.lines().last().unwrap_or_default().to_owned(),
            });
        }
        if Instant::now() > until {
            return Err(error.into());
        }
        std::thread::sleep(LOOK_EVERY);
    }
    Ok(())
}

/// Waits until the recording has ended and everything is acked.
fn play(
    handle: &NodeHandle,
    hold: &Hold,
    file: &Path,
    progress: &mut Progress,
) -> Result<(ReplayStats, GuestStatus), ReplayError> {
    let (mut at_end, mut seen, mut since) = (false, (0, 0), Instant::now());
    loop {
        at_end |= hold.is_at_end();
        if let Some(reason) = hold.fault() {
            return Err(ReplayError::Damaged { path: file.to_owned(), played: hold.played(), reason });
        }
        let gone = || ReplayError::Node(NodeError::Panicked);
        let status = status_of(handle).ok_or_else(gone)?;
        let replay_stats = handle.replay_stats(GUEST).ok_or_else(gone)?;
        let is_acked = status.epoch.is_some() && status.acked == status.epoch;
        // The ack of an epoch may come sooner than the encode thread's word of what it has cost.
        let is_counted =
            replay_stats.first_copy.epochs + replay_stats.checkpoints.epochs >= replay_stats.acks;
        if at_end && is_acked && is_counted {
            return Ok((replay_stats, status));
        }
        let now = (replay_stats.acks, status.link_bytes);
        if now != seen {
            (seen, since) = (now, Instant::now());
        } else if since.elapsed() > STUCK_AFTER {
            let state = format!("{} {}", status.state, status.reason);
            return Err(ReplayError::Stuck { acked: replay_stats.acks, state });
        }
        let sent = status.link_bytes as f64 / 1e6;
        progress.show(format_args!(
            "{} epochs played, {} acked, {sent:.1} MB sent",
            hold.played(),
            replay_stats.acks
        ));
        std::thread::sleep(LOOK_EVERY);
    }
}

fn status_of(handle: &NodeHandle) -> Option<GuestStatus> {
    handle.status()?.guests.into_iter().find(|guest| guest.name == GUEST)
}

/// Why our own secondary could not write its image, from its log.
fn refusal(log: &Path) -> Option<String> {
    let log = fs::read_to_string(log).ok()?;
    log.lines().find(|line| line.contains(NOT_EXPORTED)).map(str::to_owned)
}

/// Makes the secondary write its image once it is at the primary's last epoch, and opens the file.
fn export(
    secondary: &Client,
    primary: &GuestStatus,
    workdir: &Path,
    own: Option<&Process>,
) -> Result<File, ReplayError> {
    let path = workdir.join("committed.save");
    let until = Instant::now() + STUCK_AFTER;
    let mut asked = false;
    while Instant::now() < until {
        if !asked {
            let status = secondary.status()?;
            let held = |it: &&GuestStatus| it.name == GUEST && it.role == GuestRole::Secondary;
            let stands_there =
                status.guests.iter().find(held).is_some_and(|it| it.committed == primary.acked);
            asked = stands_there && secondary.export(GUEST, &path, None).is_ok();
        } else if path.exists() {
            return File::open(&path).map_err(system("open the exported image"));
        } else if let Some(line) = own.and_then(|process| refusal(process.log())) {
            return Err(ReplayError::NotExported(line));
        }
        std::thread::sleep(LOOK_EVERY);
    }
    let state = "the secondary does not export its image".into();
    Err(ReplayError::Stuck { acked: primary.acked.map_or(0, |epoch| epoch + 1), state })
}
