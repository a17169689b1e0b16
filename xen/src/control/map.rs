//! Maps memory of domains into this process: guest frames, and the grant table.

use super::Xen;
use crate::abi::grant::{self, EntryV1};
use crate::hypervisor::ForeignMemory;
use crate::{Access, DomId, Gfn, GfnSlot, Mapping, XenError};
use nix::errno::Errno;
use std::sync::Arc;
use zerocopy::IntoBytes;

impl Xen {
    /// Maps frames. [`Mapping::error`] tells which frames did not map and why; empty slots never map. Waits a few
    /// seconds at most for frames that are paged out.
    pub fn map(&self, domain: DomId, frames: &[GfnSlot], access: Access) -> Result<Mapping, XenError> {
        let first = frames.first().copied().unwrap_or(GfnSlot::EMPTY);
        Mapping::new(self.foreign_memory(domain, first)?, domain, frames, access)
    }

    /// Maps frames, and fails if any does not map.
    pub fn map_whole(&self, domain: DomId, frames: &[Gfn], access: Access) -> Result<Mapping, XenError> {
        let frames: Vec<GfnSlot> = frames.iter().map(|gfn| GfnSlot::from(*gfn)).collect();
        let mapping = self.map(domain, &frames, access)?;
        match mapping.first_error() {
            Some((frame, errno)) => Err(XenError::Map { domain, frame, errno }),
            None => Ok(mapping),
        }
    }

    /// Fills a grant table entry that is reserved for the toolstack (0: console, 1: xenstore) before the domain runs,
    /// so that `backend` may map `gfn`.
    ///
    /// Panics if `index` is not reserved.
    pub fn seed_grant(&self, domain: DomId, index: u32, gfn: Gfn, backend: DomId) -> Result<(), XenError> {
        assert!(index < grant::RESERVED_ENTRIES, "an entry of the toolstack");
        let unnameable = XenError::Map { domain, frame: gfn.into(), errno: Errno::E2BIG };
        let frame = u32::try_from(gfn.0).map_err(|_| unnameable)?;
        let table = Mapping::grant_table(self.foreign_memory(domain, gfn.into())?, domain, 1)?;
        let entry = EntryV1 { flags: grant::PERMIT_ACCESS, domain: backend.0, frame };
        // Only this entry: others may be in use by backends that were told of them already.
        let written = table.write(0, index as usize * size_of::<EntryV1>(), entry.as_bytes());
        assert!(written, "the table is mapped for writing");
        Ok(())
    }

    /// Maps the whole grant table of a domain, writable.
    pub fn grant_table(&self, domain: DomId) -> Result<Mapping, XenError> {
        // One more than there are would make Xen add to the table.
        let frames = self.grant_frames(domain)? as usize;
        Mapping::grant_table(self.foreign_memory(domain, GfnSlot::EMPTY)?, domain, frames)
    }

    fn foreign_memory(&self, domain: DomId, first: GfnSlot) -> Result<Arc<dyn ForeignMemory>, XenError> {
        self.shared.hypervisor.foreign_memory(domain).map_err(|error| XenError::Map {
            domain,
            frame: first,
            errno: error.raw_os_error().map_or(Errno::EIO, Errno::from_raw),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulated::Simulated;

    #[test]
    fn a_whole_mapping_has_every_frame_or_says_which_is_missing() {
        let hypervisor = Simulated::new();
        let xen = Xen::over(hypervisor.clone()).unwrap();
        let frames = [1, 2, 3].map(Gfn);
        assert_eq!(xen.map_whole(DomId(1), &frames, Access::Read).unwrap().len(), 3);
        hypervisor.break_frame(2, Errno::EINVAL);
        assert!(xen.map(DomId(1), &frames.map(GfnSlot::from), Access::Read).is_ok());
        let error = xen.map_whole(DomId(1), &frames, Access::Read).unwrap_err();
        let XenError::Map { domain: DomId(1), frame, errno: Errno::EINVAL } = error else {
            panic!("{error}")
        };
        assert_eq!(frame, Gfn(2).into());
        assert!(error.to_string().starts_with("Mapping frame 0x2 of domain 1 failed"), "{error}");
    }

    #[test]
    fn a_grant_is_seeded_and_the_others_are_left_alone() {
        let hypervisor = Simulated::new();
        let xen = Xen::over(hypervisor.clone()).unwrap();
        xen.seed_grant(DomId(9), 0, Gfn(0xFEFFF), DomId(0)).unwrap();
        xen.seed_grant(DomId(9), 1, Gfn(0xFEFFE), DomId(3)).unwrap();
        let table = hypervisor.read_grant_table();
        assert_eq!(table[..8], [1, 0, 0, 0, 0xFF, 0xEF, 0x0F, 0]);
        assert_eq!(table[8..16], [1, 0, 3, 0, 0xFE, 0xEF, 0x0F, 0]);
        assert!(table[16..].iter().all(|byte| *byte == 0));
        assert!(xen.seed_grant(DomId(9), 1, Gfn(1 << 32), DomId(0)).is_err());
    }
}
