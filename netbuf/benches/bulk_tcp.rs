//! Throughput of one unlimited TCP connection to and from a guest whose output is held: what pacing gives, and what the
//! windows of both ends give beyond that. Uses this kernel's real TCP in two network namespaces. There is no guest to
//! copy, so a checkpoint is a cut and, [`COMMIT`] later, a release.
//!
//! ```text
//!   "guest" ── vif1.0 ─► own queue, cut and released ─► br0 ── "client"
//!           ◄──────────────────────────────────────────
//! ```
//!
//! Prints Mbit/s, and the share of what the same connection reaches with nothing held. Needs root, network namespaces
//! and `ip`; without them it says so and ends.

use nix::sched::{CloneFlags, unshare};
use nix::unistd::gettid;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};
use understudy_checkpoint::Epoch;
use understudy_netbuf::kernel::{OutputCommit, OwnQueue, Start};
use understudy_netbuf::{BARE_MANY, Limits, Waiting};

/// From a cut to its release, as the bench of two processes prints it for some 100 dirty pages.
const COMMIT: Duration = Duration::from_micros(300);
/// As the pacer has it: frames that carry nothing wait so long, or until there are [`BARE_MANY`].
const BARE_WAIT: Duration = Duration::from_millis(2);
/// Slow start is over by then.
const WARM_UP: Duration = Duration::from_millis(1_500);
const SPAN: Duration = Duration::from_secs(3);
const PORT: u16 = 5201;

/// When a checkpoint is made.
#[derive(Clone, Copy)]
enum When {
    Never,
    Every(Duration),
    OutputWaits { acks_wait: bool },
}

#[derive(Clone, Copy)]
enum Way {
    FromGuest,
    ToGuest,
}

/// A thread in a network namespace of its own, and what it is to do there.
struct Room(Sender<Box<dyn FnOnce() + Send>>);

fn main() {
    // `cargo test` runs benches too, without this word; a table is not a test.
    if !std::env::args().any(|word| word == "--bench") {
        return;
    }
    if !nix::unistd::geteuid().is_root() || unshare(CloneFlags::CLONE_NEWNET).is_err() {
        println!("skipped: needs root and network namespaces");
        return;
    }
    ip("link add br0 type bridge");
    ip("link set br0 up");
    let guest = Room::build("vif1.0", "10.9.0.1/24");
    let client = Room::build("cl0", "10.9.0.2/24");
    println!("One TCP connection, Mbit/s (share of nothing held); a commit takes {COMMIT:?}");
    println!("{:<44} {:>22} {:>22} {:>12}", "checkpoints", "from the guest", "to the guest", "a second");
    for (windows, bytes) in
        [("windows as Linux has them", "6291456"), ("windows of up to 64 MiB", "67108864")]
    {
        println!("{windows}");
        for room in [&guest, &client] {
            room.run(move || windows_up_to(bytes));
        }
        let mut free = [0.0; 2];
        for (name, when) in [
            ("none, nothing held", When::Never),
            ("every 25 ms", When::Every(Duration::from_millis(25))),
            ("every 5 ms", When::Every(Duration::from_millis(5))),
            ("when output waits, any frame", When::OutputWaits { acks_wait: false }),
            ("when output waits, bare acks wait", When::OutputWaits { acks_wait: true }),
        ] {
            let seen = [Way::FromGuest, Way::ToGuest].map(|way| measure(&guest, &client, way, when));
            if matches!(when, When::Never) {
                free = seen.map(|(mbit, _)| mbit);
            }
            let cell = |at: usize| format!("{:.0} ({:.3})", seen[at].0, seen[at].0 / free[at]);
            let checkpoints = format!("{:.0}, {:.0}", seen[0].1, seen[1].1);
            println!("  {name:<42} {:>22} {:>22} {checkpoints:>12}", cell(0), cell(1));
        }
    }
}

/// Mbit/s and checkpoints a second.
fn measure(guest: &Room, client: &Room, way: Way, when: When) -> (f64, f64) {
    let (sender, receiver, address) = match way {
        Way::FromGuest => (guest, client, "10.9.0.2"),
        Way::ToGuest => (client, guest, "10.9.0.1"),
    };
    let listening = receiver.start(|| TcpListener::bind(("0.0.0.0", PORT)).expect("a free port"));
    let listener = listening.recv().expect("it listens");
    let received = receiver.start(move || receive(&listener));
    let output = match when {
        When::Never => None,
        _ => Some(
            OwnQueue::attach(&["vif1.0"], Epoch(0), Limits::default(), Start::Holding).expect("it holds"),
        ),
    };
    let ended = AtomicBool::new(false);
    let seen = thread::scope(|scope| {
        let protector = scope.spawn(|| output.as_ref().map_or(0, |output| checkpoints(output, when, &ended)));
        let began = Instant::now();
        sender.start(move || send(address)).recv().expect("it sends");
        let bytes = received.recv().expect("it receives");
        let took = began.elapsed();
        ended.store(true, Ordering::Relaxed);
        let made = protector.join().expect("it cuts");
        if let Some(output) = &output {
            assert_eq!(output.stats().expect("counters").dropped(), 0, "frames were dropped");
        }
        (bytes as f64 * 8e-6 / SPAN.as_secs_f64(), made as f64 / took.as_secs_f64())
    });
    output.into_iter().for_each(|output| output.detach().expect("it passes"));
    seen
}

