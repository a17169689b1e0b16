//! Derives findings from facts. Nothing is asked or read here.

use super::cpu;
use super::facts::{Capacity, GuestFacts, HostFacts, Leaf, Presence, State, Suspends, WitnessFacts};
use super::finding::{Finding, HostName};
use crate::control::status::WitnessKind;
use crate::etcd::EtcdAddress;
use understudy_checkpoint::domain::GuestKind;
use understudy_link::common_version;

/// What was found out about the guest.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Sought {
    /// All facts.
    Found(Box<GuestFacts>),
    /// There is no guest of this name.
    Missing,
    /// The facts could not be gathered, and why.
    Unreadable(String),
}

/// Another host, and how the operator named it.
#[derive(Clone, Copy, Debug)]
pub struct Other<'f> {
    /// Its name, as given.
    pub name: &'f str,
    pub facts: &'f HostFacts,
}

/// Obstacles to protecting a guest of this host: of this host, of the guest, then of the other host and of the pair if
/// another host is given.
pub fn judge(name: &str, guest: &Sought, here: &HostFacts, there: Option<Other<'_>>) -> Vec<Finding> {
    let mut findings = Vec::new();
    host(&HostName::This, here, &mut findings);
    let found = match guest {
        Sought::Found(guest) => {
            itself(guest, here, &mut findings);
            Some(&**guest)
        }
        // Without Xen there is no guest, and a second finding would not help.
        _ if here.xen.is_none() => None,
        Sought::Missing => {
            findings.push(Finding::GuestNotFound { guest: name.into() });
            None
        }
        Sought::Unreadable(why) => {
            findings.push(Finding::GuestUnreadable { guest: name.into(), why: why.clone() });
            None
        }
    };
    if let Some(Other { name, facts }) = there {
        let at = HostName::Other(name.into());
        host(&at, facts, &mut findings);
        releases(&at, facts, &mut findings);
        findings.extend(witnesses(&at, here, facts));
        if let Some(guest) = found {
            room(guest, &at, facts, &mut findings);
            surroundings(guest, &at, facts, &mut findings);
            processor(guest, &at, facts, &mut findings);
            hypervisor(guest, &at, here, facts, &mut findings);
        }
    }
    findings
}

/// Whether two hosts certainly have different witnesses. Addresses alone do not tell: each host may reach the same
/// witness, or the same members of etcd, by its own end of a tunnel.
fn witnesses(at: &HostName, here: &HostFacts, there: &HostFacts) -> Option<Finding> {
    let (here, there) = (here.witness.as_ref()?, there.witness.as_ref()?);
    let prefix =
        |witness: &WitnessFacts| witness.address.parse::<EtcdAddress>().ok().map(|address| address.prefix);
    let same = here.kind == there.kind && (here.kind == WitnessKind::Own || prefix(here) == prefix(there));
    let (here, there) = (here.address.clone(), there.address.clone());
    (!same).then(|| Finding::WitnessesDiffer { host: at.clone(), there, here })
}

/// What a host lacks for any guest.
fn host(at: &HostName, facts: &HostFacts, findings: &mut Vec<Finding>) {
    let host = || at.clone();
    if facts.xen.is_none() {
        findings.push(Finding::NoXen { host: host() });
    }
    if !facts.has_xl {
        findings.push(Finding::NoXl { host: host() });
    } else if !facts.has_save_helper {
        findings.push(Finding::NoSaveHelper { host: host() });
    }
    findings.extend(facts.witness.as_ref().and_then(|witness| {
        let why = witness.trouble.clone()?;
        Some(Finding::WitnessUnreachable { host: host(), address: witness.address.clone(), why })
    }));
    findings.extend(facts.unlearnt.iter().map(|why| Finding::Unlearnt { host: host(), why: why.clone() }));
}

