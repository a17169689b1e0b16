//! Tests of frames in bytes: known bytes, limits, versions; and what becomes of damaged ones (`damage`).

mod damage;

use super::*;
use alloc::borrow::ToOwned;
use alloc::boxed::Box;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;
use proptest::prelude::*;
use understudy_checkpoint::domain::{Description, GuestKind};
use understudy_checkpoint::epoch::WritesSummary;
use understudy_checkpoint::pages::EpochSummary;
use understudy_checkpoint::{Epoch, Generation};
use understudy_session::lease::{self, Lease, LeaseReply, LeaseRequest};
use understudy_session::{
    Copy, CopyEnd, Decline, EpochKind, Mode, NodeName, Record, RequestId, Standing, ToPrimary, ToSecondary,
    WitnessOutcome, WitnessReply, WitnessRequest,
};

const KINDS: usize = 63;

/// What frames are made of, so that each kind can be made with any content.
#[derive(Clone, Debug)]
struct Parts {
    kind: usize,
    guest: u32,
    numbers: [u64; 5],
    present: bool,
    names: [String; 3],
    bytes: Vec<u8>,
    list: PacketList,
}

impl Parts {
    fn frame(&self) -> Frame<'_> {
        let guest = GuestId::new(self.guest).unwrap();
        let [a, b, c, d, e] = self.numbers;
        let (generation, epoch) = (Generation(a), Epoch(b));
        let maybe_epoch = self.present.then_some(Epoch(c));
        let from = Identity { instance: a, node: self.node(0) };
        let to_secondary = |message| GuestFrame::ToSecondary(message).of(guest);
        let to_primary = |message| GuestFrame::ToPrimary(message).of(guest);
        let declined = |why| to_primary(ToPrimary::Declined { generation, epoch: maybe_epoch, why });
        let standing = |standing| to_primary(ToPrimary::Stand { generation, standing });
        let packets = |frame| GuestFrame::Packets(frame).of(guest);
        let halted = |why| to_primary(ToPrimary::Halted { generation, base: epoch, why });
        let wanted = |mode| to_secondary(ToSecondary::CopyWanted { generation, mode, from: maybe_epoch });
        let begin = |kind| ToSecondary::EpochBegin { generation, epoch, kind, base: maybe_epoch };
        match self.kind {
            0 => LinkFrame::Hello(Hello { versions: (b as u16, c as u16), service: Service::Node, from })
                .into(),
            1 => {
                let hello = Hello { versions: (b as u16, c as u16), service: Service::Witness, from };
                LinkFrame::Hello(hello).into()
            }
            2 => LinkFrame::HelloAnswer(HelloAnswer { version: b as u16, from }).into(),
            3 => LinkFrame::Refuse { reason: self.reason(), detail: self.names[0].clone() }.into(),
            4 => LinkFrame::Bye.into(),
            5 | 33 | 51 => GuestFrame::Offer {
                name: &self.names[0],
                generation: (self.kind != 5).then_some(Generation(e)),
                description: Box::new(Description {
                    kind: [GuestKind::Pv, GuestKind::Hvm, GuestKind::Pvh][a as usize % 3],
                    page_count: b,
                    libxc_version: c as u32,
                    xen_version: (d as u32, e as u32),
                    config: self.bytes.clone(),
                    static_records: self.names[1].clone().into_bytes(),
                    disks_bytes: if self.kind == 51 {
                        vec![c; 1 + a as usize % DISKS_MAX]
                    } else {
                        Vec::new()
                    },
                }),
            }
            .of(guest),
            6 => to_secondary(ToSecondary::Offer { generation, acked: maybe_epoch }),
            7 => to_secondary(begin(EpochKind::Seed)),
            8 => to_secondary(begin(EpochKind::Delta)),
            9 => GuestFrame::PageBatch(&self.bytes).of(guest),
            10 => GuestFrame::LibxcState(&self.bytes).of(guest),
            11 => GuestFrame::LibxlState(&self.bytes).of(guest),
            12 => GuestFrame::EpochEnd {
                generation,
                epoch,
                summary: EpochSummary { entries: c, data_pages: d, digest: e },
            }
            .of(guest),
            13 => to_secondary(ToSecondary::Heartbeat { generation }),
            14 => to_secondary(ToSecondary::Switchover { generation, epoch }),
            15 => to_secondary(ToSecondary::Farewell { generation }),
            16 => standing(Standing::Nothing),
            17 => standing(Standing::Complete { generation: Generation(c), epoch: Epoch(d) }),
            18 => to_primary(ToPrimary::Ack { generation, epoch }),
            19 => declined(Decline::Fenced { generation: Generation(d) }),
            20 => declined(Decline::WrongBase),
            21 => declined(Decline::Damaged),
            22 => declined(Decline::TooLarge),
            23 => declined(Decline::ImageLost),
            24 => declined(Decline::TakingOver),
            25 => to_primary(ToPrimary::Heartbeat { generation }),
            26 => self.request(WitnessRequest::Read { id: RequestId(d) }),
            27 => self.request(WitnessRequest::Swap { id: RequestId(d), expect: e, new: self.record() }),
            28 => self.reply(WitnessOutcome::Told),
            29 => self.reply(WitnessOutcome::Swapped),
            30 => LinkFrame::Ping.into(),
            31 => LinkFrame::Pong.into(),
            34 => {
                let refusal = HoldRefusal::new(HoldReason::ALL[b as usize % 10], &*self.names[0]);
                GuestFrame::HoldDeclined(refusal).of(guest)
            }
            35 => GuestFrame::HoldReady.of(guest),
            36 => GuestFrame::Window { through_bytes: c }.of(guest),
            37 => declined(Decline::Diverged),
            44 => packets(PacketFrame::Input { generation, first: c, packets: self.packets() }),
            45 => packets(PacketFrame::Handshake { generation, epoch, packet: &self.bytes }),
            46 => packets(PacketFrame::Released { generation, base: epoch, through: c }),
            47 => packets(PacketFrame::Output { generation, base: epoch, first: c, packets: self.packets() }),
            48 => packets(PacketFrame::Cut { generation, epoch, next: c, carried: &self.bytes }),
            39 => wanted(Mode::Remus),
            49 => wanted(Mode::Colo),
            50 => wanted(Mode::Auto),
            52 => GuestFrame::DiskWrites { generation, tag: epoch, batch: &self.bytes }.of(guest),
            56 => LinkFrame::Bulletin(self.bytes.clone()).into(),
            54 => packets(PacketFrame::Taken { generation, next: c }),
            55 => {
                packets(PacketFrame::Room { generation, input_packets: c, input_bytes: d, output_packets: e })
            }
            61 => GuestFrame::DiskAsk { generation, epoch, ask: &self.bytes }.of(guest),
            62 => GuestFrame::DiskSay { generation, epoch, say: &self.bytes }.of(guest),
            53 => {
                let summary = WritesSummary { writes: c, bytes: d, digest: u128::from(e) << 64 | 9 };
                GuestFrame::DiskEnd { generation, epoch, summary }.of(guest)
            }
            40 => to_primary(ToPrimary::Live { generation, base: epoch }),
            41 => halted(CopyEnd::Crashed),
            42 => halted(CopyEnd::NoRoom),
            43 => halted(CopyEnd::Operator),
            38 => self.request(WitnessRequest::Reclaim { id: RequestId(d), expect: e, new: self.record() }),
            57 => self.lease_request(LeaseRequest::Read { id: RequestId(d) }),
            58 => self.lease_request(LeaseRequest::Swap { id: RequestId(d), expect: e, new: self.lease() }),
            59 => {
                let outcome = [WitnessOutcome::Told, WitnessOutcome::Swapped][a as usize % 2];
                let reply =
                    LeaseReply { id: RequestId(d), outcome, lease: self.present.then(|| self.lease()) };
                WitnessFrame::LeaseReply { host: &self.names[0], reply }.into()
            }
            60 => GuestFrame::NeedsFencing.of(guest),
            _ => self.reply([WitnessOutcome::Conflict, WitnessOutcome::Illegal][a as usize % 2]),
        }
    }

    fn packets(&self) -> Packets<'_> {
        self.list.packets().unwrap()
    }

    fn node(&self, index: usize) -> NodeName {
        NodeName(self.names[index].clone())
    }

    fn reason(&self) -> RefuseReason {
        [
            RefuseReason::NoCommonVersion,
            RefuseReason::WrongService,
            RefuseReason::Duplicate,
            RefuseReason::UnknownNode,
            RefuseReason::Full,
            RefuseReason::Protocol,
            RefuseReason::NameInUse,
        ][self.numbers[0] as usize % 7]
    }

    fn request(&self, request: WitnessRequest) -> Frame<'_> {
        WitnessFrame::Request { guest: &self.names[0], request }.into()
    }

    fn lease_request(&self, request: LeaseRequest) -> Frame<'_> {
        WitnessFrame::AboutLease { host: &self.names[0], request }.into()
    }

    fn lease(&self) -> Lease {
        use lease::Standing::{Held, Released, Taken};
        let standing = [Held, Released, Taken][self.numbers[2] as usize % 3];
        let watchdog_ms = 4_000 + (self.numbers[1] % 296_001) as u32;
        Lease::of_numbers(self.numbers[0].max(1), standing, watchdog_ms).unwrap()
    }

    fn reply(&self, outcome: WitnessOutcome) -> Frame<'_> {
        let record = self.present.then(|| self.record());
        let reply = WitnessReply { id: RequestId(self.numbers[3]), outcome, record };
        WitnessFrame::Reply { guest: &self.names[0], reply }.into()
    }

    fn record(&self) -> Record {
        let copy = if self.present { Copy::Fresh { holder: self.node(2) } } else { Copy::Stale };
        Record {
            revision: self.numbers[1],
            generation: Generation(self.numbers[0]),
            owner: self.node(1),
            copy,
        }
    }
}

