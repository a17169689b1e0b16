//! Measures how long the loop's iterations take. During one, nothing is received, sent or decided for any guest, so a
//! long one can make a peer raise a false alarm.

use understudy_session::{Span, Time};

/// The longest iteration is remembered for this long at least, and up to twice as long.
const WINDOW: Span = Span::from_ms(60_000);
/// An iteration this long is logged: a third of the silence after which, by default, a peer counts as lost.
const LONG: Span = Span::from_ms(100);

/// The longest iteration of this window and of the previous one.
#[derive(Debug, Default)]
pub(super) struct Stalls {
    window_began: Time,
    longest: Span,
    longest_before: Span,
}

impl Stalls {
    /// An iteration is over.
    pub(super) fn turned(&mut self, began: Time, ended: Time) {
        if ended - self.window_began >= WINDOW {
            let is_next = ended < self.window_began + WINDOW + WINDOW;
            self.longest_before = if is_next { self.longest } else { Span::default() };
            (self.window_began, self.longest) = (ended, Span::default());
        }
        let took = ended - began;
        self.longest = self.longest.max(took);
        if took >= LONG {
            tracing::warn!(
                took_ms = took.0 / 1_000_000,
                "The event loop did not come to its sockets for long"
            );
        }
    }

    /// The longest recent iteration.
    pub(super) fn longest(&self) -> Span {
        self.longest.max(self.longest_before)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Time {
        Time(ms * 1_000_000)
    }

    #[test]
    fn the_longest_turn_is_kept_for_a_minute_and_then_forgotten() {
        let mut stalls = Stalls::default();
        stalls.turned(at(10), at(17));
        stalls.turned(at(20), at(21));
        assert_eq!(stalls.longest(), Span::from_ms(7));
        stalls.turned(at(60_100), at(60_101));
        assert_eq!(stalls.longest(), Span::from_ms(7), "of the window before");
        stalls.turned(at(120_200), at(120_203));
        assert_eq!(stalls.longest(), Span::from_ms(3));
        stalls.turned(at(400_000), at(400_001));
        assert_eq!(stalls.longest(), Span::from_ms(1), "after a long sleep");
    }
}
