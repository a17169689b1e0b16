//! I3: at every moment an image is exactly what one capture took, word for word. Where the dirty log has lost something
//! that cannot be; then S6 holds: the scrub finds it soon, however many epochs are captured meanwhile.

use super::super::facts::{Fact, HostView, Image};
use super::super::guest::State;
use super::{Invariant, Verdict};
use std::collections::BTreeMap;
use understudy_checkpoint::{Epoch, Generation};
use understudy_session::{Span, Time};

/// Wrong epochs in a row, where epochs are few: what was lost is seen after one cut, and compared with the next.
const WRONG_MAX: u32 = 2;
/// The last of wrong epochs in a row is captured within this after the first, where they are many. The whole guest is looked
/// at each 25 ms; what was seen before a capture that fails does not count.
const FOUND_WITHIN: Span = Span::from_ms(60);
/// What is lost is written within this.
const EFFECT: Span = Span::from_ms(300);

#[derive(Debug, Default)]
pub(super) struct Atomicity {
    captured: BTreeMap<(Generation, Epoch), State>,
    captured_at: BTreeMap<(Generation, Epoch), Time>,
    /// Of lives of the guest before this one: where nobody remembers a generation, it may be used again.
    earlier: BTreeMap<(Generation, Epoch), State>,
    /// When bits were lost last.
    lost_at: Option<Time>,
    /// Images that are wrong for that reason.
    wrong: [Option<Image>; 2],
    wrong_in_a_row: [u32; 2],
    /// When the first of these was captured.
    wrong_since: [Time; 2],
}

impl Atomicity {
    pub(super) fn see(&mut self, at: Time, fact: &Fact) {
        match fact {
            Fact::Captured { generation, epoch, state } => {
                self.captured.insert((*generation, *epoch), *state);
                self.captured_at.insert((*generation, *epoch), at);
            }
            Fact::Began { .. } => self.earlier.append(&mut self.captured),
            Fact::BitsLost => self.lost_at = Some(at),
            _ => {}
        }
    }

    pub(super) fn look(&mut self, at: Time, views: &[HostView; 2]) -> Verdict {
        for (host, view) in views.iter().enumerate() {
            let Some(image) = view.image else { continue };
            let (generation, epoch, state) = image;
            let captured = self.captured.get(&(generation, epoch));
            let earlier = self.earlier.get(&(generation, epoch));
            if captured == Some(&state) || earlier == Some(&state) {
                self.wrong_in_a_row[host] = 0;
                continue;
            }
            if self.wrong[host] == Some(image) {
                continue;
            }
            let lost =
                self.lost_at.is_some_and(|lost_at| at < lost_at + EFFECT) || self.wrong_in_a_row[host] > 0;
            if !lost || captured.is_none_or(|captured| captured.counter != state.counter) {
                let what = format!("the image of epoch {epoch}, generation {generation}, is {state:?}");
                return Err((Invariant::Atomicity, what));
            }
            self.wrong[host] = Some(image);
            let captured_at = self.captured_at.get(&(generation, epoch)).copied().unwrap_or_default();
            if self.wrong_in_a_row[host] == 0 {
                self.wrong_since[host] = captured_at;
            }
            self.wrong_in_a_row[host] += 1;
            if self.wrong_in_a_row[host] > WRONG_MAX && captured_at > self.wrong_since[host] + FOUND_WITHIN {
                let what = format!("epoch {epoch}, generation {generation}, is wrong, as those before it");
                return Err((Invariant::Divergence, what));
            }
        }
        Ok(())
    }
}
