//! A guest's cards that join and leave while it is held, on this machine's kernel: what cannot be held must not leak.
//!
//! ```text
//!   guest0 ── vif9.0 ─┐
//!                    br0 ── out0 ── out1: what has left
//!   guest1 ── vif9.1 ─┘
//! ```
//!
//! Needs root and iproute2's `ip`: such tests are ignored unless they are asked for (`--include-ignored`), and fail where
//! they cannot run.

use nix::ifaddrs::getifaddrs;
use nix::sched::{CloneFlags, unshare};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::socket::{
    AddressFamily, LinkAddr, MsgFlags, SockFlag, SockProtocol, SockType, bind, recvfrom, send, setsockopt,
    socket, sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike};
use std::os::fd::{AsRawFd, OwnedFd};
use std::process::Command;
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};
use understudy::guest::{Card, HeldOutput, LoopWaker, OutputError, OutputMaker};
use understudy_checkpoint::Epoch;
use understudy_netbuf::Limits;

/// One test lowers a limit of the whole process.
static ALONE: Mutex<()> = Mutex::new(());

/// How long nothing must arrive for everything to have.
const QUIET_MS: i64 = 200;

fn ip(words: &str) {
    let done = Command::new("ip").args(words.split_whitespace()).output().unwrap();
    assert!(done.status.success(), "ip {words}: {}", String::from_utf8_lossy(&done.stderr));
}

fn links() -> String {
    String::from_utf8(Command::new("ip").args(["-br", "link"]).output().unwrap().stdout).unwrap()
}

fn card(number: usize) -> Card {
    Card { interface: format!("vif9.{number}"), mac: None, is_connected: false }
}

/// The cards of a guest that has `count`.
fn cards(count: usize) -> Vec<Card> {
    (0..count).map(card).collect()
}

struct Host {
    output: HeldOutput,
    guests: [OwnedFd; 2],
    outside: OwnedFd,
    poll: mio::Poll,
    _alone: MutexGuard<'static, ()>,
}

impl Host {
    fn new() -> Self {
        Self::with(Limits::default())
    }

    fn with(limits: Limits) -> Self {
        let alone = ALONE.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        unshare(CloneFlags::CLONE_NEWNET).expect("these tests need root and network namespaces");
        ip("link add br0 type bridge mcast_snooping 0");
        ip("link set br0 addrgenmode none up");
        for (port, far) in [("vif9.0", "guest0"), ("vif9.1", "guest1"), ("out0", "out1")] {
            ip(&format!("link add {port} type veth peer name {far}"));
            ip(&format!("link set {port} master br0 addrgenmode none up"));
            ip(&format!("link set {far} addrgenmode none up"));
        }
        let poll = mio::Poll::new().unwrap();
        let waker = LoopWaker::new(mio::Waker::new(poll.registry(), mio::Token(0)).unwrap());
        let maker = OutputMaker { limits, waker };
        let guests = [packets("guest0"), packets("guest1")];
        let host = Self {
            output: maker.interfaces(Epoch(0)),
            guests,
            outside: packets("out1"),
            poll,
            _alone: alone,
        };
        host.wait_until_connected();
        host
    }

    fn wait_until_connected(&self) {
        let begun = Instant::now();
        for guest in 0..2 {
            while self.leaves(guest, 1) == 0 {
                assert!(begun.elapsed() < Duration::from_secs(20), "card {guest} is not connected");
            }
        }
    }

    /// Sends `frames` by a card of the guest; how many of them arrive outside.
    fn leaves(&self, guest: usize, frames: usize) -> usize {
        let frame = [&[0xff; 6][..], &[2, 0, 0, 0, 9, guest as u8], &[0x88, 0xb6], &[7; 60]].concat();
        for _ in 0..frames {
            send(self.guests[guest].as_raw_fd(), &frame, MsgFlags::empty()).unwrap();
        }
        self.arrived()
    }

