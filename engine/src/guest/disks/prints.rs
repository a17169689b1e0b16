//! [`Prints`]: the content of a disk as hashes of its regions, with what they are worth; and what two disks have to do with each
//! other.
//!
//! ```text
//!   here   region  0   1   2   3        differs, marked here or there    written since both had the same: to be expected
//!   there  region  0   1'  2   3'       differs, marked nowhere          damaged, or written behind our back
//!                      └ marked └ not
//! ```
//!
//! A mark is in the intent map before the write (rule R8 of `docs/DISKS.md`), and goes only when the other host has all of the region.
//! So what nobody has marked is the same on both, if both are of one history. Not here: files ([`look`](super::look)).

use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use understudy_disk::intent::REGION_BYTES;

/// What a disk is worth to a node that starts.
#[derive(Serialize, Deserialize, Clone, Copy, PartialEq, Eq, Debug)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Worth {
    /// Nothing was ever on it.
    Blank,
    /// A full copy was broken off: it is at no epoch.
    Nothing,
    /// It is exactly at an epoch.
    Epoch { generation: u64, epoch: u64 },
    /// The guest ran on it, in this generation.
    Owned {
        generation: u64,
        /// All up to this epoch is on the other host's disk, too.
        peer_generation: u64,
        peer_epoch: u64,
    },
}

impl Worth {
    /// What is wrong if this is a copy, and the other one the guest's own whose host was told of a later epoch of the copy.
    fn older_than_told(self, other: Self) -> Option<NotAlike> {
        let (Self::Epoch { generation, epoch }, Self::Owned { peer_generation, peer_epoch, .. }) =
            (self, other)
        else {
            return None;
        };
        let is_older = (generation, epoch) < (peer_generation, peer_epoch);
        is_older.then_some(NotAlike::Older { generation, epoch })
    }
}

/// What is on a disk.
#[derive(Serialize, Deserialize, Clone, PartialEq, Eq, Debug)]
#[serde(deny_unknown_fields)]
pub struct Prints {
    pub guest: String,
    pub size_bytes: u64,
    pub history: String,
    pub worth: Worth,
    /// Regions that were written here and that the other host may lack, ascending.
    pub marked: Vec<u64>,
    /// A hash for each region of 4 MiB.
    pub regions: Vec<String>,
}

/// Two disks that cannot be compared.
#[derive(thiserror::Error, Clone, PartialEq, Eq, Debug)]
pub enum NotAlike {
    /// What differs.
    #[error("the disks are not copies of each other: {0} is not the same")]
    Of(&'static str),
    /// One is at no epoch.
    #[error("the other host's disk is blank or at no epoch; a full copy makes it whole")]
    Worthless,
    /// The copy is not what the guest's host was told: the other one was once newer.
    #[error(
        "the copy is at epoch {epoch} of generation {generation}, and the guest's host was told of a later one: it was put back by \
         another program, or its device has lost what it had flushed; the next full copy makes it whole"
    )]
    Older {
        /// Of the copy.
        generation: u64,
        /// Of the copy.
        epoch: u64,
    },
    /// It is no list of a disk.
    #[error(
        "the other host's hashes are not those of a disk of {0} bytes; let `disk verify --output json` write them again"
    )]
    NoPrints(u64),
}

/// What two disks have to do with each other, by regions.
#[derive(Serialize, Clone, PartialEq, Eq, Default, Debug)]
pub struct Difference {
    /// They differ, and somebody wrote there since both had the same.
    pub written: Vec<u64>,
    /// They differ, and nobody did.
    pub damaged: Vec<u64>,
}

impl Prints {
    /// Compares them with those of the other host's disk.
    pub fn against(&self, there: &Self) -> Result<Difference, NotAlike> {
        for (is_same, what) in [
            (self.guest == there.guest, "the guest"),
            (self.size_bytes == there.size_bytes, "the size"),
            (self.history == there.history, "the history"),
        ] {
            if !is_same {
                return Err(NotAlike::Of(what));
            }
        }
        let is_worthless = |prints: &Self| matches!(prints.worth, Worth::Blank | Worth::Nothing);
        if is_worthless(self) || is_worthless(there) {
            return Err(NotAlike::Worthless);
        }
        self.worth
            .older_than_told(there.worth)
            .or(there.worth.older_than_told(self.worth))
            .map_or(Ok(()), Err)?;
        let regions = self.size_bytes.div_ceil(REGION_BYTES);
        if there.regions.len() as u64 != regions || self.regions.len() as u64 != regions {
            return Err(NotAlike::NoPrints(self.size_bytes));
        }
        let marked: BTreeSet<_> = self.marked.iter().chain(&there.marked).collect();
        let mut difference = Difference::default();
        for (region, (here, there)) in (0..).zip(self.regions.iter().zip(&there.regions)) {
            if here != there {
                let kind =
                    if marked.contains(&region) { &mut difference.written } else { &mut difference.damaged };
                kind.push(region);
            }
        }
        Ok(difference)
    }
}
