//! Who looks at what leaves, and says what is wrong with it.

use super::dice::{Dice, SCALE, Stream};
use super::support::{Seg, ack, whole};
use std::collections::BTreeMap;
use understudy_checkpoint::Epoch;
use understudy_checkpoint::time::{Span, Time};
use understudy_colo::comparer::{Acknowledge, Comparer, CopyNumber, FrameId, Output, Why};
use understudy_colo::packet::{Content, Flags, Packet, Side};
use understudy_colo::{Part, Patch};

/// What can be wrong.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Judge {
    /// Equal guests were told apart.
    NoFalseAlarm,
    /// Equal guests: all frames leave.
    AllLeaves,
    /// Frames of a flow leave in the order in which they were sent, but for repetitions.
    Order,
    /// No frame leaves with a clock that its receiver refuses (RFC 7323, section 5.3).
    Clock,
    /// No acknowledgement leaves that the copy has not sent.
    Acks,
    /// No right edge goes back, and a bare acknowledgement is made smaller only to say something new.
    Edges,
    /// Nothing leaves at or after the first difference, which is told.
    Content,
    /// Nothing leaves by a copy of another base.
    Base,
    /// Silence is told.
    Silence,
    /// Nothing waits, and the client was not told what both guests have.
    Told,
    /// No frame of the copy is called used up before all of it has left, and each is after that.
    Uses,
    /// Datagrams leave as often as both sent them.
    Datagrams,
    /// Nothing is larger than its limit, and nothing is left over.
    Bounds,
}

pub(crate) type Verdict = Result<(), Judge>;

pub(crate) fn check(is_right: bool, judge: Judge) -> Verdict {
    if is_right { Ok(()) } else { Err(judge) }
}

/// A comparer with a live copy of base 0.
pub(crate) fn begun(mut comparer: Comparer) -> Comparer {
    comparer.released(Epoch(0));
    comparer.live(Time(1), Epoch(0));
    comparer
}

/// A receiver of what leaves, and what it has seen.
#[derive(Default)]
struct Client {
    acked: Option<u32>,
    window_from: Option<(u32, u32)>,
    edge: Option<u32>,
}

fn since(one: u32, other: u32) -> i32 {
    one.wrapping_sub(other) as i32
}

impl Client {
    /// Takes the window as RFC 9293, section 3.10.7.4, says; whether its right edge went back.
    fn goes_back(&mut self, segment: &Seg, ack: u32, window: u16) -> bool {
        let is_old = self.acked.is_some_and(|acked| since(ack, acked) < 0);
        let is_newer = self.window_from.is_none_or(|(sequence, before)| {
            let ahead = since(segment.sequence, sequence);
            ahead > 0 || (ahead == 0 && since(ack, before) >= 0)
        });
        if is_old {
            return false;
        }
        self.acked = Some(ack);
        if !is_newer {
            return false;
        }
        let shift = if segment.flags & Flags::SYN == 0 { SCALE } else { 0 };
        let edge = ack.wrapping_add(u32::from(window) << shift);
        // Less than a unit of the window is no step back (RFC 7323, section 2.4).
        let is_back = self.edge.is_some_and(|before| since(edge, before) <= -(1 << SCALE));
        let edge = self.edge.map_or(edge, |before| if since(edge, before) > 0 { edge } else { before });
        (self.window_from, self.edge) = (Some((segment.sequence, ack)), Some(edge));
        is_back
    }
}

impl Client {
    /// Whether a bare acknowledgement from the comparer says something new and takes nothing back.
    fn hears(&mut self, what: &Acknowledge, acked: Option<u32>, has_scale: bool) -> bool {
        let is_news = acked.is_some_and(|acked| since(what.ack, acked) > 0);
        let edge = what.ack.wrapping_add(u32::from(what.window) << SCALE);
        let is_room = has_scale && self.edge.is_some_and(|before| since(edge, before) > 0);
        let is_back = self.goes_back(&ack(what.sequence, what.ack), what.ack, what.window);
        (is_news || is_room) && !(has_scale && is_back)
    }
}

/// What has left of a stream.
struct Left {
    begin: u32,
    numbers: Vec<bool>,
    /// How many of them lie before the first that has not left.
    next: usize,
    acked: Option<u32>,
    /// The latest clock that counts.
    clock: Option<u32>,
}