/// Obstacles of the guest on its own host.
fn itself(guest: &GuestFacts, here: &HostFacts, findings: &mut Vec<Finding>) {
    let name = || guest.name.clone();
    findings.extend(guest.obstacles.iter().map(|&obstacle| Finding::Configured { guest: name(), obstacle }));
    if guest.is_32_bit {
        findings.push(Finding::Narrow { guest: name() });
    }
    let ended = |how| Some(Finding::Ended { guest: name(), how });
    findings.extend(match guest.state {
        State::Running => suspending(guest),
        State::Paused => Some(Finding::Paused { guest: name() }),
        State::Suspended => ended("it is suspended"),
        State::Crashed => ended("it crashed"),
        State::ShutDown => ended("it shut down"),
        State::Dying => ended("it is being destroyed"),
    });
    if let Some(pid) = guest.taken_by {
        findings.push(Finding::TakenByRemus { guest: name(), pid });
    }
    mappings(guest, &HostName::This, here, findings);
    starters(guest, &HostName::This, here, findings);
    if guest.kind == GuestKind::Pv && capacity(here).is_some_and(|host| !host.has_shadow_paging) {
        findings.push(Finding::NoLogDirty { guest: name() });
    }
    output(guest, &HostName::This, here, findings);
}

/// Guest memory is mapped in pieces of this size; the kernel counts each as a mapping.
const MAPPED_PIECE_BYTES: u64 = 4 << 20;

/// An engine's other mappings: libraries, threads, buffers.
const MAPPINGS_BESIDE: u64 = 2_000;

/// Whether a host's engine can map all of the guest's memory.
fn mappings(guest: &GuestFacts, at: &HostName, facts: &HostFacts, findings: &mut Vec<Finding>) {
    let needed = (guest.memory_bytes / MAPPED_PIECE_BYTES).saturating_add(MAPPINGS_BESIDE);
    if let Some(max) = facts.mappings_max.filter(|max| *max < needed) {
        findings.push(Finding::MappingsTooFew { host: at.clone(), guest: guest.name.clone(), max, needed });
    }
}

/// Who else starts the guest on a host.
fn starters(guest: &GuestFacts, at: &HostName, facts: &HostFacts, findings: &mut Vec<Finding>) {
    if facts.autostarted.contains(&guest.name) {
        findings.push(Finding::Autostarted { host: at.clone(), guest: guest.name.clone() });
    }
    if facts.in_pacemaker.contains(&guest.name) {
        findings.push(Finding::InPacemaker { host: at.clone(), guest: guest.name.clone() });
    }
}

/// Whether a running guest will suspend when it has to.
fn suspending(guest: &GuestFacts) -> Option<Finding> {
    let name = || guest.name.clone();
    match guest.suspends {
        Suspends::OnRequest | Suspends::Unasked => None,
        Suspends::Never => Some(Finding::NoSuspend { guest: name() }),
        Suspends::Unannounced => Some(Finding::SuspendUnannounced { guest: name() }),
    }
}

/// Whether a host can hold the guest's output.
fn output(guest: &GuestFacts, at: &HostName, facts: &HostFacts, findings: &mut Vec<Finding>) {
    let missing = facts.modules.iter().filter(|(_, presence)| **presence == Presence::Missing);
    let modules: Vec<String> = missing.map(|(name, _)| name.clone()).collect();
    if guest.nics > 0 && !modules.is_empty() {
        findings.push(Finding::KernelLacks { host: at.clone(), guest: guest.name.clone(), modules });
    }
}

/// Whether the two engines understand each other.
fn releases(at: &HostName, there: &HostFacts, findings: &mut Vec<Finding>) {
    let (host, theirs, ours) = (at.clone(), there.understudy.clone(), super::VERSION);
    if common_version(there.link).is_none() {
        findings.push(Finding::LinkSkew { host, theirs, ours });
    } else if theirs != ours {
        findings.push(Finding::UnderstudySkew { host, theirs, ours });
    }
}

