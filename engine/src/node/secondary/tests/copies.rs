//! A lab guest, protected by real threads, and the driver of the host that holds it, with a real copy: what the copy hears and
//! says, when it stands still, and that a takeover goes on from it.

use super::*;
use crate::guest::{
    CaptureOrder, CopyLimits, CopyRoom, Held, HeldOutput, Keep, LabCards, LabHost, LoopWaker, Outlet,
    OutletClosed, OutputMaker, Participants, Protector, ProtectorConfig, ReplicaHandle, Reporter,
};
use crate::node::driver::GuestDriver;
use crate::node::inbound::GuestPackets;
use crossbeam::channel::{Receiver, Sender, unbounded};
use mio::{Poll, Token, Waker};
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};
use understudy_checkpoint::epoch::{EpochHead, Limits};
use understudy_lab::memcached::{self, Request};
use understudy_lab::wire::{Body, Flow, Udp};
use understudy_lab::{GuestConfig, LabGuest, Load, Mac, Port};
use understudy_link::PacketList;
use understudy_session::primary::Capture;

/// Guards against hanging.
const HANG: Duration = Duration::from_secs(60);
const MEMORY_BYTES: u64 = 4 << 20;
const GUEST: (Mac, Ipv4Addr) = (Mac([0, 0x16, 0x3E, 0, 0, 1]), Ipv4Addr::new(10, 0, 0, 1));
const CLIENT: (Mac, Ipv4Addr) = (Mac([2, 0, 0, 0, 0, 2]), Ipv4Addr::new(10, 0, 0, 2));

#[derive(Default)]
struct Collector(Mutex<Vec<Vec<u8>>>);

impl Port for Collector {
    fn transmit(&self, frame: &[u8]) {
        self.0.lock().push(frame.to_vec());
    }
}

/// Parts of epochs, on their way to the other host.
struct Wire(Sender<Inbound>);

impl Wire {
    fn carry(&self, what: Inbound) -> Result<u64, OutletClosed> {
        self.0.send(what).map(|()| 0).map_err(|_| OutletClosed)
    }
}

impl Outlet for Wire {
    fn begin(&mut self, head: EpochHead) -> Result<u64, OutletClosed> {
        let EpochHead { generation, epoch, kind, base } = head;
        self.carry(Inbound::ToSecondary(ToSecondary::EpochBegin { generation, epoch, kind, base }))
    }
    fn send(&mut self, part: EpochPart<&[u8]>) -> Result<u64, OutletClosed> {
        self.carry(Inbound::Part(part.map(|bytes| Parcel::new(bytes.to_vec(), Taken::default().credit(0)))))
    }
}

/// The two hosts.
struct Rig {
    began: Instant,
    original: LabGuest,
    protector: Protector,
    from_original: Arc<Collector>,
    to_holder: Sender<Inbound>,
    at_holder: Receiver<Inbound>,
    holder: SecondaryGuest,
    outside: Outside,
    reports: Receiver<(RuntimeId, Report)>,
    /// The next epoch, and the number of the next packet that the guest hears.
    next: (Epoch, u64),
    id: u16,
    _poll: Poll,
}

fn is_answer(frame: &[u8]) -> Option<String> {
    match understudy_lab::wire::Frame::parse(frame)?.body {
        Body::Udp(flow, udp) if flow.dst == CLIENT.1 => {
            let (_, text) = memcached::split(udp.payload)?.ok()?;
            Some(String::from_utf8_lossy(text).trim().to_owned())
        }
        _ => None,
    }
}

fn datagram(id: u16, request: &Request<'_>) -> Vec<u8> {
    let (mut payload, mut bytes) = (Vec::new(), Vec::new());
    memcached::write_header(id, &mut payload);
    request.write(&mut payload);
    let flow = Flow { src: CLIENT.1, dst: GUEST.1 };
    let udp = Udp { src_port: 5000, dst_port: memcached::PORT, payload: &payload };
    let frame = understudy_lab::wire::Frame { dst: GUEST.0, src: CLIENT.0, body: Body::Udp(flow, udp) };
    frame.write(&mut bytes);
    bytes
}

