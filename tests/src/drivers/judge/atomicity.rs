//! I3: at every moment an image is exactly what one capture took, word for word. If the dirty log has lost bits this
//! cannot hold; then S6 must: the scrub finds the difference soon, however many epochs are captured meanwhile.

use super::super::facts::{Fact, HostView, Image};
use super::super::guest::State;
use super::{Invariant, Verdict};
use std::collections::BTreeMap;
use understudy_checkpoint::{Epoch, Generation};
use understudy_session::{Span, Time};

/// How many epochs in a row may be wrong, if epochs are rare: a loss is seen after one cut, and compared with the next.
const WRONG_MAX: u32 = 2;
/// If epochs are frequent: the last wrong epoch but one must be ordered within this time after the first. Every 25 ms
/// the whole guest is examined after the next cut, and the result is compared with the next epoch. The last wrong epoch
/// may come at any time, because its host may have hung, or the limit of epochs in flight was reached. An examination
/// before a capture that fails does not count.
const FOUND_WITHIN: Span = Span::from_ms(60);

#[derive(Debug, Default)]
pub(super) struct Atomicity {
    captured: BTreeMap<(Generation, Epoch), State>,
    /// When each capture was made, and when it was ordered.
    times: BTreeMap<(Generation, Epoch), (Time, Time)>,
    /// Captures of earlier lives of the guest: a generation that no host remembers may be used again.
    earlier: BTreeMap<(Generation, Epoch), State>,
    /// When dirty bits were last lost, if every image may still be wrong because of it. An image of a later epoch is
    /// right only if the pages were written once more. Until then every image may be wrong, however long its host hung,
    /// or nothing was captured or committed.
    lost_at: Option<Time>,
    /// The last image of each host that was wrong for that reason.
    wrong: [Option<Image>; 2],
    wrong_in_a_row: [u32; 2],
    /// When the first and the last of these were ordered.
    wrong_from: [Time; 2],
    wrong_to: [Time; 2],
}

impl Atomicity {
    pub(super) fn see(&mut self, at: Time, fact: &Fact) {
        match fact {
            Fact::Captured { generation, epoch, state, ordered_at } => {
                self.captured.insert((*generation, *epoch), *state);
                self.times.insert((*generation, *epoch), (at, *ordered_at));
            }
            Fact::Began { .. } => self.earlier.append(&mut self.captured),
            Fact::BitsLost => self.lost_at = Some(at),
            _ => {}
        }
    }

    pub(super) fn look(&mut self, views: &[HostView; 2]) -> Verdict {
        for (host, view) in views.iter().enumerate() {
            let Some(image) = view.image else { continue };
            let (generation, epoch, state) = image;
            let captured = self.captured.get(&(generation, epoch));
            let earlier = self.earlier.get(&(generation, epoch));
            let (captured_at, ordered_at) = self.times.get(&(generation, epoch)).copied().unwrap_or_default();
            if captured == Some(&state) || earlier == Some(&state) {
                self.wrong_in_a_row[host] = 0;
                self.lost_at = self.lost_at.filter(|lost_at| captured_at <= *lost_at);
                continue;
            }
            if self.wrong[host] == Some(image) {
                continue;
            }
            if self.lost_at.is_none() || captured.is_none_or(|captured| captured.counter != state.counter) {
                let what = format!("the image of epoch {epoch}, generation {generation}, is {state:?}");
                return Err((Invariant::Atomicity, what));
            }
            self.wrong[host] = Some(image);
            if self.wrong_in_a_row[host] == 0 {
                self.wrong_from[host] = ordered_at;
            }
            self.wrong_in_a_row[host] += 1;
            let before = std::mem::replace(&mut self.wrong_to[host], ordered_at);
            if self.wrong_in_a_row[host] > WRONG_MAX && before > self.wrong_from[host] + FOUND_WITHIN {
                let what = format!("epoch {epoch}, generation {generation}, is wrong, as those before it");
                return Err((Invariant::Divergence, what));
            }
        }
        Ok(())
    }
}
