//! Two guests that send one stream, each in its own way, from one seed.

use super::support::{Seg, USUAL_OPTIONS, ack, data, syn_ack};
use understudy_colo::packet::Flags;
use understudy_lab::Random;

/// Numbers from a seed.
pub(crate) struct Dice(Random);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(Random(seed))
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0.word()
    }

    /// Less than `bound`.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound.max(1) as u64) as usize
    }

    pub(crate) fn one_in(&mut self, bound: usize) -> bool {
        self.below(bound) == 0
    }

    pub(crate) fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.next() as u8).collect()
    }
}

/// What windows are shifted by in [`USUAL_OPTIONS`].
pub(crate) const SCALE: u32 = 7;

/// The clock of a guest before its first frame, later than that of [`USUAL_OPTIONS`]. Each frame is one later.
pub(crate) const CLOCK: u32 = 10;

/// A stream, and how guests send it.
#[derive(Clone)]
pub(crate) struct Stream {
    /// Number of the byte before the first.
    pub(crate) begin: u32,
    pub(crate) bytes: Vec<u8>,
    pub(crate) has_syn: bool,
    pub(crate) has_fin: bool,
    /// What the other end sent: both guests acknowledge all of it at last.
    pub(crate) received: u32,
}

impl Stream {
    pub(crate) fn random(dice: &mut Dice) -> Self {
        let begin = if dice.one_in(2) { u32::MAX - dice.below(3000) as u32 } else { dice.next() as u32 };
        let count = 1 + dice.below(4000);
        Self {
            begin,
            bytes: dice.bytes(count),
            has_syn: dice.one_in(2),
            has_fin: dice.one_in(2),
            received: dice.below(20_000) as u32,
        }
    }

    /// The number of byte `at`.
    pub(crate) fn number(&self, at: usize) -> u32 {
        self.begin.wrapping_add(1 + at as u32)
    }

    fn segment(&self, from: usize, to: usize) -> Seg {
        let segment = data(self.number(from), &self.bytes[from..to]);
        if self.has_fin && to == self.bytes.len() { segment.fin() } else { segment }
    }

    /// All of it, cut at random, with repetitions and bare acknowledgements in between.
    fn cut(&self, dice: &mut Dice, longest: usize) -> Vec<Seg> {
        let mut sent = Vec::new();
        let mut at = 0;
        while at < self.bytes.len() {
            let to = (at + 1 + dice.below(longest)).min(self.bytes.len());
            sent.push(self.segment(at, to));
            at = to;
            if dice.one_in(8) {
                let from = dice.below(at);
                sent.push(self.segment(from, from + 1 + dice.below(at - from)));
            }
            if dice.one_in(6) {
                sent.push(ack(self.number(at), 0));
            }
        }
        sent
    }

    /// What one guest sends: some of it is lost or comes late, and is sent again at the end.
    pub(crate) fn sent(&self, dice: &mut Dice) -> Vec<Seg> {
        let longest = [10, 100, 1448, 4000][dice.below(4)];
        let mut sent = self.cut(dice, longest);
        let mut first = sent.remove(0);
        let loss = [4, 20, 1000][dice.below(3)];
        sent.retain(|_| !dice.one_in(loss));
        for at in 1..sent.len() {
            if dice.one_in(10) {
                sent.swap(at - 1, at);
            }
        }
        if self.has_syn {
            sent.insert(0, first);
            first = syn_ack(self.begin, USUAL_OPTIONS).flag(Flags::SYN);
        }
        sent.insert(0, first);
        sent.extend(self.cut(dice, longest));
        let end = self.bytes.len() + usize::from(self.has_fin);
        sent.push(ack(self.begin.wrapping_add(1 + end as u32), 0));
        self.acknowledge(dice, &mut sent);
        sent
    }

    /// Acknowledgements and right edges that never go back, and end where the other guest's do.
    fn acknowledge(&self, dice: &mut Dice, sent: &mut [Seg]) {
        let begin = 0xffff_f000u32;
        let (before, last) = (self.received + (400 << SCALE), self.received + (500 << SCALE));
        let (mut acked, mut edge) = (0, 1000);
        let count = sent.len();
        for (place, segment) in sent.iter_mut().enumerate() {
            let is_last = place + 1 == count;
            let is_syn = segment.flags & Flags::SYN != 0;
            if is_last {
                acked = self.received;
            } else if !is_syn {
                acked += dice.below((self.received - acked) as usize / 4 + 1) as u32;
            }
            let shift = if is_syn { 0 } else { SCALE };
            let grown = if is_last { last } else { (edge + dice.below(3000) as u32).min(before) };
            edge = edge.max(grown).max(acked);
            let window = (edge - acked).div_ceil(1 << shift);
            edge = acked + (window << shift);
            segment.ack = Some(begin.wrapping_add(acked));
            segment.window = window as u16;
            if !is_syn {
                segment.options =
                    [&[1, 1, 8, 10][..], &CLOCK.wrapping_add(place as u32).to_be_bytes(), &[0; 4]].concat();
            }
        }
    }
}
