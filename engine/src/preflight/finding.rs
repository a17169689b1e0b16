//! What stands against protecting a guest: one variant for each reason, which says its cause and what to do.

use crate::config::human::show_bytes;
use crate::guest::obstacle::Obstacle;
use std::fmt::{self, Display};

/// How much a finding weighs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Severity {
    /// Protecting the guest fails, or its copy could not take over.
    Refuse,
    /// It works, with less than one might expect.
    Warn,
}

/// A host as sentences name it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum HostName {
    /// The one that preflight runs on.
    This,
    /// The other one, as it was given.
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

/// Something that was found. `docs/OPERATIONS.md` lists all of them by their [`code`](Self::code).
#[derive(thiserror::Error, Clone, PartialEq, Eq, Debug)]
pub enum Finding {
    /// No hypervisor answers.
    #[error(
        "{host} does not run Xen, or understudy may not speak to it there: boot it with Xen, run this as root in dom0"
    )]
    NoXen {
        /// Where.
        host: HostName,
    },
    /// The witness of that host's node does not answer it.
    #[error("{host} gets no answer from its witness at {address}: {why}. Until it does, nobody takes over")]
    WitnessUnreachable {
        /// Which host.
        host: HostName,
        /// Where the witness is.
        address: String,
        /// Why.
        why: String,
    },
    /// Two witnesses.
    #[error(
        "{host} has another witness ({there}) than this host ({here}); both nodes must ask the same one, or each host may be \
         given the guest"
    )]
    WitnessesDiffer {
        /// The other host.
        host: HostName,
        /// Its witness.
        there: String,
        /// The witness here.
        here: String,
    },
    /// There is no such guest.
    #[error("No domain named {guest} runs on this host; `xl list` shows those that do")]
    GuestNotFound {
        /// Its name.
        guest: String,
    },
    /// The guest is there, but not how it is.
    #[error("{guest} cannot be looked at: {why}")]
    GuestUnreadable {
        /// Its name.
        guest: String,
        /// What failed.
        why: String,
    },
    /// Something in the guest's configuration.
    #[error("{guest} cannot be protected: {obstacle}")]
    Configured {
        /// Its name.
        guest: String,
        /// What.
        obstacle: Obstacle,
    },
    /// A PV guest of 32 bits.
    #[error(
        "{guest} is a PV guest of 32 bits, which cannot be captured; run a 64-bit kernel, or run it as PVH"
    )]
    Narrow {
        /// Its name.
        guest: String,
    },
    /// A paused guest does not answer when it is asked to suspend.
    #[error("{guest} is paused and answers no request; see why, then `xl unpause {guest}`")]
    Paused {
        /// Its name.
        guest: String,
    },
    /// The guest does not run any more.
    #[error("{guest} does not run ({how}); destroy it and start it again")]
    Ended {
        /// Its name.
        guest: String,
        /// What it did.
        how: &'static str,
    },
    /// The guest cannot be suspended.
    #[error(
        "The kernel of {guest} cannot suspend (control/feature-suspend is not there, others are); use one that is built \
         with CONFIG_HIBERNATE_CALLBACKS"
    )]
    NoSuspend {
        /// Its name.
        guest: String,
    },
    /// The guest may be unable to be suspended.
    #[error(
        "{guest} does not say whether it can suspend; if it is booting, look again; if its kernel is old, try \
         `xl save -c {guest} FILE` first"
    )]
    SuspendUnannounced {
        /// Its name.
        guest: String,
    },
    /// Two that read one dirty log miss each other's writes.
    #[error("`understudy remus -b` (process {pid}) makes checkpoints of {guest}; end that first")]
    TakenByRemus {
        /// Its name.
        guest: String,
        /// The process.
        pid: u32,
    },
    /// Not all of the guest's memory can be mapped.
    #[error(
        "{host} allows a process {max} mappings, and an engine that maps all of {guest} needs {needed}; set \
         vm.max_map_count there to twice that (sysctl)"
    )]
    MappingsTooFew {
        /// Where.
        host: HostName,
        /// Its name.
        guest: String,
        /// `vm.max_map_count`
        max: u64,
        /// What it takes.
        needed: u64,
    },
    /// The hypervisor here cannot track the writes of PV guests.
    #[error(
        "The Xen of this host cannot track the writes of {guest}: it is built without shadow paging, which PV guests \
         need. Run the guest as PVH; or boot a Xen built with CONFIG_SHADOW_PAGING=y; or, if it is small, have the node \
         find its changes by comparing (--guest name={guest},find-changes=compare), which costs memory and longer pauses"
    )]
    NoLogDirty {
        /// Its name.
        guest: String,
    },
    /// The hypervisor there cannot.
    #[error(
        "The Xen of {host} is built without shadow paging: after a takeover {guest} would run there, and could not be \
         protected again. Run it as PVH; or boot a Xen built with CONFIG_SHADOW_PAGING=y; or, if it is small, have the node \
         there find its changes by comparing (--guest name={guest},find-changes=compare)"
    )]
    NoLogDirtyThere {
        /// Its name.
        guest: String,
        /// Where.
        host: HostName,
    },
    /// Guests of this kind do not run there.
    #[error("{host} cannot run {kind} guests: {remedy}")]
    KindNotRun {
        /// Where.
        host: HostName,
        /// PV or PVH.
        kind: &'static str,
        /// What to do.
        remedy: &'static str,
    },
    /// A takeover could not create the domain.
    #[error("{host} has a domain named {guest} already; rename or destroy that one (is {host} this host?)")]
    NameTaken {
        /// Where.
        host: HostName,
        /// The name.
        guest: String,
    },
    /// A network card would have nowhere to go.
    #[error(
        "{host} has no bridge {bridge}, which a network card of {guest} is plugged into; create it there, of the same \
         network"
    )]
    BridgeMissing {
        /// Where.
        host: HostName,
        /// Its name.
        bridge: String,
        /// Whose.
        guest: String,
    },
    /// A takeover could not build the domain.
    #[error(
        "{host} has {} free for a domain and {guest} needs {}; end or shrink guests there, or give its dom0 less",
        show_bytes(*free_bytes), show_bytes(*needed_bytes)
    )]
    NoMemory {
        /// Where.
        host: HostName,
        /// Whose.
        guest: String,
        /// What there is.
        free_bytes: u64,
        /// What it takes.
        needed_bytes: u64,
    },
    /// The image would not fit.
    #[error(
        "dom0 of {host} has {} left and must hold {guest}'s image of {} until it takes over; give that dom0 more memory",
        show_bytes(*available_bytes), show_bytes(*needed_bytes)
    )]
    NoImageMemory {
        /// Where.
        host: HostName,
        /// Whose.
        guest: String,
        /// What there is.
        available_bytes: u64,
        /// What it takes.
        needed_bytes: u64,
    },
    /// Guests move to newer hypervisors only.
    #[error(
        "{host} runs Xen {}.{}, which cannot take guests of this host's newer {}.{}; bring both to one release",
        there.0, there.1, here.0, here.1
    )]
    OlderXen {
        /// Where.
        host: HostName,
        /// Its release.
        there: (u32, u32),
        /// Ours.
        here: (u32, u32),
    },
    /// There is no way back.
    #[error(
        "{host} runs Xen {}.{}, newer than this host's {}.{}: {guest} can go there, but not come back; bring both to one \
         release",
        there.0, there.1, here.0, here.1
    )]
    NewerXen {
        /// Where.
        host: HostName,
        /// Whose.
        guest: String,
        /// Its release.
        there: (u32, u32),
        /// Ours.
        here: (u32, u32),
    },
    /// The engines do not understand each other.
    #[error(
        "understudy {theirs} of {host} speaks no version of the link that this one ({ours}) does; install the same on both"
    )]
    LinkSkew {
        /// Where.
        host: HostName,
        /// Its version.
        theirs: String,
        /// This one.
        ours: &'static str,
    },
    /// They do, and are not the same.
    #[error("{host} has understudy {theirs} and this host {ours}; install the same on both")]
    UnderstudySkew {
        /// Where.
        host: HostName,
        /// Its version.
        theirs: String,
        /// This one.
        ours: &'static str,
    },
    /// No toolstack.
    #[error(
        "{host} has no xl, which builds and destroys guests; install Xen's utilities (Debian: xen-utils)"
    )]
    NoXl {
        /// Where.
        host: HostName,
    },
    /// Perhaps no save helper.
    #[error(
        "No libxl-save-helper is where {host} should have it, without which `xl restore` fails; see that Xen's utilities \
         are whole"
    )]
    NoSaveHelper {
        /// Where.
        host: HostName,
    },
    /// The processors are of different makes.
    #[error(
        "{guest} was started on a processor of {ours} and that of {host} is of {theirs}; a running guest cannot change that"
    )]
    OtherVendor {
        /// Where.
        host: HostName,
        /// Whose.
        guest: String,
        /// The guest's.
        ours: String,
        /// The host's.
        theirs: String,
    },
    /// The guest may use what that processor does not have.
    #[error(
        "{guest} sees processor features that {host} cannot give it: {}; start it again with these hidden (cpuid= in its \
         configuration), or level the hosts on Xen's command line",
        some_of(features)
    )]
    FeaturesMissing {
        /// Where.
        host: HostName,
        /// Whose.
        guest: String,
        /// Which.
        features: Vec<String>,
    },
    /// Output cannot be held.
    #[error(
        "The kernel of {host} lacks {}, without which what {guest} sends cannot be held until it is acknowledged; install \
         the whole of its modules, or another kernel",
        modules.join(", ")
    )]
    KernelLacks {
        /// Where.
        host: HostName,
        /// Whose.
        guest: String,
        /// What.
        modules: Vec<String>,
    },
    /// Something is not known.
    #[error("Not everything could be learnt of {host}: {why}")]
    Unlearnt {
        /// Where.
        host: HostName,
        /// What, and why.
        why: String,
    },
}

impl Finding {
    /// Its name for programs and in the documentation.
    pub fn code(&self) -> &'static str {
        self.class().1
    }

    /// How much it weighs.
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

/// A sentence has room for this many features.
const FEATURES_SHOWN: usize = 5;

fn some_of(features: &[String]) -> String {
    match features.split_at_checked(FEATURES_SHOWN) {
        Some((shown, rest)) if !rest.is_empty() => format!("{} and {} more", shown.join(", "), rest.len()),
        _ => features.join(", "),
    }
}
