//! How likely each kind of fault is in a seed, and what one of a kind is.

use super::fate::Fate;
use super::faults::{Amnesia, Fault, Thread};
use super::harm::{Harm, Trouble};
use super::network::{LINK, NODES, WITNESS};
use super::rng::Rng;
use understudy::control::Wish;
use understudy_session::Span;

/// A kind of fault.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Connections that end.
    Reset,
    /// Connections that stall.
    Stall,
    /// Nodes that die.
    Crash,
    /// Nodes that hang.
    Hang,
    /// A slow link.
    Slow,
    /// Commits that fail.
    CommitFails,
    /// Epochs that arrive damaged.
    Damage,
    /// Epochs that are too large.
    TooLarge,
    /// A capture that fails.
    CaptureFails,
    /// Captures that fail on and on.
    CapturesFail,
    /// Guests that follow a request to suspend late.
    SuspendsLate,
    /// Pages that cannot be mapped.
    Unmapped,
    /// Logs that are off, or lack something.
    Log,
    /// Threads that panic.
    Panic,
    /// Takeovers that fail, take long, or are cut short.
    Activation,
    /// Domains that stand by no more.
    Standing,
    /// Redirects that are gone.
    Redirect,
    /// Receivers that stand still.
    Starve,
    /// Guests that end.
    GuestEnds,
    /// A write of the witness that fails.
    PersistFails,
    /// A witness that hears and answers late.
    Linger,
    /// A witness that forgets.
    Amnesia,
    /// What people wish.
    Wish,
    /// A person's takeover.
    Force,
    /// A person's decision on a guest that is kept.
    Decide,
}

const KINDS: usize = 25;

/// What the weights are drawn around.
const USUAL: [(Kind, u64); KINDS] = [
    (Kind::Reset, 15),
    (Kind::Stall, 22),
    (Kind::Crash, 18),
    (Kind::Hang, 12),
    (Kind::Slow, 4),
    (Kind::CommitFails, 4),
    (Kind::Damage, 3),
    (Kind::TooLarge, 3),
    (Kind::CaptureFails, 2),
    (Kind::CapturesFail, 2),
    (Kind::SuspendsLate, 2),
    (Kind::Unmapped, 2),
    (Kind::Log, 4),
    (Kind::Panic, 3),
    (Kind::Activation, 5),
    (Kind::Standing, 3),
    (Kind::Redirect, 3),
    (Kind::Starve, 3),
    (Kind::GuestEnds, 1),
    (Kind::PersistFails, 3),
    (Kind::Linger, 5),
    (Kind::Amnesia, 3),
    (Kind::Wish, 9),
    (Kind::Force, 4),
    (Kind::Decide, 2),
];

/// The weights of a seed: drawn, so that each kind is sometimes rife and sometimes absent.
#[derive(Clone, Debug)]
pub struct Weights([(Kind, u64); KINDS]);

impl Weights {
    /// Those of a seed: half of them as usual, half drawn. Where kinds are `rife`, hardly anything else strikes.
    pub fn draw(rng: &mut Rng, rife: &[Kind]) -> Self {
        let mut weights = USUAL;
        if rng.chance(50) {
            weights.iter_mut().for_each(|(_, usual)| *usual *= [0, 1, 1, 4][rng.below(4) as usize]);
        }
        if !rife.is_empty() {
            let weight = |kind| if rife.contains(&kind) { 40 } else { 1 };
            weights.iter_mut().for_each(|(kind, it)| *it = weight(*kind));
        }
        Self(weights)
    }

    fn kind(&self, rng: &mut Rng) -> Kind {
        let sum: u64 = self.0.iter().map(|(_, weight)| weight).sum();
        let mut drawn = rng.below(sum.max(1));
        for (kind, weight) in self.0 {
            if drawn < weight {
                return kind;
            }
            drawn -= weight;
        }
        Kind::Reset
    }

    /// One fault.
    pub fn any(&self, rng: &mut Rng) -> Fault {
        let guest = usize::from(rng.chance(25));
        let host = rng.below(2) as usize;
        let choice = rng.below(12);
        match self.kind(rng) {
            Kind::Reset => Fault::Reset { channel: any_channel(rng) },
            Kind::Stall => {
                let ends = [[true, true], [true, false], [false, true]][choice as usize % 3];
                Fault::Stall { channel: any_channel(rng), ends, lasts: any_length(rng) }
            }
            Kind::Crash => {
                let back_after = rng.chance(75).then(|| any_length(rng));
                Fault::Crash { node: any_node(rng), silent: rng.chance(40), back_after }
            }
            Kind::Hang => Fault::Hang { node: any_node(rng), lasts: any_length(rng) },
            Kind::Slow => Fault::Slow { by: rng.span_us(2_000, 40_000), lasts: any_length(rng) },
            Kind::CommitFails => Fault::CommitFails { host },
            Kind::Damage => Fault::Harms { host, harm: Harm::Damage },
            Kind::TooLarge => Fault::Harms { host, harm: Harm::TooLarge },
            Kind::CaptureFails => Fault::CapturesFail { guest, trouble: Trouble::Once },
            Kind::CapturesFail => {
                let trouble = [Trouble::LogLost, Trouble::ForEver][choice as usize % 2];
                Fault::CapturesFail { guest, trouble }
            }
            Kind::SuspendsLate => Fault::CapturesFail { guest, trouble: Trouble::SuspendsLate },
            Kind::Unmapped => Fault::CapturesFail { guest, trouble: Trouble::UnmappedPage },
            Kind::Log => match choice % 3 {
                0 => Fault::LogOff { guest },
                1 => Fault::BitsStolen { guest },
                _ => Fault::BitsLost { guest, writes: 1 + rng.below(3) },
            },
            Kind::Panic => {
                let thread = [Thread::Capture, Thread::Encode, Thread::Receive][choice as usize % 3];
                Fault::ThreadDies { guest, thread }
            }
            Kind::Activation if choice == 9 => Fault::ActivationShort { host },
            Kind::Activation => match choice % 3 {
                0 => Fault::ActivationFails { host },
                1 => Fault::ActivationSlow { host },
                _ => Fault::DiesActivating { host },
            },
            Kind::Standing => {
                let fate = [Fate::Destroyed, Fate::Ran][choice as usize % 2];
                Fault::StandingSuffers { host, guest, fate }
            }
            Kind::Redirect => Fault::RedirectLost { guest, lasts: rng.span_us(500, 80_000) },
            Kind::Starve => {
                Fault::ReceiverHangs { host, guest, lasts: (choice < 9).then(|| any_length(rng)) }
            }
            Kind::GuestEnds => Fault::GuestEnds { guest },
            Kind::PersistFails => Fault::PersistFails,
            Kind::Linger => Fault::WitnessLingers { lasts: any_length(rng) },
            Kind::Amnesia => {
                let how = [Amnesia::RolledBack, Amnesia::Emptied, Amnesia::NotDurable][choice as usize % 3];
                Fault::WitnessForgets(how)
            }
            Kind::Wish => {
                let wish = [Wish::Unprotect, Wish::Protect, Wish::Switchover, Wish::Switchover];
                Fault::Wish { guest, wish: wish[choice as usize % 4] }
            }
            Kind::Force => Fault::ForceTakeover { host, guest },
            Kind::Decide => {
                Fault::Wish { guest, wish: if choice < 10 { Wish::Reclaim } else { Wish::Discard } }
            }
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
