//! [`WritesSummary`]: what both hosts count of the disk writes of an epoch. Not here: the writes themselves (the disk's batches).

use xxhash_rust::xxh3::Xxh3;

/// How many writes, how much, and what: both ends compute it, and an epoch counts only if they agree.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct WritesSummary {
    /// Pieces.
    pub writes: u64,
    /// What they cover.
    pub bytes: u64,
    /// Of places and contents, in their order.
    pub digest: u128,
}

impl WritesSummary {
    /// Of writes that come after those of `self`, as one.
    #[must_use]
    pub fn then(self, next: Self) -> Self {
        let mut hash = Xxh3::new();
        hash.update(&self.digest.to_le_bytes());
        hash.update(&next.digest.to_le_bytes());
        Self {
            writes: self.writes.saturating_add(next.writes),
            bytes: self.bytes.saturating_add(next.bytes),
            digest: hash.digest128(),
        }
    }
}
