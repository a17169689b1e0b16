//! Facts of this host and of a guest on it, from Xen, `xl`, xenstore, `/proc` and `/sys`. Reads only; changes nothing.
//!
//! What cannot be found out about the host is listed in [`HostFacts::unlearnt`], and does not keep the other facts from
//! being gathered.

use super::VERSION;
use super::facts::{
    Capacity, FORMAT, GuestFacts, HostFacts, Leaf, Presence, State, Suspends, WitnessFacts, XenFacts,
};
use super::judge::Sought;
use super::starters;
use crate::config::{CONFIG_PATH, ConfigError, Settings, WitnessConfig};
use crate::guest::XenGuestError;
use crate::guest::obstacle::Obstacle;
use crate::memory;
use crate::witness::read_record;
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fmt::Display;
use std::fs;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;
use understudy_checkpoint::PAGE_SIZE;
use understudy_checkpoint::domain::GuestKind;
use understudy_link::VERSIONS;
use understudy_session::NodeName;
use understudy_xen::domain::takes_part;
use understudy_xen::xenstore::Xenstore;
use understudy_xen::xl::{self, XlError, XlGuest};
use understudy_xen::{CpuPolicy, DomId, DomainInfo, PolicyLimit, Xen, domain_labels};

/// The parts of the kernel that hold output (docs/NETBUF.md).
const MODULES: [&str; 4] = ["tun", "sch_ingress", "cls_bpf", "act_mirred"];

/// Where administrators' programs are; the path of a login over ssh may leave these out.
const SYSTEM_PATHS: [&str; 3] = ["/usr/local/sbin", "/usr/sbin", "/sbin"];

/// Where Xen itself and distributions install Xen's utilities. Debian's folder has the release in its name.
const HELPER_PLACES: [&str; 6] = [
    "/usr/lib/xen/bin",
    "/usr/libexec/xen/bin",
    "/usr/lib64/xen/bin",
    "/usr/local/lib/xen/bin",
    "/usr/local/libexec/xen/bin",
    "/usr/lib/xen/libexec",
];
const SAVE_HELPER: &str = "libxl-save-helper";

/// How often to look before a paused guest counts as paused: the pause of a checkpoint is short, and would be over by
/// then.
const LOOKS: u32 = 10;
const BETWEEN_LOOKS: Duration = Duration::from_millis(20);

/// What Xen needs besides a guest's pages, whatever its size: vCPUs, the top of the page tables, libxl's own margin.
const OVERHEAD_BYTES: u64 = 4 << 20;

/// `SHUTDOWN_suspend`, `SHUTDOWN_crash` (`xen/include/public/sched.h`).
const SHUTDOWN_SUSPEND: u32 = 2;
const SHUTDOWN_CRASH: u32 = 3;

/// Gathers the facts about this host.
pub fn host() -> HostFacts {
    let mut unlearnt = Vec::new();
    let xen = match Xen::open() {
        Ok(xen) => Some(hypervisor(&xen, &mut unlearnt)),
        Err(error) => {
            unlearnt.push(error.to_string());
            None
        }
    };
    let domains = match xen {
        Some(_) => learn(&mut unlearnt, xl::domains()).unwrap_or_default(),
        None => Vec::new(),
    };
    HostFacts {
        format: FORMAT,
        understudy: VERSION.into(),
        link: (*VERSIONS.start(), *VERSIONS.end()),
        xen,
        domains: domains.into_iter().map(|(_, name)| name).collect(),
        interfaces: names_in(Path::new("/sys/class/net")),
        available_bytes: memory::host_bytes(),
        mappings_max: fs::read_to_string("/proc/sys/vm/max_map_count")
            .ok()
            .and_then(|text| text.trim().parse().ok()),
        modules: modules(Path::new("/")),
        has_xl: is_in_path("xl"),
        has_save_helper: has_save_helper(),
        autostarted: learn(&mut unlearnt, starters::autostarted(Path::new("/"))).unwrap_or_default(),
        in_pacemaker: learn(&mut unlearnt, starters::in_pacemaker(Path::new("/"))).unwrap_or_default(),
        witness: learn(&mut unlearnt, witness(Path::new(CONFIG_PATH))).flatten(),
        unlearnt,
    }
}

