//! A guest's grant table, made ready for its twin.
//!
//! ```text
//!   entry of the twin := flags of the guest but the in-use bits │ in-use bits that the twin has │ domain and frame of the guest
//! ```
//!
//! Xen sets `GTF_reading` and `GTF_writing` while a backend has a frame mapped (`xen/grant_table.h`), and clears them by
//! its own count. They tell of mappings on this host, so they stay as they are here. An entry that is in use here, and
//! means another frame in the guest, cannot be overwritten: the backend would go on with a frame that the guest uses for
//! something else.

use crate::DomId;
use crate::abi::grant::{EntryV1, READING, WRITING};
use zerocopy::{FromBytes, IntoBytes};

const IN_USE: u16 = READING | WRITING;

/// Entries in a frame of the table.
pub(super) const ENTRY_BYTES: usize = size_of::<EntryV1>();

/// An entry that a backend of this host uses, and that the guest has given away for something else.
#[derive(thiserror::Error, Clone, Copy, PartialEq, Eq, Debug)]
#[error(
    "its grant {reference} is mapped by domain {domain} as frame {twin:#x}, and the guest grants frame {guest:#x} there"
)]
pub struct GrantInUse {
    /// The grant's number.
    pub reference: usize,
    /// The domain that the twin's entry names.
    pub domain: DomId,
    /// The frame in the guest's table.
    pub guest: u32,
    /// The frame in the twin's table.
    pub twin: u32,
}

/// The table of the twin: that of the guest with the in-use bits that the twin has. Both are as long.
pub(super) fn merged(guest: &[u8], twin: &[u8]) -> Result<Vec<u8>, GrantInUse> {
    debug_assert_eq!(guest.len(), twin.len(), "compared before");
    let mut into = Vec::with_capacity(guest.len());
    let entries = guest.chunks_exact(ENTRY_BYTES).zip(twin.chunks_exact(ENTRY_BYTES)).map(both).enumerate();
    for (reference, (guest, twin)) in entries {
        let is_in_use = twin.flags & IN_USE != 0;
        if is_in_use && (guest.domain, guest.frame) != (twin.domain, twin.frame) {
            let domain = DomId(twin.domain);
            return Err(GrantInUse { reference, domain, guest: guest.frame, twin: twin.frame });
        }
        let flags = guest.flags & !IN_USE | twin.flags & IN_USE;
        into.extend_from_slice(EntryV1 { flags, ..guest }.as_bytes());
    }
    Ok(into)
}

fn both((guest, twin): (&[u8], &[u8])) -> (EntryV1, EntryV1) {
    let entry = |bytes| EntryV1::read_from_bytes(bytes).expect("chunks of an entry's size");
    (entry(guest), entry(twin))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn table(entries: &[(u16, u16, u32)]) -> Vec<u8> {
        let entry = |(flags, domain, frame): &(u16, u16, u32)| {
            EntryV1 { flags: *flags, domain: *domain, frame: *frame }.as_bytes().to_vec()
        };
        entries.iter().flat_map(entry).collect()
    }

    #[test]
    fn the_guests_entries_are_taken_and_the_use_of_this_host_is_kept() {
        // Console and xenstore, mapped here; a ring, mapped at the guest's host only; a read-only grant; a free entry.
        let guest =
            table(&[(0x19, 0, 0xFEFFF), (0x01, 0, 0xFEFFE), (0x19, 0, 0x123), (0x05, 0, 0x77), (0, 0, 9)]);
        let twin =
            table(&[(0x19, 0, 0xFEFFF), (0x19, 0, 0xFEFFE), (0x01, 0, 0x456), (0, 0, 0), (0x01, 0, 3)]);
        let expected =
            table(&[(0x19, 0, 0xFEFFF), (0x19, 0, 0xFEFFE), (0x01, 0, 0x123), (0x05, 0, 0x77), (0, 0, 9)]);
        assert_eq!(merged(&guest, &twin).unwrap(), expected);
        // As it lies in memory.
        assert_eq!(expected[..8], [0x19, 0, 0, 0, 0xFF, 0xEF, 0x0F, 0]);
        assert_eq!(merged(&guest, &expected).unwrap(), expected, "a second time changes nothing");
    }

    #[test]
    fn what_a_backend_uses_for_something_else_is_not_overwritten() {
        let guest = table(&[(1, 0, 5), (1, 0, 0x123)]);
        let twin = table(&[(1, 0, 6), (0x09, 2, 0x124)]);
        let error = merged(&guest, &twin).unwrap_err();
        assert_eq!(error, GrantInUse { reference: 1, domain: DomId(2), guest: 0x123, twin: 0x124 });
        assert!(error.to_string().contains("grant 1 is mapped by domain 2"), "{error}");
    }

    proptest! {
        #[test]
        fn in_use_bits_are_those_of_the_twin_and_all_others_of_the_guest(
            guest in prop::collection::vec((0u16..64, 0u16..3, 0u32..4), 0..64),
            other in prop::collection::vec((0u16..64, 0u16..3, 0u32..4), 64),
        ) {
            let other = &other[..guest.len()];
            match merged(&table(&guest), &table(other)) {
                Err(clash) => {
                    let at = clash.reference;
                    prop_assert!(other[at].0 & IN_USE != 0);
                    prop_assert!((guest[at].1, guest[at].2) != (other[at].1, other[at].2));
                }
                Ok(made) => for (at, entry) in made.chunks(ENTRY_BYTES).enumerate() {
                    let made = EntryV1::read_from_bytes(entry).unwrap();
                    prop_assert_eq!(made.flags & IN_USE, other[at].0 & IN_USE);
                    prop_assert_eq!(made.flags & !IN_USE, guest[at].0 & !IN_USE);
                    prop_assert_eq!((made.domain, made.frame), (guest[at].1, guest[at].2));
                },
            }
        }
    }
}
