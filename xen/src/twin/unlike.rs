//! In what a domain and a guest differ, so that the domain cannot be overwritten with the guest.

use crate::{Gfn, PortState};

/// Why a domain cannot be overwritten with a guest.
#[derive(thiserror::Error, PartialEq, Eq, Debug)]
pub enum Unlike {
    /// Another number of vCPUs.
    #[error("it has {twin} vCPUs, and the guest has {guest}")]
    Vcpus {
        /// Of the guest.
        guest: u32,
        /// Of the domain.
        twin: u32,
    },
    /// The page that the hypervisor shares is elsewhere.
    #[error("its shared info is frame {twin:#x}, and the guest's {guest:#x}")]
    SharedInfo {
        /// Of the guest.
        guest: Gfn,
        /// Of the domain.
        twin: Gfn,
    },
    /// An HVM parameter differs.
    #[error("its HVM parameter {name} is {twin:#x}, and the guest's {guest:#x}")]
    Param {
        /// Its name, without `HVM_PARAM_`.
        name: &'static str,
        /// Of the guest.
        guest: u64,
        /// Of the domain.
        twin: u64,
    },
    /// Event channel ports are bound otherwise.
    #[error("event channel port {port} is {} in it, and {} in the guest", bound(.twin), bound(.guest))]
    Port {
        /// The first port that differs.
        port: u32,
        /// What it is in the guest; `None`: free.
        guest: Option<PortState>,
        /// What it is in the domain.
        twin: Option<PortState>,
    },
    /// The grant tables are not equally long.
    #[error(
        "its grant table has {twin} frames, and the guest's {guest}: the guest has had more devices or more traffic \
         since the domain was made"
    )]
    GrantFrames {
        /// Of the guest.
        guest: u32,
        /// Of the domain.
        twin: u32,
    },
    /// Memory is at other places.
    #[error("frame {frame:#x} is {} in it, and {} in the guest: the guest ballooned, or a device was added or removed",
        memory(.in_twin), memory(.in_guest))]
    Layout {
        /// The first one that differs.
        frame: u64,
        /// Whether the guest has a page there.
        in_guest: bool,
        /// Whether the domain has one.
        in_twin: bool,
    },
}

fn bound(state: &Option<PortState>) -> String {
    match state {
        None => "free".into(),
        Some(PortState::Unbound { domain }) => format!("offered to domain {domain}"),
        Some(PortState::Interdomain { domain, .. }) => format!("bound to domain {domain}"),
        Some(PortState::Pirq(pirq)) => format!("physical interrupt {pirq}"),
        Some(PortState::Virq { virq, vcpu }) => format!("virtual interrupt {virq} of vCPU {vcpu}"),
        Some(PortState::Ipi { vcpu }) => format!("an interrupt between vCPUs, of vCPU {vcpu}"),
    }
}

fn memory(has_page: &bool) -> &'static str {
    if *has_page { "memory" } else { "none" }
}
