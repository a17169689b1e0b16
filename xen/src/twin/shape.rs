//! What must be the same in a guest and in its twin, because no copy of memory carries it over.
//!
//! ```text
//!   vCPUs · where shared info, rings and callback are · event channel ports · size and layout of the grant table     quickly asked
//!   layout: the runs of pfns that hold a page                                                                        a call for each 1024 pfns
//! ```
//!
//! Not here: what is copied.

use super::unlike::Unlike;
use super::{TwinError, events, ports};
use crate::domain::suspend_port;
use crate::restore::hvm::{CONSOLE_EVTCHN, STORE_EVTCHN};
use crate::xenstore::Xenstore;
use crate::{DomId, DomainInfo, Gfn, PortState, Xen};
use std::ops::Range;
use understudy_checkpoint::stream::libxc::HvmParam;
use understudy_checkpoint::{PageType, Pfn};

/// `HVM_PARAM_CALLBACK_IRQ` (`xen/hvm/params.h`): how the guest is told of events.
const CALLBACK_IRQ: u32 = 0;
/// Parameters that the guest or its toolstack has set, by which both find each other.
const PARAMS: [(u32, &str); 5] = [
    (CALLBACK_IRQ, "CALLBACK_IRQ"),
    (HvmParam::STORE_PFN as u32, "STORE_PFN"),
    (HvmParam::CONSOLE_PFN as u32, "CONSOLE_PFN"),
    (STORE_EVTCHN, "STORE_EVTCHN"),
    (CONSOLE_EVTCHN, "CONSOLE_EVTCHN"),
];

/// The only layout of grant table entries that is understood.
const GRANT_VERSION: u32 = 1;

/// Pfns in one question about the layout.
const SURVEY_PFNS: u64 = 1024;

/// What is quickly asked of a domain.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Shape {
    pub(super) vcpus: u32,
    pub(super) shared_info: Gfn,
    params: [u64; PARAMS.len()],
    /// Those that the guest knows of.
    ports: Vec<(u32, PortState)>,
    pub(super) grant_frames: u32,
}

impl Shape {
    /// The shape of a PVH domain. Fails for one that has what is not understood.
    pub fn of(xen: &Xen, store: &mut Xenstore, domain: DomId) -> Result<Self, TwinError> {
        let info = xen.domain_info(domain)?.ok_or(TwinError::Absent { domain })?;
        if !info.is_hvm() {
            return Err(TwinError::Kind { domain });
        }
        let version = xen.grant_version(domain)?;
        if version != GRANT_VERSION {
            return Err(TwinError::GrantVersion { domain, version });
        }
        let mut ports = xen.ports(domain)?;
        if let Some(ours) = suspend_port(store, domain)? {
            ports.retain(|(port, _)| *port != ours);
        }
        if let Some((port, _)) = ports.last().filter(|(port, _)| *port >= events::PORTS_MAX) {
            return Err(TwinError::ManyPorts { domain, port: *port });
        }
        let mut params = [0; PARAMS.len()];
        for (value, (index, _)) in params.iter_mut().zip(PARAMS) {
            *value = xen.hvm_param(domain, index)?;
        }
        Ok(Self {
            vcpus: info.max_vcpu_id.wrapping_add(1),
            shared_info: info.shared_info_frame,
            params,
            ports,
            grant_frames: xen.grant_frames(domain)?,
        })
    }

    /// Fails with the first thing in which `twin` is unlike the guest of this shape.
    pub fn compare(&self, twin: &Self) -> Result<(), Unlike> {
        if self.vcpus != twin.vcpus {
            return Err(Unlike::Vcpus { guest: self.vcpus, twin: twin.vcpus });
        }
        if self.shared_info != twin.shared_info {
            return Err(Unlike::SharedInfo { guest: self.shared_info, twin: twin.shared_info });
        }
        for ((guest, twin), (_, name)) in self.params.iter().zip(&twin.params).zip(PARAMS) {
            if guest != twin {
                return Err(Unlike::Param { name, guest: *guest, twin: *twin });
            }
        }
        if self.grant_frames != twin.grant_frames {
            return Err(Unlike::GrantFrames { guest: self.grant_frames, twin: twin.grant_frames });
        }
        let difference = ports::difference(&self.ports, &twin.ports);
        difference.map_or(Ok(()), |(port, guest, twin)| Err(Unlike::Port { port, guest, twin }))
    }
}

/// Where a domain has memory.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Layout {
    /// Runs of pfns that hold a page, ascending, with gaps between them.
    runs: Vec<Range<u64>>,
    /// How many pages Xen counted before it was asked for each.
    tot_pages: u64,
}

impl Layout {
    /// Asks for every pfn of an HVM or PVH domain whether it holds a page.
    pub fn of(xen: &Xen, domain: DomId) -> Result<Self, TwinError> {
        let tot_pages = xen.domain_info(domain)?.ok_or(TwinError::Absent { domain })?.tot_pages;
        let end = xen.maximum_gpfn(domain)?.0 + 1;
        let mut runs: Vec<Range<u64>> = Vec::new();
        for first in (0..end).step_by(SURVEY_PFNS as usize) {
            let frames: Vec<Gfn> =
                (first..end.min(first + SURVEY_PFNS)).map(|pfn| Gfn::of_hvm(Pfn(pfn))).collect();
            let mut types = vec![0; frames.len()];
            xen.page_types(domain, &frames, &mut types)?;
            let with_page = (first..).zip(types).filter(|(_, kind)| holds_page(*kind));
            for (pfn, _) in with_page {
                match runs.last_mut() {
                    Some(run) if run.end == pfn => run.end += 1,
                    _ => runs.push(pfn..pfn + 1),
                }
            }
        }
        Ok(Self { runs, tot_pages })
    }

