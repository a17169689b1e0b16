//! What may go wrong, and the plan that a seed makes of it.

use super::guest::Trouble;
use super::host::Harm;
use super::network::{LINK, NODES, WITNESS};
use super::rng::Rng;
use super::{GuestId, HostId};
use understudy::control::Wish;
use understudy::session::primary;
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
    /// The next epoch that this host receives is harmed.
    Harms {
        /// Host.
        host: HostId,
        /// How.
        harm: Harm,
    },
    /// Captures of a guest fail, wherever it runs.
    CapturesFail {
        /// Which guest.
        guest: GuestId,
        /// How long.
        trouble: Trouble,
    },
    /// A thread of a guest panics, on each host that has such a thread.
    ThreadDies {
        /// Which guest.
        guest: GuestId,
        /// Which thread.
        thread: Thread,
    },
    /// The next takeover on this host cannot start its guest.
    ActivationFails {
        /// Host.
        host: HostId,
    },
    /// The guest ends by itself.
    GuestEnds {
        /// Which.
        guest: GuestId,
    },
    /// The witness's next write fails; what its disk holds is anyone's guess.
    PersistFails,
    /// An operator's wish, on both hosts: one of them runs the guest.
    Wish {
        /// For which guest.
        guest: GuestId,
        /// What.
        wish: Wish,
    },
    /// The operator forces a takeover on this host.
    ForceTakeover {
        /// Host.
        host: HostId,
        /// Of which guest.
        guest: GuestId,
    },
}

/// A thread of a guest.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Thread {
    /// It takes checkpoints.
    Capture,
    /// It encodes them.
    Encode,
    /// It takes them in.
    Receive,
}

impl Fault {
    /// Whether it is a person's or the guest's own doing.
    pub fn is_wished(self) -> bool {
        matches!(self, Self::GuestEnds { .. } | Self::Wish { .. } | Self::ForceTakeover { .. })
    }

    /// Why this fault does not strike yet: the engine of today fails it, for the reason given.
    pub fn is_known(self) -> Option<&'static str> {
        super::known::reason(self)
    }
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
pub fn plan(rng: &mut Rng, weights: &Weights) -> Vec<(Time, Fault)> {
    let count = match rng.below(10) {
        0 => 0,
        1..=6 => 1 + rng.below(3),
        _ => 4 + rng.below(6),
    };
    let mut plan: Vec<_> =
        (0..count).map(|_| (Time(rng.below(FAULTS_END.0 / 1000) * 1000), weights.any(rng))).collect();
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
pub fn aimed(rng: &mut Rng, weights: &Weights) -> Vec<Aimed> {
    let count = if rng.chance(50) { 1 + rng.below(4) } else { 0 };
    (0..count)
        .map(|_| Aimed { moment: any_moment(rng), after: rng.span_us(0, 4_000), fault: weights.any(rng) })
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

/// How likely each kind of fault is in a seed: drawn, so that each kind is sometimes rife and sometimes absent.
#[derive(Clone, Debug)]
pub struct Weights([u64; KINDS]);

const KINDS: usize = 17;
/// What the weights are drawn around.
const USUAL: [u64; KINDS] = [15, 22, 18, 12, 4, 4, 3, 3, 3, 1, 3, 2, 3, 4, 3, 4, 4];

impl Weights {
    /// Those of a seed: half of them as usual, half drawn.
    pub fn draw(rng: &mut Rng) -> Self {
        if rng.chance(50) {
            return Self(USUAL);
        }
        Self(USUAL.map(|usual| usual * [0, 1, 1, 4][rng.below(4) as usize]))
    }

    fn kind(&self, rng: &mut Rng) -> usize {
        let sum: u64 = self.0.iter().sum();
        let mut drawn = rng.below(sum.max(1));
        for (kind, weight) in self.0.iter().enumerate() {
            if drawn < *weight {
                return kind;
            }
            drawn -= weight;
        }
        0
    }

    /// One fault.
    pub fn any(&self, rng: &mut Rng) -> Fault {
        let guest = usize::from(rng.chance(25));
        let host = rng.below(2) as usize;
        match self.kind(rng) {
            0 => Fault::Reset { channel: any_channel(rng) },
            1 => {
                let ends = [[true, true], [true, false], [false, true]][rng.below(3) as usize];
                Fault::Stall { channel: any_channel(rng), ends, lasts: any_length(rng) }
            }
            2 => {
                let back_after = rng.chance(75).then(|| any_length(rng));
                Fault::Crash { node: any_node(rng), silent: rng.chance(40), back_after }
            }
            3 => Fault::Hang { node: any_node(rng), lasts: any_length(rng) },
            4 => Fault::Slow { by: rng.span_us(2_000, 40_000), lasts: any_length(rng) },
            5 => Fault::CommitFails { host },
            6 => Fault::Harms { host, harm: Harm::Damage },
            7 => Fault::Harms { host, harm: Harm::TooLarge },
            8 => Fault::CapturesFail { guest, trouble: Trouble::Once },
            9 => Fault::GuestEnds { guest },
            10 => Fault::PersistFails,
            11 => Fault::Wish { guest, wish: Wish::Unprotect },
            12 => Fault::Wish { guest, wish: Wish::Protect },
            13 => Fault::Wish { guest, wish: Wish::Switchover },
            14 => Fault::ForceTakeover { host, guest },
            15 => Fault::ActivationFails { host },
            _ => match rng.below(5) {
                0 => Fault::ThreadDies { guest, thread: Thread::Capture },
                1 => Fault::ThreadDies { guest, thread: Thread::Encode },
                2 => Fault::ThreadDies { guest, thread: Thread::Receive },
                3 => Fault::CapturesFail { guest, trouble: Trouble::LogLost },
                _ => Fault::CapturesFail { guest, trouble: Trouble::ForEver },
            },
        }
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
