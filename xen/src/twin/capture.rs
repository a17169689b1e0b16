//! [`Capture`]: a suspended guest as its twin needs it.

use super::context::cancel_suspend;
use super::events::linked_port;
use super::shape::{Layout, Shape};
use super::{RingKeys, TwinError};
use crate::window::WINDOW_PFNS;
use crate::xenstore::Xenstore;
use crate::{Access, DomId, Gfn, GfnSlot, Mapping, Xen};
use std::ops::Range;
use understudy_checkpoint::epoch::Image;
use understudy_checkpoint::{PAGE_SIZE, Page, Pfn};

/// A suspended guest.
#[derive(Debug)]
pub struct Capture {
    pub(super) shape: Shape,
    pub(super) layout: Layout,
    pub(super) pages: Image,
    pub(super) grants: Vec<u8>,
    /// With the suspend cancelled.
    pub(super) context: Vec<u8>,
    pub(super) rings: RingKeys,
}

impl Capture {
    /// Copies a guest that has suspended itself. `layout` is where it had memory before.
    pub fn of(xen: &Xen, store: &mut Xenstore, domain: DomId, layout: Layout) -> Result<Self, TwinError> {
        let info = xen.domain_info(domain)?.ok_or(TwinError::Absent { domain })?;
        if !info.is_suspended() {
            return Err(TwinError::NotSuspended { domain });
        }
        layout.still_counts(&info)?;
        let mut context = Vec::new();
        xen.hvm_context(domain, &mut context)?;
        cancel_suspend(&mut context)?;
        Ok(Self {
            shape: Shape::of(xen, store, domain)?,
            pages: pages(xen, domain, &layout)?,
            layout,
            grants: table(&xen.grant_table(domain)?),
            context,
            rings: RingKeys::of(store, domain)?,
        })
    }
}

impl Capture {
    /// How many vCPUs the guest has.
    pub fn vcpus(&self) -> u32 {
        self.shape.vcpus
    }
}

/// Copies all pages. Fails if events are queued.
fn pages(xen: &Xen, domain: DomId, layout: &Layout) -> Result<Image, TwinError> {
    let mut image = Image::new(layout.end());
    let mut page = [0; PAGE_SIZE];
    for window in layout.windows() {
        let memory = mapped(xen, domain, &window, Access::Read)?;
        for (index, pfn) in window.enumerate() {
            if !memory.copy_page(index, &mut page) {
                return Err(TwinError::NoFrame { domain, frame: pfn });
            }
            if let Some(port) = linked_port(&page) {
                return Err(TwinError::Queued { port });
            }
            *image.page_mut(Pfn(pfn))? = page;
        }
    }
    Ok(image)
}

/// Maps a run of pfns of an HVM or PVH domain.
pub(super) fn mapped(
    xen: &Xen,
    domain: DomId,
    pfns: &Range<u64>,
    access: Access,
) -> Result<Mapping, TwinError> {
    let frames: Vec<GfnSlot> = pfns.clone().map(|pfn| Gfn::of_hvm(Pfn(pfn)).into()).collect();
    Ok(xen.map(domain, &frames, access)?)
}

/// The content of a mapped grant table.
pub(super) fn table(mapping: &Mapping) -> Vec<u8> {
    let mut table = vec![0; mapping.len() * PAGE_SIZE];
    for (index, frame) in table.chunks_exact_mut(PAGE_SIZE).enumerate() {
        let frame: &mut Page = frame.try_into().expect("chunks of a page");
        mapping.copy_page(index, frame);
    }
    table
}

impl Layout {
    /// The runs, in pieces that are mapped at once.
    pub(super) fn windows(&self) -> impl Iterator<Item = Range<u64>> {
        let pieces = |run: &Range<u64>| {
            let run = run.clone();
            run.clone().step_by(WINDOW_PFNS).map(move |first| first..run.end.min(first + WINDOW_PFNS as u64))
        };
        self.runs().iter().flat_map(pieces)
    }

    /// One more than the highest pfn.
    pub(super) fn end(&self) -> u64 {
        self.runs().last().map_or(0, |run| run.end)
    }
}

#[cfg(test)]
mod tests;
