//! What a drill is asked to do.

use super::pair::Pair;
use crate::config::PacingSettings;
use crate::config::human::show_span;
use crate::etcd::EtcdConfig;
use std::fmt;
use understudy_lab::Divergence;
use understudy_session::primary::Pacing;
use understudy_session::{Mode, Span};

/// A failure to rehearse.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Failure {
    /// SIGKILL of the primary with its guests.
    Kill,
    /// SIGSTOP of the primary; SIGCONT after the takeover.
    Hang,
    /// The network parts some of the three.
    Partition(Cut),
    /// SIGKILL of the secondary.
    Secondary,
    /// SIGKILL of the witness.
    Witness,
    /// No failure: a planned move.
    Switchover,
}

/// What the network parts. The clients' network stays whole, which is the hard case: an old owner could be
/// heard.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Cut {
    /// The hosts from each other; both reach the witness.
    Hosts,
    /// The primary from the secondary and the witness.
    Primary,
    /// The secondary from the primary and the witness.
    Secondary,
    /// What the primary sends to the secondary.
    ToSecondary,
    /// What the secondary sends to the primary.
    ToPrimary,
}

impl Cut {
    /// All cuts, in the order in which rounds go through them.
    pub const ALL: [Self; 5] =
        [Self::Hosts, Self::Primary, Self::Secondary, Self::ToSecondary, Self::ToPrimary];
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Kill => "kill",
            Self::Hang => "hang",
            Self::Partition(Cut::Hosts) => "partition: hosts",
            Self::Partition(Cut::Primary) => "partition: primary",
            Self::Partition(Cut::Secondary) => "partition: secondary",
            Self::Partition(Cut::ToSecondary) => "partition: to secondary",
            Self::Partition(Cut::ToPrimary) => "partition: to primary",
            Self::Secondary => "secondary",
            Self::Witness => "witness",
            Self::Switchover => "switchover",
        })
    }
}

/// A drill, decided.
#[derive(Clone, Debug)]
pub struct Plan {
    /// What fails, round by round.
    pub rounds: Vec<Failure>,
    /// Decides when in a round the failure strikes.
    pub seed: u64,
    /// What decides when checkpoints begin.
    pub pacing: Pacing,
    /// Memory of each guest.
    pub memory_bytes: u64,
    /// The size of each guest's disk, if they have any.
    pub disk_bytes: Option<u64>,
    /// How the guests use it, in the lab's words.
    pub load: String,
    /// How the guests are protected.
    pub mode: Mode,
    /// What differs between the hosts, for their guests.
    pub diverge: Option<Divergence>,
    /// How long a guest stands still to suspend, beside the work.
    pub suspend_takes: Span,
    /// Guests, all on host A at first.
    pub guests: u16,
    /// Clients of each guest.
    pub clients: u16,
    /// Whether links and witness go without TLS.
    pub plain: bool,
    /// Whether the processes' logs are kept even if all went well.
    pub keep_logs: bool,
    /// The etcd that serves as witness, if it is not a process of the drill's.
    pub etcd: Option<EtcdConfig>,
    /// The installed hosts to play on, if not on this machine alone.
    pub pair: Option<Pair>,
    /// Whether the spread of pauses and commits is wanted, for which the hosts serve metrics.
    pub wants_spreads: bool,
    /// Further flags for both hosts.
    pub node_flags: Vec<String>,
}

impl Plan {
    /// The flags of a host that runs guests of this plan.
    pub fn host_flags(&self) -> Vec<String> {
        let diverge = self.diverge.map(|what| ["--lab-diverge".into(), what.to_string()]);
        let suspend = (self.suspend_takes > Span(0))
            .then(|| ["--lab-suspend-takes".into(), show_span(self.suspend_takes)]);
        let pacing = PacingSettings::from(self.pacing).as_flags();
        let conditions = diverge.into_iter().chain(suspend).flatten();
        pacing.into_iter().chain(conditions).chain(self.node_flags.iter().cloned()).collect()
    }

    /// Whether any round parts the network, so that links must pass through relays.
    pub fn needs_relays(&self) -> bool {
        self.rounds.iter().any(|failure| matches!(failure, Failure::Partition(_)))
    }
}
