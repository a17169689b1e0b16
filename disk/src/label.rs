//! What this host knows of its disk: whose it is, which history its content belongs to, and how far it may be trusted.
//!
//! ```text
//!                         first write of a sync                    all of it is here, flushed
//!   (no label) ──► Blank ───────────────────────► Partial ◄──────────────────────────────────┐
//!                                                    │                                       │ a sync begins
//!                                                    └─────────► Whole ◄──────────► Owned ───┘
//!                                                                  this host ran the guest
//! ```
//!
//! | standing | the disk is | after a loss of power |
//! |---|---|---|
//! | blank | nobody's | as before |
//! | partial | overwritten in any order: no epoch at all | a sync begins anew, of all that is not known to be the same |
//! | whole | epoch `applied`, once the journal has been replayed | the same |
//! | owned | the guest's own, newer than `applied` where the intent map has marks | the same |
//!
//! A label is written before what it warns of, and after what it promises: *partial* is durable before the first byte of a
//! sync, *whole* after the last one was flushed.
//!
//! Not here: the fence. Who may open the disk is the witness's word; the label says only what is on it.

use crate::pair::{Format, PAIR_BYTES, Pair, PairError};
use crate::storage::{Guarded, Storage, StorageError};
use crate::words::SECTOR_BYTES;
use thiserror::Error;
use understudy_checkpoint::{Epoch, Generation};

/// Of the file of a label.
pub const LABEL_BYTES: u64 = PAIR_BYTES;

/// The longest name of a guest or a virtual device.
pub const NAME_BYTES_MAX: usize = 255;

const FORMAT: Format = Format { magic: *b"uSlabel\0", version: 1 };
const NAME: &str = "a disk's label";

/// How far the content of a disk may be trusted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Standing {
    /// Nothing of this history is on it.
    Blank,
    /// A sync overwrites it.
    Partial,
    /// It is exactly one epoch, together with the journal.
    Whole,
    /// The guest runs, or ran, on it here.
    Owned,
}

/// A label.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Label {
    /// The guest's name.
    pub guest: String,
    /// The guest's name of the device, such as `xvda`.
    pub vdev: String,
    /// Of the disk. One that has another size is another disk.
    pub size_bytes: u64,
    /// What its content is.
    pub standing: Standing,
    /// The generation in which `applied` was counted, or in which the guest ran here.
    pub generation: Generation,
    /// All writes up to this epoch are on the disk and flushed.
    pub applied: Epoch,
    /// Nothing was under way when it was written: the intent map has no say.
    pub is_clean: bool,
}

/// A label cannot be read.
#[derive(Debug, Error)]
pub enum LabelError {
    /// Its record cannot.
    #[error(transparent)]
    Record(#[from] PairError),
    /// Whole, and not what a label says.
    #[error("the label's {field} is none; another program wrote it, and nothing it stands for is trusted")]
    Nonsense {
        /// Which part.
        field: &'static str,
    },
}

/// A label that can be written on.
#[derive(Debug)]
pub struct LabelFile<S> {
    storage: Guarded<S>,
    pair: Pair,
    label: Label,
}

impl<S: Storage> LabelFile<S> {
    /// The first label of a disk; `history` is random, and names the content that it will have.
    pub fn create(storage: S, history: [u8; 16], label: Label) -> Result<Self, StorageError> {
        let mut storage = Guarded::new(storage);
        let pair = Pair::create(&mut storage, FORMAT, NAME, history, &label.encode())?;
        Ok(Self { storage, pair, label })
    }

    /// Reads what is there.
    pub fn open(storage: S) -> Result<Self, LabelError> {
        let mut storage = Guarded::new(storage);
        let opened = Pair::open(&mut storage, FORMAT, NAME)?;
        let label = Label::decode(&opened.body)?;
        Ok(Self { storage, pair: opened.pair, label })
    }

    /// Which history the content belongs to. Disks of two hosts are copies of each other only if it is the same.
    pub fn history(&self) -> [u8; 16] {
        self.pair.id()
    }

    /// The content will be of this history from the next [`put`](Self::put) on.
    pub fn rename(&mut self, history: [u8; 16]) {
        self.pair.rename(history);
    }

    /// What it says.
    pub fn label(&self) -> &Label {
        &self.label
    }

    /// Replaces it; durable when this returns. After an error it says the former or the new.
    pub fn put(&mut self, label: Label) -> Result<(), StorageError> {
        self.pair.put(&mut self.storage, &label.encode())?;
        self.label = label;
        Ok(())
    }
}

impl Label {
    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        out.extend(self.size_bytes.to_le_bytes());
        out.extend(self.generation.0.to_le_bytes());
        out.extend(self.applied.0.to_le_bytes());
        out.push(match self.standing {
            Standing::Blank => 1,
            Standing::Partial => 2,
            Standing::Whole => 3,
            Standing::Owned => 4,
        });
        out.push(self.is_clean.into());
        for name in [&self.guest, &self.vdev] {
            assert!((1..=NAME_BYTES_MAX).contains(&name.len()), "names are bounded where they come from");
            out.push(name.len() as u8);
            out.extend(name.as_bytes());
        }
        out
    }

