//! Limits how often one cause may fill the log: a stranger who connects ten thousand times a second is logged a few
//! times, and counted.
//!
//! ```text
//!   a line ─► its place in the source, and its guest ─► tokens left? ─► written
//!                                                            └ none ─► counted, and reported once
//!                                                                      every ten seconds
//! ```
//!
//! DEBUG and TRACE lines are not limited: whoever asks for them wants them all.

use parking_lot::Mutex;
use std::collections::HashMap;
use std::fmt::{self, Debug};
use std::hash::{DefaultHasher, Hasher};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;
use tracing::callsite::Identifier;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer};

/// Lines of one cause that may come at once.
const BURST: f64 = 50.0;
/// Lines of one cause in each later second.
const RATE_PER_S: f64 = 1.0;
/// Lines of one place in the source that may come at once, for all guests together.
const PLACE_BURST: f64 = 500.0;
const PLACE_RATE_PER_S: f64 = 5.0;
/// Most causes that are distinguished.
const CAUSES_MAX: usize = 4096;

static LEFT_OUT: AtomicU64 = AtomicU64::new(0);
static UNTOLD: Mutex<Option<Untold>> = Mutex::new(None);

/// Lines that were left out because one cause had too many.
pub fn left_out() -> u64 {
    LEFT_OUT.load(Ordering::Relaxed)
}

#[derive(Clone, Copy, Debug)]
struct Bucket {
    tokens: f64,
    at: Instant,
}

impl Bucket {
    fn take(&mut self, now: Instant, burst: f64, rate_per_s: f64) -> bool {
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        self.tokens = (self.tokens + passed * rate_per_s).min(burst);
        self.at = now;
        let has = self.tokens >= 1.0;
        self.tokens -= f64::from(u8::from(has));
        has
    }

    /// Whether the bucket is full, so that it need not be remembered.
    fn is_full(&self, now: Instant, burst: f64, rate_per_s: f64) -> bool {
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        self.tokens + passed * rate_per_s >= burst
    }
}

/// The causes. A place in the source without a guest stands for the place itself.
#[derive(Default, Debug)]
struct Causes(HashMap<(Identifier, Option<u64>), Bucket>);

impl Causes {
    fn admits(&mut self, place: &Identifier, guest: Option<u64>, now: Instant) -> bool {
        let is_room = self.0.len() < CAUSES_MAX || {
            self.0.retain(|_, bucket| !bucket.is_full(now, PLACE_BURST, RATE_PER_S));
            self.0.len() < CAUSES_MAX
        };
        let place_burst = if guest.is_some() { PLACE_BURST } else { BURST };
        let place_rate = if guest.is_some() { PLACE_RATE_PER_S } else { RATE_PER_S };
        let full = |burst| Bucket { tokens: burst, at: now };
        let bucket = self.0.entry((place.clone(), None)).or_insert(full(place_burst));
        let admitted = bucket.take(now, place_burst, place_rate);
        match guest {
            Some(guest) if admitted && is_room => {
                let bucket = self.0.entry((place.clone(), Some(guest))).or_insert(full(BURST));
                bucket.take(now, BURST, RATE_PER_S)
            }
            _ => admitted,
        }
    }
}

/// The outermost layer of a subscriber.
#[derive(Default, Debug)]
pub struct Limit {
    causes: Mutex<Causes>,
}

/// Lines left out since the last report of them.
#[derive(Debug)]
pub(super) struct Untold {
    pub(super) lines: u64,
    /// The first of them.
    pub(super) example: String,
}

/// Takes the number of lines to report.
pub(super) fn take_untold() -> Option<Untold> {
    UNTOLD.lock().take()
}

fn leave_out(event: &Event<'_>) {
    LEFT_OUT.fetch_add(1, Ordering::Relaxed);
    let mut untold = UNTOLD.lock();
    let left = untold.get_or_insert_with(|| {
        let mut message = Message(String::new());
        event.record(&mut message);
        Untold { lines: 0, example: message.0 }
    });
    left.lines += 1;
}

impl<S: Subscriber> Layer<S> for Limit {
    fn event_enabled(&self, event: &Event<'_>, _: Context<'_, S>) -> bool {
        if *event.metadata().level() > Level::INFO {
            return true;
        }
        let mut guest = Guest(None);
        event.record(&mut guest);
        let admitted = self.causes.lock().admits(&event.metadata().callsite(), guest.0, Instant::now());
        if !admitted {
            leave_out(event);
        }
        admitted
    }
}

/// The hash of the guest that an event names.
struct Guest(Option<u64>);

impl Visit for Guest {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        if field.name() == "guest" {
            let mut hash = Hash(DefaultHasher::new());
            // Hashing takes whatever is written.
            let _ = fmt::write(&mut hash, format_args!("{value:?}"));
            self.0 = Some(hash.0.finish());
        }
    }
}

struct Hash(DefaultHasher);

impl fmt::Write for Hash {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.write(text.as_bytes());
        Ok(())
    }
}

struct Message(String);

impl Visit for Message {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        if field.name() == "message" {
            self.0 = format!("{value:?}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::sync::Arc;
    use tracing_subscriber::layer::SubscriberExt;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn logged(body: impl FnOnce()) -> String {
        let lines = Lines::default();
        let into = lines.clone();
        let layer = tracing_subscriber::fmt::layer().with_ansi(false).with_writer(move || into.clone());
        let subscriber = tracing_subscriber::registry().with(layer).with(Limit::default());
        tracing::subscriber::with_default(subscriber, body);
        let bytes = lines.0.lock().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn one_cause_cannot_fill_the_log_and_others_are_heard() {
        let before = left_out();
        let text = logged(|| {
            for round in 0..10_000 {
                tracing::warn!(round, "Connection refused");
            }
            tracing::warn!("The witness is gone");
        });
        let refused = text.lines().filter(|line| line.contains("Connection refused")).count();
        assert!((BURST as usize..200).contains(&refused), "{refused} lines");
        assert!(text.contains("The witness is gone"));
        assert!(left_out() - before >= 9_800);
    }

    #[test]
    fn each_guest_is_heard_and_many_names_do_not_help_a_stranger() {
        let text = logged(|| {
            for round in 0..20_000 {
                tracing::info!(guest = %format!("g{}", round % 100), "Protected");
            }
        });
        let heard = |guest: &str| text.lines().filter(|line| line.ends_with(guest)).count();
        assert!((0..100).all(|guest| heard(&format!("guest=g{guest}")) > 0));
        assert!(text.lines().count() < 1_000);
        let text = logged(|| (0..20_000).for_each(|n| tracing::info!(guest = n, "Offered")));
        assert!(text.lines().count() < 1_000);
    }
}