fn parts() -> impl Strategy<Value = Parts> {
    let name = || "[a-zé]{1,40}";
    let bytes = proptest::collection::vec(any::<u8>(), 0..2_000);
    (0..KINDS, 1u32.., any::<[u64; 5]>(), any::<bool>(), [name(), name(), name()], bytes).prop_map(
        |(kind, guest, numbers, present, names, bytes)| {
            let list = list(&bytes);
            Parts { kind, guest, numbers, present, names, bytes, list }
        },
    )
}

/// The packet, twice.
fn list(packet: &[u8]) -> PacketList {
    let mut list = PacketList::default();
    [packet, packet].into_iter().for_each(|packet| list.push(packet).unwrap());
    list
}

fn known(kind: usize) -> Parts {
    let names = ["alpha", "beta", "gamma"].map(String::from);
    let bytes = vec![0xAB; 3];
    let list = list(&bytes);
    Parts { kind, guest: 7, numbers: [1, 2, 3, 4, 5], present: true, names, bytes, list }
}

fn on_the_wire(frames: &[Parts]) -> Vec<u8> {
    let sealed = (0..).zip(frames).map(|(sequence, parts)| encode(&parts.frame()).unwrap().seal(sequence));
    sealed.flatten().collect()
}

fn ready_decoder() -> Decoder {
    let mut decoder = Decoder::new();
    decoder.allow_long_frames();
    decoder
}

