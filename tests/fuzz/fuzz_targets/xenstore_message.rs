//! Messages of xenstored, one after the other, with their strings.

#![no_main]

use libfuzzer_sys::fuzz_target;
use understudy_xen::xenstore::take_all;

fuzz_target!(|bytes: &[u8]| take_all(bytes));
