//! What only 64-bit PV guests have: pfns that differ from frames, and page tables and vCPUs that hold machine frames.
//!
//! ```text
//!   pfn ──P2M (the guest's, mapped)──► mfn ──M2P (Xen's, mapped)──► pfn      both must agree
//! ```

mod m2p;
mod p2m;
mod shared_info;
mod tables;
pub(crate) mod vcpu;

use crate::{DomId, DomainInfo, Mfn, Xen, XenError};
use m2p::M2p;
use p2m::P2m;
use shared_info::SharedInfo;
use tables::Obstacle;
use understudy_checkpoint::domain::DomainError;
use understudy_checkpoint::stream::libxc::{GuestWidth, P2mFrames, Record};
use understudy_checkpoint::{PAGE_SIZE, Page, PageEntry, PageType, Pfn};

/// The mapped tables of a PV guest.
pub(super) struct PvGuest {
    xen: Xen,
    domain: DomId,
    shared: SharedInfo,
    p2m: P2m,
    m2p: M2p,
    p2m_generation: u64,
    claimed_pfns: u64,
    max_vcpu_id: u32,
    shared_copy: Box<Page>,
}

pub(super) fn failed(error: XenError) -> DomainError {
    super::error(error)
}

impl PvGuest {
    pub(super) fn open(xen: &Xen, domain: DomId, info: &DomainInfo) -> Result<Self, DomainError> {
        let bits = xen.address_size(domain).map_err(failed)?;
        if bits != 64 {
            return Err(DomainError::Failed(format!(
                "Domain {domain} is a {bits}-bit PV guest; only 64-bit PV guests can be saved, so run it as PVH"
            )));
        }
        let shared = SharedInfo::map(xen, domain, info).map_err(failed)?;
        // Before it is walked: what changes meanwhile is found by the next look.
        let (p2m_generation, claimed_pfns) = (shared.p2m_generation(), shared.pfn_count());
        let p2m = P2m::map(xen, domain, &shared)?;
        let m2p = M2p::map(xen).map_err(failed)?;
        Ok(Self {
            xen: xen.clone(),
            domain,
            shared,
            p2m,
            m2p,
            p2m_generation,
            claimed_pfns,
            max_vcpu_id: info.max_vcpu_id,
            shared_copy: Box::new([0; PAGE_SIZE]),
        })
    }

    /// The number of pfns.
    pub(super) fn pfn_count(&self) -> u64 {
        self.p2m.pfn_count()
    }

    /// The frame of a pfn; `None` also if Xen's table disagrees.
    pub(super) fn frame(&self, pfn: Pfn) -> Option<Mfn> {
        self.p2m.frame(pfn).filter(|mfn| self.m2p.pfn(*mfn) == Some(pfn))
    }

    /// Appends the record X86_PV_INFO.
    pub(super) fn write_info(out: &mut Vec<u8>) {
        Record::PvInfo(GuestWidth::Bits64).write(out);
    }

    /// Appends the record X86_PV_P2M_FRAMES: the pfns that hold the P2M table.
    pub(super) fn write_p2m_frames(&self, out: &mut Vec<u8>) -> Result<(), DomainError> {
        let pfn_of = |frame: &Mfn| {
            self.p2m.pfn_of(&self.m2p, *frame).map(|pfn| pfn.0.into()).ok_or_else(|| {
                DomainError::Failed(format!(
                    "The P2M table lies in frame {frame:#x}, which is not the guest's own"
                ))
            })
        };
        let frames = self.p2m.leaf_frames().iter().map(pfn_of).collect::<Result<Vec<_>, _>>()?;
        let end = (self.p2m.pfn_count() - 1) as u32;
        Record::P2mFrames(P2mFrames { start: 0, end, frames: &frames }).write(out);
        Ok(())
    }

    /// Why the guest has to be described again; `None` if nothing has changed. The stream names the frames of the P2M
    /// table once, at its beginning: they must not move afterwards, and no pfn may be added.
    pub(super) fn changed(&mut self) -> Result<Option<String>, DomainError> {
        let (generation, claimed) = (self.shared.p2m_generation(), self.shared.pfn_count());
        if (generation, claimed) == (self.p2m_generation, self.claimed_pfns) {
            return Ok(None);
        }
        let now = P2m::map(&self.xen, self.domain, &self.shared)?;
        if now.leaf_frames() != self.p2m.leaf_frames() {
            return Ok(Some("it moved its P2M table".into()));
        }
        if now.pfn_count() > self.p2m.pfn_count() {
            let (now, before) = (now.pfn_count(), self.p2m.pfn_count());
            return Ok(Some(format!("it has {now} page frames now, and had {before}")));
        }
        (self.p2m_generation, self.claimed_pfns) = (generation, claimed);
        Ok(None)
    }

    /// Replaces the machine frames in the copy of a page table by pfns. `false`: some entries could not be translated
    /// and were emptied, which a running guest may cause; the page has to be copied again.
    pub(super) fn normalise(&self, entry: PageEntry, page: &mut Page) -> Result<bool, DomainError> {
        let PageType::Table { level, .. } = entry.page_type() else { return Ok(true) };
        match tables::normalise(page, level, &self.p2m, &self.m2p) {
            Ok(()) => Ok(true),
            Err(Obstacle::NotOwn { frame }) => {
                tracing::debug!(
                    pfn = entry.pfn().0,
                    level,
                    frame = frame.0,
                    "A page table names a frame that is not the guest's own"
                );
                Ok(false)
            }
            Err(Obstacle::Superpage) => Err(DomainError::Failed(format!(
                "The page table at pfn {} maps a superpage; a PV guest with superpages cannot be saved",
                entry.pfn()
            ))),
        }
    }

    /// Appends the records of a suspended guest's state.
    pub(super) fn capture(&mut self, out: &mut Vec<u8>) -> Result<(), DomainError> {
        super::tsc::write(&self.xen, self.domain, out).map_err(failed)?;
        self.shared.copy(&mut self.shared_copy);
        Record::SharedInfo(&self.shared_copy).write(out);
        vcpu::write(&self.xen, self.domain, self.max_vcpu_id, (&self.p2m, &self.m2p), out)
    }
}