/// Feeds `bytes` in pieces that fit, and gives each frame to `see`.
fn feed(decoder: &mut Decoder, mut bytes: &[u8], see: &mut dyn FnMut(Frame<'_>)) -> Result<(), LinkError> {
    while !bytes.is_empty() {
        let space = decoder.space().unwrap();
        let count = space.len().min(bytes.len());
        space[..count].copy_from_slice(&bytes[..count]);
        decoder.filled(count);
        bytes = &bytes[count..];
        while let Some(frame) = decoder.next_frame()? {
            see(frame);
        }
    }
    Ok(())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Every kind's body as `docs/LINK.md` draws it. A change here is a change of the protocol.
#[test]
fn each_kind_has_the_bytes_that_the_document_draws() {
    let golden = [
        (0x01, "0200".to_owned() + "0300" + "01" + "0100000000000000" + "05616c706861"),
        (0x01, "0200".to_owned() + "0300" + "02" + "0100000000000000" + "05616c706861"),
        (0x02, "0200".to_owned() + "0100000000000000" + "05616c706861"),
        (0x03, "02".to_owned() + "05616c706861"),
        (0x04, String::new()),
        (
            0x10,
            "05616c706861".to_owned()
                + "02"
                + "0200000000000000"
                + "03000000"
                + "04000000"
                + "05000000"
                + "03000000ababab"
                + "0400000062657461",
        ),
        (0x11, "0100000000000000".to_owned() + "01" + "0300000000000000"),
        (0x12, "0100000000000000".to_owned() + "0200000000000000" + "01" + "01" + "0300000000000000"),
        (0x12, "0100000000000000".to_owned() + "0200000000000000" + "02" + "01" + "0300000000000000"),
        (0x13, "ababab".to_owned()),
        (0x14, "ababab".to_owned()),
        (0x15, "ababab".to_owned()),
        (
            0x16,
            "0100000000000000".to_owned()
                + "0200000000000000"
                + "0300000000000000"
                + "0400000000000000"
                + "0500000000000000",
        ),
        (0x17, "0100000000000000".to_owned()),
        (0x18, "0100000000000000".to_owned() + "0200000000000000"),
        (0x19, "0100000000000000".to_owned()),
        (0x20, "0100000000000000".to_owned() + "00" + "0000000000000000" + "0000000000000000"),
        (0x20, "0100000000000000".to_owned() + "01" + "0300000000000000" + "0400000000000000"),
        (0x21, "0100000000000000".to_owned() + "0200000000000000"),
        (0x22, "0100000000000000".to_owned() + "01" + "0300000000000000" + "01" + "0400000000000000"),
        (0x22, "0100000000000000".to_owned() + "01" + "0300000000000000" + "02" + "0000000000000000"),
        (0x22, "0100000000000000".to_owned() + "01" + "0300000000000000" + "03" + "0000000000000000"),
        (0x22, "0100000000000000".to_owned() + "01" + "0300000000000000" + "04" + "0000000000000000"),
        (0x22, "0100000000000000".to_owned() + "01" + "0300000000000000" + "05" + "0000000000000000"),
        (0x22, "0100000000000000".to_owned() + "01" + "0300000000000000" + "06" + "0000000000000000"),
        (0x23, "0100000000000000".to_owned()),
        (0x30, "0400000000000000".to_owned() + "05616c706861"),
        (0x31, "0400000000000000".to_owned() + "05616c706861" + "0500000000000000" + RECORD),
        (0x32, "0400000000000000".to_owned() + "05616c706861" + "01" + "01" + RECORD),
        (0x32, "0400000000000000".to_owned() + "05616c706861" + "02" + "01" + RECORD),
        (0x05, String::new()),
        (0x06, String::new()),
        (0x32, "0400000000000000".to_owned() + "05616c706861" + "04" + "01" + RECORD),
        (
            0x1A,
            "0500000000000000".to_owned()
                + "05616c706861"
                + "02"
                + "0200000000000000"
                + "03000000"
                + "04000000"
                + "05000000"
                + "03000000ababab"
                + "0400000062657461",
        ),
        (0x24, "03".to_owned() + "05616c706861"),
        (0x25, String::new()),
        (0x26, "0300000000000000".to_owned()),
        (0x22, "0100000000000000".to_owned() + "01" + "0300000000000000" + "07" + "0000000000000000"),
        (0x33, "0400000000000000".to_owned() + "05616c706861" + "0500000000000000" + RECORD),
        (0x1B, "0100000000000000".to_owned() + "01" + "01" + "0300000000000000"),
        (0x27, "0100000000000000".to_owned() + "0200000000000000"),
        (0x28, "0100000000000000".to_owned() + "0200000000000000" + "01"),
        (0x28, "0100000000000000".to_owned() + "0200000000000000" + "02"),
        (0x28, "0100000000000000".to_owned() + "0200000000000000" + "03"),
        (0x1C, "0100000000000000".to_owned() + "0300000000000000" + PACKETS),
        (0x1D, "0100000000000000".to_owned() + "0200000000000000" + "ababab"),
        (0x1E, "0100000000000000".to_owned() + "0200000000000000" + "0300000000000000"),
        (0x29, "0100000000000000".to_owned() + "0200000000000000" + "0300000000000000" + PACKETS),
        (0x1F, "0100000000000000".to_owned() + "0200000000000000" + "0300000000000000" + "ababab"),
        (0x1B, "0100000000000000".to_owned() + "02" + "01" + "0300000000000000"),
        (0x1B, "0100000000000000".to_owned() + "03" + "01" + "0300000000000000"),
        (
            0x40,
            "0500000000000000".to_owned()
                + "05616c706861"
                + "02"
                + "0200000000000000"
                + "03000000"
                + "04000000"
                + "05000000"
                + "03000000ababab"
                + "0400000062657461"
                + "0300000000000000"
                + "0300000000000000",
        ),
        (0x41, "0100000000000000".to_owned() + "0200000000000000" + "ababab"),
        (
            0x42,
            "0100000000000000".to_owned()
                + "0200000000000000"
                + "0300000000000000"
                + "0400000000000000"
                + "09000000000000000500000000000000",
        ),
        (0x43, "0100000000000000".to_owned() + "0300000000000000"),
        (0x44, "0100000000000000".to_owned() + "0300000000000000" + "0400000000000000" + "0500000000000000"),
        (0x07, "ababab".to_owned()),
        (0x34, "0400000000000000".to_owned() + "05616c706861"),
        (0x35, "0400000000000000".to_owned() + "05616c706861" + "0500000000000000" + LEASE),
        (0x36, "0400000000000000".to_owned() + "05616c706861" + "02" + "01" + LEASE),
        (0x45, String::new()),
        (0x46, "0100000000000000".to_owned() + "0200000000000000" + "ababab"),
        (0x47, "0100000000000000".to_owned() + "0200000000000000" + "ababab"),
    ];
    const LEASE: &str = concat!("0100000000000000", "01", "a20f0000");
    const PACKETS: &str = concat!("03000000ababab", "03000000ababab");
    const RECORD: &str = concat!("0200000000000000", "0100000000000000", "0462657461", "01", "0567616d6d61");
    assert_eq!(golden.len(), KINDS);
    for (index, (kind, body)) in golden.into_iter().enumerate() {
        let wire = on_the_wire(&[known(index)]);
        assert_eq!(hex(&wire[24..]), body, "body of {:?}", known(index).frame());
        let guest = if (0x10..0x30).contains(&kind) || kind >= 0x40 { "07" } else { "00" };
        let head = format!("7553{kind:02x}00{guest}000000{:02x}00000000000000", body.len() / 2);
        assert_eq!(hex(&wire[..16]), head, "head of {:?}", known(index).frame());
    }
}

/// The seal too: a hello that both ends must agree on for ever.
#[test]
fn a_goodbye_is_these_24_bytes() {
    assert_eq!(hex(&on_the_wire(&[known(4)])), "75530400000000000000000000000000410ea905a86a7f91");
}

#[test]
fn a_stranger_gets_no_long_frame_and_no_memory() {
    let long = Parts { bytes: vec![1; SMALL_BODY_BYTES_MAX + 1], ..known(9) };
    let mut decoder = Decoder::new();
    let error = feed(&mut decoder, &on_the_wire(&[long]), &mut |_| {}).unwrap_err();
    assert!(matches!(error, LinkError::FrameTooLong { limit: SMALL_BODY_BYTES_MAX, .. }), "{error:?}");
    assert!(decoder.memory_bytes() <= 32 << 10);
}

#[test]
fn the_longest_frame_fits_and_a_lying_length_costs_no_memory() {
    let longest = Parts { bytes: vec![7; BODY_BYTES_MAX], ..known(9) };
    let wire = on_the_wire(&[longest.clone(), known(4)]);
    let (mut decoder, mut seen) = (ready_decoder(), 0);
    feed(&mut decoder, &wire, &mut |_| seen += 1).unwrap();
    assert_eq!(seen, 2);
    assert!(decoder.memory_bytes() <= BODY_BYTES_MAX + HEADER_BYTES);

    let mut liar = ready_decoder();
    feed(&mut liar, &wire[..1_000], &mut |_| panic!("not whole")).unwrap();
    assert!(liar.memory_bytes() <= 32 << 10);
}

fn offer_of<'a>(name: &'a str, config: Vec<u8>) -> Frame<'a> {
    let description = Description {
        kind: GuestKind::Pv,
        page_count: 1,
        libxc_version: 3,
        xen_version: (4, 17),
        config,
        static_records: Vec::new(),
        disks_bytes: Vec::new(),
    };
    GuestFrame::Offer { name, generation: Some(Generation(1)), description: Box::new(description) }
        .of(GuestId::new(1).unwrap())
}

