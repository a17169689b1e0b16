//! [`DomId`].

use serde::{Deserialize, Serialize};
use std::fmt;

/// Number of a domain on this host (Xen: `domid_t`). Every new domain gets a new number, so a number does not name a
/// guest for long: a guest that is saved and restored gets another.
#[derive(Serialize, Deserialize, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct DomId(pub u16);

impl DomId {
    /// The control domain.
    pub const DOM0: Self = Self(0);
    /// Owner of the hypervisor's own frames, the machine-to-physical table among them
    /// (`DOMID_XEN`, `xen/xen.h`).
    pub const XEN: Self = Self(0x7FF2);
}

impl fmt::Display for DomId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