    /// Reads a label's bytes; there is one way to write each label.
    pub fn decode(bytes: &[u8]) -> Result<Self, LabelError> {
        let mut rest = bytes;
        let size_bytes = number(&mut rest, "size")?;
        let generation = Generation(number(&mut rest, "generation")?);
        let applied = Epoch(number(&mut rest, "applied epoch")?);
        let standing = match byte(&mut rest, "standing")? {
            1 => Standing::Blank,
            2 => Standing::Partial,
            3 => Standing::Whole,
            4 => Standing::Owned,
            _ => return Err(LabelError::Nonsense { field: "standing" }),
        };
        let is_clean = match byte(&mut rest, "mark of a clean end")? {
            0 => false,
            1 => true,
            _ => return Err(LabelError::Nonsense { field: "mark of a clean end" }),
        };
        let (guest, vdev) = (name(&mut rest, "guest")?, name(&mut rest, "vdev")?);
        if size_bytes == 0 || !size_bytes.is_multiple_of(SECTOR_BYTES) {
            return Err(LabelError::Nonsense { field: "size" });
        }
        if !rest.is_empty() {
            return Err(LabelError::Nonsense { field: "length" });
        }
        Ok(Self { guest, vdev, size_bytes, standing, generation, applied, is_clean })
    }
}

fn number(rest: &mut &[u8], field: &'static str) -> Result<u64, LabelError> {
    let bytes = rest.split_off(..8).ok_or(LabelError::Nonsense { field })?;
    Ok(u64::from_le_bytes(bytes.try_into().expect("eight bytes")))
}

fn byte(rest: &mut &[u8], field: &'static str) -> Result<u8, LabelError> {
    rest.split_off_first().copied().ok_or(LabelError::Nonsense { field })
}

fn name(rest: &mut &[u8], field: &'static str) -> Result<String, LabelError> {
    let length = byte(rest, field)?;
    let bytes = rest.split_off(..usize::from(length)).ok_or(LabelError::Nonsense { field })?;
    match str::from_utf8(bytes) {
        Ok(name) if !name.is_empty() => Ok(name.to_owned()),
        _ => Err(LabelError::Nonsense { field }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::simulated::Machine;
    use proptest::prelude::*;

    fn label() -> Label {
        Label {
            guest: "web".into(),
            vdev: "xvda".into(),
            size_bytes: 1 << 30,
            standing: Standing::Whole,
            generation: Generation(3),
            applied: Epoch(0x1234),
            is_clean: true,
        }
    }

    #[test]
    fn a_label_is_these_bytes() {
        let mut expected =
            vec![0, 0, 0, 0x40, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 0x34, 0x12, 0, 0, 0, 0, 0, 0, 3, 1];
        expected.extend(b"\x03web\x04xvda");
        assert_eq!(label().encode(), expected);
        assert_eq!(Label::decode(&expected).unwrap(), label());
    }

    #[test]
    fn a_label_is_what_was_put_last() {
        let disk = Machine::new().disk(LABEL_BYTES);
        let mut file = LabelFile::create(disk.clone(), [7; 16], label()).unwrap();
        let next = Label { standing: Standing::Partial, is_clean: false, applied: Epoch(9), ..label() };
        file.put(next.clone()).unwrap();
        let file = LabelFile::open(disk).unwrap();
        assert_eq!((file.label(), file.history()), (&next, [7; 16]));
    }

    #[test]
    fn what_is_no_label_is_refused_by_the_name_of_what_is_wrong() {
        let good = label().encode();
        for (at, value, wrong) in [
            (24, 0, "standing"),
            (24, 5, "standing"),
            (25, 2, "mark of a clean end"),
            (0, 1, "size"),
            (26, 0, "guest"),
            (27, 0xFF, "guest"),
            (26, 200, "guest"),
        ] {
            let mut bad = good.clone();
            bad[at] = value;
            assert!(
                matches!(Label::decode(&bad), Err(LabelError::Nonsense { field }) if field == wrong),
                "{at}"
            );
        }
        for bytes in 0..good.len() {
            assert!(Label::decode(&good[..bytes]).is_err());
        }
        assert!(Label::decode(&[good.as_slice(), &[0]].concat()).is_err());
    }

    proptest! {
        #[test]
        fn what_decodes_encodes_to_the_same_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
            if let Ok(label) = Label::decode(&bytes) {
                prop_assert_eq!(label.encode(), bytes);
            }
        }
    }
}
