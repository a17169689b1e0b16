//! Copies that run. Exact: a copy is what its image is when it is set, and then takes what the guest takes, once and in order.
//! Mute: what it sends is on no wire before it is the guest.

use super::super::facts::Fact;
use super::{Invariant, Verdict};
use std::collections::BTreeMap;
use understudy_checkpoint::{Epoch, Generation};

#[derive(Debug, Default)]
pub(super) struct Copies {
    /// What the guest of the newest generation has taken, in order.
    taken: Vec<u64>,
    generation: Generation,
    /// How much of that is in each image.
    cuts: BTreeMap<(Generation, Epoch), usize>,
    /// The copy on each host.
    copies: [Option<Copy>; 2],
}

/// A copy since it was set.
#[derive(Debug)]
struct Copy {
    generation: Generation,
    base: Epoch,
    taken: Vec<u64>,
    /// So much of that was compared.
    compared: usize,
}

impl Copies {
    pub(super) fn see(&mut self, fact: &Fact) -> Verdict {
        match fact {
            Fact::Captured { generation, epoch, .. } => {
                _ = self.cuts.insert((*generation, *epoch), self.taken.len());
            }
            // A guest that begins anew has taken nothing of this; one that goes on has a new generation.
            Fact::Began { generation, .. }
            | Fact::Adopted { generation, .. }
            | Fact::Activated { generation, .. } => {
                (self.taken, self.generation) = (Vec::new(), *generation);
            }
            // What a guest takes without an engine, or from a card that the next engine gives it, is told to no copy of a cut
            // before, also if such a copy is set only now.
            Fact::Crashed { .. } => {
                self.copies = [None, None];
                self.cuts.clear();
            }
            Fact::CopySet { host, generation, epoch, state, image, runs } => {
                if *runs || image.is_some_and(|image| image != *state) {
                    let what = format!("the copy is set to epoch {epoch}, and is {state:?}, not {image:?}");
                    return Err((Invariant::Exact, what));
                }
                let (generation, base) = (*generation, *epoch);
                self.copies[*host] = Some(Copy { generation, base, taken: Vec::new(), compared: 0 });
            }
            Fact::Stepped { host, by_copy, generation, step } => {
                let Some(request) = step.request else { return Ok(()) };
                match &mut self.copies[*host] {
                    Some(copy) if *by_copy => copy.taken.push(request),
                    _ if *generation == self.generation && !by_copy => self.taken.push(request),
                    _ => {}
                }
                return self.compare();
            }
            Fact::Left(frame) if frame.by_copy => {
                return Err((Invariant::Mute, format!("the copy's {frame:?} is on the wire")));
            }
            _ => {}
        }
        Ok(())
    }

    /// Compares what a copy has taken with what the guest has, as far as both have come.
    fn compare(&mut self) -> Verdict {
        for copy in self.copies.iter_mut().flatten().filter(|copy| copy.generation == self.generation) {
            let Some(cut) = self.cuts.get(&(copy.generation, copy.base)) else { continue };
            let of_guest = self.taken.get(cut + copy.compared..).unwrap_or_default();
            for (taken, expected) in copy.taken[copy.compared..].iter().zip(of_guest) {
                if taken != expected {
                    let what = format!("the copy takes request {taken}, where the guest took {expected}");
                    return Err((Invariant::Exact, what));
                }
                copy.compared += 1;
            }
        }
        Ok(())
    }
}
