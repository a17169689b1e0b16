//! Answers of the kernel's generic netlink about block devices.

#![no_main]

use libfuzzer_sys::fuzz_target;
use understudy_disk::nbd::control::answers;

fuzz_target!(|datagram: &[u8]| {
    if let Ok(answers) = answers(datagram) {
        assert!(answers.len() <= datagram.len() / 16);
    }
});
