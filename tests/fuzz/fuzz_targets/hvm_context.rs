//! HVM contexts: eight bytes change, or none.

#![no_main]

use libfuzzer_sys::fuzz_target;
use understudy_xen::twin::cancel_suspend;

fuzz_target!(|bytes: &[u8]| {
    let mut context = bytes.to_vec();
    let done = cancel_suspend(&mut context);
    let changed: Vec<usize> = (0..bytes.len()).filter(|at| context[*at] != bytes[*at]).collect();
    match done {
        Err(_) => assert!(changed.is_empty()),
        Ok(()) => {
            if let (Some(first), Some(last)) = (changed.first(), changed.last()) {
                assert!(last - first < 8);
            }
            let once = context.clone();
            assert!(cancel_suspend(&mut context).is_ok() && context == once);
        }
    }
});
