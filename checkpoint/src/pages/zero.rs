//! Whether a page is all zeros.

use crate::Page;

/// Bytes examined before each test. Most pages with content show it at once, and this many at a time keep the vector
/// units busy on the others.
const STEP_BYTES: usize = 256;

/// Whether every byte is zero.
pub fn is_zero(page: &Page) -> bool {
    let (steps, _) = page.as_chunks::<STEP_BYTES>();
    steps.iter().all(|step| {
        let (words, _) = step.as_chunks::<8>();
        words.iter().fold(0, |any, word| any | u64::from_ne_bytes(*word)) == 0
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::PAGE_SIZE;

    #[test]
    fn one_bit_anywhere_makes_a_page_not_zero() {
        let mut page = [0; PAGE_SIZE];
        assert!(is_zero(&page));
        for at in 0..PAGE_SIZE {
            page[at] = 1 << (at % 8);
            assert!(!is_zero(&page), "byte {at}");
            page[at] = 0;
        }
    }
}
