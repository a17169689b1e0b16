//! Calls on frames: types, populating, page tables, the machine-to-physical table.

use super::{Data, FAULT_TRIES, Xen, failure, payload_pointer};
use crate::abi::domctl::{self, PAGE_FRAMES_MAX, PAGE_TYPE_SHIFT, PageFrameInfo};
use crate::abi::memory::{self, MachphysList, Reservation};
use crate::abi::{hypercall, mmu};
use crate::hypervisor::{Pointer, Register};
use crate::{DomId, Gfn, Mfn, XenError};
use nix::errno::Errno;
use std::mem::offset_of;
use understudy_checkpoint::Pfn;
use zerocopy::{FromBytes, IntoBytes};

/// Frames or operations in one hypercall; as many as the stock tools use.
const BATCH_MAX: usize = 1024;

/// The level at which a PV guest's page table is pinned.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PinLevel {
    /// Lowest: points to pages.
    L1,
    /// Points to tables of level 1.
    L2,
    /// Points to tables of level 2.
    L3,
    /// Highest of 64-bit guests.
    L4,
}

impl PinLevel {
    fn command(self) -> u32 {
        mmu::PIN_L1_TABLE + self as u32
    }
}

const _: () = assert!(mmu::PIN_L1_TABLE + PinLevel::L4 as u32 == mmu::PIN_L4_TABLE);

impl Xen {
    /// The highest pfn of a domain.
    pub fn maximum_gpfn(&self, domain: DomId) -> Result<Pfn, XenError> {
        let mut argument = memory::Domain { domain: domain.0 };
        let call = (hypercall::MEMORY_OP, memory::MAXIMUM_GPFN);
        self.subcommand("Asking the highest frame", Some(domain), call, &mut argument, None).map(Pfn)
    }

    /// The highest machine frame of this host's memory.
    pub fn maximum_ram_page(&self) -> Result<Mfn, XenError> {
        let call = (hypercall::MEMORY_OP, memory::MAXIMUM_RAM_PAGE);
        self.subcommand("Asking the highest machine frame", None, call, &mut domctl::Nothing {}, None)
            .map(Mfn)
    }

    /// Fills `types` with the type of each frame: the nibble of a [`PageType`](understudy_checkpoint::PageType). Takes
    /// any number of frames.
    ///
    /// Panics if there are not as many types as frames.
    pub fn page_types(&self, domain: DomId, frames: &[Gfn], types: &mut [u8]) -> Result<(), XenError> {
        assert_eq!(frames.len(), types.len(), "a type for each frame");
        let mut chunks = frames.chunks(PAGE_FRAMES_MAX).zip(types.chunks_mut(PAGE_FRAMES_MAX));
        chunks.try_for_each(|(frames, types)| self.page_types_of(domain, frames, types))
    }

    fn page_types_of(&self, domain: DomId, frames: &[Gfn], types: &mut [u8]) -> Result<(), XenError> {
        let bytes = size_of_val(frames);
        let mut data = self.data(bytes)?;
        let mut tries = 1;
        loop {
            // Both are filled anew for each try: Xen overwrites frames by types, and counts in the payload.
            data.as_bytes_mut()[..bytes].copy_from_slice(frames.as_bytes());
            let mut payload = PageFrameInfo { num: frames.len() as u64, ..PageFrameInfo::default() };
            let pointers = [payload_pointer!(PageFrameInfo, array, bytes)];
            let given = Data { buffer: &mut data, pointers: &pointers };
            let what = "Asking the types of frames";
            match self.domctl(what, domctl::GET_PAGE_FRAME_INFO, domain, &mut payload, Some(given)) {
                Err(XenError::Hypercall { errno: Errno::EFAULT, .. }) if tries < FAULT_TRIES => tries += 1,
                Err(error) => return Err(error),
                Ok(_) => {
                    let words =
                        <[u64]>::ref_from_bytes(&data.as_bytes()[..bytes]).expect("buffers begin pages");
                    for (nibble, word) in types.iter_mut().zip(words) {
                        *nibble = (word >> PAGE_TYPE_SHIFT & 0xF) as u8;
                    }
                    return Ok(());
                }
            }
        }
    }

    /// Gives a domain memory: an extent of `1 << order` frames from each of `pfns` on. Calls `given` with the first
    /// frame of each extent: the machine frame for a PV guest, the pfn for others. Returns the number of extents done;
    /// fewer than asked for means that the host, or the domain's limit, has no more of this order.
    pub fn populate_physmap(
        &self,
        domain: DomId,
        order: u32,
        pfns: &[Pfn],
        mut given: impl FnMut(Pfn, Gfn),
    ) -> Result<usize, XenError> {
        let mut done = 0;
        for chunk in pfns.chunks(BATCH_MAX) {
            let frames = chunk.iter().map(|pfn| pfn.0);
            let call = ("Giving memory", memory::POPULATE_PHYSMAP);
            let count = self.reservation(call, domain, order, frames, |index, frame| {
                given(chunk[index], Gfn(frame));
            })?;
            done += count;
            if count < chunk.len() {
                break;
            }
        }
        Ok(done)
    }

