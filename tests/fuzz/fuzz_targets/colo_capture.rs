//! Captures as `understudy colo compare` reads them: bounded, in order, and with an end.

#![no_main]

#[path = "../../../engine/src/cli/colo/capture.rs"]
#[allow(dead_code)]
mod capture;
#[path = "../../../engine/src/cli/colo/link_layer.rs"]
#[allow(dead_code)]
mod link_layer;

use capture::Capture;
use libfuzzer_sys::fuzz_target;
use std::io::Cursor;

/// What is put in front of a frame that was captured without it.
const ETHERNET_BYTES: usize = 14;

fuzz_target!(|bytes: &[u8]| {
    let Ok(mut capture) = Capture::new(Cursor::new(bytes.to_vec())) else { return };
    let mut number = 0;
    // Each frame takes a block of the file, so there are fewer than bytes.
    while let Ok(Some(frame)) = capture.next() {
        number += 1;
        assert_eq!(frame.number, number);
        assert!(frame.bytes.len() <= bytes.len() + ETHERNET_BYTES);
        assert!(number as usize <= bytes.len());
    }
});
