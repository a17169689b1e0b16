//! Answers of the kernel's rtnetlink: one datagram, read as every kind of answer there is.

#![no_main]

use libfuzzer_sys::fuzz_target;
use understudy_netbuf::kernel::read_all;

fuzz_target!(|datagram: &[u8]| read_all(datagram));
