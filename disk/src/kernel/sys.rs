//! The system call of device mapper, which has no safe wrapper.
//!
//! This is the only `unsafe` code of this crate, and it decides nothing. Numbers: `linux/dm-ioctl.h`.

#![allow(unsafe_code)]

use crate::dm::{HEAD_BYTES, Order};
use nix::errno::Errno;
use nix::libc;
use std::os::fd::{AsFd, AsRawFd};

/// `_IOWR(0xFD, order, struct dm_ioctl)`: the kernel reads `message` and writes its answer there. `EINVAL` if `message` says
/// another length than it has.
pub(super) fn dm(control: impl AsFd, order: Order, message: &mut [u8]) -> Result<(), Errno> {
    let says = message.get(12..16).map(|bytes| u32::from_ne_bytes(bytes.try_into().expect("four bytes")));
    if message.len() < HEAD_BYTES || says.map(|bytes| bytes as usize) != Some(message.len()) {
        return Err(Errno::EINVAL);
    }
    let request = nix::request_code_readwrite!(0xFD, order as u8, HEAD_BYTES);
    // SAFETY: the descriptor is open for the length of the call. The kernel reads and writes as many bytes as the message says
    // at 12, which is its length, as was just looked at; it keeps no reference to them.
    let result = unsafe { libc::ioctl(control.as_fd().as_raw_fd(), request, message.as_mut_ptr()) };
    Errno::result(result).map(drop)
}
