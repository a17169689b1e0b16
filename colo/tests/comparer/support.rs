//! Frames as guests send them, and a comparer that is told them one by one.

use etherparse::{PacketBuilder, TcpHeader, VlanId};
use understudy_checkpoint::Epoch;
use understudy_checkpoint::time::{Span, Time};
use understudy_colo::comparer::{Acknowledge, Comparer, FrameId, Limits, Output, Why};
use understudy_colo::packet::{Card, Flags, Frame, Offload};
use understudy_colo::{Handshake, Part, Patch};

pub(crate) const SEED: u64 = 0x5eed;

/// A segment as it is written in a test.
#[derive(Clone, Debug)]
pub(crate) struct Seg {
    pub(crate) sequence: u32,
    pub(crate) ack: Option<u32>,
    pub(crate) window: u16,
    pub(crate) flags: u8,
    pub(crate) urgent: u16,
    pub(crate) options: Vec<u8>,
    pub(crate) payload: Vec<u8>,
    pub(crate) port: u16,
    pub(crate) is_v6: bool,
    pub(crate) vlan: Option<u16>,
}

/// A segment with payload, which acknowledges 1 and has room for 1000.
pub(crate) fn data(sequence: u32, payload: &[u8]) -> Seg {
    Seg {
        sequence,
        ack: Some(1),
        window: 1000,
        flags: 0,
        urgent: 0,
        options: Vec::new(),
        payload: payload.to_vec(),
        port: 4000,
        is_v6: false,
        vlan: None,
    }
}

/// A bare acknowledgement.
pub(crate) fn ack(sequence: u32, ack: u32) -> Seg {
    data(sequence, &[]).ack(ack)
}

/// What a server answers a SYN of the number 0.
pub(crate) fn syn_ack(sequence: u32, options: &[u8]) -> Seg {
    let mut options = options.to_vec();
    options.resize(options.len().next_multiple_of(4), 0);
    Seg { options, ..data(sequence, &[]).flag(Flags::SYN) }
}

pub(crate) const USUAL_OPTIONS: &[u8] = &[2, 4, 5, 180, 4, 2, 8, 10, 0, 0, 0, 9, 0, 0, 0, 1, 1, 3, 3, 7];

impl Seg {
    pub(crate) fn ack(self, ack: u32) -> Self {
        Self { ack: Some(ack), ..self }
    }

    pub(crate) fn window(self, window: u16) -> Self {
        Self { window, ..self }
    }

    pub(crate) fn flag(self, flag: u8) -> Self {
        Self { flags: self.flags | flag, ..self }
    }

    pub(crate) fn fin(self) -> Self {
        self.flag(Flags::FIN)
    }

    pub(crate) fn rst(self) -> Self {
        self.flag(Flags::RST)
    }

    pub(crate) fn without_ack(self) -> Self {
        Self { ack: None, ..self }
    }

    pub(crate) fn options(self, options: &[u8]) -> Self {
        Self { options: options.to_vec(), ..self }
    }

    pub(crate) fn port(self, port: u16) -> Self {
        Self { port, ..self }
    }

    pub(crate) fn frame(&self) -> Vec<u8> {
        let mut header = TcpHeader::new(80, self.port, self.sequence, self.window);
        header.ack = self.ack.is_some();
        header.acknowledgment_number = self.ack.unwrap_or(0);
        header.fin = self.flags & Flags::FIN != 0;
        header.syn = self.flags & Flags::SYN != 0;
        header.rst = self.flags & Flags::RST != 0;
        header.urg = self.flags & Flags::URG != 0;
        header.ece = self.flags & 0x40 != 0;
        header.cwr = self.flags & 0x80 != 0;
        header.psh = self.flags & 0x08 != 0;
        header.urgent_pointer = self.urgent;
        header.set_options_raw(&self.options).expect("options of whole words");
        let link = PacketBuilder::ethernet2([2; 6], [4; 6]);
        let mut frame = Vec::new();
        let guest = [0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2];
        let world = [0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
        let built = match (self.vlan, self.is_v6) {
            (None, false) => link.ipv4([10, 7, 0, 2], [10, 7, 0, 1], 64),
            (None, true) => link.ipv6(guest, world, 64),
            (Some(id), false) => {
                link.single_vlan(VlanId::try_new(id).unwrap()).ipv4([10, 7, 0, 2], [10, 7, 0, 1], 64)
            }
            (Some(id), true) => link.single_vlan(VlanId::try_new(id).unwrap()).ipv6(guest, world, 64),
        };
        built.tcp_header(header).write(&mut frame, &self.payload).expect("a short packet");
        frame
    }
}

/// A datagram of UDP.
pub(crate) fn udp(port: u16, payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    PacketBuilder::ethernet2([2; 6], [4; 6])
        .ipv4([10, 7, 0, 2], [10, 7, 0, 1], 64)
        .udp(53, port)
        .write(&mut frame, payload)
        .expect("a short packet");
    frame
}

/// What came out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Said {
    /// This frame left as it was.
    Left(u64),
    /// This frame left, changed.
    LeftAs(u64, Patch),
    Opened(Handshake),
    Diverged(Why),
    Told(Acknowledge),
    /// This part of this frame left.
    Part(u64, Part),
    /// This frame must not leave.
    Outdated(u64),
}

