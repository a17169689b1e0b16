//! A host as the judges see it: images, guests that are suspended, and what stands where.
//!
//! Not here: the judges ([`judge`](super::judge)).

use super::GuestId;
use super::facts::{HostView, Image};
use super::fate::{Fate, Stand};
use super::frame::Frame;
use super::host::{FRAMES_MAX, Host};
use super::settings::{BUFFER_BYTES_MAX, INPUT_FRAMES_MAX, SENT_FRAMES_MAX};
use understudy::control::status::WatchdogState;
use understudy::node::Glance;
use understudy_checkpoint::Generation;
use understudy_session::Time;
use understudy_session::primary::State;
use understudy_session::secondary;

impl Host {
    /// The image of a guest from which it could take over.
    pub fn image(&self, guest: GuestId) -> Option<Image> {
        let stands = self.could_start(guest);
        self.engine.as_ref()?.bench.get().holding(guest)?.image.filter(|_| stands)
    }

    /// Whether a guest could be started from its image, as far as the host is concerned.
    pub(super) fn could_start(&self, guest: GuestId) -> bool {
        self.stand(guest).is_none_or(|fate| fate == Fate::Stands)
    }

    /// Whether the guest was given to this host, which could not start it.
    pub(super) fn could_not_start_it(&self, guest: GuestId) -> bool {
        matches!(
            self.glance(guest),
            Some(Glance::Secondary { state: secondary::State::ActivationFailed, .. })
        )
    }

    /// The state of a guest's standby domain, if its image is in one.
    fn stand(&self, guest: GuestId) -> Option<Fate> {
        let bench = self.engine.as_ref()?.bench.clone();
        let bench = bench.get();
        let work = bench.holding(guest)?.work.as_ref()?;
        if work.receiver().sink().is_in_memory() {
            return None;
        }
        self.yard.get().standing[guest].as_ref().map(Stand::fate)
    }

    /// Whether a guest is here, running or not.
    pub fn keeps(&self, guest: GuestId) -> bool {
        self.yard.get().domains[guest].as_ref().is_some_and(|domain| !domain.get().gone)
    }

    /// Whether the guest is here and claimed, and not one that was just started besides it.
    pub(super) fn has_begun(&self, guest: GuestId) -> bool {
        self.keeps(guest)
            && self.yard.get().domains[guest].as_ref().is_some_and(|it| it.get().generation > Generation(0))
    }

    /// Updates since when a guest has been suspended although its session considers it running.
    pub(super) fn look_whether_it_stands_still(&mut self, guest: GuestId, now: Time, hangs: bool) {
        let state = match self.glance(guest) {
            Some(Glance::Primary { state, .. }) => Some(state),
            _ => None,
        };
        let is_to_run = matches!(
            state,
            Some(
                State::Unprotected
                    | State::Seeding
                    | State::Arming
                    | State::Protected
                    | State::Late
                    | State::LinkLost
            )
        );
        // Its session is not asked: the host's lease cannot be renewed.
        let may_not = self.engine.as_ref().is_some_and(|engine| {
            engine.guests.fencing_status(now).is_some_and(|lease| lease.watchdog != WatchdogState::Armed)
        });
        let stands = self.yard.get().domains[guest].as_ref().is_some_and(|domain| {
            let domain = domain.get();
            !domain.gone && !domain.runs()
        });
        let since = &mut self.still_since[guest];
        *since = since.or(Some(now)).filter(|_| is_to_run && stands && !hangs && !may_not);
    }

    /// What the judges see of a guest on this host.
    pub fn view(&self, guest: GuestId, in_flight_max: usize) -> HostView {
        let glance = self.glance(guest);
        let image = self.image(guest);
        let mut view = HostView { timeouts_in_a_row: self.timeouts_in_a_row, ..HostView::default() };
        if let Some(domain) = &self.yard.get().domains[guest] {
            let domain = domain.get();
            // Without an engine nobody lets its output out.
            view.runs = domain.runs().then_some(domain.generation);
            let stats = domain.output.stats();
            view.held_bytes = (stats.held_bytes as usize, FRAMES_MAX * Frame::BYTES);
            // Without an engine nobody takes what the guest sends.
            let is_seen_to = matches!(glance, Some(Glance::Primary { .. })) && !domain.gone;
            view.dropped_frames = if is_seen_to { stats.dropped_frames } else { 0 };
        }
        view.still_since = self.still_since[guest];
        view.is_primary = matches!(glance, Some(Glance::Primary { .. }));
        if let Some(Glance::Primary { in_flight, state, committed_at, .. }) = glance {
            // One more: the capture that was in progress when the link was lost.
            view.in_flight = (in_flight, in_flight_max + 2);
            view.protected = (state == State::Protected).then_some(committed_at);
        }
        if let Some(engine) = &self.engine
            && let Some(holding) = engine.bench.get().holding(guest)
        {
            view.image = image;
            let yard = self.yard.get();
            view.disk = image.filter(|_| yard.has_disks).and_then(|_| yard.machine.content(guest));
            view.work = (holding.waited_max, super::bench::WORK_MAX);
            let buffered = holding.work.as_ref().map_or(0, |work| work.receiver().buffered_bytes());
            view.buffered_bytes = (buffered, BUFFER_BYTES_MAX);
            let [input, sent] = holding.traffic.as_ref().map_or([0; 2], |traffic| traffic.kept_frames());
            (view.input_frames, view.sent_frames) = ((input, INPUT_FRAMES_MAX), (sent, SENT_FRAMES_MAX));
        }
        view
    }
}
