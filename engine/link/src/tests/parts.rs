//! A frame of each kind, made of any content.

use crate::*;
use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
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

pub(super) const KINDS: usize = 66;

/// What frames are made of, so that each kind can be made with any content.
#[derive(Clone, Debug)]
pub(super) struct Parts {
    pub(super) kind: usize,
    pub(super) guest: u32,
    pub(super) numbers: [u64; 5],
    pub(super) present: bool,
    pub(super) names: [String; 3],
    pub(super) bytes: Vec<u8>,
    pub(super) list: PacketList,
}

impl Parts {
    pub(super) fn frame(&self) -> Frame<'_> {
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
            63 => LinkFrame::FactsWanted.into(),
            64 => LinkFrame::Facts(self.bytes.clone()).into(),
            65 => {
                let hello = Hello { versions: (b as u16, c as u16), service: Service::Spare, from };
                LinkFrame::Hello(hello).into()
            }
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

pub(super) fn parts() -> impl Strategy<Value = Parts> {
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
pub(super) fn list(packet: &[u8]) -> PacketList {
    let mut list = PacketList::default();
    [packet, packet].into_iter().for_each(|packet| list.push(packet).unwrap());
    list
}

pub(super) fn known(kind: usize) -> Parts {
    let names = ["alpha", "beta", "gamma"].map(String::from);
    let bytes = vec![0xAB; 3];
    let list = list(&bytes);
    Parts { kind, guest: 7, numbers: [1, 2, 3, 4, 5], present: true, names, bytes, list }
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