fn numbers(segment: &Seg, begin: u32) -> std::ops::Range<usize> {
    let flags = [Flags::SYN, Flags::FIN].map(|flag| usize::from(segment.flags & flag != 0));
    let from = segment.sequence.wrapping_sub(begin) as usize;
    from..from + segment.payload.len() + flags[0] + flags[1]
}

impl Left {
    fn new(guest: &[Seg]) -> Self {
        Self { begin: guest[0].sequence, numbers: vec![false; 8000], next: 0, acked: None, clock: None }
    }

    /// Whether a receiver takes this clock; one that is ahead of what is awaited changes nothing.
    fn takes_clock(&mut self, clock: Option<u32>, sequence: u32) -> bool {
        let Some(clock) = clock else { return true };
        let is_ahead = sequence.wrapping_sub(self.begin) as i32 > self.next as i32;
        let is_taken = self.clock.is_none_or(|before| since(clock, before) >= 0);
        if is_taken && !is_ahead {
            self.clock = Some(clock);
        }
        is_taken
    }

    fn add(&mut self, segment: &Seg, ack: u32) {
        self.numbers[numbers(segment, self.begin)].fill(true);
        self.next += self.numbers[self.next..].iter().take_while(|left| **left).count();
        self.acked = Some(self.acked.map_or(ack, |before| if since(ack, before) > 0 { ack } else { before }));
    }

    /// Of the copy's frames up to this one, of which `sent` were sent.
    fn contains_all(&self, copy: &[Seg], sent: usize, through: Option<CopyNumber>) -> bool {
        let count = through.map_or(0, |CopyNumber(number)| number as usize + 1);
        copy[..count].iter().enumerate().all(|(place, segment)| {
            let ack = segment.ack.expect("all of these acknowledge");
            let is_told = self.acked.is_some_and(|acked| since(ack, acked) <= 0);
            let later = &copy[place + 1..sent];
            let is_outdone = || later.iter().any(|one| one.ack.is_some_and(|later| since(later, ack) > 0));
            self.numbers[numbers(segment, self.begin)].iter().all(|left| *left) && (is_told || is_outdone())
        })
    }
}

/// What came of two guests.
pub(crate) struct Outcome {
    pub(crate) left: Vec<u64>,
    /// Those that must not leave any more.
    pub(crate) outdated: usize,
    pub(crate) diverged: Vec<Why>,
}

fn clock_of(frame: &[u8]) -> Option<u32> {
    match Packet::parse(whole(frame), Side::Guest).content {
        Content::Tcp(segment) => segment.options.timestamps().map(|(stamps, _)| stamps.value),
        Content::Datagram(_) => None,
    }
}

/// Whether a frame has numbers beyond all that its guest sent before.
fn goes_on(guest: &[Seg], at: usize) -> bool {
    let end = |one: &Seg| numbers(one, guest[0].sequence).end;
    guest[..at].iter().all(|one| end(one) < end(&guest[at]))
}

fn part_of(segment: &Seg, part: Part) -> Seg {
    let range = part.from as usize..(part.from + part.bytes) as usize;
    Seg {
        sequence: segment.sequence.wrapping_add(part.from),
        payload: segment.payload[range].to_vec(),
        ack: part.patch.ack.or(segment.ack),
        window: part.patch.window.unwrap_or(segment.window),
        options: match part.patch.clock {
            Some(clock) => [&[1, 1, 8, 10][..], &clock.to_be_bytes(), &[0; 4]].concat(),
            None => segment.options.clone(),
        },
        flags: segment.flags & !Flags::FIN,
        ..segment.clone()
    }
}

