//! The outside world: it sees frames, and remembers how far each told it that the guest had come. I2 and I4 on
//! frames, not on intentions: nothing it has ever seen may be unknown to whoever continues.

use super::super::facts::Fact;
use super::super::model::Frame;
use super::{Invariant, Verdict};
use understudy_checkpoint::Generation;

#[derive(Debug, Default)]
pub(super) struct World {
    /// The newest generation that runs a guest, and the counter it began with.
    continued: (Generation, u64),
    /// Older generations may still show what was part of the state taken over, but nothing of a lost life.
    life_began: Generation,
    newest_seen: Option<Frame>,
    frames_seen: u64,
}

impl World {
    pub(super) fn frames_seen(&self) -> u64 {
        self.frames_seen
    }

    pub(super) fn see(&mut self, fact: &Fact) -> Verdict {
        match fact {
            Fact::Began { generation, .. } => {
                self.begins(*generation, 0)?;
                self.life_began = *generation;
                self.newest_seen = None;
            }
            Fact::Activated { generation, state, .. } => {
                self.begins(*generation, state.counter)?;
                if let Some(seen) = self.newest_seen.filter(|seen| seen.counter > state.counter) {
                    let counter = state.counter;
                    let what =
                        format!("generation {generation} goes on from {counter}, the world saw {seen:?}");
                    return Err((Invariant::Monotonicity, what));
                }
            }
            Fact::Left(frame) => return self.frame(frame),
            _ => {}
        }
        Ok(())
    }

    fn begins(&mut self, generation: Generation, counter: u64) -> Verdict {
        let (newest, _) = self.continued;
        if generation <= newest {
            let what = format!("generation {generation} begins, but {newest} was begun before");
            return Err((Invariant::Authority, what));
        }
        self.continued = (generation, counter);
        Ok(())
    }

    fn frame(&mut self, frame: &Frame) -> Verdict {
        self.frames_seen += 1;
        let (newest, began_with) = self.continued;
        let unknown = frame.generation < newest && frame.counter > began_with;
        if unknown || frame.generation < self.life_began {
            let what = format!("{frame:?} left, but generation {newest} went on from {began_with}");
            return Err((Invariant::Authority, what));
        }
        if self.newest_seen.is_none_or(|seen| seen.counter < frame.counter) {
            self.newest_seen = Some(*frame);
        }
        Ok(())
    }
}
