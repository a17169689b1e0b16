//! What may go wrong, and the plan that a seed makes of it.

use super::HostId;
use super::network::{LINK, NODES, WITNESS};
use super::rng::Rng;
use understudy::session::primary::{self, Wish};
use understudy::session::{Span, Time, secondary};

/// One thing that goes wrong, or that an operator does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// The connection of a channel ends; both ends learn of it.
    Reset {
        /// Channel.
        channel: usize,
    },
    /// A channel delivers nothing, in one direction or both, for a while.
    Stall {
        /// Channel.
        channel: usize,
        /// Which ends' sending is stalled.
        ends: [bool; 2],
        /// How long.
        lasts: Span,
    },
    /// The link becomes slow for a while.
    Slow {
        /// Added to each delay.
        by: Span,
        /// How long.
        lasts: Span,
    },
    /// A node dies with everything in its memory.
    Crash {
        /// Which.
        node: usize,
        /// Nobody is told (power loss); otherwise its connections are reset (process death).
        silent: bool,
        /// When it comes back; `None`: never.
        back_after: Option<Span>,
    },
    /// A node handles nothing for a while, then everything late (SIGSTOP, a hung hypervisor).
    Hang {
        /// Which.
        node: usize,
        /// How long.
        lasts: Span,
    },
    /// The next commit on this host fails.
    CommitFails {
        /// Host.
        host: HostId,
    },
    /// The next epoch sent arrives damaged.
    Damage,
    /// The next epoch sent is too large for its receiver.
    TooLarge,
    /// The next capture fails.
    CaptureFails,
    /// The guest ends by itself.
    GuestEnds,
    /// The witness's next write fails; what its disk holds is anyone's guess.
    PersistFails,
    /// The operator's wish, to whoever is primary.
    Wish(Wish),
    /// The operator forces a takeover on this host.
    ForceTakeover {
        /// Host.
        host: HostId,
    },
}

/// A moment that a fault may be aimed at: a session enters a state.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Moment {
    /// Of a primary.
    Primary(primary::State),
    /// Of a secondary.
    Secondary(secondary::State),
}

/// A fault that waits for its moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Aimed {
    /// When.
    pub moment: Moment,
    /// How long after it.
    pub after: Span,
    /// What.
    pub fault: Fault,
}

/// Faults strike before this.
pub const FAULTS_END: Time = Time(700_000_000);

/// The faults of a seed, each with its time.
pub fn plan(rng: &mut Rng) -> Vec<(Time, Fault)> {
    let count = match rng.below(10) {
        0 => 0,
        1..=6 => 1 + rng.below(3),
        _ => 4 + rng.below(6),
    };
    let mut plan: Vec<_> =
        (0..count).map(|_| (Time(rng.below(FAULTS_END.0 / 1000) * 1000), any_fault(rng))).collect();
    // Half of all interesting things happen while something else is still going on.
    for index in 1..plan.len() {
        if rng.chance(50) {
            plan[index].0 = plan[index - 1].0 + rng.span_us(1, 60_000);
        }
    }
    plan.retain(|(at, _)| *at < FAULTS_END);
    plan
}

/// Faults of a seed that strike at moments of decision, which chance alone would seldom hit.
pub fn aimed(rng: &mut Rng) -> Vec<Aimed> {
    let count = if rng.chance(50) { 1 + rng.below(4) } else { 0 };
    (0..count)
        .map(|_| Aimed { moment: any_moment(rng), after: rng.span_us(0, 4_000), fault: any_fault(rng) })
        .collect()
}

fn any_moment(rng: &mut Rng) -> Moment {
    use primary::State as P;
    use secondary::State as S;
    match rng.below(12) {
        0 => Moment::Primary(P::Claiming),
        1 => Moment::Primary(P::Unprotected),
        2 => Moment::Primary(P::Seeding),
        3 | 4 => Moment::Primary(P::Arming),
        5 => Moment::Primary(P::Protected),
        6 => Moment::Primary(P::LinkLost),
        7 => Moment::Primary(P::MarkingStale),
        8 => Moment::Primary(P::SwitchingOver),
        9 => Moment::Secondary(S::Alone),
        10 => Moment::Secondary(S::TakingOver),
        _ => Moment::Primary(P::PausedUndecided),
    }
}

fn any_fault(rng: &mut Rng) -> Fault {
    match rng.below(100) {
        0..=14 => Fault::Reset { channel: any_channel(rng) },
        15..=36 => {
            let ends = [[true, true], [true, false], [false, true]][rng.below(3) as usize];
            Fault::Stall { channel: any_channel(rng), ends, lasts: any_length(rng) }
        }
        37..=54 => {
            let back_after = rng.chance(75).then(|| any_length(rng));
            Fault::Crash { node: any_node(rng), silent: rng.chance(40), back_after }
        }
        55..=66 => Fault::Hang { node: any_node(rng), lasts: any_length(rng) },
        67..=70 => Fault::Slow { by: rng.span_us(2_000, 40_000), lasts: any_length(rng) },
        71..=74 => Fault::CommitFails { host: rng.below(2) as usize },
        75..=77 => Fault::Damage,
        78..=80 => Fault::TooLarge,
        81..=83 => Fault::CaptureFails,
        84 => Fault::GuestEnds,
        85..=87 => Fault::PersistFails,
        88..=89 => Fault::Wish(Wish::Unprotect),
        90..=92 => Fault::Wish(Wish::Protect),
        93..=96 => Fault::Wish(Wish::Switchover),
        _ => Fault::ForceTakeover { host: rng.below(2) as usize },
    }
}

fn any_node(rng: &mut Rng) -> usize {
    if rng.chance(25) { WITNESS } else { rng.below(NODES as u64 - 1) as usize }
}

fn any_channel(rng: &mut Rng) -> usize {
    if rng.chance(50) { LINK } else { 1 + rng.below(2) as usize }
}

/// Around the sessions' own times, so that each of them is sometimes the shorter and sometimes the longer.
fn any_length(rng: &mut Rng) -> Span {
    match rng.below(3) {
        0 => rng.span_us(500, 20_000),
        1 => rng.span_us(20_000, 120_000),
        _ => rng.span_us(120_000, 400_000),
    }
}
