//! A copy that may race with a guest.

#![allow(unsafe_code)]

/// Copies bytes of which one side may be written by a guest at the same time.
///
/// In assembly, since for the compiler such a race would be undefined. Measured at 0.8 µs for a cold page, where the
/// standard library's copy takes 0.7 µs; eight bytes at a time (`movsq`) take 1.0 µs.
///
/// # Safety
/// `from` is readable and `to` writable for `bytes` bytes, and they do not overlap.
#[inline]
pub(super) unsafe fn copy(from: *const u8, to: *mut u8, bytes: usize) {
    // SAFETY: reads and writes just the caller's ranges; the direction flag is clear in Rust code.
    unsafe {
        std::arch::asm!(
            "rep movsb",
            inout("rcx") bytes => _,
            inout("rsi") from => _,
            inout("rdi") to => _,
            options(nostack, preserves_flags),
        );
    }
}