impl Rig {
    /// With a full copy that is acked, and a live copy of it.
    fn live() -> Self {
        let poll = Poll::new().unwrap();
        let waker = LoopWaker::new(Waker::new(poll.registry(), Token(0)).unwrap());
        let from_original = Arc::new(Collector::default());
        let load = Load::IDLE;
        let config = GuestConfig {
            memory_bytes: MEMORY_BYTES,
            load,
            ..GuestConfig::new("g".to_owned(), GUEST.0, GUEST.1)
        };
        let original = LabGuest::start(&config, from_original.clone()).unwrap();
        let mut source = original.source();
        let description = understudy_checkpoint::domain::Source::describe(&mut source).unwrap();
        let (to_nobody, _) = unbounded();
        let of_primary = Reporter::new(RuntimeId(1), to_nobody, waker.clone());
        let pages = description.page_count;
        let protector_config = ProtectorConfig {
            staging_bytes: 2 * MEMORY_BYTES,
            shadow_bytes: MEMORY_BYTES,
            copiers: 1,
            in_flight_max: 4,
            pause_wait_max: HANG,
        };
        let nothing = Participants::new(Vec::new());
        let protector =
            Protector::start(Box::new(source), pages, protector_config, nothing, &of_primary).unwrap();
        let (to_reports, reports) = unbounded();
        let reporter = Reporter::new(RuntimeId(2), to_reports, waker.clone());
        let outputs = OutputMaker { limits: understudy_netbuf::Limits::default(), waker };
        let host = Arc::new(LabHost::new(LabCards::new(outputs, None)));
        let room = CopyRoom::new(u64::MAX);
        let held =
            Held { name: "g".into(), description: description.clone(), host, room, keep: Keep::default() };
        let limits = Limits { buffer_bytes_max: 64 << 20, page_count: pages };
        let parts = Parts {
            name: "g".into(),
            peer: NodeName("a".into()),
            runtime: RuntimeId(2),
            session: Secondary::new(
                secondary::Config {
                    silence_max: Span::from_ms(3_600_000),
                    runs_copies: true,
                    ..config_of_b()
                },
                Time(0),
            ),
            replica_thread: Box::new(ReplicaHandle::start(held, limits, reporter.clone()).unwrap()),
            traffic: Some(Arc::new(Traffic::new(reporter, CopyLimits::default()))),
            description,
            meter: Metrics::new().guest("g"),
        };
        let (holder, outside) = (SecondaryGuest::new(parts), Outside::new());
        let (to_holder, at_holder) = unbounded();
        let mut rig = Self {
            began: Instant::now(),
            original,
            protector,
            from_original,
            to_holder,
            at_holder,
            holder,
            outside,
            reports,
            next: (Epoch(0), 0),
            id: 0,
            _poll: poll,
        };
        rig.holder.attach(&mut rig.outside);
        rig.checkpoint(Capture::Seed);
        let from = Some(Epoch(0));
        rig.say(ToSecondary::CopyWanted { generation: G, mode: understudy_session::Mode::Colo, from });
        rig.await_said(ToPrimary::Live { generation: G, base: Epoch(0) });
        rig
    }

    fn say(&mut self, message: ToSecondary) {
        self.holder.arrived(Inbound::ToSecondary(message), &mut self.outside);
    }

    /// Runs the holder's loop until it has done something.
    fn until<T>(&mut self, what: &str, mut done: impl FnMut(&mut Self) -> Option<T>) -> T {
        let begun = Instant::now();
        loop {
            self.outside.now = Time(self.began.elapsed().as_nanos() as u64);
            while let Ok(what) = self.at_holder.try_recv() {
                self.holder.arrived(what, &mut self.outside);
            }
            if let Ok((_, report)) = self.reports.recv_timeout(Duration::from_millis(1)) {
                assert!(!matches!(report, Report::Panicked { .. } | Report::Broken { .. }), "{report:?}");
                self.holder.report(report, &mut self.outside);
            }
            GuestDriver::run(&mut self.holder, &mut self.outside);
            if let Some(done) = done(self) {
                return done;
            }
            assert!(begun.elapsed() < HANG, "{what} did not come; said: {:?}", self.outside.sent);
        }
    }

