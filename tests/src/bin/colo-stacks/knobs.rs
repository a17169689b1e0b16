//! What a round is made of; what the command does not say, its seed decides.

use crate::guest::Guest;
use crate::skew::Shift;
use crate::wire::Weather;
use crate::world::Family;
use clap::{Args, ValueEnum};
use std::fmt;
use std::time::Duration;
use understudy_netbuf::kernel::Offloads;
use understudy_tests::drivers::rng::Rng;

/// A wrongness, on purpose.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum Mutant {
    /// Time stamps are left as they are.
    TsecrKept,
    /// A frame leaves whatever the copy has acknowledged.
    AckRuleOff,
    /// Input of a connection reaches the copy before its handshake is known.
    HandshakeNotAwaited,
    /// What the copy has sent and nobody has seen leaves at the takeover with the clock that it had.
    NotBroughtForward,
}

/// Knobs of the command; each is drawn from the seed unless it is given.
#[derive(Args, Clone, Debug)]
pub(crate) struct Given {
    /// How late the copy gets its input, in milliseconds.
    #[arg(long, value_parser = clap::value_parser!(u64).range(0..=1000))]
    delay_ms: Option<u64>,
    /// Of 10,000 frames between client and hub, so many are lost.
    #[arg(long, value_parser = clap::value_parser!(u64).range(0..=5000))]
    lost: Option<u64>,
    /// Of 10,000 frames on each wire, so many are overtaken.
    #[arg(long, value_parser = clap::value_parser!(u64).range(0..=5000))]
    overtaken: Option<u64>,
    /// IPv4 or IPv6.
    #[arg(long, value_enum)]
    family: Option<Family>,
    /// Super-packets and partial checksums.
    #[arg(long)]
    offloads: Option<bool>,
    /// TCP time stamps.
    #[arg(long)]
    timestamps: Option<bool>,
    /// Selective acknowledgements.
    #[arg(long)]
    sack: Option<bool>,
    /// Explicit congestion notification.
    #[arg(long)]
    ecn: Option<bool>,
    /// What runs in both guests.
    #[arg(long, value_enum, default_value_t = Guest::Own)]
    pub(crate) guest: Guest,
    /// The primary does not end.
    #[arg(long)]
    pub(crate) spare: bool,
    /// Be wrong in this way.
    #[arg(long, value_enum)]
    pub(crate) mutant: Option<Mutant>,
}

impl Given {
    /// Nothing but what runs in both guests.
    pub(crate) fn of(guest: Guest) -> Self {
        Self {
            delay_ms: None,
            lost: None,
            overtaken: None,
            family: None,
            offloads: None,
            timestamps: None,
            sack: None,
            ecn: None,
            guest,
            spare: false,
            mutant: None,
        }
    }
}

/// What a round is made of.
#[derive(Clone, Debug)]
pub(crate) struct Knobs {
    pub(crate) seed: u64,
    pub(crate) guest: Guest,
    /// Whether the primary ends.
    pub(crate) is_killed: bool,
    pub(crate) family: Family,
    pub(crate) offloads: Offloads,
    pub(crate) timestamps: bool,
    pub(crate) sack: bool,
    pub(crate) ecn: bool,
    /// To the copy.
    pub(crate) mirror: Weather,
    /// Between client and hub, each way.
    pub(crate) wire: Weather,
    /// Of client, primary and copy: sequence numbers, time stamps.
    pub(crate) skews: [(Shift, u32); 3],
    pub(crate) mutant: Option<Mutant>,
}

impl Knobs {
    /// With what a mutant needs to be seen.
    pub(crate) fn of_mutant(seed: u64, mutant: Mutant) -> Self {
        let given = Given::of(Guest::Own);
        let given = Given { timestamps: Some(true), mutant: Some(mutant), ..given };
        // Clocks differ by as much as the copy is late.
        let delay_ms = if mutant == Mutant::NotBroughtForward { 60 } else { 5 };
        Self::draw(seed, &Given { delay_ms: Some(delay_ms), lost: Some(0), overtaken: Some(0), ..given })
    }

    pub(crate) fn draw(seed: u64, given: &Given) -> Self {
        let mut rng = Rng::new(seed);
        let family = if rng.chance(50) { Family::V4 } else { Family::V6 };
        let has_offloads = rng.chance(50);
        let [timestamps, sack, ecn] = [85, 85, 50].map(|percent| rng.chance(percent));
        let delay_ms = [0, 0, 1, 2, 5, 20, 60][rng.below(7) as usize];
        let lost = if rng.chance(40) { 1 + rng.below(100) } else { 0 };
        let overtaken = if rng.chance(40) { 1 + rng.below(200) } else { 0 };
        let mut skew = || {
            let shift = match rng.chance(50) {
                true => Shift::By(rng.bits() as u32),
                false => Shift::WrapWithin(300_000),
            };
            (shift, rng.bits() as u32)
        };
        let skews = [skew(), skew(), skew()];
        let late_max = Duration::from_millis(3);
        let wire = Weather {
            lost: given.lost.unwrap_or(lost),
            overtaken: given.overtaken.unwrap_or(overtaken),
            late_max,
            ..Weather::default()
        };
        let delay = Duration::from_millis(given.delay_ms.unwrap_or(delay_ms));
        Self {
            seed,
            guest: given.guest,
            is_killed: !given.spare,
            family: given.family.unwrap_or(family),
            offloads: if given.offloads.unwrap_or(has_offloads) { Offloads::All } else { Offloads::None },
            timestamps: given.timestamps.unwrap_or(timestamps),
            sack: given.sack.unwrap_or(sack),
            ecn: given.ecn.unwrap_or(ecn),
            mirror: Weather { delay, lost: 0, ..wire },
            wire,
            skews,
            mutant: given.mutant,
        }
    }

    /// Whether frames arrive as they were sent.
    pub(crate) fn is_calm(&self) -> bool {
        self.wire.lost == 0 && self.wire.overtaken == 0
    }
}

impl fmt::Display for Knobs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, guest, family, wire, .. } = self;
        let delay_ms = self.mirror.delay.as_millis();
        write!(f, "seed {seed}: {guest:?}, {family:?}, mirror {delay_ms} ms")?;
        write!(f, ", lost {}, overtaken {} of 10,000", wire.lost, wire.overtaken)?;
        let switches = [
            ("offloads", self.offloads == Offloads::All),
            ("time stamps", self.timestamps),
            ("sack", self.sack),
            ("ecn", self.ecn),
            ("spared", !self.is_killed),
        ];
        for (what, _) in switches.iter().filter(|(_, is_on)| *is_on) {
            write!(f, ", {what}")?;
        }
        match self.mutant {
            Some(mutant) => write!(f, ", {mutant:?}"),
            None => Ok(()),
        }
    }
}
