//! Looks for queued events in the memory of a suspended guest.
//!
//! ```text
//!   event word   31 pending │ 30 masked │ 29 linked │ 28 busy │ … │ 16..0 next port        (xen/event_channel.h)
//!   event array  word of port 0 │ of port 1 │ … │ 1024 to a page, those of unused ports just masked
//! ```
//!
//! With FIFO event channels Xen keeps the tails of the queues to itself. An event word that is linked is in a queue whose
//! tail a twin's Xen does not have, and the queue would end there. Linux masks its devices' ports before it suspends, so
//! no word is linked; this makes sure. A guest with two-level events has no queues, and no such page.
//!
//! Where the array is only Xen knows, so it is recognised: a page three quarters of which are words of unused ports. A page
//! that is taken for it by mistake can only cause a refusal.

use crate::abi::evtchn::{FIFO_LINKED, FIFO_MASKED};
use understudy_checkpoint::{PAGE_SIZE, Page};

/// Ports below this are looked at; a guest with more is refused, because its array might not be recognised.
pub(super) const PORTS_MAX: u32 = 256;

const WORD_BYTES: usize = size_of::<u32>();
/// The word of a port that is not used.
const UNUSED: u32 = 1 << FIFO_MASKED;

/// The first port in a page of event words that is in a queue; `None` if none is, or if it is not such a page.
pub(super) fn linked_port(page: &Page) -> Option<u32> {
    let word = |port: usize| {
        let bytes = page[port * WORD_BYTES..][..WORD_BYTES].try_into().expect("as long as a word");
        u32::from_le_bytes(bytes)
    };
    let unused = PORTS_MAX as usize..PAGE_SIZE / WORD_BYTES;
    if !unused.rev().all(|port| word(port) == UNUSED) {
        return None;
    }
    (0..PORTS_MAX).find(|port| word(*port as usize) >> FIFO_LINKED & 1 == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn array(words: &[(usize, u32)]) -> Page {
        let mut page = [0; PAGE_SIZE];
        page.chunks_exact_mut(WORD_BYTES).for_each(|word| word.copy_from_slice(&UNUSED.to_le_bytes()));
        for (port, word) in words {
            page[port * WORD_BYTES..][..WORD_BYTES].copy_from_slice(&word.to_le_bytes());
        }
        page
    }

    #[test]
    fn a_queued_event_is_found_and_one_that_only_waits_is_not() {
        // As seen in a suspended guest: a pending and masked port, unmasked ones.
        assert_eq!(linked_port(&array(&[(1, 0), (3, 0xC000_0000), (4, 0), (7, 0x4000_0000)])), None);
        // As seen in one that was stopped while it ran: "3:PL 7:PL8".
        assert_eq!(linked_port(&array(&[(3, 0xA000_0000), (7, 0xA000_0008)])), Some(3));
        assert_eq!(linked_port(&array(&[(255, 0x2000_0000)])), Some(255));
    }

    #[test]
    fn other_pages_are_not_taken_for_event_words() {
        assert_eq!(linked_port(&[0; PAGE_SIZE]), None);
        assert_eq!(linked_port(&[0x20; PAGE_SIZE]), None);
        assert_eq!(
            linked_port(&array(&[(3, 0xA000_0000), (256, 0)])),
            None,
            "a port of a guest with more is refused"
        );
    }
}
