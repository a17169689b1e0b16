//! The two kinds of guest that Xen knows, as a source sees them.
//!
//! ```text
//!            a pfn's frame is        state besides memory
//!   Hvm      the pfn itself          HVM context, parameters        HVM and PVH
//!   Pv       what its P2M says       vCPUs, shared info             PV
//! ```

use crate::domain::error;
use crate::domain::hvm::HvmState;
use crate::domain::pv::PvGuest;
use crate::{DomId, DomainInfo, Gfn, Xen};
use understudy_checkpoint::Pfn;
use understudy_checkpoint::domain::DomainError;

/// What is specific to a kind of guest.
pub(super) enum Kind {
    /// HVM and PVH: a pfn is a gfn.
    Hvm(HvmState),
    Pv(Box<PvGuest>),
}

impl Kind {
    /// The frame of a pfn, if it has one.
    pub(super) fn frame(&self, pfn: Pfn) -> Option<Gfn> {
        match self {
            Self::Hvm(_) => Some(Gfn::of_hvm(pfn)),
            Self::Pv(guest) => guest.frame(pfn).map(Gfn::of_pv),
        }
    }
}

/// Finds out a domain's kind and its number of pfns.
pub(super) fn kind_of(xen: &Xen, domain: DomId, info: &DomainInfo) -> Result<(Kind, u64), DomainError> {
    if info.is_hvm() {
        let page_count = xen.maximum_gpfn(domain).map_err(error)?.0 + 1;
        return Ok((Kind::Hvm(HvmState::default()), page_count));
    }
    let guest = PvGuest::open(xen, domain, info)?;
    let page_count = guest.pfn_count();
    Ok((Kind::Pv(Box::new(guest)), page_count))
}