    fn await_said(&mut self, said: ToPrimary) {
        let words = format!("{said:?}");
        self.until(&words, |rig| rig.outside.sent.contains(&said).then_some(()));
    }

    fn capture(&mut self, capture: Capture) -> Epoch {
        // The cut says that the guest has taken all that it was asked, so it has to.
        self.original_answers(usize::from(self.id));
        let epoch = self.next.0;
        self.next.0 = epoch.next();
        let order = CaptureOrder {
            generation: G,
            epoch,
            capture,
            stay_paused: false,
            now: Time(0),
            outlet: Box::new(Wire(self.to_holder.clone())),
        };
        self.protector.capture(order).unwrap();
        let cut = GuestPackets::Cut { generation: G, epoch, next: self.next.1, carried: Vec::new() };
        self.holder.arrived(Inbound::Packets(cut), &mut self.outside);
        epoch
    }

    fn checkpoint(&mut self, capture: Capture) -> Epoch {
        let epoch = self.capture(capture);
        self.await_said(ToPrimary::Ack { generation: G, epoch });
        self.protector.acked(epoch);
        epoch
    }

    /// Both hear of `count` requests that add one.
    fn ask(&mut self, count: usize) {
        let mut list = PacketList::default();
        let first = self.next.1;
        for _ in 0..count {
            let add = if self.id == 0 {
                datagram(0, &Request::Set { key: b"k", flags: 0, value: b"1", noreply: false })
            } else {
                datagram(self.id, &Request::Incr { key: b"k", by: 1, noreply: false })
            };
            self.id += 1;
            assert!(self.original.inject(&add));
            list.push(&add).unwrap();
        }
        self.next.1 += count as u64;
        let input = GuestPackets::Input { generation: G, first, packets: list };
        self.holder.arrived(Inbound::Packets(input), &mut self.outside);
    }

    /// Waits until the copy of `base` has been told to have answered so often.
    fn told(&mut self, base: Epoch, count: usize) -> Vec<Vec<u8>> {
        self.until("what the copy sent", |rig| {
            let of_base = rig.outside.told.iter().filter(|(of, ..)| *of == base);
            let answers: Vec<_> = of_base
                .map(|(_, _, frame)| frame.clone())
                .filter(|frame| is_answer(frame).is_some())
                .collect();
            (answers.len() >= count).then_some(answers)
        })
    }

    fn original_answers(&mut self, count: usize) -> Vec<Vec<u8>> {
        self.until("what the guest sent", |rig| {
            let sent = rig.from_original.0.lock();
            let answers: Vec<_> = sent.iter().filter(|frame| is_answer(frame).is_some()).cloned().collect();
            (answers.len() >= count).then_some(answers)
        })
    }

    /// The primary's host is lost, and a person says so.
    fn take_over(&mut self) -> RunningGuest {
        self.holder.detach(&mut self.outside);
        self.holder.handle(Input::ForceTakeover, &mut self.outside);
        self.until("the guest", |rig| rig.holder.started.take())
    }
}

/// What leaves `output` now.
fn leaving(output: &HeldOutput) -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    output.take_into(&mut frames);
    frames
}