    /// Takes single frames from a domain. Returns how many were taken.
    pub fn decrease_reservation(&self, domain: DomId, frames: &[Gfn]) -> Result<usize, XenError> {
        let mut done = 0;
        for chunk in frames.chunks(BATCH_MAX) {
            let frames = chunk.iter().map(|gfn| gfn.0);
            let call = ("Taking memory", memory::DECREASE_RESERVATION);
            let count = self.reservation(call, domain, 0, frames, |_, _| ())?;
            done += count;
            if count < chunk.len() {
                break;
            }
        }
        Ok(done)
    }

    /// Does a call with a list of at most [`BATCH_MAX`] frames. Calls `each` with the index of each extent done and the
    /// frame that Xen has put in its place.
    fn reservation(
        &self,
        (what, sub): (&'static str, u64),
        domain: DomId,
        extent_order: u32,
        frames: impl ExactSizeIterator<Item = u64>,
        mut each: impl FnMut(usize, u64),
    ) -> Result<usize, XenError> {
        let nr_extents = frames.len() as u64;
        let bytes = frames.len() * size_of::<u64>();
        let mut data = self.data(bytes)?;
        for (place, frame) in data.as_bytes_mut().chunks_exact_mut(size_of::<u64>()).zip(frames) {
            place.copy_from_slice(&frame.to_ne_bytes());
        }
        let mut argument =
            Reservation { nr_extents, extent_order, domain: domain.0, ..Reservation::default() };
        let pointers = [Pointer { at: offset_of!(Reservation, extent_start), to: 0, bytes }];
        let given = Data { buffer: &mut data, pointers: &pointers };
        let call = (hypercall::MEMORY_OP, sub);
        let done = self.subcommand(what, Some(domain), call, &mut argument, Some(given))?;
        if done > nr_extents {
            return Err(XenError::Nonsense { what, domain: Some(domain), answer: format!("{done} extents") });
        }
        let words = <[u64]>::ref_from_bytes(&data.as_bytes()[..bytes]).expect("buffers begin pages");
        words[..done as usize].iter().enumerate().for_each(|(index, frame)| each(index, *frame));
        Ok(done as usize)
    }

    /// The first machine frame of each 2 MiB of the machine-to-physical table, at most `count`; 0 for addresses at
    /// which the host has no memory. Map them as frames of [`DomId::XEN`], 512 each.
    pub fn machphys_frames(&self, count: usize) -> Result<Vec<Mfn>, XenError> {
        let what = "Asking for the M2P";
        let bytes = count * size_of::<Mfn>();
        let mut data = self.data(bytes)?;
        let max_extents = u32::try_from(count).map_err(|_| XenError::Hypercall {
            what,
            domain: None,
            errno: Errno::E2BIG,
        })?;
        let mut argument = MachphysList { max_extents, ..MachphysList::default() };
        let pointers = [Pointer { at: offset_of!(MachphysList, extent_start), to: 0, bytes }];
        let given = Data { buffer: &mut data, pointers: &pointers };
        self.subcommand(
            what,
            None,
            (hypercall::MEMORY_OP, memory::MACHPHYS_MFN_LIST),
            &mut argument,
            Some(given),
        )?;
        if argument.nr_extents > max_extents {
            let answer = format!("{} extents", argument.nr_extents);
            return Err(XenError::Nonsense { what, domain: None, answer });
        }
        let written = &data.as_bytes()[..argument.nr_extents as usize * size_of::<Mfn>()];
        Ok(<[Mfn]>::ref_from_bytes(written).expect("buffers begin pages").to_vec())
    }

    /// Pins page tables of a PV domain. EINVAL means that one of them is not a valid table; `xl dmesg` shows which.
    pub fn pin_tables(&self, domain: DomId, pins: &[(PinLevel, Mfn)]) -> Result<(), XenError> {
        for batch in pins.chunks(BATCH_MAX) {
            let ops = batch.iter().map(|(level, mfn)| mmu::ExtOp {
                command: level.command(),
                mfn: mfn.0,
                ..mmu::ExtOp::default()
            });
            self.mmu("Pinning page tables", domain, ops)?;
        }
        Ok(())
    }

    /// Does at most [`BATCH_MAX`] page table operations.
    fn mmu(
        &self,
        what: &'static str,
        domain: DomId,
        ops: impl ExactSizeIterator<Item = mmu::ExtOp>,
    ) -> Result<(), XenError> {
        let count = ops.len();
        let mut data = self.data(count * size_of::<mmu::ExtOp>())?;
        for (op, place) in ops.zip(data.as_bytes_mut().chunks_exact_mut(size_of::<mmu::ExtOp>())) {
            place.copy_from_slice(op.as_bytes());
        }
        let mut unused = self.argument()?;
        let word = |word| Register::Word(word);
        // Operations, their number, where to write how many were done (nowhere), whose frames.
        let registers = [Register::Data, word(count as u64), word(0), word(u64::from(domain.0)), word(0)];
        let given = Data { buffer: &mut data, pointers: &[] };
        let answer = self.hypercall(hypercall::MMUEXT_OP, registers, &mut unused, Some(given));
        answer.map(drop).map_err(|errno| failure(what, domain, errno))
    }
}

#[cfg(test)]
mod tests;