/// The witness in a node's configuration, asked as that node.
fn witness(config: &Path) -> Result<Option<WitnessFacts>, ConfigError> {
    // What may be there is read, and says why it cannot be.
    if !config.try_exists().unwrap_or(true) {
        return Ok(None);
    }
    let settings = Settings::read(config)?;
    let transport = settings.transport();
    let node = NodeName(settings.node.unwrap_or_default());
    let witness = WitnessConfig::decide(settings.witness, settings.etcd, &transport)?;
    Ok(witness.map(|witness| WitnessFacts {
        kind: witness.kind(),
        address: witness.to_string(),
        // Asking for any guest's record shows whether the witness answers.
        trouble: read_record(&witness, &node, &transport, "preflight").err().map(|why| why.to_string()),
    }))
}

/// The result, or a note of why there is none.
fn learn<T, E: Display>(unlearnt: &mut Vec<String>, answer: Result<T, E>) -> Option<T> {
    answer.map_err(|error| unlearnt.push(error.to_string())).ok()
}

fn hypervisor(xen: &Xen, unlearnt: &mut Vec<String>) -> XenFacts {
    let host = learn(unlearnt, xen.host_info()).map(|host| Capacity {
        free_bytes: host.free_pages.saturating_mul(PAGE_SIZE as u64),
        runs_hvm: host.runs_hvm,
        runs_pv: host.runs_pv,
        has_shadow_paging: host.has_shadow_paging,
    });
    // Xen has no policy for kinds of guests that it cannot run.
    let mut limit = |runs: fn(Capacity) -> bool, limit| match host {
        Some(host) if runs(host) => learn(unlearnt, xen.policy_limit(limit)).map_or_else(Vec::new, leaves),
        _ => Vec::new(),
    };
    let pv_limit = limit(|host| host.runs_pv, PolicyLimit::Pv);
    let hvm_limit = limit(|host| host.runs_hvm, PolicyLimit::Hvm);
    XenFacts { version: xen.version(), host, pv_limit, hvm_limit }
}

fn leaves(policy: CpuPolicy) -> Vec<Leaf> {
    policy
        .cpuid()
        .map(|its| Leaf { leaf: its.leaf, subleaf: its.subleaf, registers: its.registers })
        .collect()
}

/// The names in a directory, in order; none if it cannot be read.
fn names_in(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let mut names: Vec<String> =
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort_unstable();
    names
}

/// What the kernel offers for holding output. `root` is `/`, or a test's directory.
fn modules(root: &Path) -> BTreeMap<String, Presence> {
    let release = fs::read_to_string(root.join("proc/sys/kernel/osrelease")).unwrap_or_default();
    let folder = root.join("lib/modules").join(release.trim());
    let lists = ["modules.builtin", "modules.dep"].map(|list| fs::read_to_string(folder.join(list)).ok());
    let presence = |name: &str| {
        let is_loaded = root.join("sys/module").join(name).exists()
            || (name == "tun" && root.join("dev/net/tun").exists());
        match &lists {
            _ if is_loaded => Presence::Present,
            [Some(built_in), _] if lists_module(built_in, name) => Presence::Present,
            [_, Some(loadable)] if lists_module(loadable, name) => Presence::Loadable,
            [Some(_), Some(_)] => Presence::Missing,
            // A kernel without modules does not list what it has.
            _ => Presence::Unknown,
        }
    };
    MODULES.map(|name| (name.to_owned(), presence(name))).into()
}