/// A comparer and its time. Frames are numbered from 0.
pub(crate) struct Tester {
    pub(crate) comparer: Comparer,
    pub(crate) now: Time,
    next: u64,
    pub(crate) epoch: Epoch,
    pub(crate) base: Epoch,
}

impl Tester {
    /// A copy of base 0 is live, and the guest is in epoch 1.
    pub(crate) fn live() -> Self {
        Self::with(Limits::default())
    }

    pub(crate) fn with(limits: Limits) -> Self {
        let mut tester = Self::idle(limits);
        tester.comparer.cut(Epoch(0));
        tester.comparer.released(Epoch(0));
        tester.comparer.live(tester.now, Epoch(0));
        tester
    }

    /// No copy is live.
    pub(crate) fn idle(limits: Limits) -> Self {
        let comparer = Comparer::new(limits, SEED);
        Self { comparer, now: Time(1), next: 0, epoch: Epoch(1), base: Epoch(0) }
    }

    /// The guest sends.
    pub(crate) fn guest(&mut self, frame: &[u8]) -> &mut Self {
        let id = FrameId(self.next);
        self.next += 1;
        self.comparer.primary(self.now, id, whole(frame), self.epoch);
        self
    }

    /// The copy sends.
    pub(crate) fn copy(&mut self, frame: &[u8]) -> &mut Self {
        self.comparer.copy(self.now, whole(frame), self.base);
        self
    }

    pub(crate) fn g(&mut self, segment: Seg) -> &mut Self {
        self.guest(&segment.frame())
    }

    pub(crate) fn c(&mut self, segment: Seg) -> &mut Self {
        self.copy(&segment.frame())
    }

    /// Time passes.
    pub(crate) fn wait(&mut self, ms: u64) -> &mut Self {
        let end = self.now + Span::from_ms(ms);
        while let Some(due) = self.comparer.next_timeout().filter(|due| *due <= end) {
            self.now = self.now.max(due);
            self.comparer.handle_timeout(self.now);
            let again = self.comparer.next_timeout();
            assert!(again.is_none_or(|again| again > self.now), "a timeout that was handled is over");
        }
        self.now = end;
        self
    }

    pub(crate) fn said(&mut self) -> Vec<Said> {
        std::iter::from_fn(|| self.comparer.poll_output())
            .map(|output| match output {
                Output::Release(id) => Said::Left(id.0),
                Output::ReleaseAs(id, patch) => Said::LeftAs(id.0, patch),
                Output::Handshake(handshake) => Said::Opened(handshake),
                Output::Diverged(divergence) => Said::Diverged(divergence.why),
                Output::Acknowledge(what) => Said::Told(what),
                Output::ReleasePart(id, part) => Said::Part(id.0, part),
                Output::Outdated(id) => Said::Outdated(id.0),
            })
            .collect()
    }

    /// Which frames left, whether changed or not; nothing else may have been said.
    #[track_caller]
    pub(crate) fn expect(&mut self, left: &[u64]) -> &mut Self {
        let said = self.said();
        let ids: Vec<u64> = said
            .iter()
            .map(|one| match one {
                Said::Left(id) | Said::LeftAs(id, _) => *id,
                other => panic!("said {other:?}, among {said:?}"),
            })
            .collect();
        assert_eq!(ids, left);
        self
    }

    /// What was said, exactly, but for handshakes.
    #[track_caller]
    pub(crate) fn says(&mut self, expected: &[Said]) -> &mut Self {
        let mut said = self.said();
        said.retain(|one| !matches!(one, Said::Opened(_)));
        assert_eq!(said, expected);
        self
    }

    /// The next base is live, and the guest is one epoch further.
    pub(crate) fn checkpoint(&mut self) -> &mut Self {
        self.comparer.cut(self.epoch);
        self.comparer.released(self.epoch);
        self.comparer.live(self.now, self.epoch);
        self.base = self.epoch;
        self.epoch = self.epoch.next();
        self
    }
}

pub(crate) fn whole(bytes: &[u8]) -> Frame<'_> {
    Frame { card: Card(0), offload: Offload::default(), bytes }
}

pub(crate) fn patch(ack: Option<u32>, window: Option<u16>) -> Patch {
    Patch { ack, window, ..Patch::default() }
}
