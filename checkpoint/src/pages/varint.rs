//! Variable-length numbers: seven bits in each byte, low bits first; the high bit means that more bytes follow.

/// Most bytes of a number: 64 bits in sevens.
const VARINT_BYTES_MAX: usize = 10;

pub(super) fn put_varint(mut number: u64, out: &mut Vec<u8>) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// Decodes the first number of `bytes` and removes it; `None` if it is truncated or exceeds 64 bits.
pub(super) fn take_varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0u64;
    for index in 0..VARINT_BYTES_MAX {
        let byte = *bytes.get(index)?;
        let bits = u64::from(byte & 0x7F);
        if index == VARINT_BYTES_MAX - 1 && bits > 1 {
            return None;
        }
        number |= bits << (7 * index);
        if byte < 0x80 {
            *bytes = &bytes[index + 1..];
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_number_reads_back_and_a_cut_one_does_not(number in any::<u64>(), shift in 0u32..64) {
            let number = number >> shift;
            let mut bytes = Vec::new();
            put_varint(number, &mut bytes);
            prop_assert_eq!(take_varint(&mut &bytes[..bytes.len() - 1]), None);
            bytes.push(0xAA);
            let mut rest = bytes.as_slice();
            prop_assert_eq!(take_varint(&mut rest), Some(number));
            prop_assert_eq!(rest, &[0xAA][..]);
        }
    }

    #[test]
    fn a_number_of_more_than_64_bits_is_refused() {
        assert_eq!(take_varint(&mut [0xFF; 10].as_slice()), None);
        assert_eq!(take_varint(&mut [0x80; 32].as_slice()), None);
    }
}
