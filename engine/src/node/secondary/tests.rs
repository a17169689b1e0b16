//! A guest held here whose thread takes its time, or whose primary changes its mind.

mod copies;

use super::*;
use crate::guest::Report;
use crate::metrics::Metrics;
use crate::node::context::Silence;
use crate::node::inbound::Taken;
use crate::node::{Parcel, SendQueue};
use parking_lot::Mutex;
use std::sync::Arc;
use understudy_checkpoint::domain::GuestKind;
use understudy_checkpoint::epoch::{EpochEnd, EpochPart};
use understudy_checkpoint::pages::EpochSummary;
use understudy_link::{Frame, GuestId, Lane, PacketFrame};
use understudy_session::{Decline, Span, ToSecondary, WitnessRequest, secondary};

const MS: u64 = 1_000_000;
const G: Generation = Generation(1);

/// What a test sees of the outside.
struct Outside {
    now: Time,
    sent: Vec<ToPrimary>,
    /// Frames of a copy: its base, their number, and they.
    told: Vec<(Epoch, u64, Vec<u8>)>,
    /// What is kept for a copy: packets of input, their bytes, packets of output.
    rooms: Vec<[u64; 3]>,
    /// Whether the peer speaks for others.
    others_speak: bool,
    silences: usize,
}

impl Outside {
    fn new() -> Self {
        Self {
            now: Time(0),
            sent: Vec::new(),
            told: Vec::new(),
            rooms: Vec::new(),
            others_speak: false,
            silences: 0,
        }
    }
}

impl Context for Outside {
    fn now(&self) -> Time {
        self.now
    }
    fn monotonic_ns(&self, time: Time) -> u64 {
        time.0
    }
    fn is_link_up(&self, _peer: &NodeName) -> bool {
        true
    }
    fn link_version(&self, _peer: &NodeName) -> Option<u16> {
        Some(*understudy_link::VERSIONS.end())
    }
    fn offer(
        &mut self,
        _peer: &NodeName,
        _guest: &GuestName,
        _generation: Generation,
        _description: &Description,
    ) -> Option<(GuestId, SendQueue)> {
        None
    }
    fn number_of(&self, _peer: &NodeName, _guest: &GuestName) -> Option<GuestId> {
        GuestId::new(1)
    }
    fn send(&mut self, _peer: &NodeName, frame: &Frame<'_>) {
        if let Frame::Guest(_, GuestFrame::ToPrimary(message)) = frame {
            self.sent.push(message.clone());
        }
        if let Frame::Guest(_, GuestFrame::Packets(PacketFrame::Output { base, first, packets, .. })) = frame
        {
            let frames = (*first..).zip(packets.iter());
            self.told.extend(frames.map(|(number, frame)| (*base, number, frame.to_vec())));
        }
        if let Frame::Guest(
            _,
            GuestFrame::Packets(PacketFrame::Room { input_packets, input_bytes, output_packets, .. }),
        ) = frame
        {
            self.rooms.push([*input_packets, *input_bytes, *output_packets]);
        }
    }
    fn has_room(&self, _peer: &NodeName, _lane: Lane) -> bool {
        true
    }
    fn close_link(&mut self, _peer: &NodeName, why: &str) {
        panic!("the link ends: {why}");
    }
    fn end_silent_link(&mut self, _peer: &NodeName) -> Silence {
        self.silences += 1;
        if self.others_speak { Silence::Kept } else { Silence::Closed }
    }
    fn hold_back(&mut self, _is_full: &dyn Fn(&NodeName) -> bool) {}
    fn is_held_back(&self, _peer: &NodeName) -> bool {
        false
    }
    fn is_witness_up(&self) -> bool {
        false
    }
    fn ask_witness(&mut self, _guest: &str, _request: WitnessRequest) {}
}

/// A receive thread that takes in `room` pieces of work and then does something that takes long.
#[derive(Clone, Default, Debug)]
struct Replica {
    room: Arc<Mutex<usize>>,
    taken: Arc<Mutex<Vec<Work>>>,
}

