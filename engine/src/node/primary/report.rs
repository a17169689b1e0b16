//! What the workers of a guest that runs here report: captures, encoded epochs, panics.

use super::PrimaryGuest;
use crate::guest::Report;
use crate::node::context::Context;
use crate::node::output_log;
use std::time::Duration;
use understudy_checkpoint::domain::Description;
use understudy_session::Span;
use understudy_session::primary::Input;

/// A pause this long is logged with its parts: nobody plans for it.
const LONG_PAUSE: Duration = Duration::from_secs(1);

impl PrimaryGuest {
    /// A report of this guest's workers.
    pub(super) fn report(&mut self, report: Report, cx: &mut dyn Context) {
        match report {
            Report::Captured { epoch, pause, dirty_pages } => {
                self.capturing = None;
                output_log::cut(&self.name, epoch, pause.cut_at);
                output_log::runs(&self.name, epoch);
                if let Some(by) = self.session.paced_by() {
                    self.meter.paced(by.name());
                }
                self.meter.paused(pause.total(), pause.parts(), dirty_pages);
                self.meter.asked(pause.asked);
                self.meter.copied_ahead(pause.ahead_pages.into(), pause.again_pages.into());
                if pause.total() > LONG_PAUSE {
                    tracing::warn!(guest = %self.name, %epoch, dirty_pages, %pause, "The guest stood still for long");
                }
                (0..pause.overflows).for_each(|_| self.meter.staging_overflow());
                let stood = Span(pause.total().as_nanos() as u64);
                self.cut_input(epoch, cx);
                self.handle(Input::Captured { epoch, pause: stood }, cx);
            }
            Report::CaptureFailed { epoch, end_of_recording: true, .. } => {
                self.recording_ended = Some(epoch);
                self.end_recording(cx);
            }
            Report::CaptureFailed { epoch, guest_gone, needs_seed, described, why, .. } => {
                tracing::warn!(guest = %self.name, %epoch, why, "Capture failed");
                self.capturing = None;
                self.meter.capture_failed();
                self.handle(Input::CaptureFailed { epoch, guest_gone, needs_seed }, cx);
                if let Some(now) = described {
                    // The guest's cards are those that this node has last seen.
                    let config = self.description.config.clone();
                    self.redescribed(Description { config, ..*now }, cx);
                }
            }
            Report::Seeding { pages } => self.seeding(pages),
            Report::Encoded { epoch, kind, encoded } => {
                output_log::sent(&self.name, epoch);
                self.meter.encoder_takes(encoded.shadow_bytes, encoded.staging_bytes);
                self.unacked.push(epoch, encoded.link_bytes);
                self.meter.encoded(&encoded.stats);
                self.meter.unmarked(encoded.unmarked_pages);
                self.meter.sent(encoded.link_bytes);
                self.replay_stats.encoded(kind, &encoded);
                self.encoded = self.encoded.max(Some(epoch));
                let busy = Span(encoded.busy.as_nanos() as u64);
                self.handle(Input::Encoded { epoch, busy, link_bytes: encoded.link_bytes }, cx);
                self.end_recording(cx);
            }
            Report::Panicked { worker, message } => {
                let why = format!("its {worker} thread panicked: {message}");
                self.broke(why, cx.now());
                self.handle(Input::CaptureBroke, cx);
            }
            other => {
                tracing::error!(guest = %self.name, report = other.name(), "A report of a secondary for a primary")
            }
        }
    }

    /// A recording that has ended, and is acked and counted as a whole, is a guest that ended.
    pub(super) fn end_recording(&mut self, cx: &mut dyn Context) {
        let is_through = self.session.in_flight() == 0 && self.encoded >= self.session.newest_captured();
        let Some(epoch) = self.recording_ended.filter(|_| is_through) else { return };
        self.recording_ended = None;
        self.capturing = None;
        self.replay_stats.finished = true;
        self.handle(Input::CaptureFailed { epoch, guest_gone: true, needs_seed: false }, cx);
    }
}
