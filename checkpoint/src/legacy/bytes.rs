//! Words in bytes that are known to be there.

/// A byte string of fixed length at `offset`. Callers asked for that many bytes before.
fn at<const N: usize>(bytes: &[u8], offset: usize) -> [u8; N] {
    *bytes[offset..].first_chunk().expect("the bytes were asked for")
}

pub(super) fn u32_at(bytes: &[u8], offset: usize) -> u32 {
    u32::from_le_bytes(at(bytes, offset))
}

pub(super) fn i32_at(bytes: &[u8], offset: usize) -> i32 {
    i32::from_le_bytes(at(bytes, offset))
}

pub(super) fn u64_at(bytes: &[u8], offset: usize) -> u64 {
    u64::from_le_bytes(at(bytes, offset))
}

pub(super) fn be_u32_at(bytes: &[u8], offset: usize) -> u32 {
    u32::from_be_bytes(at(bytes, offset))
}