/// What the next client is told.
fn ask_again(guest: &RunningGuest) -> String {
    guest.machine.deliver(&datagram(9_999, &Request::Incr { key: b"k", by: 1, noreply: false }));
    let begun = Instant::now();
    let mut seen = Vec::new();
    loop {
        seen.extend(leaving(&guest.output).iter().filter_map(|frame| is_answer(frame)));
        if let Some(last) = seen.last() {
            return last.clone();
        }
        assert!(begun.elapsed() < HANG, "the guest does not answer");
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn who_asks_for_a_copy_is_told_what_is_kept_for_it() {
    let rig = Rig::live();
    let CopyLimits { input, sent, .. } = CopyLimits::default();
    let room = [input.frames_max as u64, input.bytes_max as u64, sent.frames_max as u64];
    assert_eq!(rig.outside.rooms, [room]);
}

#[test]
fn a_copy_hears_what_the_guest_hears_and_the_primary_is_told_what_it_sends() {
    let mut rig = Rig::live();
    rig.ask(20);
    let (told, original) = (rig.told(Epoch(0), 20), rig.original_answers(20));
    assert_eq!(told, original);
    let numbers: Vec<u64> = rig.outside.told.iter().map(|(_, number, _)| *number).collect();
    assert_eq!(numbers, (0..numbers.len() as u64).collect::<Vec<_>>());
}

#[test]
fn a_copy_stands_still_before_the_ack_and_is_set_to_each_commit() {
    let mut rig = Rig::live();
    let mut asked = 0;
    for base in 0..4 {
        rig.ask(5);
        asked += 5;
        let told = rig.told(Epoch(base), 5);
        assert_eq!(told, rig.original_answers(asked)[asked - 5..], "of base {base}");
        let acked = rig.checkpoint(Capture::Delta);
        // From the ack on nothing of the former base is told, whatever is heard.
        let before = rig.outside.told.len();
        rig.await_said(ToPrimary::Live { generation: G, base: acked });
        assert_eq!(rig.outside.told.len(), before);
        assert_eq!(acked, Epoch(base + 1));
    }
}

#[test]
fn what_was_heard_while_the_copy_was_set_is_heard_once_it_runs() {
    let mut rig = Rig::live();
    rig.ask(5);
    rig.told(Epoch(0), 5);
    let epoch = rig.capture(Capture::Delta);
    // All of the epoch is here, so its cut is made: what the guest hears from here on is told as of that epoch.
    rig.until("the epoch", |rig| {
        let is_whole = rig.holder.session.is_halting();
        (is_whole || rig.outside.sent.contains(&ToPrimary::Ack { generation: G, epoch })).then_some(())
    });
    rig.ask(5);
    rig.await_said(ToPrimary::Ack { generation: G, epoch });
    rig.protector.acked(epoch);
    let told = rig.told(epoch, 5);
    assert_eq!(told, rig.original_answers(10)[5..]);
}

#[test]
fn a_takeover_goes_on_from_a_live_copy_and_what_nobody_has_seen_leaves_first() {
    let mut rig = Rig::live();
    rig.ask(5);
    rig.told(Epoch(0), 5);
    rig.checkpoint(Capture::Delta);
    rig.ask(10);
    rig.told(Epoch(1), 10);
    // Clients have seen the first four of them: the image does not have these.
    let told =
        rig.outside.told.iter().filter(|(base, _, frame)| *base == Epoch(1) && is_answer(frame).is_some());
    let numbers: Vec<u64> = told.map(|(_, number, _)| *number).collect();
    let released = GuestPackets::Released { generation: G, base: Epoch(1), through: numbers[3] };
    rig.holder.arrived(Inbound::Packets(released), &mut rig.outside);
    let expected: Vec<_> = rig.told(Epoch(1), 10)[4..].to_vec();
    let guest = rig.take_over();
    rig.original.stop();
    assert!(leaving(&guest.output).is_empty(), "nothing leaves before the session says so");
    guest.output.pass();
    let first: Vec<_> =
        leaving(&guest.output).into_iter().filter(|frame| is_answer(frame).is_some()).collect();
    assert_eq!(first, expected);
    assert_eq!(ask_again(&guest), "16", "fifteen were acknowledged");
    guest.machine.stop();
}

#[test]
fn a_takeover_after_an_ack_goes_on_from_a_copy_that_was_set_to_it() {
    let mut rig = Rig::live();
    rig.ask(5);
    rig.told(Epoch(0), 5);
    rig.checkpoint(Capture::Delta);
    let guest = rig.take_over();
    rig.original.stop();
    guest.output.pass();
    assert_eq!(ask_again(&guest), "6");
    guest.machine.stop();
}

#[test]
fn a_copy_that_ends_by_itself_is_said_to_have_crashed() {
    let mut rig = Rig::live();
    rig.ask(5);
    rig.told(Epoch(0), 5);
    rig.holder.copy_report(Report::CopyEnded { error: "as the test says".into() }, &mut rig.outside);
    let why = understudy_session::CopyEnd::Crashed;
    rig.await_said(ToPrimary::Halted { generation: G, base: Epoch(0), why });
    // A person takes the image for what it is.
    let guest = rig.take_over();
    guest.output.pass();
    assert_eq!(ask_again(&guest), "NOT_FOUND", "the image was cut before anything was asked");
    guest.machine.stop();
}
