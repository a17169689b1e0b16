//! A TCP connection of a guest that goes from host to host: what its clients see are one guest's numbers all the way.

use super::*;
use crate::guest::RuntimeId;
use crate::guest::copy::{CopyCard, Delivery};
use crate::guest::waker::LoopWaker;
use crossbeam::channel::unbounded;
use etherparse::{PacketBuilder, SlicedPacket, TransportSlice};
use understudy_colo::packet::{Content, Packet, Side};

const G: Generation = Generation(1);
const GUEST: [u8; 4] = [10, 0, 0, 1];
const CLIENT: [u8; 4] = [10, 0, 0, 2];
const PORTS: (u16, u16) = (80, 5000);

/// What a card was given and its guest was told of, or what was sent.
#[derive(Clone, Default, Debug)]
struct Frames(Arc<Mutex<Vec<Vec<u8>>>>, Arc<Mutex<Ring>>);

/// What its guest has not been told of yet, and how many frames there were in all.
#[derive(Default, Debug)]
struct Ring {
    untold: Vec<Vec<u8>>,
    delivered: u64,
}

impl Frames {
    fn take(&self) -> Vec<Vec<u8>> {
        std::mem::take(&mut self.0.lock())
    }
}

impl Port for Frames {
    fn transmit(&self, frame: &[u8]) {
        self.0.lock().push(frame.to_vec());
    }
}

impl CopyCard for Frames {
    fn takes(&self, _frame: &[u8]) -> bool {
        true
    }
    fn deliver(&self, frame: &[u8]) -> Delivery {
        let mut ring = self.1.lock();
        ring.untold.push(frame.to_vec());
        ring.delivered += 1;
        Delivery::Taken(ring.delivered - 1)
    }
    fn notify(&self) {
        self.0.lock().append(&mut self.1.lock().untold);
    }
    fn next_number(&self) -> u64 {
        self.1.lock().delivered
    }
    fn has_ended(&self) -> bool {
        false
    }
}