/// A proxy that repeats a read of its own: what follows begins in the midst of a frame.
#[test]
fn bytes_that_are_repeated_on_the_way_are_no_bug_of_the_sender() {
    let wire = on_the_wire(&[known(4), known(6)]);
    let repeated = [&wire[..24], &wire[20..]].concat();
    let error = feed(&mut ready_decoder(), &repeated, &mut |_| {}).unwrap_err();
    assert_eq!(error, LinkError::OutOfStep { after: 1 });
    assert!(error.to_string().contains("proxy"), "{error}");
}

/// What is known only at run time (a guest's configuration, its list of frames) may be of any length.
#[test]
fn a_frame_that_does_not_fit_is_an_error_and_never_a_panic() {
    let fixed = encode(&offer_of("g", Vec::new())).unwrap().len_bytes() - HEADER_BYTES;
    assert!(encode(&offer_of("g", vec![0; BODY_BYTES_MAX - fixed])).is_ok());
    let error = encode(&offer_of("g", vec![0; BODY_BYTES_MAX - fixed + 1])).unwrap_err();
    assert_eq!(error, EncodeError::TooLong { what: "a guest's offer", bytes: BODY_BYTES_MAX + 1 });
    let batch = vec![0; BODY_BYTES_MAX + 1];
    assert!(encode(&GuestFrame::PageBatch(&batch).of(GuestId::new(1).unwrap())).is_err());
    for name in ["", &"n".repeat(TEXT_BYTES_MAX + 1)] {
        let bytes = name.len();
        assert_eq!(
            encode(&offer_of(name, Vec::new())),
            Err(EncodeError::Name { what: "a guest's offer", bytes })
        );
        let from = Identity { node: NodeName(name.into()), instance: 1 };
        assert!(encode(&LinkFrame::HelloAnswer(HelloAnswer { version: 1, from }).into()).is_err());
    }
    let long = LinkFrame::Refuse { reason: RefuseReason::Full, detail: "é".repeat(200) };
    assert_eq!(encode(&long.into()).unwrap().len_bytes(), HEADER_BYTES + 1 + 1 + 254);
}

