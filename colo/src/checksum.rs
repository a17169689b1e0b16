//! The Internet checksum, kept right when a few bytes change (RFC 1624): `~(~sum + ~old + new)` in one's complement.
//!
//! A checksum that is partial (virtio-net's `NEEDS_CSUM`) holds the sum of the pseudo header: addresses, protocol and length.
//! No byte that is changed here is part of that, so it is left alone, and whoever completes it reads the new bytes.
//!
//! Not here: full sums over a frame that leaves as it came: if it came with a wrong checksum, it leaves with a wrong one. Only of
//! what is built here there is one.

use crate::packet::{Offload, Options, next_option};
use core::ops::Range;

/// Where a TCP header has what is changed.
const SEQUENCE: usize = 4;
const ACK: usize = 8;
const WINDOW: usize = 14;
const CHECKSUM: usize = 16;
const OPTIONS: usize = 20;

/// A TCP header that is being changed. [`finish`](Self::finish) puts the checksum right.
#[derive(Debug)]
pub(crate) struct Header<'a> {
    bytes: &'a mut [u8],
    /// Of all words that changed: `~old + new`.
    change: u32,
    is_partial: bool,
}

impl<'a> Header<'a> {
    /// `bytes` are the header with its options: 20 or more.
    pub(crate) fn new(bytes: &'a mut [u8], offload: Offload) -> Self {
        Self { bytes, change: 0, is_partial: offload.is_checksum_partial }
    }

    pub(crate) fn sequence(&self) -> u32 {
        self.bytes
            .get(SEQUENCE..)
            .and_then(|rest| rest.first_chunk())
            .map_or(0, |bytes| u32::from_be_bytes(*bytes))
    }

    pub(crate) fn add_to_sequence(&mut self, shift: u32) {
        self.map_u32(SEQUENCE, |sequence| sequence.wrapping_add(shift));
    }

    pub(crate) fn add_to_ack(&mut self, shift: u32) {
        self.map_u32(ACK, |ack| ack.wrapping_add(shift));
    }

    pub(crate) fn set_ack(&mut self, ack: u32) {
        self.map_u32(ACK, |_| ack);
    }

    pub(crate) fn set_window(&mut self, window: u16) {
        self.put(WINDOW, window.to_be_bytes());
    }

    /// The first option at or after `from`, both counted from the header's first byte: its kind, and where its value lies.
    pub(crate) fn next_option(&self, from: usize) -> Option<(u8, Range<usize>)> {
        next_option(&self.bytes[OPTIONS..], from.max(OPTIONS) - OPTIONS)
            .map(|(kind, value)| (kind, value.start + OPTIONS..value.end + OPTIONS))
    }

    /// The four bytes at `at`, which lie within the header, as a number become another.
    pub(crate) fn map_u32(&mut self, at: usize, change: impl FnOnce(u32) -> u32) {
        if let Some(old) = self.bytes.get(at..).and_then(|rest| rest.first_chunk()) {
            self.put(at, change(u32::from_be_bytes(*old)).to_be_bytes());
        }
    }

    /// Fillers in place of every option of this kind.
    pub(crate) fn blank_options(&mut self, kind: u8) {
        let mut from = OPTIONS;
        while let Some((found, value)) = self.next_option(from) {
            from = value.end;
            if found == kind {
                for at in value.start - 2..value.end {
                    self.put(at, [Options::NOTHING]);
                }
            }
        }
    }

    fn put<const N: usize>(&mut self, at: usize, new: [u8; N]) {
        for (at, new) in (at..).zip(new) {
            // Words are counted from the header's first byte. The other half of the word is not touched: 0 in both sums.
            let word =
                |byte: u8| u16::from_be_bytes(if at.is_multiple_of(2) { [byte, 0] } else { [0, byte] });
            self.change += u32::from(!word(self.bytes[at])) + u32::from(word(new));
            self.bytes[at] = new;
        }
    }

    /// Puts the checksum right. A change that is not finished leaves a wrong one.
    pub(crate) fn finish(self) {
        if self.is_partial || self.change == 0 {
            return;
        }
        let field = &mut self.bytes[CHECKSUM..CHECKSUM + 2];
        let old = u16::from_be_bytes([field[0], field[1]]);
        field.copy_from_slice(&update(old, self.change).to_be_bytes());
    }
}

/// A checksum after bytes that it covers were changed, the first of them at `at`.
pub(crate) fn amend(checksum: u16, at: usize, before: &[u8], after: &[u8]) -> u16 {
    let change = (at..).zip(before.iter().zip(after)).map(|(at, (old, new))| {
        let word = |byte: u8| u16::from_be_bytes(if at.is_multiple_of(2) { [byte, 0] } else { [0, byte] });
        if old == new { 0 } else { u32::from(!word(*old)) + u32::from(word(*new)) }
    });
    update(checksum, change.sum())
}