/// Cuts and releases until it ends; how often.
fn checkpoints(output: &OwnQueue, when: When, ended: &AtomicBool) -> u64 {
    let (mut epoch, mut cut_at, mut bare_since) = (Epoch(0), Instant::now(), None);
    while !ended.load(Ordering::Relaxed) {
        let Waiting { answers, bare } = output.waiting();
        if bare > 0 {
            bare_since.get_or_insert_with(Instant::now);
        }
        let bare_is_due = bare >= BARE_MANY || bare_since.is_some_and(|at| at.elapsed() >= BARE_WAIT);
        let is_due = match when {
            When::Never => unreachable!("nothing is held"),
            When::Every(interval) => cut_at.elapsed() >= interval,
            When::OutputWaits { acks_wait: true } => answers > 0 || bare_is_due,
            When::OutputWaits { acks_wait: false } => answers > 0 || bare > 0,
        };
        if !is_due {
            thread::sleep(Duration::from_micros(20));
            continue;
        }
        output.cut(epoch).expect("cut");
        (cut_at, bare_since) = (Instant::now(), None);
        thread::sleep(COMMIT);
        output.release(epoch).expect("release");
        epoch = epoch.next();
    }
    output.pass().expect("what waits may leave");
    epoch.0
}

fn send(address: &str) {
    let mut stream = TcpStream::connect((address, PORT)).expect("the other end listens");
    let chunk = vec![7; 256 << 10];
    let began = Instant::now();
    while began.elapsed() < WARM_UP + SPAN + Duration::from_millis(500) {
        if stream.write_all(&chunk).is_err() {
            break;
        }
    }
}

/// Bytes that arrive in [`SPAN`], once it goes fast.
fn receive(listener: &TcpListener) -> u64 {
    let (mut stream, _) = listener.accept().expect("a connection");
    let mut chunk = vec![0; 256 << 10];
    let began = Instant::now();
    let mut bytes = 0;
    loop {
        let count = stream.read(&mut chunk).expect("the connection stands");
        let since = began.elapsed();
        if count == 0 || since >= WARM_UP + SPAN {
            return bytes;
        }
        if since >= WARM_UP {
            bytes += count as u64;
        }
    }
}

impl Room {
    /// A namespace that is plugged into the bridge by `port`.
    fn build(port: &str, address: &str) -> Self {
        let (work, orders): (_, Receiver<Box<dyn FnOnce() + Send>>) = channel();
        let (tell, told) = channel();
        thread::spawn(move || {
            unshare(CloneFlags::CLONE_NEWNET).expect("root");
            tell.send(gettid()).expect("it is awaited");
            orders.iter().for_each(|order| order());
        });
        let thread = told.recv().expect("the thread runs");
        ip(&format!("link add {port} type veth peer name eth0 netns {thread}"));
        ip(&format!("link set {port} master br0 up"));
        let room = Self(work);
        let address = address.to_owned();
        room.run(move || {
            ip("link set lo up");
            ip(&format!("addr add {address} dev eth0"));
            ip("link set eth0 up");
        });
        room
    }

    /// Begins something there; its outcome comes later. One thing at a time is done in a room.
    fn start<T: Send + 'static>(&self, what: impl FnOnce() -> T + Send + 'static) -> Receiver<T> {
        let (tell, told) = channel();
        let order = Box::new(move || {
            let _ = tell.send(what());
        });
        self.0.send(order).expect("the room stands");
        told
    }

    fn run(&self, what: impl FnOnce() + Send + 'static) {
        self.start(what).recv().expect("it is done");
    }
}

/// What TCP may hold of one connection, sent or received.
fn windows_up_to(bytes: &str) {
    for name in ["tcp_rmem", "tcp_wmem"] {
        std::fs::write(format!("/proc/sys/net/ipv4/{name}"), format!("4096 131072 {bytes}")).expect("root");
    }
}

fn ip(words: &str) {
    let done = Command::new("ip").args(words.split_whitespace()).status().expect("the program ip");
    assert!(done.success(), "ip {words}");
}