impl ReplicaThread for Replica {
    fn offer(&self, work: Work) -> Result<(), Work> {
        let mut room = self.room.lock();
        if *room == 0 {
            return Err(work);
        }
        *room -= 1;
        self.taken.lock().push(work);
        Ok(())
    }
    fn end(self: Box<Self>, _within_max: std::time::Duration) -> bool {
        true
    }
}

fn description(config: &[u8]) -> Description {
    Description {
        kind: GuestKind::Pvh,
        page_count: 16,
        libxc_version: 3,
        xen_version: (4, 17),
        config: config.to_vec(),
        static_records: Vec::new(),
        disks_bytes: Vec::new(),
    }
}

fn config_of_b() -> secondary::Config {
    secondary::Config {
        node: NodeName("b".into()),
        heartbeat: Span::from_ms(50),
        silence_max: Span::from_ms(300),
        takeover_grace: Span::from_ms(250),
        witness_retry: Span::from_ms(200),
        flap_max: Span::from_ms(10_000),
        runs_copies: false,
        after_crash: understudy_session::colo::AfterCrash::default(),
        has_witness: false,
    }
}

fn guest(room: usize) -> (SecondaryGuest, Replica, Outside) {
    let replica = Replica { room: Arc::new(Mutex::new(room)), ..Replica::default() };
    let config = config_of_b();
    let parts = Parts {
        name: "g".into(),
        peer: NodeName("a".into()),
        runtime: RuntimeId(1),
        session: Secondary::new(config, Time(0)),
        replica_thread: Box::new(replica.clone()),
        traffic: None,
        description: description(b"first"),
        meter: Metrics::new().guest("g"),
    };
    let (mut guest, mut outside) = (SecondaryGuest::new(parts), Outside::new());
    guest.attach(&mut outside);
    (guest, replica, outside)
}

fn begin(epoch: u64, kind: EpochKind, base: Option<u64>) -> Inbound {
    let (epoch, base) = (Epoch(epoch), base.map(Epoch));
    Inbound::ToSecondary(ToSecondary::EpochBegin { generation: G, epoch, kind, base })
}

fn pages() -> Inbound {
    Inbound::Part(EpochPart::Pages(Parcel::new(vec![0; 1000], Taken::default().credit(1000))))
}

fn end(epoch: u64) -> Inbound {
    let summary = EpochSummary { entries: 0, data_pages: 0, digest: 0 };
    Inbound::Part(EpochPart::End(EpochEnd { generation: G, epoch: Epoch(epoch), summary }))
}

/// A guest with an image as of epoch 1.
fn standing(room: usize) -> (SecondaryGuest, Replica, Outside) {
    let (mut guest, replica, mut outside) = guest(room);
    for what in [begin(1, EpochKind::Seed, None), end(1)] {
        guest.arrived(what, &mut outside);
    }
    guest.report(Report::Complete { generation: G, epoch: Epoch(1) }, &mut outside);
    assert_eq!(guest.session.state(), State::Standing);
    (guest, replica, outside)
}

/// Building a domain takes libxl up to two minutes, on the guest's own thread. Its primary is there all the time.
#[test]
fn a_primary_is_heard_while_the_domain_is_built_and_missed_once_it_is_gone() {
    let (mut guest, replica, mut outside) = guest(2);
    guest.arrived(begin(1, EpochKind::Seed, None), &mut outside);
    for _ in 0..100 {
        guest.arrived(pages(), &mut outside);
    }
    let heartbeat = || Inbound::ToSecondary(ToSecondary::Heartbeat { generation: G });
    for ms in (0..120_000).step_by(50) {
        outside.now = Time(ms * MS);
        guest.arrived(heartbeat(), &mut outside);
        guest.run_timers(&mut outside);
    }
    assert_eq!((outside.silences, guest.session.state()), (0, State::Seeding));
    assert!(outside.sent.len() > 1_000, "this end is heard as well");
    assert_eq!(replica.taken.lock().len(), 2, "the thread was busy all the time");
    // What still waits says nothing of a primary that is gone.
    outside.now = outside.now + Span::from_ms(301);
    guest.run_timers(&mut outside);
    assert_eq!(outside.silences, 1);
}

