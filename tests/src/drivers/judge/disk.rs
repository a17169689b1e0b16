//! I8: disk and memory stand at the same epoch.
//!
//! | at every moment where | then on each sector of the disk there is |
//! |---|---|
//! | a host holds the image of an epoch | the last write that the guest of that epoch saw completed, or the one that it waited for |
//! | a guest goes on from an image | the same |
//! | a guest that was lost begins anew where it ran last | a forced write that it knew completed before something of it left, or a later one |
//!
//! What is compared with is what was captured, not what the image says: whether the image is right is the judge's of I3. Nobody is
//! promised anything of a disk on which a person has had an older guest go on.

use super::super::HostId;
use super::super::disk::{Sector, number_of};
use super::super::facts::{Fact, HostView};
use super::super::guest::{State, WORDS};
use super::{Invariant, Verdict};
use std::collections::{BTreeMap, HashMap};
use understudy_checkpoint::{Epoch, Generation};

#[derive(Debug, Default)]
pub(super) struct Disk {
    /// Guests as they were captured. A generation that no host remembers may be used again.
    captured: BTreeMap<(Generation, Epoch), Vec<[Sector; WORDS]>>,
    /// Of each guest that was, what it knew to be on the media.
    kept: HashMap<u64, [u64; WORDS]>,
    /// The numbers of the newest of these that something that left may depend on.
    promised: [u64; WORDS],
    /// Where the guest ran last.
    ran_on: Option<HostId>,
    /// What is on the disk of a guest that began from nothing, and is not claimed yet.
    began_on: [Option<[u64; WORDS]>; 2],
    is_moved: bool,
}

impl Disk {
    pub(super) fn see(&mut self, fact: &Fact) -> Verdict {
        match fact {
            Fact::Captured { generation, epoch, state, .. } => {
                self.captured.entry((*generation, *epoch)).or_default().push(state.sectors);
            }
            Fact::Knows { state } => {
                _ = self.kept.insert(state.digest(), state.sectors.map(|sector| number_of(sector.kept)));
            }
            Fact::Left(frame) => {
                for (promised, kept) in
                    self.promised.iter_mut().zip(self.kept.get(&frame.says).into_iter().flatten())
                {
                    *promised = (*promised).max(*kept);
                }
            }
            Fact::Person { moves: true, .. } | Fact::WitnessForgot => self.is_moved = true,
            Fact::RunsOnDisk { host, memory: None, content } => self.began_on[*host] = Some(*content),
            Fact::RunsOnDisk { host, memory: Some(state), content } => {
                return self.goes_on(*host, state, content);
            }
            Fact::Activated { host, .. } | Fact::Adopted { host, .. } => self.ran_on = Some(*host),
            Fact::Began { host, .. } => return self.began(*host),
            _ => {}
        }
        Ok(())
    }

    fn goes_on(&self, host: HostId, state: &State, content: &[u64; WORDS]) -> Verdict {
        // An image that nobody captured is judged elsewhere.
        let is_captured = self.captured.values().flatten().any(|sectors| *sectors == state.sectors);
        match wrong_sector(&state.sectors, content).filter(|_| is_captured) {
            None => Ok(()),
            Some(what) => Err((Invariant::Disk, format!("the guest goes on on host {host}, and {what}"))),
        }
    }

    fn began(&mut self, host: HostId) -> Verdict {
        let ran_here = self.ran_on.replace(host) == Some(host);
        let Some(content) = self.began_on[host].take() else { return Ok(()) };
        let numbers = content.map(number_of);
        let promised = std::mem::replace(&mut self.promised, numbers);
        let is_lost = |sector: &usize| numbers[*sector] < promised[*sector];
        match (0..WORDS).find(is_lost).filter(|_| ran_here && !self.is_moved) {
            None => Ok(()),
            Some(sector) => {
                let (is, was) = (numbers[sector], promised[sector]);
                let what = format!(
                    "the guest begins anew on host {host}: sector {sector} has write {is}, and {was} was forced before something left"
                );
                Err((Invariant::Disk, what))
            }
        }
    }

    pub(super) fn look(&self, views: &[HostView; 2]) -> Verdict {
        for (host, view) in views.iter().enumerate() {
            let (Some((generation, epoch, _)), Some(content)) = (view.image, &view.disk) else { continue };
            let Some(captured) = self.captured.get(&(generation, epoch)) else { continue };
            if captured.iter().any(|sectors| wrong_sector(sectors, content).is_none()) {
                continue;
            }
            let last = captured.last().and_then(|sectors| wrong_sector(sectors, content));
            let what = last.unwrap_or_default();
            return Err((
                Invariant::Disk,
                format!("host {host} holds epoch {epoch} of generation {generation}, and {what}"),
            ));
        }
        Ok(())
    }
}

/// The first sector of which the disk has what the memory does not allow, in words.
fn wrong_sector(known: &[Sector; WORDS], content: &[u64; WORDS]) -> Option<String> {
    let found = known.iter().zip(content).position(|(known, content)| !known.allows(*content))?;
    Some(format!("sector {found} has {:#x}, where its memory has {:#x?}", content[found], known[found]))
}