/// Whether a line in one of the kernel's lists is about this module: `kernel/net/sched/cls_bpf.ko.xz: …`.
fn lists_module(list: &str, name: &str) -> bool {
    list.lines().any(|line| {
        let path = line.split(':').next().unwrap_or_default();
        let file = path.rsplit('/').next().unwrap_or_default();
        file.split_once(".ko").is_some_and(|(stem, _)| stem.replace('-', "_") == name)
    })
}

fn is_in_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let places = std::env::split_paths(&path).chain(SYSTEM_PATHS.map(PathBuf::from));
    places.into_iter().any(|place| place.join(program).is_file())
}

/// Whether `xl restore` will find its helper. The path is built into libxl, so the usual ones are checked.
fn has_save_helper() -> bool {
    if let Some(given) = std::env::var_os("LIBXL_SAVE_HELPER") {
        return Path::new(&given).is_file();
    }
    let lib = Path::new("/usr/lib");
    let of_release = names_in(lib).into_iter().filter(|name| name.starts_with("xen-"));
    let places = of_release.map(|name| lib.join(name).join("bin"));
    places.chain(HELPER_PLACES.map(PathBuf::from)).any(|place| place.join(OsStr::new(SAVE_HELPER)).is_file())
}

/// Gathers the facts about the guest `name`.
pub fn guest(name: &str) -> Sought {
    let xl = match XlGuest::find(name) {
        Ok(xl) => xl,
        Err(XlError::NoSuchGuest(_)) => return Sought::Missing,
        Err(error) => return Sought::Unreadable(error.to_string()),
    };
    match look_at(name, &xl) {
        Ok(Some(guest)) => Sought::Found(Box::new(guest)),
        Ok(None) => Sought::Missing,
        Err(why) => Sought::Unreadable(why.to_string()),
    }
}

/// The guest's facts; `None` if it has just gone.
fn look_at(name: &str, guest: &XlGuest) -> Result<Option<GuestFacts>, XenGuestError> {
    let (domain, kind) = (guest.domain, guest.kind);
    let taken_by = taken_by(domain)?;
    let xen = Xen::open()?;
    let Some((info, state)) = settled(&xen, domain)? else { return Ok(None) };
    let is_pv = kind == GuestKind::Pv;
    let is_32_bit = is_pv && xen.address_size(domain)? == 32;
    let memory_bytes = info.tot_pages.saturating_mul(PAGE_SIZE as u64);
    Ok(Some(GuestFacts {
        name: name.into(),
        kind,
        is_32_bit,
        memory_bytes,
        overhead_bytes: overhead(kind, guest.max_vcpus, memory_bytes),
        state,
        taken_by,
        suspends: suspends(&xen, domain, info.is_hvm())?,
        obstacles: Obstacle::of(guest).collect(),
        nics: guest.nics,
        bridges: guest.bridges.clone(),
        cpuid: leaves(xen.cpu_policy(domain)?),
    }))
}

/// The process of a `remus -b` that makes checkpoints of the guest, if there is one.
fn taken_by(domain: DomId) -> Result<Option<u32>, XenGuestError> {
    let Some(process) = domain_labels::of(domain)?.blackhole else { return Ok(None) };
    let runs = process.runs().map_err(|source| XenGuestError::OwnerUnknown { pid: process.pid, source })?;
    Ok(runs.then_some(process.pid))
}

/// The guest's state, apart from the pauses of checkpoints.
fn settled(xen: &Xen, domain: DomId) -> Result<Option<(DomainInfo, State)>, XenGuestError> {
    let mut looks = 1;
    loop {
        let Some(info) = xen.domain_info(domain)? else { return Ok(None) };
        let state = state_of(&info);
        if looks == LOOKS || !matches!(state, State::Paused | State::Suspended) {
            return Ok(Some((info, state)));
        }
        looks += 1;
        sleep(BETWEEN_LOOKS);
    }
}