/// Lets two guests send, in an order of the dice, and judges each frame that leaves.
pub(crate) fn play(
    comparer: &mut Comparer,
    dice: &mut Dice,
    guest: &[Seg],
    copy: &[Seg],
    has_scale: bool,
) -> Result<Outcome, Judge> {
    let mut outcome = Outcome { left: Vec::new(), outdated: 0, diverged: Vec::new() };
    let (mut client, mut copied) = (Client::default(), None);
    let (mut left, mut newest) = (Left::new(guest), None);
    let (mut ours, mut theirs) = (0, 0);
    let lead = [1, 5, 50, 5000][dice.below(4)];
    let mut now = Time(2);
    while ours < guest.len() || theirs < copy.len() {
        let is_ours = theirs == copy.len() || (ours < guest.len() && ours < theirs + lead && dice.one_in(2));
        let is_ours = is_ours || (ours < guest.len() && theirs > ours + lead);
        if is_ours {
            comparer.primary(now, FrameId(ours as u64), whole(&guest[ours].frame()), Epoch(1));
            ours += 1;
        } else {
            let segment = &copy[theirs];
            copied = segment
                .ack
                .map(|ack| copied.map_or(ack, |before| if since(ack, before) > 0 { ack } else { before }));
            comparer.copy(now, whole(&segment.frame()), Epoch(0));
            theirs += 1;
        }
        now = now + Span(1000);
        while let Some(output) = comparer.poll_output() {
            let (id, patch) = match output {
                Output::Release(FrameId(id)) => (id, Patch::default()),
                Output::ReleaseAs(FrameId(id), patch) => (id, patch),
                Output::Diverged(divergence) => {
                    outcome.diverged.push(divergence.why);
                    continue;
                }
                Output::Handshake(_) => continue,
                Output::Acknowledge(what) => {
                    check(copied.is_some_and(|copied| since(what.ack, copied) <= 0), Judge::Acks)?;
                    check(client.hears(&what, left.acked, has_scale), Judge::Edges)?;
                    left.acked = Some(what.ack);
                    let mut frame = Vec::new();
                    check(comparer.write_acknowledgement(&what, &mut frame), Judge::Told)?;
                    check(left.takes_clock(clock_of(&frame), what.sequence), Judge::Clock)?;
                    continue;
                }
                Output::ReleasePart(FrameId(id), part) => {
                    let segment = part_of(&guest[id as usize], part);
                    let ack = segment.ack.expect("all of these acknowledge");
                    check(copied.is_some_and(|copied| since(ack, copied) <= 0), Judge::Acks)?;
                    check(!has_scale || !client.goes_back(&segment, ack, segment.window), Judge::Edges)?;
                    check(left.takes_clock(clock_of(&segment.frame()), segment.sequence), Judge::Clock)?;
                    left.add(&segment, ack);
                    continue;
                }
                Output::Outdated(FrameId(id)) => {
                    let segment = &guest[id as usize];
                    check(segment.payload.is_empty() && segment.flags == 0, Judge::AllLeaves)?;
                    outcome.outdated += 1;
                    continue;
                }
            };
            let segment = &guest[id as usize];
            let is_bare = segment.payload.is_empty() && segment.flags == 0;
            let ack = patch.ack.or(segment.ack).expect("all of these acknowledge");
            let window = patch.window.unwrap_or(segment.window);
            check(copied.is_some_and(|copied| since(ack, copied) <= 0), Judge::Acks)?;
            let is_news = client.acked.is_none_or(|acked| since(ack, acked) > 0);
            check(!is_bare || patch.ack.is_none() || is_news, Judge::Edges)?;
            check(!has_scale || !client.goes_back(segment, ack, window), Judge::Edges)?;
            let clock = patch.clock.or_else(|| clock_of(&segment.frame()));
            check(left.takes_clock(clock, segment.sequence), Judge::Clock)?;
            if !is_bare && goes_on(guest, id as usize) {
                check(newest.is_none_or(|before| before < id), Judge::Order)?;
                newest = Some(id);
            }
            left.add(segment, ack);
            outcome.left.push(id);
        }
        let is_waiting = outcome.left.len() + outcome.outdated < ours || !outcome.diverged.is_empty();
        let own = guest[..ours].iter().filter_map(|one| one.ack);
        let own = own.reduce(|one, other| if since(one, other) > 0 { one } else { other });
        let both = own.zip(copied).map(|(own, copied)| if since(own, copied) < 0 { own } else { copied });
        let is_told = both.is_none_or(|both| left.acked.is_some_and(|acked| since(both, acked) <= 0));
        check(is_waiting || is_told, Judge::Told)?;
        check(left.contains_all(copy, theirs, comparer.used_through()), Judge::Uses)?;
    }
    Ok(outcome)
}

/// Two guests that send the same: all of it leaves.
pub(crate) fn equal_streams(seed: u64, comparer: Comparer) -> Verdict {
    let (mut comparer, mut dice) = (begun(comparer), Dice::new(seed));
    let stream = Stream::random(&mut dice);
    let (guest, copy) = (stream.sent(&mut dice), stream.sent(&mut dice));
    let outcome = play(&mut comparer, &mut dice, &guest, &copy, stream.has_syn)?;
    check(outcome.diverged.is_empty(), Judge::NoFalseAlarm)?;
    check(outcome.left.len() + outcome.outdated == guest.len(), Judge::AllLeaves)?;
    check(comparer.used_through() == Some(CopyNumber(copy.len() as u64 - 1)), Judge::Uses)?;
    comparer.stop();
    check(comparer.waiting_frames() == 0 && comparer.waiting_bytes() == 0, Judge::Bounds)
}

