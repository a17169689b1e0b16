//! TCP's options (RFC 9293, section 3.1): kind, length, value, one after the other.
//!
//! ```text
//!   header, 20 bytes │ 1 │ 1 │ 8 │ 10 │ TSval │ TSecr │ 5 │ 10 │ left │ right │ 0 …
//!                      fillers  time stamps             SACK: one block
//! ```
//!
//! Not here: what is made of them (the comparer, the rewriter, the patch).

use super::u32_at;
use core::ops::Range;

/// TCP's options. What follows one that is broken is not seen, neither here nor by a guest.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Options<'a>(pub &'a [u8]);

/// RFC 7323, section 3.2.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Timestamps {
    /// The sender's clock.
    pub value: u32,
    /// The receiver's, as the sender saw it last.
    pub echo: u32,
}

/// One option: its kind, where its value begins among the options, and its value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OneOption<'a> {
    /// Its number at IANA.
    pub kind: u8,
    /// Where its value begins, counted from the first option.
    pub at: usize,
    /// Its value.
    pub value: &'a [u8],
}

impl<'a> Options<'a> {
    /// The list ends here.
    pub const END: u8 = 0;
    /// A filler.
    pub const NOTHING: u8 = 1;
    /// The largest segment that the sender of a SYN takes.
    pub const SEGMENT_MAX: u8 = 2;
    /// By how many bits the sender of a SYN shifts its later windows (RFC 7323).
    pub const WINDOW_SCALE: u8 = 3;
    /// The sender of a SYN understands [`Options::SELECTIVE_ACK`].
    pub const SELECTIVE_ACK_PERMITTED: u8 = 4;
    /// Blocks of bytes that arrived (RFC 2018): left and right edges.
    pub const SELECTIVE_ACK: u8 = 5;
    /// RFC 7323.
    pub const TIMESTAMPS: u8 = 8;
    /// A digest over header and payload with a shared key (TCP-MD5, RFC 2385).
    pub const MD5: u8 = 19;
    /// The same, newer (TCP-AO, RFC 5925).
    pub const AUTHENTICATION: u8 = 29;
    /// Multipath TCP (RFC 8684).
    pub const MULTIPATH: u8 = 30;

    /// One after the other, without fillers.
    pub fn iter(self) -> impl Iterator<Item = OneOption<'a>> {
        let mut from = 0;
        core::iter::from_fn(move || {
            let (kind, value) = next_option(self.0, from)?;
            from = value.end;
            Some(OneOption { kind, at: value.start, value: &self.0[value] })
        })
    }

    /// The value of the first option of this kind, if it has `N` bytes.
    fn value<const N: usize>(self, kind: u8) -> Option<&'a [u8; N]> {
        self.iter().find(|one| one.kind == kind).and_then(|one| one.value.try_into().ok())
    }

    /// The time stamps, and where their value begins among the options.
    pub fn timestamps(self) -> Option<(Timestamps, usize)> {
        self.iter().find(|one| one.kind == Self::TIMESTAMPS && one.value.len() == 8).and_then(|one| {
            Some((Timestamps { value: u32_at(one.value, 0)?, echo: u32_at(one.value, 4)? }, one.at))
        })
    }

    /// The largest segment that the sender of a SYN takes.
    pub fn segment_max(self) -> Option<u16> {
        self.value(Self::SEGMENT_MAX).copied().map(u16::from_be_bytes)
    }

    /// By how many bits the sender of a SYN shifts its later windows; more than 14 counts as 14 (RFC 7323, section 2.3).
    pub fn window_scale(self) -> Option<u8> {
        self.value(Self::WINDOW_SCALE).map(|[bits]| (*bits).min(14))
    }

    /// Whether the sender of a SYN understands selective acknowledgements.
    pub fn is_selective_ack_permitted(self) -> bool {
        self.value::<0>(Self::SELECTIVE_ACK_PERMITTED).is_some()
    }

    /// Blocks of bytes that arrived: left edge, right edge.
    pub fn selective_acks(self) -> impl Iterator<Item = (u32, u32)> {
        self.iter()
            .filter(|one| one.kind == Self::SELECTIVE_ACK)
            .flat_map(|one| one.value.chunks_exact(8))
            .filter_map(|block| Some((u32_at(block, 0)?, u32_at(block, 4)?)))
    }

    /// Whether a digest with a key covers the segment: whoever changes it breaks it.
    pub fn is_signed(self) -> bool {
        self.iter().any(|one| matches!(one.kind, Self::MD5 | Self::AUTHENTICATION))
    }

    /// Whether it speaks multipath TCP.
    pub fn is_multipath(self) -> bool {
        self.iter().any(|one| one.kind == Self::MULTIPATH)
    }
}

/// The first option at or after `from`: its kind, and where its value lies.
pub(crate) fn next_option(options: &[u8], from: usize) -> Option<(u8, Range<usize>)> {
    let mut at = from;
    while options.get(at) == Some(&Options::NOTHING) {
        at += 1;
    }
    let kind = *options.get(at).filter(|kind| **kind != Options::END)?;
    let value = at + 2..at + usize::from(*options.get(at + 1)?);
    options.get(value.clone())?;
    Some((kind, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_that_matters_is_found() {
        let syn = Options(&[2, 4, 5, 0xb4, 4, 2, 8, 10, 0, 0, 0, 7, 0, 0, 0, 9, 1, 3, 3, 15]);
        assert_eq!(syn.segment_max(), Some(1460));
        assert_eq!(syn.window_scale(), Some(14), "15 is more than a shift may be");
        assert!(syn.is_selective_ack_permitted());
        assert_eq!(syn.timestamps(), Some((Timestamps { value: 7, echo: 9 }, 8)));
        assert!(!syn.is_signed() && !syn.is_multipath());

        let ack = Options(&[1, 1, 5, 18, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 5, 0, 0, 0, 6]);
        assert_eq!(ack.selective_acks().collect::<Vec<_>>(), [(1, 2), (5, 6)]);
        assert!(Options(&[1, 19, 18, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]).is_signed());
        assert!(Options(&[29, 4, 0, 0]).is_signed());
        assert!(Options(&[30, 4, 0, 0x81]).is_multipath());
    }

    #[test]
    fn broken_options_end_the_list() {
        for broken in [&[8][..], &[8, 0], &[8, 1, 1, 1], &[8, 10, 1, 2], &[0, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2]]
        {
            assert_eq!(Options(broken).iter().count(), 0, "{broken:?}");
        }
        let short = Options(&[8, 6, 0, 0, 0, 1, 5, 6, 0, 0, 0, 1, 29, 2]);
        assert_eq!(short.timestamps(), None);
        assert_eq!(short.selective_acks().count(), 0);
        assert!(short.is_signed(), "what follows an odd but whole option is seen");
    }
}
