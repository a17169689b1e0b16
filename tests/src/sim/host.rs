//! A host of the simulator: it is down, or runs a guest, or holds a copy. The driver around the sessions is
//! modelled in `primary_host` and `secondary_host`.

use super::facts::HostView;
use super::model::{Guest, Payload, State};
use super::mutant::Mutant;
use super::network::Wire;
use std::collections::VecDeque;
use understudy::session::{self, EpochKind, NodeName, Span, Time};
use understudy_checkpoint::{Epoch, Generation};
use understudy_netbuf::{EpochQueue, Limits};

/// Frames that a host's queue holds at most.
pub const FRAMES_MAX: usize = 512;

/// Complete epochs that a secondary's buffer holds at most. While it is full, the link is not read.
pub const BUFFER_MAX: usize = 2;

/// What a host does for the guest.
#[derive(Debug)]
pub enum Role {
    /// It is down.
    Down,
    /// It runs the guest.
    Primary(Box<PrimaryHost>),
    /// It holds a copy, or offers to.
    Secondary(Box<SecondaryHost>),
}

/// A host that runs the guest.
#[derive(Debug)]
pub struct PrimaryHost {
    /// Decides.
    pub session: session::Primary,
    /// The guest, once it was let run; none after its end.
    pub guest: Option<Guest>,
    /// The guest is started when output may pass for the first time.
    pub to_be_started: bool,
    /// Swaps that a mutant has pretended.
    pub pretended: u64,
    /// Suspended by `PauseGuest` or a last capture.
    pub halted: bool,
    /// Fenced, and kept.
    pub held: bool,
    /// Output commit.
    pub queue: EpochQueue,
    /// Words written in each capture that is not acked: what a resync must carry again.
    pub unacked: VecDeque<(Epoch, u8)>,
    /// The capture before.
    pub last_captured: Option<Epoch>,
    /// What the outstanding capture is.
    pub capture: Option<Capture>,
}

/// A capture that is under way.
#[derive(Clone, Copy, Debug)]
pub struct Capture {
    /// Generation to send it in.
    pub generation: Generation,
    /// Its epoch.
    pub epoch: Epoch,
    /// What it copies.
    pub what: session::primary::Capture,
    /// Leave the guest suspended.
    pub stay_paused: bool,
    /// Told to stop.
    pub aborted: bool,
}

/// A host that holds a copy.
#[derive(Debug)]
pub struct SecondaryHost {
    /// Decides.
    pub session: session::Secondary,
    /// The image, if it is whole.
    pub image: Option<(Generation, Epoch, State)>,
    /// The epoch to take in.
    pub receiving: Option<(Generation, Epoch, EpochKind)>,
    /// Complete epochs that wait for their commit.
    pub buffer: VecDeque<Payload>,
    /// What the link has brought while the buffer was full.
    pub inbox: VecDeque<Wire>,
    /// When the commit before is done.
    pub busy_until: Time,
}

/// One host.
#[derive(Debug)]
pub struct Host {
    /// What it does.
    pub role: Role,
    /// Roles it has had.
    pub life: u64,
    /// Timeouts handled at the present moment.
    pub timeouts_in_a_row: usize,
    /// Its next commit fails.
    pub commit_fails: bool,
    /// Its next capture fails.
    pub capture_fails: bool,
    /// Its next epoch arrives damaged.
    pub damage: bool,
    /// Its next epoch is too large.
    pub too_large: bool,
}

impl Host {
    pub(super) fn down() -> Self {
        Self {
            role: Role::Down,
            life: 0,
            timeouts_in_a_row: 0,
            commit_fails: false,
            capture_fails: false,
            damage: false,
            too_large: false,
        }
    }

    /// When its session has something to do.
    pub fn next_timeout(&self) -> Option<Time> {
        match &self.role {
            Role::Down => None,
            Role::Primary(host) => host.session.next_timeout(),
            Role::Secondary(host) => host.session.next_timeout(),
        }
    }

    /// The generation it runs a guest in.
    pub fn runs(&self) -> Option<Generation> {
        match &self.role {
            Role::Primary(host) if host.guest.is_some() && !host.held => Some(host.session.generation()),
            _ => None,
        }
    }

    /// The image it could take over from.
    pub fn image(&self) -> Option<(Generation, Epoch, State)> {
        match &self.role {
            Role::Secondary(host) => host.image,
            _ => None,
        }
    }

    /// What the judges see of it.
    pub fn view(&self, in_flight_max: usize) -> HostView {
        let mut view = HostView {
            runs: self.runs(),
            image: self.image(),
            timeouts_in_a_row: self.timeouts_in_a_row,
            ..HostView::default()
        };
        match &self.role {
            Role::Down => {}
            Role::Primary(host) => {
                let stats = host.queue.stats();
                // One more: the capture that was under way when the link was lost.
                view.in_flight = (host.session.in_flight(), in_flight_max + 2);
                view.held_frames = (stats.held_frames, FRAMES_MAX);
                view.dropped_frames = stats.dropped_at_limit;
            }
            Role::Secondary(host) => view.uncommitted = (host.buffer.len(), BUFFER_MAX),
        }
        view
    }
}

impl PrimaryHost {
    /// The guest's output queue, holding until the session says otherwise.
    pub(super) fn queue(open: Epoch, mutant: Option<Mutant>) -> EpochQueue {
        let limits = Limits { bytes_max: 1 << 20, frames_max: FRAMES_MAX, pressure_percent: 4 };
        if mutant == Some(Mutant::NoClaim) {
            return EpochQueue::new(open, limits);
        }
        EpochQueue::holding(open, limits)
    }
}

/// Name of a host's engine.
pub fn name(host: usize) -> NodeName {
    NodeName(["A", "B"][host].to_owned())
}

/// The sessions' times and bounds, some of them from the seed.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Epochs in flight.
    pub in_flight_max: u32,
    /// Between checkpoints.
    pub interval: Span,
    /// What acts when acks are slow.
    pub slow_policy: session::primary::SlowPolicy,
    /// Whether there is a witness.
    pub has_witness: bool,
}

impl Settings {
    pub(super) fn primary(&self, host: usize) -> session::primary::Config {
        session::primary::Config {
            node: name(host),
            peer: name(1 - host),
            interval: self.interval,
            in_flight_max: self.in_flight_max,
            heartbeat: Span::from_ms(20),
            silence_max: Span::from_ms(70),
            link_grace: Span::from_ms(25),
            hold_max: Span::from_ms(150),
            witness_retry: Span::from_ms(25),
            slow_max: Span::from_ms(60),
            slow_policy: self.slow_policy,
            reseed_after: Span::from_ms(60),
            has_witness: self.has_witness,
        }
    }

    pub(super) fn secondary(&self, host: usize) -> session::secondary::Config {
        session::secondary::Config {
            node: name(host),
            heartbeat: Span::from_ms(20),
            silence_max: Span::from_ms(70),
            link_grace: Span::from_ms(60),
            witness_retry: Span::from_ms(25),
            flap_max: Span::from_ms(300),
            has_witness: self.has_witness,
        }
    }
}