fn traffic() -> (Arc<Traffic>, Frames) {
    let (reports, _) = unbounded();
    let traffic = Arc::new(Traffic::new(
        Reporter::new(RuntimeId(1), reports, LoopWaker::silent()),
        CopyLimits::default(),
    ));
    let card = Frames::default();
    traffic.connect(Box::new(card.clone()));
    (traffic, card)
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Flags {
    Syn,
    SynAck,
    Ack,
}

fn of_guest(flags: Flags, sequence: u32, ack: u32, payload: &[u8]) -> Vec<u8> {
    let builder = PacketBuilder::ethernet2([2; 6], [4; 6]).ipv4(GUEST, CLIENT, 64);
    finish(builder.tcp(PORTS.0, PORTS.1, sequence, 5000), flags, ack, payload)
}

fn of_client(flags: Flags, sequence: u32, ack: u32) -> Vec<u8> {
    let builder = PacketBuilder::ethernet2([4; 6], [2; 6]).ipv4(CLIENT, GUEST, 64);
    finish(builder.tcp(PORTS.1, PORTS.0, sequence, 5000), flags, ack, &[])
}

fn finish(
    builder: etherparse::PacketBuilderStep<etherparse::TcpHeader>,
    flags: Flags,
    ack: u32,
    payload: &[u8],
) -> Vec<u8> {
    let builder = match flags {
        Flags::Syn => builder.syn(),
        Flags::SynAck => builder.syn().ack(ack),
        Flags::Ack => builder.ack(ack),
    };
    let mut bytes = Vec::new();
    builder.write(&mut bytes, payload).unwrap();
    bytes
}

/// Sequence number and ack.
fn numbers(frame: &[u8]) -> (u32, u32) {
    match SlicedPacket::from_ethernet(frame).unwrap().transport.unwrap() {
        TransportSlice::Tcp(tcp) => (tcp.sequence_number(), tcp.acknowledgment_number()),
        other => panic!("{other:?}"),
    }
}

fn hear(traffic: &Traffic, first: u64, packet: &[u8]) {
    let mut list = PacketList::default();
    list.push(packet).unwrap();
    traffic.input(G, first, list.packets().unwrap()).unwrap();
}

/// A copy of base 1 that has opened a connection with another number than its guest; it becomes the guest of generation 2.
fn owner() -> (Arc<Traffic>, Frames, Frames) {
    let (traffic, card) = traffic();
    traffic.cut(G, Epoch(1), 0, Vec::new()).unwrap();
    traffic.run(G, Epoch(1));
    hear(&traffic, 0, &of_client(Flags::Syn, 100, 0));
    traffic.handshake(Epoch(1), &of_guest(Flags::SynAck, 1_000, 101, &[]));
    traffic.transmit(&of_guest(Flags::SynAck, 9_000, 101, &[]));
    hear(&traffic, 1, &of_client(Flags::Ack, 101, 1_001));
    traffic.transmit(&of_guest(Flags::Ack, 9_001, 101, b"seen"));
    let told = traffic.take_untold().expect("what it sent");
    let told: Vec<_> = told.list.packets().unwrap().iter().map(numbers).collect();
    assert_eq!(told, [(1_000, 101), (1_001, 101)], "in the numbers of the guest");
    assert_eq!(numbers(card.take().last().unwrap()), (101, 9_001), "and its client's in the copy's");
    traffic.transmit(&of_guest(Flags::Ack, 9_005, 101, b"not seen"));
    traffic.released(G, Epoch(1), 1);
    traffic.mute();
    let output = Frames::default();
    traffic.begin(Epoch(1), Arc::new(output.clone()));
    (traffic, card, output)
}

#[test]
fn a_takeover_from_a_copy_goes_on_with_its_connections_and_what_nobody_has_seen_leaves_first() {
    let (traffic, card, output) = owner();
    let sent: Vec<_> = output.take().iter().map(|frame| numbers(frame)).collect();
    assert_eq!(sent, [(1_005, 101)], "what was told after the release is unseen as well");
    traffic.transmit(&of_guest(Flags::Ack, 9_013, 101, b"next"));
    assert_eq!(numbers(&output.take()[0]), (1_013, 101));
    assert_eq!(traffic.deliver(&of_client(Flags::Ack, 101, 1_013)), Some(card.next_number() - 1));
    assert!(card.take().is_empty(), "there may be more");
    traffic.notify();
    assert_eq!(numbers(&card.take()[0]), (101, 9_013));
    // Checksums hold, or no stack would take it.
    traffic.transmit(&of_guest(Flags::Ack, 9_013, 101, b"next"));
    let frame = output.take().remove(0);
    let parsed = SlicedPacket::from_ethernet(&frame).unwrap();
    let (Some(TransportSlice::Tcp(tcp)), Some(etherparse::NetSlice::Ipv4(ip))) =
        (&parsed.transport, &parsed.net)
    else {
        panic!("{parsed:?}")
    };
    let sum = tcp.to_header().calc_checksum_ipv4(&ip.header().to_header(), tcp.payload()).unwrap();
    assert_eq!(tcp.checksum(), sum);
}

/// The guest's memory has the numbers of the first copy, and the world those of the first guest.
#[test]
fn the_next_copy_and_the_next_guest_have_the_numbers_that_the_world_knows_as_well() {
    let (first, ..) = owner();
    let carried = first.rewritten();
    assert_eq!(carried.len(), 1);
    for ends_as in ["a live copy", "a copy that was set", "the image"] {
        let (second, card) = traffic();
        second.cut(G, Epoch(4), 0, carried.clone()).unwrap();
        assert!(second.carries(Epoch(4)) && !second.carries(Epoch(5)));
        let output = Frames::default();
        if ends_as == "a live copy" {
            second.run(G, Epoch(4));
            second.transmit(&of_guest(Flags::Ack, 9_013, 101, b"next"));
            let told = second.take_untold().unwrap();
            assert_eq!(numbers(told.list.packets().unwrap().iter().next().unwrap()), (1_013, 101));
            second.released(G, Epoch(4), 0);
            second.mute();
        } else {
            // What is said on a link is over with it, but for this.
            second.link_lost();
            second.forget(Epoch(4));
            second.idle();
        }
        second.begin(Epoch(4), Arc::new(output.clone()));
        second.transmit(&of_guest(Flags::Ack, 9_017, 101, b"more"));
        assert_eq!(numbers(&output.take()[0]), (1_017, 101), "{ends_as}");
        second.deliver(&of_client(Flags::Ack, 101, 1_021));
        second.notify();
        assert_eq!(numbers(card.take().last().unwrap()), (101, 9_021), "{ends_as}");
        // The third would have them, too.
        assert_eq!(second.rewritten()[0].shift.sequence, carried[0].shift.sequence);
        assert_eq!(second.rewritten()[0].initial, carried[0].initial);
    }
}

#[test]
fn a_connection_that_is_carried_is_one_that_the_comparer_would_know() {
    let (first, ..) = owner();
    let frame = of_guest(Flags::Ack, 1_013, 101, b"next");
    let packet = Packet::parse(frame_of(&frame), Side::Guest);
    assert!(matches!(packet.content, Content::Tcp(_)));
    assert_eq!(first.rewritten()[0].flow, packet.flow);
}

fn frame_of(bytes: &[u8]) -> understudy_colo::packet::Frame<'_> {
    super::frame(bytes)
}

