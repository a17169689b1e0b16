//! Two captures as one sequence of frames, in the order of time; the secondary's clock set to the primary's.
//!
//! Memory is one frame of each. What ends a capture early ends that capture alone, and is kept.
//!
//! Not here: which clock is right (`alignment`).

use super::capture::{Capture, CaptureError, Captured, Nanoseconds};

/// Whose capture.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Host {
    Primary,
    Secondary,
}

/// Both captures.
pub(super) struct Both {
    primary: OneAhead,
    secondary: OneAhead,
}

/// A capture, with its next frame.
struct OneAhead {
    capture: Capture,
    /// What makes its times the primary's.
    later_by: Nanoseconds,
    state: State,
}

enum State {
    Next(Captured),
    Ended,
    EndedEarly(CaptureError),
}

impl Both {
    /// `offset`: what is added to the secondary's times.
    pub(super) fn new(primary: Capture, secondary: Capture, offset: Nanoseconds) -> Self {
        Self { primary: OneAhead::new(primary, 0), secondary: OneAhead::new(secondary, offset) }
    }

    /// The next frame by time; of two at the same time the primary's.
    pub(super) fn next(&mut self) -> Option<(Host, Captured)> {
        let is_primary = match (self.primary.peek(), self.secondary.peek()) {
            (None, None) => return None,
            (Some(_), None) => true,
            (None, Some(_)) => false,
            (Some(primary), Some(secondary)) => primary.at <= secondary.at,
        };
        let (host, from) = match is_primary {
            true => (Host::Primary, &mut self.primary),
            false => (Host::Secondary, &mut self.secondary),
        };
        from.take().map(|frame| (host, frame))
    }

    /// Why each capture ended before its end, if it did.
    pub(super) fn ended_early(&self) -> [Option<&CaptureError>; 2] {
        [&self.primary, &self.secondary].map(|one| match &one.state {
            State::EndedEarly(error) => Some(error),
            State::Next(_) | State::Ended => None,
        })
    }
}

impl OneAhead {
    fn new(capture: Capture, later_by: Nanoseconds) -> Self {
        let mut one = Self { capture, later_by, state: State::Ended };
        one.advance();
        one
    }

    fn advance(&mut self) {
        self.state = match self.capture.next() {
            Ok(Some(frame)) => State::Next(Captured { at: frame.at.saturating_add(self.later_by), ..frame }),
            Ok(None) => State::Ended,
            Err(error) => State::EndedEarly(error),
        };
    }

    fn peek(&self) -> Option<&Captured> {
        match &self.state {
            State::Next(frame) => Some(frame),
            State::Ended | State::EndedEarly(_) => None,
        }
    }

    fn take(&mut self) -> Option<Captured> {
        match std::mem::replace(&mut self.state, State::Ended) {
            State::Next(frame) => {
                self.advance();
                Some(frame)
            }
            ended => {
                self.state = ended;
                None
            }
        }
    }
}