/// A bulletin is for people: nobody keeps much for one, and none keeps an ack waiting for long.
#[test]
fn a_bulletin_is_short_at_both_ends() {
    let longest = LinkFrame::Bulletin(vec![b' '; BULLETIN_BYTES_MAX]);
    let wire = encode(&longest.into()).unwrap().seal(0);
    let mut seen = 0;
    feed(&mut ready_decoder(), &wire, &mut |_| seen += 1).unwrap();
    assert_eq!(seen, 1);
    let longer = vec![b' '; BULLETIN_BYTES_MAX + 1];
    let error = encode(&LinkFrame::Bulletin(longer.clone()).into()).unwrap_err();
    assert_eq!(error, EncodeError::Bulletin { bytes: BULLETIN_BYTES_MAX + 1 });
    let mut bytes = Vec::new();
    header::open(&mut bytes, 0x07, 0);
    bytes.extend(longer);
    header::close(&mut bytes);
    header::seal(&mut bytes, 0);
    let error = feed(&mut ready_decoder(), &bytes, &mut |_| {}).unwrap_err();
    assert!(matches!(error, LinkError::FrameTooLong { limit: BULLETIN_BYTES_MAX, .. }), "{error:?}");
}

/// Both ends count a window's bytes; they must count the same.
#[test]
fn what_windows_count_is_what_is_sent() {
    let counted: Vec<_> = (0..KINDS)
        .filter(|kind| {
            let parts = known(*kind);
            let frame = parts.frame();
            let bytes = encode(&frame).unwrap().len_bytes() as u64;
            let counted = match &frame {
                Frame::Guest(_, frame) => frame.window_bytes(),
                Frame::Link(_) | Frame::Witness(_) => None,
            };
            counted.inspect(|counted| assert_eq!(*counted, bytes, "{frame:?}")).is_some()
        })
        .collect();
    assert_eq!(counted, [7, 8, 9, 10, 11, 12, 52, 53, 61]);
}

