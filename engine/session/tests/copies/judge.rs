//! What holds of a guest with a copy, whatever fails. The judges see what happens, never a session.

use crate::guest::{Frame, Guest};
use std::collections::BTreeMap;
use understudy_session::Time;

/// The rules.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Rule {
    /// C1: before its epoch's ack a frame leaves only if the copy has sent the same, from the right base, in this generation.
    Twin,
    /// C2: no acknowledgement leaves that the state which goes on has not received.
    Received,
    /// C3: a state that is taken over contains what clients have seen.
    Seen,
    /// C4: what a copy sends is on no wire before it is the guest.
    Mute,
    /// C5: a copy is exactly the image when it is set, and then hears what the guest heard, once and in order.
    Exact,
    /// C7: what waits is bounded.
    Bounds,
    /// C8: where nothing fails, what is sent leaves.
    Leaves,
}

impl Rule {
    pub(crate) const ALL: [Self; 7] =
        [Self::Twin, Self::Received, Self::Seen, Self::Mute, Self::Exact, Self::Bounds, Self::Leaves];
}

/// Why a frame left.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Way {
    Match,
    Ack,
    Pass,
}

#[derive(Debug, Default)]
pub(crate) struct Judges {
    only: Option<Rule>,
    /// What left: of which generation.
    seen: Vec<(u64, Frame)>,
    /// Guests at each cut, by generation and epoch.
    cuts: BTreeMap<(u64, u64), Guest>,
    /// What copies have sent, by generation and base.
    told: BTreeMap<(u64, u64), (Vec<Frame>, u64)>,
    /// The next request that the copy is to hear.
    copy_next: Option<u64>,
    newest: u64,
    pub(crate) broken: Option<(Rule, String)>,
    /// How often something was looked at.
    pub(crate) looked: BTreeMap<&'static str, u64>,
}

impl Judges {
    pub(crate) fn new(only: Option<Rule>) -> Self {
        Self { only, ..Self::default() }
    }

    fn count(&mut self, what: &'static str) {
        *self.looked.entry(what).or_default() += 1;
    }

    fn hold(&mut self, rule: Rule, holds: bool, what: impl FnOnce() -> String) {
        let is_heard = self.only.is_none_or(|only| only == rule);
        if !holds && is_heard && self.broken.is_none() {
            self.broken = Some((rule, what()));
        }
    }

    pub(crate) fn cut(&mut self, generation: u64, epoch: u64, guest: &Guest) {
        self.cuts.insert((generation, epoch), guest.clone());
    }

    pub(crate) fn copy_set(&mut self, generation: u64, base: u64, copy: &Guest, is_running: bool) {
        self.count("copies set");
        let is_exact = self.cuts.get(&(generation, base)) == Some(copy) && !is_running;
        self.hold(Rule::Exact, is_exact, || {
            format!("the copy is set to {base} of {generation} and is {copy:?}")
        });
        self.copy_next = Some(copy.received + 1);
    }

    pub(crate) fn copy_hears(&mut self, request: u64) {
        let next = self.copy_next.unwrap_or(0);
        self.hold(Rule::Exact, request == next, || format!("the copy hears {request}, and {next} is next"));
        self.copy_next = Some(request + 1);
    }

    pub(crate) fn copy_sends(&mut self, generation: u64, base: u64, frame: Frame) {
        let told = self.told.entry((generation, base)).or_default();
        told.0.push(frame);
        told.1 = told.1.max(frame.received());
    }

    /// `after` is the newest epoch that was cut before the frame was sent, `acked` the newest acked.
    pub(crate) fn leaves(
        &mut self,
        generation: u64,
        frame: Frame,
        after: Option<u64>,
        acked: Option<u64>,
        way: Way,
    ) {
        self.count(match way {
            Way::Match => "left by match",
            Way::Ack => "left by ack",
            Way::Pass => "passed",
        });
        if way == Way::Match {
            let told = after.and_then(|base| self.told.get(&(generation, base)));
            let has_twin = match frame {
                Frame::Ack { received } => told.is_some_and(|(_, heard)| *heard >= received),
                Frame::Reply { place, digest, received } => told.is_some_and(|(frames, heard)| {
                    *heard >= received
                        && frames.iter().any(|frame| {
                            matches!(frame, Frame::Reply { place: p, digest: d, .. } if (*p, *d) == (place, digest))
                        })
                }),
            };
            let is_right = has_twin && after == acked;
            self.hold(Rule::Twin, is_right, || {
                format!("{frame:?} of generation {generation} after {after:?} leaves, {acked:?} being acked")
            });
        }
        self.seen.push((generation, frame));
    }

    /// What leaves a host whose generation is over must be in the guest that goes on.
    pub(crate) fn late(&mut self, frame: Frame, now: &Guest) {
        self.count("left late");
        self.hold(Rule::Seen, now.has_sent(frame), || {
            format!("{frame:?} leaves late and is not in what goes on")
        });
        let has_heard = frame.received() <= now.received;
        self.hold(Rule::Received, has_heard, || format!("{frame:?} leaves late, and that was not heard"));
    }

    pub(crate) fn taken_over(&mut self, generation: u64, guest: &Guest) {
        self.count("takeovers");
        if generation > 2 {
            self.count("takeovers after another");
        }
        self.newest = generation;
        let lost = self.seen.iter().find(|(_, frame)| !guest.has_sent(*frame)).copied();
        self.hold(Rule::Seen, lost.is_none(), || format!("{lost:?} was seen and is not in what goes on"));
        let unheard = self.seen.iter().find(|(_, frame)| frame.received() > guest.received).copied();
        self.hold(Rule::Received, unheard.is_none(), || {
            format!("{unheard:?} was seen, and {} have been heard", guest.received)
        });
    }

    pub(crate) fn copy_on_the_wire(&mut self, frame: Frame) {
        self.hold(Rule::Mute, false, || format!("the copy's {frame:?} is on the wire"));
    }

    pub(crate) fn waits(&mut self, what: &str, count: usize, max: usize) {
        self.hold(Rule::Bounds, count <= max, || format!("{count} wait in {what}, and {max} may"));
    }

    pub(crate) fn held_since(&mut self, since: Time, now: Time, max_ms: u64) {
        let held_ms = (now - since).0 / 1_000_000;
        self.hold(Rule::Leaves, held_ms <= max_ms, || {
            format!("a frame is held for {held_ms} ms, and nothing fails")
        });
    }
}