    /// The runs of pfns that hold a page.
    pub fn runs(&self) -> &[Range<u64>] {
        &self.runs
    }

    /// Fails if the domain has another number of pages by now. If it has not, and every page of the layout is still there,
    /// then it has no other: what it took elsewhere it must have given back here.
    pub(super) fn still_counts(&self, info: &DomainInfo) -> Result<(), TwinError> {
        let DomainInfo { domain, tot_pages: now, .. } = *info;
        if now == self.tot_pages {
            Ok(())
        } else {
            Err(TwinError::Ballooned { domain, before: self.tot_pages, now })
        }
    }

    /// Fails with the first pfn at which only one of guest and `twin` has a page.
    pub fn compare(&self, twin: &Self) -> Result<(), Unlike> {
        let edges =
            |layout: &Self| -> Vec<u64> { layout.runs.iter().flat_map(|run| [run.start, run.end]).collect() };
        let (of_guest, of_twin) = (edges(self), edges(twin));
        let alike = of_guest.iter().zip(&of_twin).take_while(|(one, other)| one == other).count();
        let frame = match (of_guest.get(alike), of_twin.get(alike)) {
            (None, None) => return Ok(()),
            (Some(one), Some(other)) => *one.min(other),
            (Some(one), None) | (None, Some(one)) => *one,
        };
        Err(Unlike::Layout { frame, in_guest: self.contains(frame), in_twin: twin.contains(frame) })
    }

    fn contains(&self, pfn: u64) -> bool {
        self.runs.iter().any(|run| run.contains(&pfn))
    }
}

fn holds_page(kind: u8) -> bool {
    PageType::from_nibble(kind).is_some_and(PageType::has_data)
}

#[cfg(test)]
pub(super) fn layout(runs: &[Range<u64>]) -> Layout {
    Layout { runs: runs.to_vec(), tot_pages: 0 }
}

#[cfg(test)]
pub(super) fn shape(shared_info: u64) -> Shape {
    Shape { vcpus: 1, shared_info: Gfn(shared_info), params: [0; 5], ports: Vec::new(), grant_frames: 1 }
}

#[cfg(test)]
mod tests {
    use super::{layout, *};
    use crate::abi::domctl;
    use zerocopy::FromZeros;

    fn shape() -> Shape {
        Shape {
            vcpus: 2,
            shared_info: Gfn(5),
            params: [1, 2, 3, 4, 5],
            ports: vec![(1, PortState::Ipi { vcpu: 0 })],
            grant_frames: 2,
        }
    }

    #[test]
    fn each_difference_is_refused_and_named() {
        let guest = shape();
        guest.compare(&shape()).unwrap();
        let mut params = shape().params;
        params[1] = 7;
        for (twin, text) in [
            (Shape { vcpus: 1, ..shape() }, "it has 1 vCPUs, and the guest has 2"),
            (Shape { shared_info: Gfn(16), ..shape() }, "shared info is frame 0x10, and the guest's 0x5"),
            (Shape { params, ..shape() }, "HVM parameter STORE_PFN is 0x7, and the guest's 0x2"),
            (Shape { grant_frames: 3, ..shape() }, "grant table has 3 frames, and the guest's 2"),
            (
                Shape { ports: vec![(1, PortState::Virq { virq: 3, vcpu: 1 })], ..shape() },
                "event channel port 1 is virtual interrupt 3 of vCPU 1 in it, and an interrupt between vCPUs, of vCPU 0 \
                 in the guest",
            ),
            (Shape { ports: Vec::new(), ..shape() }, "event channel port 1 is free in it"),
        ] {
            let error = guest.compare(&twin).unwrap_err().to_string();
            assert!(error.contains(text), "{error}");
        }
    }

    #[test]
    fn a_domain_that_has_given_or_taken_memory_since_is_told() {
        let mut info = domctl::DomainInfo::new_zeroed();
        (info.domain, info.tot_pages) = (4, 7);
        let layout = Layout { tot_pages: 7, ..layout(&[0..3, 9..13]) };
        layout.still_counts(&DomainInfo::of(&info)).unwrap();
        info.tot_pages = 8;
        let error = layout.still_counts(&DomainInfo::of(&info)).unwrap_err();
        assert!(error.to_string().contains("domain 4 has 8 pages, and had 7"), "{error}");
    }

    #[test]
    fn the_first_frame_that_only_one_has_is_told() {
        let guest = layout(&[0..0x8000, 0xFEFF8..0xFF000]);
        guest.compare(&guest.clone()).unwrap();
        for (runs, frame, in_guest, in_twin) in [
            (&[0..0x7FFF, 0xFEFF8..0xFF000][..], 0x7FFF, true, false),
            (&[0..0x8002, 0xFEFF8..0xFF000], 0x8000, false, true),
            (&[1..0x8000, 0xFEFF8..0xFF000], 0, true, false),
            (&[0..0x8000, 0xFEFF9..0xFF000], 0xFEFF8, true, false),
            (&[0..0x8000, 0x9000..0x9001, 0xFEFF8..0xFF000], 0x9000, false, true),
            (&[0..0x8000, 0xFEFF8..0xFF000, 0xFF001..0xFF002], 0xFF001, false, true),
        ] {
            let error = guest.compare(&layout(runs)).unwrap_err();
            assert_eq!(error, Unlike::Layout { frame, in_guest, in_twin });
        }
    }
}