#[test]
fn a_copy_that_lacks_what_the_guest_has_heard_hears_nothing_more_and_nothing_more_of_it_is_told() {
    let (traffic, card) = traffic();
    // What waited in the guest's card when input was told first is told to nobody, and is in no image of that cut.
    traffic.cut(G, Epoch(3), 9, Vec::new()).unwrap();
    assert_eq!(traffic.reaches(Epoch(3)), Ok(()), "nothing tells yet that something is missing");
    traffic.run(G, Epoch(3));
    traffic.transmit(&of_guest(Flags::Ack, 1, 1, b"before"));
    assert!(traffic.take_untold().is_some());
    hear(&traffic, 12, &of_client(Flags::Ack, 1, 1));
    traffic.transmit(&of_guest(Flags::Ack, 7, 1, b"after"));
    assert!(card.take().is_empty(), "it is not given what comes behind a gap");
    assert!(traffic.take_untold().is_none());
    // It is as good for a takeover as one whose link was lost.
    let out = Frames::default();
    traffic.begin(Epoch(3), Arc::new(out.clone()));
    assert_eq!(out.take().len(), 2);
}

/// A card with room for two frames until its guest takes some; it is nobody's who sends less than a header.
#[derive(Clone, Default, Debug)]
struct Small(Arc<Mutex<(u64, u64)>>);

impl Small {
    /// The guest takes the next frame.
    fn guest_takes(&self) {
        let (taken, waiting) = &mut *self.0.lock();
        (*taken, *waiting) = (*taken + 1, *waiting - 1);
    }
}

impl CopyCard for Small {
    fn takes(&self, frame: &[u8]) -> bool {
        frame.len() >= 14
    }
    fn deliver(&self, frame: &[u8]) -> Delivery {
        let (taken, waiting) = &mut *self.0.lock();
        match (frame.len() >= 14, *waiting < 2) {
            (false, _) => Delivery::Lost,
            (true, false) => Delivery::NoRoom,
            (true, true) => {
                *waiting += 1;
                Delivery::Taken(*taken + *waiting - 1)
            }
        }
    }
    fn next_number(&self) -> u64 {
        let (taken, waiting) = &*self.0.lock();
        taken + waiting
    }
    fn has_ended(&self) -> bool {
        false
    }
}

#[test]
fn frames_that_wait_for_room_have_numbers_one_by_one_whatever_else_comes_between_them() {
    let (reports, _) = unbounded();
    let reporter = Reporter::new(RuntimeId(1), reports, LoopWaker::silent());
    let traffic = Traffic::new(reporter, CopyLimits::default());
    let card = Small::default();
    traffic.connect(Box::new(card.clone()));
    traffic.begin(Epoch(1), Arc::new(Frames::default()));
    let mut numbers = Vec::new();
    for _ in 0..40 {
        for _ in 0..3 {
            numbers.extend(traffic.deliver(&[0; 60]));
            numbers.extend(traffic.deliver(&[0; 4])); // of somebody else: no card takes it
        }
        card.guest_takes();
        card.guest_takes();
    }
    assert_eq!(numbers, (0..120).collect::<Vec<_>>());
}