/// The length of an IP packet that begins at `ip_at` and ends with the frame, and the checksum of IPv4's header.
pub(crate) fn put_ip_length(frame: &mut [u8], ip_at: usize) {
    let bytes = (frame.len() - ip_at) as u16;
    if frame[ip_at] >> 4 == 4 {
        let end = ip_at + usize::from(frame[ip_at] & 15) * 4;
        frame[ip_at + 2..ip_at + 4].copy_from_slice(&bytes.to_be_bytes());
        frame[ip_at + 10..ip_at + 12].fill(0);
        let checksum = sum(&[&frame[ip_at..end]]);
        frame[ip_at + 10..ip_at + 12].copy_from_slice(&checksum.to_be_bytes());
    } else {
        frame[ip_at + 4..ip_at + 6].copy_from_slice(&(bytes - 40).to_be_bytes());
    }
}

/// The checksum of a TCP segment that begins at `tcp_at` and ends with the frame.
pub(crate) fn put_tcp_checksum(frame: &mut [u8], ip_at: usize, tcp_at: usize) {
    const TCP: u8 = 6;
    let addresses = if frame[ip_at] >> 4 == 4 { ip_at + 12..ip_at + 20 } else { ip_at + 8..ip_at + 40 };
    let field = tcp_at + CHECKSUM..tcp_at + CHECKSUM + 2;
    frame[field.clone()].fill(0);
    let bytes = (frame.len() - tcp_at) as u16;
    let checksum = sum(&[&frame[addresses], &[0, TCP], &bytes.to_be_bytes(), &frame[tcp_at..]]);
    frame[field].copy_from_slice(&checksum.to_be_bytes());
}

/// The checksum over parts, of which all but the last have an even number of bytes (RFC 1071).
fn sum(parts: &[&[u8]]) -> u16 {
    let words = parts.iter().flat_map(|part| part.chunks(2));
    let word = |pair: &[u8]| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0));
    update(u16::MAX, words.map(word).sum())
}

/// A checksum after words were changed; `change` is the sum of `~old + new` over them.
fn update(checksum: u16, change: u32) -> u16 {
    let mut sum = u64::from(!checksum) + u64::from(change);
    while sum > 0xffff {
        sum = (sum >> 16) + (sum & 0xffff);
    }
    // One's complement has two zeros; a sum over anything but zeros is never the positive one.
    !(sum as u16)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The checksum over all of it, as RFC 1071 says.
    fn full(bytes: &[u8]) -> u16 {
        let words =
            bytes.chunks(2).map(|pair| u64::from(pair[0]) << 8 | u64::from(*pair.get(1).unwrap_or(&0)));
        let mut sum = words.sum::<u64>();
        while sum > 0xffff {
            sum = (sum >> 16) + (sum & 0xffff);
        }
        !(sum as u16)
    }

    const WHOLE: Offload = Offload { is_checksum_partial: false, segment_bytes: 0 };

    fn sealed(mut header: Vec<u8>) -> Vec<u8> {
        header[CHECKSUM..CHECKSUM + 2].fill(0);
        let sum = full(&header);
        header[CHECKSUM..CHECKSUM + 2].copy_from_slice(&sum.to_be_bytes());
        header
    }

    /// RFC 1624, section 4: the case that earlier formulas got wrong.
    #[test]
    fn rfc_1624_example() {
        assert_eq!(update(0xdd2f, u32::from(!0x5555_u16) + 0x3285), 0x0000);
    }

    proptest! {
        #[test]
        fn a_change_costs_no_sum_over_the_rest(
            header in prop::collection::vec(any::<u8>(), 60),
            changes in prop::collection::vec((20_usize..56, any::<u32>()), 0..6),
            (sequence, ack, window) in any::<(u32, u32, u16)>(),
        ) {
            let mut changed = sealed(header);
            let mut edit = Header::new(&mut changed, WHOLE);
            edit.add_to_sequence(sequence);
            edit.add_to_ack(ack);
            edit.set_window(window);
            for (at, value) in changes {
                edit.map_u32(at, |_| value);
            }
            edit.finish();
            prop_assert_eq!(&changed, &sealed(changed.clone()));
        }

        #[test]
        fn options_are_blanked_and_nothing_else(
            options in prop::collection::vec(any::<u8>(), 0..40), kind in 2_u8..40,
        ) {
            let before = sealed([&[1; 20][..], &options].concat());
            let mut after = before.clone();
            let mut edit = Header::new(&mut after, WHOLE);
            edit.blank_options(kind);
            edit.finish();
            prop_assert_eq!(&after, &sealed(after.clone()));
            let rest = |bytes: &[u8]| -> Vec<_> {
                let found = Options(&bytes[20..]).iter().map(|one| (one.kind, one.at, one.value.to_vec()));
                found.filter(|one| one.0 != kind).collect()
            };
            prop_assert_eq!(rest(&after), rest(&before));
            prop_assert!(Options(&after[20..]).iter().all(|one| one.kind != kind));
        }
    }

    #[test]
    fn a_partial_checksum_is_left_alone() {
        let mut header = [7; 20];
        let mut edit = Header::new(&mut header, Offload { is_checksum_partial: true, segment_bytes: 1448 });
        edit.set_ack(1);
        edit.finish();
        assert_eq!(header[CHECKSUM..CHECKSUM + 2], [7, 7]);
        assert_eq!(header[ACK..ACK + 4], [0, 0, 0, 1]);
    }
}