#[test]
fn what_is_not_ours_is_told_apart() {
    let mut decoder = Decoder::new();
    let error = feed(&mut decoder, b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n", &mut |_| {}).unwrap_err();
    assert_eq!(error, LinkError::NotALink);
}

#[test]
fn kinds_and_addresses_that_do_not_exist_are_refused() {
    let craft = |kind: u16, guest: u32| {
        let mut bytes = Vec::new();
        header::open(&mut bytes, kind, guest);
        header::close(&mut bytes);
        header::seal(&mut bytes, 0);
        feed(&mut Decoder::new(), &bytes, &mut |_| {})
    };
    for kind in [0, 0x08, 0x37, 0xFFFF] {
        assert_eq!(craft(kind, 0), Err(LinkError::UnknownKind(kind)));
    }
    assert_eq!(craft(0x2F, 1), Err(LinkError::UnknownKind(0x2F)));
    assert_eq!(craft(0x04, 1), Err(LinkError::WrongAddress { kind: 0x04, guest: 1 }));
    assert_eq!(craft(0x13, 0), Err(LinkError::WrongAddress { kind: 0x13, guest: 0 }));
}

#[test]
fn a_version_is_common_or_there_is_none() {
    assert_eq!(common_version((1, 1)), Some(1));
    assert_eq!(common_version((1, 2)), Some(2));
    assert_eq!(common_version((1, 3)), Some(3));
    assert_eq!(common_version((0, 9)), Some(6));
    assert_eq!(common_version((7, 9)), None);
    assert_eq!(common_version((0, 0)), None);
    assert_eq!(common_version((9, 2)), None);
}

#[test]
fn an_offer_with_more_disks_than_guests_have_is_neither_sent_nor_read() {
    let Frame::Guest(guest, GuestFrame::Offer { name, generation, mut description }) =
        offer_of("g", Vec::new())
    else {
        unreachable!("an offer")
    };
    description.disks_bytes = vec![512; DISKS_MAX];
    let most = GuestFrame::Offer { name, generation, description: description.clone() }.of(guest);
    assert_eq!(most.since(), DISKS_SINCE);
    let wire = encode(&most).unwrap().seal(0);
    let body = &wire[HEADER_BYTES..];
    assert_eq!(super::decode::decode(0x40, 1, body), Ok(most));
    let more = [body, &[0; 8]].concat();
    assert_eq!(super::decode::decode(0x40, 1, &more), Err(LinkError::BodyTooLong(8)));
    let none = &body[..body.len() - 8 * DISKS_MAX];
    assert_eq!(super::decode::decode(0x40, 1, none), Err(LinkError::BodyTooShort), "that is another kind");
    description.disks_bytes.push(512);
    assert_eq!(check_offer(name, &description), Err(EncodeError::Disks { disks: DISKS_MAX + 1 }));
    assert!(encode(&GuestFrame::Offer { name, generation, description }.of(guest)).is_err());
}

#[test]
fn checks_and_what_answers_them_are_of_version_2() {
    let guest = GuestId::new(1).unwrap();
    let declined = |why| {
        let message = ToPrimary::Declined { generation: Generation(1), epoch: Some(Epoch(1)), why };
        GuestFrame::ToPrimary(message).of(guest).since()
    };
    let batch = |form: u8| GuestFrame::PageBatch(&[form, 0, 0]).of(guest).since();
    assert_eq!([0, 1, 2, 3].map(batch), [1, 1, 2, 2]);
    assert_eq!((declined(Decline::Damaged), declined(Decline::Diverged)), (1, 2));
}
