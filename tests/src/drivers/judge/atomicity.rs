//! I3: at every moment an image is exactly what one capture took, word for word.

use super::super::facts::{Fact, HostView};
use super::super::guest::State;
use super::{Invariant, Verdict};
use std::collections::BTreeMap;
use understudy_checkpoint::{Epoch, Generation};

#[derive(Debug, Default)]
pub(super) struct Atomicity {
    captured: BTreeMap<(Generation, Epoch), State>,
}

impl Atomicity {
    pub(super) fn see(&mut self, fact: &Fact) {
        if let Fact::Captured { generation, epoch, state } = fact {
            self.captured.insert((*generation, *epoch), *state);
        }
    }

    pub(super) fn look(&self, views: &[HostView; 2]) -> Verdict {
        for (generation, epoch, state) in views.iter().filter_map(|view| view.image) {
            if self.captured.get(&(generation, epoch)) != Some(&state) {
                let what = format!("the image of epoch {epoch}, generation {generation}, is {state:?}");
                return Err((Invariant::Atomicity, what));
            }
        }
        Ok(())
    }
}
