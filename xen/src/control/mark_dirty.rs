//! Sets marks in a domain's dirty log, as if the guest had written the pages.
//!
//! ```text
//!   HVM, PVH   DMOP modified_memory        as a device model does for the memory that it writes
//!   PV         MMU_MACHPHYS_UPDATE         a frame's entry is written unchanged; Xen marks its pfn
//!
//!   DMOP:  argument │ handle │ size │ handle │ size │      data │ op, count │ extent │
//!                       └──────────────┼──────────────────────────┘           ▲
//!                                      └──────────────────────────────────────┘
//! ```
//!
//! Not here: what the marks are for ([`domain`](crate::domain)).

use super::{Data, Xen, failure};
use crate::abi::{dm, hypercall, mmu};
use crate::hypervisor::{Pointer, Register};
use crate::{DomId, Mfn, XenError};
use std::mem::offset_of;
use understudy_checkpoint::Pfn;
use zerocopy::IntoBytes;

/// Offset of the extents in the data of a DMOP.
const EXTENTS_AT: usize = size_of::<dm::ModifiedMemory>();

const EXTENT_BYTES: usize = size_of::<dm::Extent>();

impl Xen {
    /// Marks a few pages of an HVM or PVH domain. Xen silently ignores a pfn without a page, and refuses the highest
    /// pfn.
    pub fn mark_dirty(&self, domain: DomId, pfns: &[Pfn]) -> Result<(), XenError> {
        let extents_bytes = pfns.len() * EXTENT_BYTES;
        let mut data = self.data(EXTENTS_AT + extents_bytes)?;
        let (heads, extents) = data.as_bytes_mut().split_at_mut(EXTENTS_AT);
        let nr_extents = pfns.len() as u32;
        let head = dm::ModifiedMemory { op: dm::MODIFIED_MEMORY, nr_extents, ..Default::default() };
        heads.copy_from_slice(head.as_bytes());
        for (place, pfn) in extents.chunks_exact_mut(EXTENT_BYTES).zip(pfns) {
            place.copy_from_slice(dm::Extent { nr: 1, pad: 0, first_pfn: pfn.0 }.as_bytes());
        }
        let buffer = |size: usize| dm::Buffer { size: size as u64, ..Default::default() };
        let mut argument = self.argument()?;
        let buffers = [buffer(EXTENTS_AT), buffer(extents_bytes)];
        buffers.write_to_prefix(argument.as_bytes_mut()).expect("a page holds two buffers");
        let handle_at = |number: usize| number * size_of::<dm::Buffer>() + offset_of!(dm::Buffer, handle);
        let pointers = [
            Pointer { at: handle_at(0), to: 0, bytes: EXTENTS_AT },
            Pointer { at: handle_at(1), to: EXTENTS_AT, bytes: extents_bytes },
        ];
        let word = Register::Word;
        let registers =
            [word(domain.0.into()), word(buffers.len() as u64), Register::Argument, word(0), word(0)];
        let given = Data { buffer: &mut data, pointers: &pointers };
        let answer = self.hypercall(hypercall::DM_OP, registers, &mut argument, Some(given));
        answer.map(drop).map_err(|errno| failure("Marking pages as written", domain, errno))
    }

    /// Marks a few pages of a PV domain, given with their machine frames. The domain must not run, because the entries
    /// of Xen's machine-to-physical table are written again.
    pub fn mark_dirty_pv(&self, domain: DomId, pages: &[(Pfn, Mfn)]) -> Result<(), XenError> {
        const UPDATE_BYTES: usize = size_of::<mmu::Update>();
        let mut data = self.data(pages.len() * UPDATE_BYTES)?;
        for (place, (pfn, mfn)) in data.as_bytes_mut().chunks_exact_mut(UPDATE_BYTES).zip(pages) {
            let update = mmu::Update { address: mfn.address() | mmu::MACHPHYS_UPDATE, value: pfn.0 };
            place.copy_from_slice(update.as_bytes());
        }
        let mut unused = self.argument()?;
        let word = Register::Word;
        // Updates, their number, where to write how many were done (nowhere), whose frames.
        let registers = [Register::Data, word(pages.len() as u64), word(0), word(domain.0.into()), word(0)];
        let given = Data { buffer: &mut data, pointers: &[] };
        let answer = self.hypercall(hypercall::MMU_UPDATE, registers, &mut unused, Some(given));
        answer.map(drop).map_err(|errno| failure("Marking pages as written", domain, errno))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulated::{Asked, Simulated};
    use std::sync::{Arc, Mutex};
    use zerocopy::FromBytes;

    #[test]
    fn what_is_marked_is_what_xen_is_told() {
        let hypervisor = Simulated::new();
        let xen = Xen::over(hypervisor.clone()).unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let told = seen.clone();
        hypervisor.answer(Asked::DeviceModel, move |call| {
            assert_eq!((call.word(0), call.word(1)), (Some(7), Some(2)));
            let (buffers, _) = <[dm::Buffer; 2]>::read_from_prefix(call.argument()).unwrap();
            assert_eq!(buffers.map(|buffer| buffer.size), [16, 32]);
            let data = call.data().unwrap();
            let (head, rest) = dm::ModifiedMemory::read_from_prefix(data).unwrap();
            assert_eq!((head.op, head.nr_extents, head.opaque), (dm::MODIFIED_MEMORY, 2, 0));
            told.lock().unwrap().extend(<[dm::Extent; 2]>::read_from_prefix(rest).unwrap().0);
            Ok(0)
        });
        xen.mark_dirty(DomId(7), &[Pfn(0x1234), Pfn(9)]).unwrap();
        let extents = [0x1234, 9].map(|first_pfn| dm::Extent { nr: 1, pad: 0, first_pfn });
        assert_eq!(*seen.lock().unwrap(), extents);

        hypervisor.answer(Asked::MmuUpdate, |call| {
            assert_eq!((call.word(1), call.word(3)), (Some(2), Some(7)));
            let (updates, _) = <[mmu::Update; 2]>::read_from_prefix(call.data().unwrap()).unwrap();
            let update = |address, value| mmu::Update { address, value };
            assert_eq!(updates, [update(0x5_6001, 0x34), update(0x7001, 8)]);
            Ok(0)
        });
        xen.mark_dirty_pv(DomId(7), &[(Pfn(0x34), Mfn(0x56)), (Pfn(8), Mfn(7))]).unwrap();
    }
}
