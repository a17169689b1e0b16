//! Which chunks of the other host's disk may differ from this one's.
//!
//! | the other disk is | and | then |
//! |---|---|---|
//! | of another size | | refused |
//! | blank | | all is sent |
//! | of another history, or at no epoch | | hashes are compared |
//! | at an epoch | our ledger goes back to it | what the ledger has |
//! | at an epoch | it does not | hashes are compared |
//! | owned, before we took over from it | its intent map was read | the map's regions and what the ledger has |
//! | owned, and we are here by force | its map was read, our ledger goes back to where it took over | the same |
//! | owned, in an earlier generation | otherwise | hashes are compared |
//! | owned, in our generation or a later one | | refused: two hosts say that they run the guest |
//!
//! ```text
//!   generation 1   ══ E ═══════════ N ════ …          the old primary; its map has all that it wrote after E
//!   generation 2                    └═══════════ now  we took over at N; our ledger has all that was written since
//! ```
//!
//! What both wrote up to E is the same. What the old primary wrote after E is in its map, whether it is also here (up to N) or
//! is to be rolled back (after N). So the two sets together are all that can differ, if E is not after N: then somebody else
//! has applied it.
//!
//! Not here: who may be the source. The witness says that before anybody plans.

use crate::apply::Trust;
use crate::bits::Bits;
use crate::intent::REGION_BYTES;
use crate::ledger::CHUNK_BYTES;
use crate::words::Point;
use thiserror::Error;
use understudy_checkpoint::{Generation, OutOfMemory};

/// What the host that is to be brought up to date says of its disk.
#[derive(Clone, Debug)]
pub struct Theirs {
    /// Of its label; none if there is none that can be read.
    pub label: Option<Known>,
    /// Of the disk itself.
    pub size_bytes: u64,
    /// Its intent map's regions; none if it cannot be read.
    pub marked: Option<Bits>,
}

/// What a label says, with the journal.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Known {
    /// Of its content.
    pub history: [u8; 16],
    /// What that is worth.
    pub trust: Trust,
    /// Nothing was ever on it.
    pub is_blank: bool,
}

/// What the host that runs the guest knows.
#[derive(Clone, Debug)]
pub struct Ours {
    /// Of the content.
    pub history: [u8; 16],
    /// Of the disk.
    pub size_bytes: u64,
    /// In which the guest runs here.
    pub generation: Generation,
    /// The ledger has all chunks written here after this point: the takeover, or the last that the other host had applied.
    pub since: Point,
    /// What the ledger has.
    pub lacking: Bits,
}

/// What is to be done.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Plan {
    /// These chunks are sent; all others are the same.
    Send(Bits),
    /// Nobody knows: hashes of all chunks are compared, and what differs is sent.
    Compare,
}

/// The two are no copies of each other.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum Unlike {
    /// Sizes differ.
    #[error("the disk there has {theirs} bytes and the one here {ours}; make them the same size")]
    Size {
        /// There.
        theirs: u64,
        /// Here.
        ours: u64,
    },
    /// The other host says that it runs the guest, or ran it later than this one.
    #[error(
        "the disk there was written in generation {theirs}, and the guest runs here in {ours}; a person decides which disk is the guest's"
    )]
    Owned {
        /// There.
        theirs: Generation,
        /// Here.
        ours: Generation,
    },
    /// No memory to say it in.
    #[error(transparent)]
    Memory(#[from] OutOfMemory),
}

/// Says what to do.
pub fn plan(ours: &Ours, theirs: &Theirs) -> Result<Plan, Unlike> {
    if theirs.size_bytes != ours.size_bytes {
        return Err(Unlike::Size { theirs: theirs.size_bytes, ours: ours.size_bytes });
    }
    let Some(known) = theirs.label else { return Ok(Plan::Compare) };
    if let Trust::Owned { generation, .. } = known.trust
        && known.history == ours.history
        && generation >= ours.generation
    {
        return Err(Unlike::Owned { theirs: generation, ours: ours.generation });
    }
    if known.is_blank {
        return Ok(Plan::Send(all(ours.size_bytes)?));
    }
    if known.history != ours.history {
        return Ok(Plan::Compare);
    }
    match known.trust {
        Trust::Nothing => Ok(Plan::Compare),
        Trust::Epoch(point) if reaches(ours, point) => Ok(Plan::Send(ours.lacking.clone())),
        Trust::Epoch(_) => Ok(Plan::Compare),
        Trust::Owned { generation, applied } => match &theirs.marked {
            Some(marked) if meets(ours, generation, applied) => Ok(Plan::Send(union(ours, marked))),
            _ => Ok(Plan::Compare),
        },
    }
}

/// Whether the map of a host that owned the disk in `generation` and our ledger have, together, all that differs.
fn meets(ours: &Ours, generation: Generation, applied: Point) -> bool {
    let took_over_from_them = ours.since.generation == generation && applied <= ours.since;
    let they_took_over_from_us = ours.since.generation < generation && reaches(ours, applied);
    took_over_from_them || they_took_over_from_us
}

/// Whether the ledger has all that was written after `point`.
fn reaches(ours: &Ours, point: Point) -> bool {
    // A number of another generation may be of an epoch that was lost with a takeover.
    point.generation == ours.since.generation && ours.since.epoch <= point.epoch
}

/// All chunks.
pub fn all(size_bytes: u64) -> Result<Bits, OutOfMemory> {
    let mut all = Bits::try_new(size_bytes.div_ceil(CHUNK_BYTES))?;
    (0..all.count()).for_each(|chunk| _ = all.insert(chunk));
    Ok(all)
}

fn union(ours: &Ours, marked: &Bits) -> Bits {
    let mut chunks = ours.lacking.clone();
    insert_regions(&mut chunks, marked);
    chunks
}

/// The chunks of a map's regions.
pub fn chunks_of(marked: &Bits, size_bytes: u64) -> Result<Bits, OutOfMemory> {
    let mut chunks = Bits::try_new(size_bytes.div_ceil(CHUNK_BYTES))?;
    insert_regions(&mut chunks, marked);
    Ok(chunks)
}

fn insert_regions(chunks: &mut Bits, marked: &Bits) {
    for region in marked.runs().flatten() {
        let begin = region * (REGION_BYTES / CHUNK_BYTES);
        let end = (begin + REGION_BYTES / CHUNK_BYTES).min(chunks.count());
        (begin..end).for_each(|chunk| _ = chunks.insert(chunk));
    }
}

#[cfg(test)]
mod tests;
