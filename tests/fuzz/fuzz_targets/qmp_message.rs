//! Messages of QEMU's monitor, one after the other.

#![no_main]

use libfuzzer_sys::fuzz_target;
use understudy_xen::qmp::take_all;

fuzz_target!(|bytes: &[u8]| take_all(bytes));
