//! Copies pages past the caches. Staged pages are read only after the pause; writing them through the caches would
//! first read the lines to be overwritten, and then evict what the guest needs.
//!
//! This is the only `unsafe` code of this crate. If the processor or the alignment does not allow it, a plain copy is
//! made.

#![allow(unsafe_code)]

use crate::Page;

/// How pages are written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Stores {
    /// Through the caches.
    Plain,
    /// Past the caches, 32 bytes at a time.
    Streaming(Avx2),
}

/// Proof that this processor has AVX2: only [`Stores::streaming`] makes it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Avx2(());

impl Stores {
    /// Streaming stores if the processor has them.
    pub(super) fn streaming() -> Self {
        #[cfg(target_arch = "x86_64")]
        if is_x86_feature_detected!("avx2") {
            return Self::Streaming(Avx2(()));
        }
        Self::Plain
    }

    /// Copies a page, and prefetches `next`, the page to be copied after it, which lies elsewhere in memory where the
    /// processor's own prefetcher would not look.
    #[inline]
    pub(super) fn copy(self, source: &Page, next: &Page, target: &mut Page) {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Streaming(_) if target.as_ptr().addr().is_multiple_of(avx2::VECTOR_BYTES) => {
                // SAFETY: `Avx2` proves the feature; the target is aligned to a vector, just tested.
                unsafe { avx2::copy(source, next, target) }
            }
            _ => {
                let pieces = source.chunks_exact(PIECE_BYTES).zip(next.chunks_exact(PIECE_BYTES));
                for (target, (source, next)) in target.chunks_exact_mut(PIECE_BYTES).zip(pieces) {
                    prefetch(next);
                    target.copy_from_slice(source);
                }
            }
        }
    }

    /// Orders what this thread copied before its later stores. Streaming stores are not ordered with other stores, so a
    /// thread calls this before it passes its pages on.
    pub(super) fn fence(self) {
        #[cfg(target_arch = "x86_64")]
        if matches!(self, Self::Streaming(_)) {
            avx2::fence();
        }
    }
}

/// Bytes of the next page that are prefetched at a time.
const PIECE_BYTES: usize = 512;

/// Prefetches memory that is about to be read.
#[inline]
fn prefetch(bytes: &[u8]) {
    #[cfg(target_arch = "x86_64")]
    for line in bytes.chunks(64) {
        // SAFETY: SSE is part of x86-64; a prefetch reads nothing and faults nowhere.
        unsafe { std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(line.as_ptr().cast()) }
    }
}

#[cfg(target_arch = "x86_64")]
mod avx2 {
    use super::prefetch;
    use crate::{PAGE_SIZE, Page};
    use std::arch::x86_64::{__m256i, _mm_sfence, _mm256_loadu_si256, _mm256_stream_si256};

    pub(super) const VECTOR_BYTES: usize = size_of::<__m256i>();

    /// Bytes in flight: two cache lines of two vectors each keep the load ports busy.
    const STEP_BYTES: usize = 4 * VECTOR_BYTES;

    /// Copies a page with streaming stores while prefetching `next`.
    ///
    /// # Safety
    /// The processor has AVX2, and `target` is aligned to [`VECTOR_BYTES`].
    #[target_feature(enable = "avx2")]
    pub(super) unsafe fn copy(source: &Page, next: &Page, target: &mut Page) {
        const { assert!(PAGE_SIZE.is_multiple_of(STEP_BYTES)) };
        let (source, target) = (source.as_ptr(), target.as_mut_ptr());
        for at in (0..PAGE_SIZE).step_by(STEP_BYTES) {
            prefetch(&next[at..at + STEP_BYTES]);
            // SAFETY: `at` + STEP_BYTES is at most PAGE_SIZE, so all accesses lie in the two pages, which do
            // not overlap (one is borrowed mutably). Loads need no alignment; the target's is the caller's
            // promise and STEP_BYTES keeps it.
            unsafe {
                let from = source.add(at).cast::<__m256i>();
                let to = target.add(at).cast::<__m256i>();
                let vectors = [
                    _mm256_loadu_si256(from),
                    _mm256_loadu_si256(from.add(1)),
                    _mm256_loadu_si256(from.add(2)),
                    _mm256_loadu_si256(from.add(3)),
                ];
                _mm256_stream_si256(to, vectors[0]);
                _mm256_stream_si256(to.add(1), vectors[1]);
                _mm256_stream_si256(to.add(2), vectors[2]);
                _mm256_stream_si256(to.add(3), vectors[3]);
            }
        }
    }

    pub(super) fn fence() {
        // SAFETY: SSE is part of x86-64; a store fence has no other precondition.
        unsafe { _mm_sfence() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::PAGE_SIZE;

    #[test]
    fn a_page_is_copied_at_any_alignment_and_nothing_beside_it() {
        let source: Page = std::array::from_fn(|at| (at * 31) as u8);
        for offset in 0..64 {
            let mut room = vec![0xEE; PAGE_SIZE + 128];
            let target: &mut Page = room[offset..].first_chunk_mut().unwrap();
            let stores = Stores::streaming();
            stores.copy(&source, &source, target);
            stores.fence();
            assert!(*target == source);
            assert!(room[..offset].iter().chain(&room[offset + PAGE_SIZE..]).all(|byte| *byte == 0xEE));
        }
    }
}
