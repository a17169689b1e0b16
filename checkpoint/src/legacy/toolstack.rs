//! What libxl 4.2 to 4.5 says of the memory that QEMU made in the guest, and the keys that say the same today.
//!
//! ```text
//!   | u32 1 | u32 count |
//!   | u64 phys_offset | u64 start | u64 size | u32 length of the name with its NUL | name |      each
//!                                                                     and 4 bytes of anything, of a 64-bit sender
//! ```

use super::bytes::{u32_at, u64_at};
use super::fault::{Defect, Rule};
use super::word_size::WordSize;
use std::io::Write;

const HEADER_BYTES: usize = 8;
const REGION_BYTES: usize = 28;

/// The keys with their values, each with its NUL. Nothing for no data.
pub(super) fn keys(data: &[u8], word: WordSize) -> Result<Vec<u8>, Defect> {
    let refuse = |detail: &str| Err(Defect::new(Rule::Toolstack, format!("libxl's data {detail}")));
    let mut keys = Vec::new();
    if data.is_empty() {
        return Ok(keys);
    }
    let Some((header, mut rest)) = data.split_at_checked(HEADER_BYTES) else {
        return refuse("are too short for their header");
    };
    if u32_at(header, 0) != 1 {
        return refuse(&format!("are of version {}; only 1 is known", u32_at(header, 0)));
    }
    let padding = if word == WordSize::Eight { 4 } else { 0 };
    for _ in 0..u32_at(header, 4) {
        let Some((region, after)) = rest.split_at_checked(REGION_BYTES) else {
            return refuse("end within a region");
        };
        let (place, start, size) = (u64_at(region, 0), u64_at(region, 8), u64_at(region, 16));
        let name_bytes = u32_at(region, 24) as usize;
        let Some((name, after)) = after.split_at_checked(name_bytes) else {
            return refuse("end within a name");
        };
        let Some((_, after)) = after.split_at_checked(padding) else { return refuse("end within a region") };
        rest = after;
        write!(keys, "physmap/{place:x}/start_addr\0{start:x}\0physmap/{place:x}/size\0{size:x}\0")
            .expect("a vector takes everything");
        match name.iter().position(|byte| *byte == 0) {
            None if name.is_empty() => continue,
            Some(end) if end + 1 == name.len() => {}
            _ => return refuse("hold a name that is not terminated where it ends"),
        }
        write!(keys, "physmap/{place:x}/name\0").expect("a vector takes everything");
        keys.extend_from_slice(name);
    }
    Ok(keys)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data(name: &[u8], padding: usize) -> Vec<u8> {
        let mut data = [1u32.to_le_bytes(), 1u32.to_le_bytes()].concat();
        for number in [0xF0u64, 0xE000_0000, 0x1000] {
            data.extend(number.to_le_bytes());
        }
        data.extend((name.len() as u32).to_le_bytes());
        data.extend(name);
        data.resize(data.len() + padding, 0xA5);
        data
    }

    #[test]
    fn a_region_becomes_keys_in_both_layouts() {
        let expected = b"physmap/f0/start_addr\0e0000000\0physmap/f0/size\x001000\0physmap/f0/name\0vga\0";
        assert_eq!(keys(&data(b"vga\0", 0), WordSize::Four).unwrap(), expected);
        assert_eq!(keys(&data(b"vga\0", 4), WordSize::Eight).unwrap(), expected);
        assert!(keys(&data(b"", 4), WordSize::Eight).unwrap().ends_with(b"size\x001000\0"));
        assert!(keys(&[], WordSize::Eight).unwrap().is_empty());
    }

    #[test]
    fn what_is_cut_or_not_terminated_is_refused() {
        let whole = data(b"vga\0", 4);
        for end in 1..whole.len() {
            assert_eq!(keys(&whole[..end], WordSize::Eight).unwrap_err().rule, Rule::Toolstack, "{end}");
        }
        for name in [&b"vga"[..], b"v\0a\0"] {
            assert_eq!(keys(&data(name, 0), WordSize::Four).unwrap_err().rule, Rule::Toolstack);
        }
    }
}
