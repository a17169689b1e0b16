//! A copy that may race with the guest.

#![allow(unsafe_code)]

/// Copies bytes that a guest may write, or read, at the same time.
///
/// Written in assembly, because the compiler would treat such a race as undefined behaviour. Measured: 0.8 µs for a
/// cold page, where the standard library's copy takes 0.7 µs; eight bytes at a time (`movsq`) take 1.0 µs.
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
