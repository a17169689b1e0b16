//! Obstacles to protecting a guest: one variant for each, whose text names the cause and what to do.

use crate::config::human::show_bytes;
use crate::guest::obstacle::Obstacle;
use std::fmt::{self, Display};

/// How serious a finding is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Severity {
    /// Protecting the guest fails, or its copy could not take over.
    Refuse,
    /// Protection works, but gives less than one might expect.
    Warn,
}

/// A host, as it is named in a finding's text.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum HostName {
    /// The host that preflight runs on.
    This,
    /// The other host, as the operator named it.
    Other(String),
}

impl Display for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::This => f.write_str("this host"),
            Self::Other(name) => f.write_str(name),
        }
    }
}

/// A finding. `docs/PREFLIGHT.md` lists all of them by their [`code`](Self::code).
#[derive(thiserror::Error, Clone, PartialEq, Eq, Debug)]
pub enum Finding {
    /// No hypervisor answers.
    #[error(
        "{host} does not run Xen, or understudy has no access to it there: boot it with Xen, and run this as root in dom0"
    )]
    NoXen { host: HostName },
    /// The witness of that host's node does not answer it.
    #[error("{host} gets no answer from its witness at {address}: {why}. Until it does, nobody takes over")]
    WitnessUnreachable { host: HostName, address: String, why: String },
    /// The two hosts use different witnesses.
    #[error(
        "{host} uses the witness {there}, and this host uses {here}; both nodes must use the same witness, or each host may \
         be given the guest"
    )]
    WitnessesDiffer { host: HostName, there: String, here: String },
    /// There is no such guest.
    #[error("No domain named {guest} runs on this host; `xl list` shows those that do")]
    GuestNotFound { guest: String },
    /// The guest exists, but its state could not be determined.
    #[error("{guest} cannot be examined: {why}")]
    GuestUnreadable { guest: String, why: String },
    /// Something in the guest's configuration prevents protection.
    #[error("{guest} cannot be protected: {obstacle}")]
    Configured { guest: String, obstacle: Obstacle },
    /// The guest is a 32-bit PV guest.
    #[error(
        "{guest} is a 32-bit PV guest, which cannot be captured; use a 64-bit kernel, or run the guest as PVH"
    )]
    Narrow { guest: String },
    /// The guest is paused, and would not answer when it is asked to suspend.
    #[error("{guest} is paused and answers no request; find out why, then run `xl unpause {guest}`")]
    Paused { guest: String },
    /// The guest has stopped.
    #[error("{guest} is not running ({how}); destroy it and start it again")]
    Ended { guest: String, how: &'static str },
    /// The guest cannot be suspended.
    #[error(
        "The kernel of {guest} cannot suspend (it announces other features, and not control/feature-suspend); use a kernel \
         that is built with CONFIG_HIBERNATE_CALLBACKS"
    )]
    NoSuspend { guest: String },
    /// It may not be possible to suspend the guest.
    #[error(
        "{guest} does not announce whether it can suspend; if it is still booting, run preflight again; if its kernel is \
         old, try `xl save -c {guest} FILE` first"
    )]
    SuspendUnannounced { guest: String },
    /// The host starts the guest at boot, even if another host runs it after a takeover.
    #[error(
        "{host} starts {guest} whenever it boots (/etc/xen/auto), even while another host runs it; remove it there, and \
         start it by hand or with a tool that knows where it runs"
    )]
    Autostarted { host: HostName, guest: String },
    /// Pacemaker starts and stops the guest by an agent that knows of no takeover.
    #[error(
        "Pacemaker on {host} starts and stops {guest} with its own agent (ocf:heartbeat:Xen), which knows nothing of takeovers; \
         remove that resource"
    )]
    InPacemaker { host: HostName, guest: String },
    /// A `remus -b` makes checkpoints of the guest: two readers of one dirty log take writes from each other.
    #[error("`understudy remus -b` (process {pid}) makes checkpoints of {guest}; end that first")]
    TakenByRemus { guest: String, pid: u32 },
    /// Not all of the guest's memory can be mapped.
    #[error(
        "{host} allows a process {max} mappings, and an engine that maps all of {guest} needs {needed}; set \
         vm.max_map_count there to twice that (sysctl)"
    )]
    MappingsTooFew {
        host: HostName,
        guest: String,
        /// `vm.max_map_count`
        max: u64,
        needed: u64,
    },
    /// The hypervisor here cannot track the writes of PV guests.
    #[error(
        "The Xen of this host cannot track the writes of {guest}: it is built without shadow paging, which PV guests \
         need. Run the guest as PVH; or boot a Xen built with CONFIG_SHADOW_PAGING=y; or, if it is small, have the node \
         find its changes by comparing (--guest name={guest},find-changes=compare), which costs memory and longer pauses"
    )]
    NoLogDirty { guest: String },
    /// The other host's hypervisor cannot track the writes of PV guests.
    #[error(
        "The Xen of {host} is built without shadow paging: after a takeover {guest} would run there, and could not be \
         protected again. Run it as PVH; or boot a Xen built with CONFIG_SHADOW_PAGING=y; or, if it is small, have the node \
         there find its changes by comparing (--guest name={guest},find-changes=compare)"
    )]
    NoLogDirtyThere { guest: String, host: HostName },
    /// Guests of this kind do not run there.
    #[error("{host} cannot run {kind} guests: {remedy}")]
    KindNotRun { host: HostName, kind: &'static str, remedy: &'static str },
    /// A takeover could not create the domain.
    #[error("{host} has a domain named {guest} already; rename or destroy that one (is {host} this host?)")]
    NameTaken { host: HostName, guest: String },
    /// A network card has no bridge to attach to there.
    #[error(
        "{host} has no bridge {bridge}, which a network card of {guest} needs; create it there, on the same network"
    )]
    BridgeMissing { host: HostName, bridge: String, guest: String },
    /// A takeover could not build the domain.
    #[error(
        "{host} has {} free for a domain, and {guest} needs {}; shut down or shrink guests there, or give its dom0 less memory",
        show_bytes(*free_bytes), show_bytes(*needed_bytes)
    )]
    NoMemory { host: HostName, guest: String, free_bytes: u64, needed_bytes: u64 },
    /// The image would not fit into dom0's memory.
    #[error(
        "dom0 of {host} has {} left and must hold {guest}'s image of {} until it takes over; give that dom0 more memory",
        show_bytes(*available_bytes), show_bytes(*needed_bytes)
    )]
    NoImageMemory { host: HostName, guest: String, available_bytes: u64, needed_bytes: u64 },
    /// Guests move to newer hypervisors only.
    #[error(
        "{host} runs Xen {}.{}, which cannot receive guests from this host's newer {}.{}; install the same release on both",
        there.0, there.1, here.0, here.1
    )]
    OlderXen { host: HostName, there: (u32, u32), here: (u32, u32) },
    /// After a takeover the guest could not be protected towards this host again.
    #[error(
        "{host} runs Xen {}.{}, newer than this host's {}.{}: {guest} can go there, but not come back; install the \
         same release on both",
        there.0, there.1, here.0, here.1
    )]
    NewerXen { host: HostName, guest: String, there: (u32, u32), here: (u32, u32) },
    /// The two engines have no link version in common.
    #[error(
        "understudy {theirs} on {host} and {ours} on this host have no version of the link in common; install the same version on both"
    )]
    LinkSkew { host: HostName, theirs: String, ours: &'static str },
    /// The two engines have a link version in common, but are of different versions.
    #[error("{host} has understudy {theirs}, and this host has {ours}; install the same version on both")]
    UnderstudySkew { host: HostName, theirs: String, ours: &'static str },
    /// `xl` is missing.
    #[error(
        "{host} has no xl, which builds and destroys guests; install Xen's utilities (Debian: xen-utils)"
    )]
    NoXl { host: HostName },
    /// The save helper was not found where libxl usually looks.
    #[error(
        "{host} has no libxl-save-helper in the usual places, and `xl restore` fails without it; check that Xen's utilities \
         are completely installed"
    )]
    NoSaveHelper { host: HostName },
    /// The processors are from different vendors.
    #[error(
        "{guest} was started on a processor by {ours}, and {host} has one by {theirs}; a running guest cannot change vendors"
    )]
    OtherVendor { host: HostName, guest: String, ours: String, theirs: String },
    /// The guest may use features that the other processor does not have.
    #[error(
        "{guest} sees processor features that {host} cannot provide: {}; hide them (cpuid= in the guest's configuration) and \
         start it again, or level the hosts' features on Xen's command line",
        some_of(features)
    )]
    FeaturesMissing { host: HostName, guest: String, features: Vec<String> },
    /// The kernel cannot hold output.
    #[error(
        "The kernel of {host} lacks {}, which understudy needs to hold the output of {guest}; install all of its modules, or \
         another kernel",
        modules.join(", ")
    )]
    KernelLacks { host: HostName, guest: String, modules: Vec<String> },
    /// A fact could not be determined.
    #[error("Some facts about {host} could not be determined: {why}")]
    Unlearnt {
        host: HostName,
        /// The fact, and why it could not be determined.
        why: String,
    },
}