/// Whether the guest fits into the other host's memory: its image in dom0 and, at a takeover, the domain as well.
fn room(guest: &GuestFacts, at: &HostName, there: &HostFacts, findings: &mut Vec<Finding>) {
    let needed_bytes = guest.memory_bytes.saturating_add(guest.overhead_bytes);
    mappings(guest, at, there, findings);
    if let Some(Capacity { free_bytes, .. }) = capacity(there)
        && free_bytes < needed_bytes
    {
        let (host, guest) = (at.clone(), guest.name.clone());
        findings.push(Finding::NoMemory { host, guest, free_bytes, needed_bytes });
    }
    if let Some(available_bytes) = there.available_bytes
        && available_bytes < guest.memory_bytes
    {
        let (host, needed_bytes) = (at.clone(), guest.memory_bytes);
        let guest = guest.name.clone();
        findings.push(Finding::NoImageMemory { host, guest, available_bytes, needed_bytes });
    }
}

/// Whether the other host has the surroundings that the guest needs: a free name, its bridges, a kernel that holds
/// output.
fn surroundings(guest: &GuestFacts, at: &HostName, there: &HostFacts, findings: &mut Vec<Finding>) {
    let name = || guest.name.clone();
    if there.domains.contains(&guest.name) {
        findings.push(Finding::NameTaken { host: at.clone(), guest: name() });
    }
    let mut bridges: Vec<&String> = guest.bridges.iter().collect();
    bridges.sort_unstable();
    bridges.dedup();
    bridges.retain(|bridge| !there.interfaces.contains(bridge));
    findings.extend(bridges.into_iter().map(|bridge| Finding::BridgeMissing {
        host: at.clone(),
        bridge: bridge.clone(),
        guest: name(),
    }));
    output(guest, at, there, findings);
    starters(guest, at, there, findings);
}

/// Whether the other processor has what the guest sees of this one.
fn processor(guest: &GuestFacts, at: &HostName, there: &HostFacts, findings: &mut Vec<Finding>) {
    let Some(xen) = &there.xen else { return };
    let limit: &[Leaf] = if guest.kind == GuestKind::Pv { &xen.pv_limit } else { &xen.hvm_limit };
    if limit.is_empty() {
        // The host did not tell, or cannot run such guests: both have findings of their own.
        return;
    }
    let (host, guest_name) = (at.clone(), guest.name.clone());
    if let Some((ours, theirs)) = cpu::other_vendor(&guest.cpuid, limit) {
        // With different vendors, a list of features is of no use.
        findings.push(Finding::OtherVendor { host, guest: guest_name, ours, theirs });
        return;
    }
    let features = cpu::missing(&guest.cpuid, limit);
    if !features.is_empty() {
        findings.push(Finding::FeaturesMissing { host, guest: guest_name, features });
    }
}

/// Whether the other hypervisor takes the guest, and could then protect it towards this host.
fn hypervisor(
    guest: &GuestFacts,
    at: &HostName,
    here: &HostFacts,
    there: &HostFacts,
    findings: &mut Vec<Finding>,
) {
    let name = || guest.name.clone();
    let host = || at.clone();
    if let Some(Capacity { runs_hvm, runs_pv, has_shadow_paging, .. }) = capacity(there) {
        let is_pv = guest.kind == GuestKind::Pv;
        if is_pv && !runs_pv {
            let remedy = "its Xen is built without them; boot one built with CONFIG_PV=y";
            findings.push(Finding::KindNotRun { host: host(), kind: "PV", remedy });
        } else if is_pv && !has_shadow_paging {
            findings.push(Finding::NoLogDirtyThere { guest: name(), host: host() });
        } else if !is_pv && !runs_hvm {
            let remedy = "switch hardware virtualization (VT-x, AMD-V) on in its firmware";
            findings.push(Finding::KindNotRun { host: host(), kind: "PVH", remedy });
        }
    }
    if let (Some(here), Some(there)) = (&here.xen, &there.xen) {
        let (here, there) = (here.version, there.version);
        if there < here {
            findings.push(Finding::OlderXen { host: host(), there, here });
        } else if there > here {
            findings.push(Finding::NewerXen { host: host(), guest: name(), there, here });
        }
    }
}

fn capacity(facts: &HostFacts) -> Option<Capacity> {
    facts.xen.as_ref().and_then(|xen| xen.host)
}