#[test]
fn a_primary_is_heard_while_an_epochs_verdict_is_due() {
    let (mut guest, _replica, mut outside) = standing(100);
    for what in [begin(2, EpochKind::Delta, Some(1)), pages(), end(2), begin(3, EpochKind::Delta, Some(2))] {
        guest.arrived(what, &mut outside);
    }
    for ms in (0..3_000).step_by(50) {
        outside.now = Time(ms * MS);
        guest.arrived(Inbound::ToSecondary(ToSecondary::Heartbeat { generation: G }), &mut outside);
        guest.run_timers(&mut outside);
    }
    assert_eq!((outside.silences, guest.session.state()), (0, State::Standing));
}

/// A message that waited in the inbox when its link ended is no sign of a primary.
#[test]
fn what_waits_of_a_link_that_is_over_is_not_looked_at() {
    for others_speak in [false, true] {
        let (mut guest, replica, mut outside) = standing(100);
        outside.others_speak = others_speak;
        *replica.room.lock() = 0;
        for what in
            [begin(2, EpochKind::Delta, Some(1)), pages(), pages(), begin(3, EpochKind::Delta, Some(2))]
        {
            guest.arrived(what, &mut outside);
        }
        outside.now = Time(301 * MS);
        guest.run_timers(&mut outside);
        *replica.room.lock() = 100;
        guest.pump(&mut outside);
        assert_eq!((outside.silences, guest.session.state()), (1, State::Alone));
    }
}

/// The end of another epoch than the one begun last: nothing of either is taken for whole.
#[test]
fn an_end_that_was_not_begun_is_declined_as_damaged() {
    let (mut guest, replica, mut outside) = standing(100);
    for what in [begin(2, EpochKind::Delta, Some(1)), pages(), end(3)] {
        guest.arrived(what, &mut outside);
    }
    let declined = ToPrimary::Declined { generation: G, epoch: Some(Epoch(2)), why: Decline::Damaged };
    assert_eq!(outside.sent.last(), Some(&declined));
    assert!(matches!(replica.taken.lock().last(), Some(Work::DropIncomplete)));
    assert_eq!(guest.session.acked(), Some(Epoch(1)), "the image stands where it stood");
}

/// Another guest of that name is offered, as after a reboot of its host: what is held is kept until a full sync of the
/// other one begins, which the witness has let through.
#[test]
fn an_image_outlives_the_offer_of_another_guest_until_its_full_copy_begins() {
    let (mut guest, replica, mut outside) = standing(100);
    guest.renew(description(b"second"));
    assert_eq!(guest.session.acked(), Some(Epoch(1)));
    let offer = ToSecondary::Offer { generation: G, acked: Some(Epoch(1)) };
    guest.arrived(Inbound::ToSecondary(offer), &mut outside);
    let nothing = ToPrimary::Stand { generation: G, standing: Standing::Nothing };
    assert_eq!(outside.sent.last(), Some(&nothing), "no base for changes of another guest");
    assert_eq!(guest.description, description(b"first"), "a takeover starts what is held");
    assert!(!replica.taken.lock().iter().any(|work| matches!(work, Work::DropImage | Work::Renew(_))));
    guest.arrived(begin(2, EpochKind::Seed, None), &mut outside);
    assert_eq!(guest.description, description(b"second"));
    let taken = replica.taken.lock();
    let renewed = taken.iter().position(|work| matches!(work, Work::Renew(_))).unwrap();
    assert!(matches!(taken[renewed + 1], Work::Begin(_)));
}
