//! What a run is set to: times and bounds of the sessions, what surrounds them, some of it from the seed.

use super::names::name;
use super::{GUESTS, HostId};
use std::collections::BTreeMap;
use std::path::PathBuf;
use understudy::config::{ColoConfig, GuestConfigs, Limits, NodeConfig, Timing, WitnessConfig};
use understudy::connection::Transport;
use understudy::guest::Keep;
use understudy::metrics::Metrics;
use understudy_lab::Conditions;
use understudy_session::lease::Terms;
use understudy_session::primary::{Pacing, SlowPolicy};
use understudy_session::{Mode, Span};

/// Bytes for uncommitted epochs.
pub const BUFFER_BYTES_MAX: usize = 1 << 20;

/// The longest wait for a copy's frame that a seed draws.
pub(super) const MATCH_MAX: Span = Span::from_ms(30);
/// Frames of input that are kept for a copy.
pub(super) const INPUT_FRAMES_MAX: usize = 64;
/// Frames of a copy that are kept, at most.
pub(super) const SENT_FRAMES_MAX: usize = 64;

/// The sessions' times and bounds, some of them from the seed.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Epochs in flight.
    pub in_flight_max: u32,
    /// Between checkpoints.
    pub pacing: Pacing,
    /// What acts when acks are slow.
    pub slow_policy: SlowPolicy,
    /// Whether there is a witness.
    pub has_witness: bool,
    /// Guests there are.
    pub guests: usize,
    /// Guests go on when their engine dies.
    pub outlives: bool,
    /// Pages that did not change are compared with the copy's; not so where changes are found by comparing.
    pub scrubs: bool,
    /// Images are held by domains that stand by.
    pub stands_by: bool,
    /// Guests have disks.
    pub disks: bool,
    /// A host that comes back from a loss of power starts its guests anew.
    pub autostarts: bool,
    /// Guests answer what they are asked, and may run twice; of a hundred answers so many depend on a draw.
    pub answers: Option<u64>,
    /// How each guest is protected at first.
    pub modes: [Mode; GUESTS],
    /// How copies are used.
    pub colo: ColoConfig,
    /// There is a second network, on which engines hear each other's signs of life.
    pub has_spare: bool,
    /// The guest needs fencing.
    pub is_fenced: bool,
    /// The witness may forget.
    pub witness_forgets: bool,
    /// What engines count into: nobody looks at it.
    pub metrics: Metrics,
}

impl Settings {
    /// After this a peer that says nothing is lost.
    pub const SILENCE_MAX: Span = Span::from_ms(70);
    /// How long a secondary waits for a link to come back.
    pub const TAKEOVER_GRACE: Span = Span::from_ms(60);
    /// How often an engine is heard on the second network.
    pub const BEAT_EVERY: Span = Span::from_ms(20);
    /// How long output is held before the guest is paused.
    const HOLD_MAX: Span = Span::from_ms(150);
    /// For how long a secondary may be kept waiting by signs of life.
    pub const FLAP_MAX: Span = Span(2 * Self::HOLD_MAX.0);
    /// When an unacked epoch is slow.
    pub const SLOW_MAX: Span = Span::from_ms(60);

    pub(super) fn node(&self, host: HostId) -> NodeConfig {
        let nowhere = std::net::SocketAddr::from(([127, 0, 0, 1], 1));
        let ms = Span::from_ms;
        NodeConfig {
            node: name(host),
            listen: vec![nowhere],
            peers: BTreeMap::from([(name(1 - host), vec![nowhere.into()])]),
            witness: self.has_witness.then_some(WitnessConfig::Own(nowhere)),
            control: PathBuf::new(),
            state: PathBuf::new(),
            metrics: None,
            uplink: None,
            taps: None,
            lab_disks: None,
            lab: Conditions::NONE,
            colo: self.colo.clone(),
            timing: Timing {
                pacing: self.pacing,
                heartbeat: ms(20),
                silence_max: Self::SILENCE_MAX,
                link_grace: ms(25),
                takeover_grace: Self::TAKEOVER_GRACE,
                hold_max: Self::HOLD_MAX,
                witness_retry: ms(25),
                fence: Terms::new(Span::from_ms(5_000)).expect("5 s are enough for a watchdog"),
                slow_max: Self::SLOW_MAX,
                slow_policy: self.slow_policy,
            },
            limits: Limits {
                in_flight_max: self.in_flight_max,
                staging_bytes: 1 << 20,
                shadow_bytes: 1 << 20,
                epoch_buffer_bytes: BUFFER_BYTES_MAX as u64,
                held_output_bytes: 1 << 20,
                compare_bytes_max: 0,
                image_bytes_max: u64::MAX,
                full_sync_bytes_per_s: None,
                disk_sync_bytes_per_s: u64::MAX,
                keep: Keep::default(),
            },
            transport: Transport::PlainLoopback,
            guests: GuestConfigs::Lab(Vec::new()),
        }
    }
}