    /// Frames of the guest that have arrived outside by now.
    fn arrived(&self) -> usize {
        let mut into = [0; 2000];
        let mut count = 0;
        while let Ok((bytes, _)) = recvfrom::<LinkAddr>(self.outside.as_raw_fd(), &mut into) {
            count += usize::from(bytes > 14 && into[12..14] == [0x88, 0xb6]);
        }
        count
    }

    /// The second card is one that was plugged in just now: nothing has been sent by it.
    fn plug_the_second_in(&mut self) {
        ip("link del vif9.1");
        ip("link add vif9.1 type veth peer name guest1");
        ip("link set vif9.1 master br0 addrgenmode none up");
        ip("link set guest1 addrgenmode none up");
        self.guests[1] = packets("guest1");
    }

    fn wait_until(&self, what: &str, is_so: impl Fn(&HeldOutput) -> bool) {
        let begun = Instant::now();
        while !is_so(&self.output) {
            assert!(begun.elapsed() < Duration::from_secs(20), "{what}");
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Something of the host's own has the name that the tap of the second card would get.
    fn make_the_second_unholdable(&self) {
        ip("link add us-vif9.1 type bridge");
    }
}

/// Why `epoch` cannot be cut.
fn cut(host: &Host, epoch: u64) -> Option<OutputError> {
    let error = host.output.cut(Epoch(epoch)).err()?;
    Some(*error.why.downcast::<OutputError>().expect("output says why"))
}

fn packets(interface: &str) -> OwnedFd {
    let all = SockProtocol::EthAll;
    let socket = socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_CLOEXEC, all).unwrap();
    let mut addresses = getifaddrs().unwrap().filter(|it| it.interface_name == interface);
    let address = addresses.find_map(|it| it.address?.as_link_addr().copied()).unwrap();
    bind(socket.as_raw_fd(), &address).unwrap();
    setsockopt(&socket, sockopt::ReceiveTimeout, &TimeVal::milliseconds(QUIET_MS)).unwrap();
    socket
}

#[test]
#[ignore = "needs root and network namespaces"]
fn a_card_that_joins_is_held_and_one_that_leaves_is_let_go() {
    let mut host = Host::new();
    host.output.hold(&cards(1)).unwrap();
    host.plug_the_second_in();
    assert!(!host.output.follow(&cards(2)));
    assert_eq!((host.leaves(0, 5), host.leaves(1, 5)), (0, 0));
    host.output.cut(Epoch(0)).unwrap();
    host.output.release(Epoch(0));
    assert_eq!(host.arrived(), 10);
    ip("link del vif9.1");
    host.output.cut(Epoch(1)).unwrap();
    host.output.follow(&cards(1));
    host.wait_until("its queue is gone too", |_| !links().contains("us-vif9.1"));
    assert!(host.output.follow(&cards(2)), "one that is announced is looked for soon");
    assert_eq!(host.output.unheld(), []);
}

#[test]
#[ignore = "needs root and network namespaces"]
fn a_card_near_its_limit_asks_for_a_checkpoint_and_what_is_beyond_is_counted() {
    let limits = Limits { frames_max: 40, ..Limits::default() };
    let mut host = Host::with(limits);
    host.output.hold(&cards(1)).unwrap();
    assert_eq!((host.leaves(0, 10), host.output.take_health().pressure), (0, false));
    host.leaves(0, 20);
    let mut events = mio::Events::with_capacity(4);
    host.poll.poll(&mut events, Some(Duration::from_secs(20))).unwrap();
    assert!(events.iter().next().is_some(), "the loop is woken");
    assert!(host.output.take_health().pressure);
    assert_eq!(host.output.stats().dropped_frames, 0);
    host.leaves(0, 20);
    assert_eq!(host.output.stats().dropped_frames, 10);
    // The checkpoint makes room: the first 40 leave, and the next are held.
    host.output.cut(Epoch(0)).unwrap();
    host.output.release(Epoch(0));
    assert_eq!((host.arrived(), host.leaves(0, 10)), (40, 0));
    assert_eq!(host.output.stats().dropped_frames, 10);
}

#[test]
#[ignore = "needs root and network namespaces"]
fn a_card_that_cannot_be_held_is_cut_off_until_it_can_be() {
    let host = Host::new();
    host.output.hold(&cards(1)).unwrap();
    host.output.cut(Epoch(0)).unwrap();
    host.make_the_second_unholdable();
    host.output.follow(&cards(2));
    assert_eq!(host.leaves(1, 20), 0, "nothing leaks");
    let unheld = host.output.unheld();
    assert_eq!((unheld.len(), unheld[0].interface.as_str(), unheld[0].is_cut_off), (1, "vif9.1", true));
    assert!(unheld[0].why.contains("us-vif9.1 exists"), "{}", unheld[0].why);
    assert!(!host.output.leaks() && host.output.check().is_ok());
    host.output.cut(Epoch(1)).unwrap();

    ip("link del us-vif9.1");
    host.output.follow(&cards(2));
    assert_eq!((host.output.unheld(), host.leaves(1, 5)), (vec![], 0));
    host.output.cut(Epoch(2)).unwrap();
    host.output.release(Epoch(2));
    assert_eq!(host.arrived(), 5);
}

#[test]
#[ignore = "needs root and network namespaces"]
fn what_was_cut_off_passes_once_everything_may() {
    let host = Host::new();
    host.make_the_second_unholdable();
    host.output.hold(&cards(1)).unwrap();
    host.output.follow(&cards(2));
    assert_eq!((host.leaves(0, 5), host.leaves(1, 5)), (0, 0));
    host.output.pass();
    host.wait_until("the second passes", |_| host.leaves(1, 1) == 1);
    host.arrived();
    assert_eq!(host.leaves(0, 5), 5);
    // Nobody gains protection at the price of a network that works.
    assert!(matches!(cut(&host, 0), Some(OutputError::Unheld { interface, .. }) if interface == "vif9.1"));
    host.output.follow(&cards(2));
    assert_eq!((host.leaves(1, 5), host.output.leaks()), (5, false));
    assert!(host.output.check().is_err());
    host.output.follow(&cards(1));
    host.output.cut(Epoch(0)).unwrap();
}

#[test]
#[ignore = "needs root and network namespaces"]
fn a_card_that_is_not_even_cut_off_fails_the_cut_and_is_said_to_leak() {
    let host = Host::new();
    host.output.hold(&cards(1)).unwrap();
    host.output.cut(Epoch(0)).unwrap();
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    // Not one descriptor is left: neither a queue nor a filter can be made.
    let open = std::fs::read_dir("/proc/self/fd").unwrap().count() as u64;
    setrlimit(Resource::RLIMIT_NOFILE, open - 1, hard).unwrap();
    let again = host.output.follow(&cards(2));
    setrlimit(Resource::RLIMIT_NOFILE, soft, hard).unwrap();
    assert!(again && host.output.leaks());
    assert!(!host.output.unheld()[0].is_cut_off);
    assert!(matches!(cut(&host, 1), Some(OutputError::Unheld { .. })));
    host.output.follow(&cards(2));
    assert_eq!(host.leaves(1, 5), 0, "it is held now");
    // And yet what it sent before has left.
    assert!(host.output.leaks());
    assert!(matches!(cut(&host, 2), Some(OutputError::Leaked { .. })));
    host.output.pass();
    host.output.cut(Epoch(3)).unwrap();
    assert!(!host.output.leaks());
}

#[test]
#[ignore = "needs root and network namespaces"]
fn a_guest_that_cannot_be_held_keeps_its_network() {
    let host = Host::new();
    host.make_the_second_unholdable();
    let before = links();
    host.output.hold(&cards(2)).unwrap_err();
    host.output.let_go();
    assert_eq!((host.leaves(0, 5), host.leaves(1, 5)), (5, 5));
    assert_eq!(links(), before);
}

#[test]
#[ignore = "needs root and network namespaces"]
fn a_fenced_guest_sends_nothing_by_a_card_that_joins_either() {
    let host = Host::new();
    host.output.hold(&cards(1)).unwrap();
    host.output.fence();
    host.make_the_second_unholdable();
    host.output.follow(&cards(2));
    assert_eq!(host.leaves(1, 5), 0);
    ip("link del us-vif9.1");
    host.output.follow(&cards(2));
    host.output.pass();
    assert_eq!((host.leaves(0, 5), host.leaves(1, 5)), (0, 0));
}

#[test]
#[ignore = "needs root and network namespaces"]
fn a_card_that_sends_before_it_is_held_has_leaked() {
    let mut host = Host::new();
    host.output.hold(&cards(1)).unwrap();
    host.output.cut(Epoch(0)).unwrap();
    host.plug_the_second_in();
    host.leaves(1, 1);
    host.output.follow(&cards(2));
    assert!(host.output.leaks() && host.output.unheld().is_empty());
    let cut = cut(&host, 1);
    assert!(matches!(&cut, Some(OutputError::Leaked { interface, .. }) if interface == "vif9.1"), "{cut:?}");
    host.output.pass();
    assert!(!host.output.leaks(), "whatever leaves now may");
    host.output.cut(Epoch(2)).unwrap();
}

#[test]
#[ignore = "needs root and network namespaces"]
fn a_redirect_that_another_program_removes_is_a_leak_though_it_is_put_back() {
    let mut host = Host::new();
    host.output.hold(&cards(1)).unwrap();
    host.output.cut(Epoch(0)).unwrap();
    assert_eq!(host.output.take_health().fault, None);
    let done = Command::new("tc").args(["filter", "del", "dev", "vif9.0", "ingress"]).status().unwrap();
    assert!(done.success());
    let cut = host.output.cut(Epoch(1));
    // Which of them depends on how far putting back has come.
    assert!(cut.is_err(), "{cut:?}");
    let mut events = mio::Events::with_capacity(4);
    host.poll.poll(&mut events, Some(Duration::from_secs(20))).unwrap();
    assert!(events.iter().next().is_some(), "the loop is woken");
    assert!(host.output.leaks());
    host.wait_until("it is put back", |output| output.check().is_ok() && output.unheld().is_empty());
    assert!(host.output.leaks(), "the epoch has leaked all the same");
    assert!(host.output.cut(Epoch(2)).is_err());
    let said = host.output.take_health().fault.unwrap();
    assert!(said.contains("vif9.0") && said.contains("another program"), "{said}");
    assert_eq!((host.output.take_health().fault, host.output.stats().hold_faults), (None, 1));
    host.output.pass();
    // That it was put back is a change as well, which is looked at: meanwhile a cut is refused, and tried again.
    host.wait_until("it is known to hold", |output| output.cut(Epoch(3)).is_ok());
    assert_eq!(host.leaves(0, 5), 0);
}

#[test]
#[ignore = "needs root and network namespaces"]
fn a_cut_off_card_that_another_program_lets_out_is_a_leak() {
    let host = Host::new();
    host.make_the_second_unholdable();
    host.output.hold(&cards(1)).unwrap();
    host.output.follow(&cards(2));
    host.output.cut(Epoch(0)).unwrap();
    let done = Command::new("tc").args(["qdisc", "del", "dev", "vif9.1", "clsact"]).status().unwrap();
    assert!(done.success());
    assert!(matches!(cut(&host, 1), Some(OutputError::Leaked { .. })));
    assert!(host.output.leaks());
    host.output.follow(&cards(2));
    assert_eq!(host.leaves(1, 5), 0, "it is cut off again");
    assert!(host.output.leaks(), "and has leaked");
}