fn state_of(info: &DomainInfo) -> State {
    match info.shutdown_reason() {
        _ if info.is_dying() => State::Dying,
        Some(SHUTDOWN_SUSPEND) => State::Suspended,
        Some(SHUTDOWN_CRASH) => State::Crashed,
        Some(_) => State::ShutDown,
        None if info.is_paused() => State::Paused,
        None => State::Running,
    }
}

/// What libxl gives Xen for the page tables of a guest with hardware virtualization: 1 MiB a vCPU, and 8 KiB for each
/// MiB of it (`libxl_get_required_shadow_memory`).
fn overhead(kind: GuestKind, vcpus: u64, memory_bytes: u64) -> u64 {
    if kind == GuestKind::Pv {
        return OVERHEAD_BYTES;
    }
    let tables = vcpus.saturating_mul(1 << 20).saturating_add(memory_bytes / (1 << 20) * (8 << 10));
    tables.saturating_add(OVERHEAD_BYTES)
}

/// How the guest will be suspended, considering what it has announced.
fn suspends(xen: &Xen, domain: DomId, is_hvm: bool) -> Result<Suspends, XenGuestError> {
    if !takes_part(xen, domain, is_hvm)? {
        return Ok(Suspends::Unasked);
    }
    let mut store = Xenstore::open()?;
    let mut announces = |what: &str| {
        let node = store.read(&format!("/local/domain/{domain}/control/feature-{what}"));
        node.map(|value| value.as_deref() == Some("1"))
    };
    Ok(if announces("suspend")? {
        Suspends::OnRequest
    } else if announces("poweroff")? {
        Suspends::Never
    } else {
        Suspends::Unannounced
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_that_does_not_run_xen_still_has_facts() {
        let facts = host();
        assert_eq!(facts.format, FORMAT);
        assert!(facts.interfaces.contains(&"lo".to_owned()));
        assert!(facts.available_bytes.is_some_and(|bytes| bytes > 1 << 20));
        assert!(facts.mappings_max.is_some_and(|mappings| mappings > 1000));
        assert_eq!(facts.modules.len(), MODULES.len());
        assert_eq!(facts.xen.is_none(), !facts.unlearnt.is_empty(), "{facts:?}");
    }

    #[test]
    fn modules_are_loaded_built_in_loadable_or_missing() {
        let root = tempfile::tempdir().unwrap();
        let path = |path: &str| root.path().join(path);
        for folder in ["proc/sys/kernel", "sys/module/act_mirred", "lib/modules/6.1"] {
            fs::create_dir_all(path(folder)).unwrap();
        }
        let of = |name: &str| modules(root.path())[name];
        assert_eq!((of("tun"), of("act_mirred")), (Presence::Unknown, Presence::Present));
        fs::write(path("proc/sys/kernel/osrelease"), "6.1\n").unwrap();
        fs::write(path("lib/modules/6.1/modules.builtin"), "kernel/drivers/net/tun.ko\n").unwrap();
        assert_eq!((of("tun"), of("cls_bpf")), (Presence::Present, Presence::Unknown));
        let dep = "kernel/net/sched/cls-bpf.ko.xz: kernel/net/x.ko\nkernel/a_sch_ingress.ko: kernel/sch_ingress.ko\n";
        fs::write(path("lib/modules/6.1/modules.dep"), dep).unwrap();
        assert_eq!((of("cls_bpf"), of("sch_ingress")), (Presence::Loadable, Presence::Missing));
    }

    #[test]
    fn overhead_grows_with_a_guest_that_has_nested_page_tables() {
        assert_eq!(overhead(GuestKind::Pv, 8, 1 << 40), OVERHEAD_BYTES);
        assert_eq!(overhead(GuestKind::Pvh, 2, 1 << 30), OVERHEAD_BYTES + (2 << 20) + (8 << 20));
        assert_eq!(overhead(GuestKind::Pvh, u64::MAX, u64::MAX), u64::MAX);
    }
}
