//! The shared info of a PV guest that moves (`xen/include/public/xen.h`): vCPU info and the architecture's part move
//! along, event channels start anew, and the wall clock is the new host's.

use std::ops::Range;
use understudy_checkpoint::Page;

const VCPU_INFO: Range<usize> = 0..2048;
const VCPU_INFO_BYTES: usize = 64;
const PENDING_SEL: Range<usize> = 8..16;
const EVTCHN_MASK: Range<usize> = 2560..3072;
const ARCH: Range<usize> = 3088..3136;
const FRAME_LIST_LIST: Range<usize> = 3096..3104;

/// Copies what survives a move from the old page to the new host's.
pub(super) fn write(new: &mut Page, old: &Page) {
    new[VCPU_INFO].copy_from_slice(&old[VCPU_INFO]);
    new[ARCH].copy_from_slice(&old[ARCH]);
    new[FRAME_LIST_LIST].fill(0);
    new[VCPU_INFO.end..EVTCHN_MASK.start].fill(0);
    new[EVTCHN_MASK].fill(0xFF);
    for info in new[VCPU_INFO].chunks_mut(VCPU_INFO_BYTES) {
        info[PENDING_SEL].fill(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use understudy_checkpoint::PAGE_SIZE;

    #[test]
    fn event_channels_begin_anew_and_the_rest_of_shared_info_goes_on() {
        let old: Page = std::array::from_fn(|at| (at % 251) as u8 | 1);
        let mut new = [0x77; PAGE_SIZE];
        write(&mut new, &old);
        assert_eq!(new[0..8], old[0..8]);
        assert_eq!(new[8..16], [0; 8], "pending_sel of vCPU 0");
        assert_eq!(new[31 * 64 + 8..31 * 64 + 16], [0; 8], "pending_sel of vCPU 31");
        assert_eq!(new[16..64], old[16..64]);
        assert!(new[2048..2560].iter().all(|byte| *byte == 0), "pending");
        assert!(new[2560..3072].iter().all(|byte| *byte == 0xFF), "mask");
        assert_eq!(new[3072..3088], [0x77; 16], "wall clock is the new host's");
        assert_eq!(new[3088..3096], old[3088..3096]);
        assert_eq!(new[3096..3104], [0; 8], "frame_list_list");
        assert_eq!(new[3104..3136], old[3104..3136]);
        assert_eq!(new[3136..], [0x77; PAGE_SIZE - 3136]);
    }
}
