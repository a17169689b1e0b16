//! Answers of the kernel's device mapper.

#![no_main]

use libfuzzer_sys::fuzz_target;
use understudy_disk::dm::{list, standing, table, version};

fuzz_target!(|answer: &[u8]| {
    let _ = (version(answer), standing(answer));
    if let Ok(Some(targets)) = table(answer) {
        assert!(targets.len() <= answer.len() / 40);
    }
    if let Ok(Some(devices)) = list(answer) {
        assert!(devices.len() <= answer.len() / 12);
    }
});
