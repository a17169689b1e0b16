//! What a node is told, from three layers: flags over the file over defaults.
//!
//! ```text
//!   flags ──┐
//!           ├─► Settings (every key optional) ──► NodeConfig (every key decided and checked)
//!   TOML  ──┘        merged with `or`              the only form that the engine sees
//! ```
//!
//! The same struct is read by clap and by serde, so a flag and its key cannot drift apart.

pub mod bounds;
mod colo;
pub mod deprecated;
mod fit;
mod guest;
pub mod human;
mod lab;
mod named;
mod pacing;
mod pairs;
mod settings;
mod tables;
mod text;
mod witness;

pub use colo::{AfterCrashChoice, ColoConfig, ColoSettings};
pub use guest::{
    FenceChoice, FindChanges, GuestConfigs, GuestSettings, LabGuestConfig, ModeChoice, XenGuestConfig,
};
pub use lab::LabSettings;
pub use named::{Hypervisor, Peer, Peers};
pub use pacing::{BUDGETS, BudgetSettings, PacingSettings};
pub use pairs::PairError;
pub use settings::{CONFIG_PATH, CONTROL_PATH, STATE_PATH, Settings};
pub use tables::{LimitSettings, SlowChoice, TimingSettings};
pub use witness::{EtcdSettings, WitnessAddress, WitnessConfig};

use crate::connection::{Transport, TransportError};
use crate::guest::Keep;
use crate::names::NameError;
use std::net::SocketAddr;
use std::num::NonZeroU64;
use std::path::PathBuf;
use understudy_lab::Conditions;
use understudy_session::lease::Terms;
use understudy_session::primary::{Pacing, SlowPolicy};
use understudy_session::{NodeName, Span, primary, secondary};

/// Why a node cannot be configured as asked.
#[derive(thiserror::Error, Debug)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("Cannot read the configuration file {path}")]
    Read {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    /// The file is not a configuration.
    #[error("The configuration file {0} has more than 1 MiB; is it the right file?")]
    FileTooLong(PathBuf),
    /// The file is not what it should be: syntax, an unknown key, a value of the wrong form.
    #[error("The configuration file {path} is not valid: {reason}")]
    Parse {
        path: PathBuf,
        /// The parser's words, with line and column.
        reason: String,
    },
    /// A key that must be given was not.
    #[error("{0} is missing; give the flag --{0} or the key in the configuration file")]
    Missing(&'static str),
    /// A name that cannot be used.
    #[error(transparent)]
    Name(#[from] NameError),
    /// An address that may not be used.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// A value that cannot work.
    #[error("{name} is {given}; it may be from {least} to {most}")]
    OutOfBounds { name: &'static str, given: String, least: String, most: String },
    /// Values that contradict each other.
    #[error("{0}")]
    Conflict(String),
}

/// Times, decided.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Timing {
    /// What decides when a checkpoint begins.
    pub pacing: Pacing,
    /// A sign of life is sent when nothing else was for this long.
    pub heartbeat: Span,
    /// A peer not heard for this long is lost.
    pub silence_max: Span,
    /// How long a primary waits for an ended link.
    pub link_grace: Span,
    /// How long a secondary waits for an ended link.
    pub takeover_grace: Span,
    /// How long output is held without secondary and witness before the guest is paused.
    pub hold_max: Span,
    /// When a question to the witness is repeated.
    pub witness_retry: Span,
    /// When an unacked epoch is slow.
    pub slow_max: Span,
    /// What to do about slow epochs.
    pub slow_policy: SlowPolicy,
    /// The watchdog of this host, where guests need fencing.
    pub fence: Terms,
}

/// Bounds, decided; sizes in bytes and per guest.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Epochs captured and not yet acked.
    pub in_flight_max: u32,
    /// What one pause can copy.
    pub staging_bytes: u64,
    /// The primary's shadow.
    pub shadow_bytes: u64,
    /// The secondary's buffer.
    pub epoch_buffer_bytes: u64,
    /// Output that may wait for acks.
    pub held_output_bytes: u64,
    /// What comparing may take where Xen has no log.
    pub compare_bytes_max: u64,
    /// What the images of all guests held here may take together; never more than the host has available.
    pub image_bytes_max: u64,
    /// What all full syncs together may put on the links in a second; `None`: as much as they take.
    pub full_sync_bytes_per_s: Option<NonZeroU64>,
    /// What a full copy of a disk reads in a second.
    pub disk_sync_bytes_per_s: u64,
    /// Epochs of the past that are kept of each guest held here.
    pub keep: Keep,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            in_flight_max: 8,
            staging_bytes: 64 << 20,
            shadow_bytes: 256 << 20,
            epoch_buffer_bytes: 128 << 20,
            held_output_bytes: 32 << 20,
            compare_bytes_max: 1 << 30,
            image_bytes_max: u64::MAX,
            full_sync_bytes_per_s: None,
            disk_sync_bytes_per_s: u64::MAX,
            keep: Keep::default(),
        }
    }
}

/// A node, decided and checked.
#[derive(Clone, Debug)]
pub struct NodeConfig {
    pub node: NodeName,
    /// Where peers connect to; one address at least.
    pub listen: Vec<SocketAddr>,
    /// Where the peers listen.
    pub peers: Peers,
    /// The witness, if there is one.
    pub witness: Option<WitnessConfig>,
    /// Path of the control socket.
    pub control: PathBuf,
    /// Directory of what outlives the node.
    pub state: PathBuf,
    /// Where to serve metrics.
    pub metrics: Option<SocketAddr>,
    /// Socket of the switch that lab guests are plugged into.
    pub uplink: Option<PathBuf>,
    /// What begins the name of a lab guest's tap, if its card is one.
    pub taps: Option<String>,
    /// Where disks of lab guests are.
    pub lab_disks: Option<PathBuf>,
    /// What the lab does to guests that run here.
    pub lab: Conditions,
    /// How copies that run are used.
    pub colo: ColoConfig,
    pub timing: Timing,
    pub limits: Limits,
    /// What connections are allowed; every address above passed it.
    pub transport: Transport,
    /// The guests to protect, of what runs guests on this host.
    pub guests: GuestConfigs,
}

impl NodeConfig {
    /// The times and bounds of a primary session towards `peer`.
    pub fn primary_session(&self, peer: NodeName) -> primary::Config {
        primary::Config {
            node: self.node.clone(),
            peer,
            pacing: self.timing.pacing,
            in_flight_max: self.limits.in_flight_max,
            heartbeat: self.timing.heartbeat,
            silence_max: self.timing.silence_max,
            link_grace: self.timing.link_grace,
            hold_max: self.timing.hold_max,
            witness_retry: self.timing.witness_retry,
            slow_max: self.timing.slow_max,
            slow_policy: self.timing.slow_policy,
            has_witness: self.witness.is_some(),
            colo: self.colo.session.clone(),
        }
    }

    /// The times of a secondary session.
    pub fn secondary_session(&self) -> secondary::Config {
        secondary::Config {
            node: self.node.clone(),
            heartbeat: self.timing.heartbeat,
            silence_max: self.timing.silence_max,
            takeover_grace: self.timing.takeover_grace,
            witness_retry: self.timing.witness_retry,
            // The primary gives the copy up after `hold_max` at the latest.
            flap_max: Span(self.timing.hold_max.0.saturating_mul(2)),
            has_witness: self.witness.is_some(),
            runs_copies: false,
            after_crash: self.colo.after_crash,
        }
    }
}
