//! The key-value service's hash table, laid out in guest memory.
//!
//! ```text
//!   frames 0 .. n:   | slot | slot | slot | rest |   a key's home is the frame hash % n
//!
//!   slot, 1288 bytes:
//!   0       1         2           4        8            258   264
//!   | used  | key len | value len | flags  | key (250)  |     | value (1024) |
//! ```
//!
//! A key is stored in the first free slot from its home frame on, at most [`PROBE_FRAMES`] frames away. Nothing is ever
//! removed, so the first free slot ends a search. Numbers are little-endian.

use crate::memcached::{KEY_BYTES_MAX, VALUE_BYTES_MAX};
use crate::ram::Ram;
use understudy_checkpoint::{PAGE_SIZE, Pfn};

const KEY_AT: usize = 8;
const VALUE_AT: usize = 264;
const SLOT_BYTES: usize = VALUE_AT + VALUE_BYTES_MAX;
const SLOTS_PER_FRAME: usize = PAGE_SIZE / SLOT_BYTES;
/// Most frames of a search: a table this crowded around one key counts as full.
const PROBE_FRAMES: u64 = 32;

const _: () = assert!(KEY_AT + KEY_BYTES_MAX <= VALUE_AT && KEY_BYTES_MAX <= u8::MAX as usize);

/// There is no free slot within reach of the key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Full;

/// A value with its flags.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Entry<'a> {
    pub(crate) flags: u32,
    pub(crate) value: &'a [u8],
}

/// The table: the first `frames` frames of memory.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Table {
    pub(crate) frames: u64,
}

enum Place {
    Found(Pfn, usize),
    Free(Pfn, usize),
    Nowhere,
}

impl Table {
    pub(crate) fn get<'a>(&self, ram: &'a Ram, key: &[u8]) -> Option<Entry<'a>> {
        let Place::Found(pfn, at) = self.find(ram, key) else { return None };
        Some(entry_of(&ram.page(pfn)[at..at + SLOT_BYTES]))
    }

    /// Where a key is.
    pub(crate) fn place(&self, ram: &Ram, key: &[u8]) -> Option<(Pfn, u8)> {
        let Place::Found(pfn, at) = self.find(ram, key) else { return None };
        Some((pfn, (at / SLOT_BYTES) as u8))
    }

    /// What is in a slot, with its key. A key never leaves its slot.
    pub(crate) fn slot<'a>(&self, ram: &'a Ram, pfn: Pfn, slot: u8) -> Option<(&'a [u8], Entry<'a>)> {
        let at = usize::from(slot) * SLOT_BYTES;
        let slot = ram.page(pfn).get(at..at + SLOT_BYTES).filter(|slot| slot[0] != 0)?;
        Some((&slot[KEY_AT..][..usize::from(slot[1])], entry_of(slot)))
    }

    /// Sets a key, and says which frame changed. Key and value must be within their limits, which the protocol's parser ensures.
    pub(crate) fn set(&self, ram: &mut Ram, key: &[u8], entry: Entry<'_>) -> Result<Pfn, Full> {
        let (pfn, at) = match self.find(ram, key) {
            Place::Found(pfn, at) | Place::Free(pfn, at) => (pfn, at),
            Place::Nowhere => return Err(Full),
        };
        let slot = &mut ram.page_mut(pfn)[at..at + SLOT_BYTES];
        slot[0] = 1;
        slot[1] = key.len() as u8;
        slot[2..4].copy_from_slice(&(entry.value.len() as u16).to_le_bytes());
        slot[4..8].copy_from_slice(&entry.flags.to_le_bytes());
        slot[KEY_AT..KEY_AT + key.len()].copy_from_slice(key);
        slot[VALUE_AT..VALUE_AT + entry.value.len()].copy_from_slice(entry.value);
        Ok(pfn)
    }

    fn find(&self, ram: &Ram, key: &[u8]) -> Place {
        let home = hash(key) % self.frames;
        for step in 0..PROBE_FRAMES.min(self.frames) {
            let pfn = Pfn((home + step) % self.frames);
            let page = ram.page(pfn);
            for at in (0..SLOTS_PER_FRAME).map(|slot| slot * SLOT_BYTES) {
                if page[at] == 0 {
                    return Place::Free(pfn, at);
                }
                let stored = &page[at + KEY_AT..][..usize::from(page[at + 1])];
                if stored == key {
                    return Place::Found(pfn, at);
                }
            }
        }
        Place::Nowhere
    }
}

fn entry_of(slot: &[u8]) -> Entry<'_> {
    let value_bytes = usize::from(u16::from_le_bytes([slot[2], slot[3]])).min(VALUE_BYTES_MAX);
    let flags = u32::from_le_bytes([slot[4], slot[5], slot[6], slot[7]]);
    Entry { flags, value: &slot[VALUE_AT..VALUE_AT + value_bytes] }
}

/// FNV-1a, 64 bits.
fn hash(key: &[u8]) -> u64 {
    key.iter().fold(0xCBF2_9CE4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01B3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn memory_of_any_content_is_a_table_that_answers(seed: u64, key in "[!-~]{1,250}", value in proptest::collection::vec(any::<u8>(), 0..=1024)) {
            let (mut ram, mut random) = (Ram::new(3).unwrap(), crate::Random(seed));
            for pfn in (0..3).map(Pfn) {
                ram.page_mut(pfn).as_chunks_mut::<8>().0.iter_mut().for_each(|word| *word = random.word().to_le_bytes());
            }
            let (table, entry) = (Table { frames: 3 }, Entry { flags: 1, value: &value });
            prop_assert_eq!(table.get(&ram, key.as_bytes()), None);
            if table.set(&mut ram, key.as_bytes(), entry).is_ok() {
                prop_assert_eq!(table.get(&ram, key.as_bytes()), Some(entry));
            }
        }
    }

    #[test]
    fn a_full_table_says_so_and_keeps_what_it_has() {
        let (mut ram, table) = (Ram::new(2).unwrap(), Table { frames: 2 });
        let keys: Vec<String> = (0..2 * SLOTS_PER_FRAME + 1).map(|number| format!("key-{number}")).collect();
        let (last, fitting) = keys.split_last().unwrap();
        for key in fitting {
            let entry = Entry { flags: 7, value: key.as_bytes() };
            assert_eq!(table.set(&mut ram, key.as_bytes(), entry).map(|_| ()), Ok(()));
        }
        assert_eq!(table.set(&mut ram, last.as_bytes(), Entry { flags: 0, value: b"" }), Err(Full));
        for key in fitting {
            assert_eq!(table.get(&ram, key.as_bytes()), Some(Entry { flags: 7, value: key.as_bytes() }));
        }
        let shorter = Entry { flags: 1, value: b"k" };
        assert_eq!(table.set(&mut ram, fitting[0].as_bytes(), shorter).map(|_| ()), Ok(()));
        assert_eq!(table.get(&ram, fitting[0].as_bytes()), Some(shorter));
    }
}