/// Two guests whose streams differ from byte `at` on: in that byte, or in that one ends there.
pub(crate) fn different_streams(seed: u64, comparer: Comparer) -> Verdict {
    let (mut comparer, mut dice) = (begun(comparer), Dice::new(seed));
    let stream = Stream::random(&mut dice);
    let mut other = stream.clone();
    let at = dice.below(stream.bytes.len());
    if at == 0 || dice.one_in(2) {
        other.bytes[at] ^= 1 << dice.below(8);
    } else {
        other.bytes.truncate(at);
        other.has_fin = true;
    }
    let (mut one, mut two) = (&stream, &other);
    if dice.one_in(2) {
        (one, two) = (two, one);
    }
    let (guest, copy) = (one.sent(&mut dice), two.sent(&mut dice));
    let outcome = play(&mut comparer, &mut dice, &guest, &copy, stream.has_syn)?;
    let difference = stream.number(at);
    for id in &outcome.left {
        let segment = &guest[*id as usize];
        let span = segment.payload.len() as u32
            + u32::from(segment.flags & Flags::FIN != 0)
            + u32::from(segment.flags & Flags::SYN != 0);
        let is_before = since(segment.sequence.wrapping_add(span), difference) <= 0;
        check(span == 0 || is_before, Judge::Content)?;
    }
    check(outcome.diverged.len() == 1, Judge::Content)
}

/// A copy that falls silent in the middle: that is told once, within the limit.
pub(crate) fn silent_copy(seed: u64, comparer: Comparer) -> Verdict {
    let (mut comparer, mut dice) = (begun(comparer), Dice::new(seed));
    let stream = Stream::random(&mut dice);
    let guest = stream.sent(&mut dice);
    let mut copy = stream.sent(&mut dice);
    // Its second half would repeat all.
    copy.truncate(dice.below(copy.len() / 2));
    let outcome = play(&mut comparer, &mut dice, &guest, &copy, stream.has_syn)?;
    let waits = comparer.waiting_frames();
    comparer.handle_timeout(Time(1) + Span::from_ms(10_000));
    let told: Vec<Output> = std::iter::from_fn(|| comparer.poll_output()).collect();
    check(outcome.diverged.is_empty() && told.len() == usize::from(waits > 0), Judge::Silence)?;
    check(comparer.next_timeout().is_none(), Judge::Silence)
}

/// Datagrams of two guests, some of which only one sends: the others leave, whatever their order.
pub(crate) fn datagrams(seed: u64, comparer: Comparer) -> Verdict {
    let (mut comparer, mut dice) = (begun(comparer), Dice::new(seed));
    let contents = 1 + dice.below(20);
    let count = dice.below(60);
    let frames = |dice: &mut Dice| -> Vec<(usize, Vec<u8>)> {
        (0..count)
            .map(|_| {
                let content = dice.below(contents);
                // Many of one length.
                let payload = [vec![7; 40], content.to_le_bytes().to_vec(), vec![8; content % 3]].concat();
                (content, super::support::udp(9, &payload))
            })
            .collect()
    };
    let (guest, copy) = (frames(&mut dice), frames(&mut dice));
    let (mut ours, mut theirs) = (0, 0);
    let mut both: BTreeMap<usize, (usize, usize)> = BTreeMap::new();
    let mut left: BTreeMap<usize, usize> = BTreeMap::new();
    while ours < count || theirs < count {
        if theirs == count || (ours < count && dice.one_in(2)) {
            both.entry(guest[ours].0).or_default().0 += 1;
            comparer.primary(Time(2), FrameId(ours as u64), whole(&guest[ours].1), Epoch(1));
            ours += 1;
        } else {
            both.entry(copy[theirs].0).or_default().1 += 1;
            comparer.copy(Time(2), whole(&copy[theirs].1), Epoch(0));
            theirs += 1;
        }
        while let Some(output) = comparer.poll_output() {
            let Output::Release(FrameId(id)) = output else { return Err(Judge::Datagrams) };
            *left.entry(guest[id as usize].0).or_default() += 1;
        }
        let is_right = both
            .iter()
            .all(|(content, (one, other))| left.get(content).copied().unwrap_or(0) == *one.min(other));
        check(is_right, Judge::Datagrams)?;
    }
    Ok(())
}