impl Finding {
    /// Its name, for programs and in the documentation.
    pub fn code(&self) -> &'static str {
        self.class().1
    }

    /// How serious it is.
    pub fn severity(&self) -> Severity {
        self.class().0
    }

    fn class(&self) -> (Severity, &'static str) {
        use Severity::{Refuse, Warn};
        match self {
            Self::NoXen { .. } => (Refuse, "no_xen"),
            Self::GuestNotFound { .. } => (Refuse, "guest_not_found"),
            Self::GuestUnreadable { .. } => (Refuse, "guest_unreadable"),
            Self::Configured { obstacle, .. } => match obstacle {
                Obstacle::ControlDomain => (Refuse, "control_domain"),
                Obstacle::TraditionalDeviceModel => (Refuse, "traditional_device_model"),
                Obstacle::StubDomain => (Refuse, "stub_domain"),
                Obstacle::PassedThrough => (Refuse, "passed_through"),
                Obstacle::Disks => (Refuse, "disks"),
                Obstacle::OtherDevices => (Refuse, "other_devices"),
                Obstacle::Vnuma => (Refuse, "vnuma"),
            },
            Self::Narrow { .. } => (Refuse, "narrow"),
            Self::Paused { .. } => (Refuse, "paused"),
            Self::Ended { .. } => (Refuse, "ended"),
            Self::NoSuspend { .. } => (Refuse, "no_suspend"),
            Self::SuspendUnannounced { .. } => (Warn, "suspend_unannounced"),
            Self::Autostarted { .. } => (Warn, "autostarted"),
            Self::InPacemaker { .. } => (Warn, "in_pacemaker"),
            Self::TakenByRemus { .. } => (Refuse, "taken_by_remus"),
            Self::MappingsTooFew { .. } => (Refuse, "mappings_too_few"),
            Self::NoLogDirty { .. } => (Refuse, "no_log_dirty"),
            Self::NoLogDirtyThere { .. } => (Warn, "no_log_dirty_there"),
            Self::KindNotRun { .. } => (Refuse, "kind_not_run"),
            Self::NameTaken { .. } => (Refuse, "name_taken"),
            Self::BridgeMissing { .. } => (Refuse, "bridge_missing"),
            Self::NoMemory { .. } => (Refuse, "no_memory"),
            Self::NoImageMemory { .. } => (Refuse, "no_image_memory"),
            Self::OlderXen { .. } => (Refuse, "older_xen"),
            Self::NewerXen { .. } => (Warn, "newer_xen"),
            Self::WitnessUnreachable { .. } => (Warn, "witness_unreachable"),
            Self::WitnessesDiffer { .. } => (Refuse, "witnesses_differ"),
            Self::LinkSkew { .. } => (Refuse, "link_skew"),
            Self::UnderstudySkew { .. } => (Warn, "understudy_skew"),
            Self::NoXl { .. } => (Refuse, "no_xl"),
            Self::NoSaveHelper { .. } => (Warn, "no_save_helper"),
            Self::OtherVendor { .. } => (Refuse, "other_vendor"),
            Self::FeaturesMissing { .. } => (Refuse, "features_missing"),
            Self::KernelLacks { .. } => (Refuse, "kernel_lacks"),
            Self::Unlearnt { .. } => (Warn, "unlearnt"),
        }
    }
}

/// How many features a text lists at most.
const FEATURES_SHOWN: usize = 5;

fn some_of(features: &[String]) -> String {
    match features.split_at_checked(FEATURES_SHOWN) {
        Some((shown, rest)) if !rest.is_empty() => format!("{} and {} more", shown.join(", "), rest.len()),
        _ => features.join(", "),
    }
}
