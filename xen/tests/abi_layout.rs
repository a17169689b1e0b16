//! The structures and numbers of `abi/` against the public headers of the Xen installed here (Debian:
//! `libxen-dev`): a small C program prints what the headers say, and this test compares.
//!
//! Without the headers, or without a C compiler, nothing is compared, and the test says so to `tests/run`. That each structure of `abi/` is
//! among those compared is checked everywhere.

use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::Path;
use std::process::Command;
use understudy_xen::abi::{self, dm, domctl, evtchn, grant, hvm, memory, mmu, privcmd, save, sched, sysctl};

/// One thing to compare: a C expression and what `abi/` says.
struct Check {
    expression: String,
    ours: u64,
}

fn check(expression: impl Into<String>, ours: impl TryInto<u64>) -> Check {
    let expression = expression.into();
    let Ok(ours) = ours.try_into() else { panic!("{expression} is negative") };
    Check { expression, ours }
}

/// Size of a structure, and offset and size of each field.
macro_rules! structure {
    ($checks:ident, $ours:ty, $theirs:literal, whole { $($field:ident = $their_field:literal),* $(,)? }) => {
        $checks.push(check(concat!("sizeof(", $theirs, ")"), size_of::<$ours>()));
        structure!($checks, $ours, $theirs, head { $($field = $their_field),* });
    };
    ($checks:ident, $ours:ty, $theirs:literal, head { $($field:ident = $their_field:literal),* $(,)? }) => {$(
        let offset = std::mem::offset_of!($ours, $field);
        $checks.push(check(concat!("offsetof(", $theirs, ", ", $their_field, ")"), offset));
        let size = size_of_field(|ours: &$ours| &ours.$field);
        $checks.push(check(concat!("sizeof(((", $theirs, " *)0)->", $their_field, ")"), size));
    )*};
}

fn size_of_field<S, F>(_: impl Fn(&S) -> &F) -> usize {
    size_of::<F>()
}

macro_rules! numbers {
    ($checks:ident, $($ours:expr => $theirs:literal),* $(,)?) => {$(
        $checks.push(check($theirs, $ours));
    )*};
}

fn domctl_structures(checks: &mut Vec<Check>) {
    checks.push(check("sizeof(struct xen_domctl)", domctl::DOMCTL_BYTES));
    checks.push(check("offsetof(struct xen_domctl, u)", domctl::HEAD_BYTES));
    structure!(checks, domctl::Head, "struct xen_domctl", head {
        command = "cmd", interface_version = "interface_version", domain = "domain", pad = "_pad",
    });
    structure!(checks, domctl::DomainInfo, "struct xen_domctl_getdomaininfo", head {
        domain = "domain", flags = "flags", tot_pages = "tot_pages", max_pages = "max_pages",
        outstanding_pages = "outstanding_pages", shr_pages = "shr_pages", paged_pages = "paged_pages",
        shared_info_frame = "shared_info_frame", cpu_time = "cpu_time", nr_online_vcpus = "nr_online_vcpus",
        max_vcpu_id = "max_vcpu_id", ssidref = "ssidref", handle = "handle", cpupool = "cpupool",
        gpaddr_bits = "gpaddr_bits",
    });
    // What follows in the header's structure is the architecture's.
    checks.push(check(
        "offsetof(struct xen_domctl_getdomaininfo, arch_config)",
        size_of::<domctl::DomainInfo>(),
    ));
    structure!(checks, domctl::ShadowOp, "struct xen_domctl_shadow_op", whole {
        op = "op", mode = "mode", mb = "mb", bitmap = "dirty_bitmap", pages = "pages",
        fault_count = "stats.fault_count", dirty_count = "stats.dirty_count",
    });
    structure!(checks, domctl::VcpuContext, "struct xen_domctl_vcpucontext", whole {
        vcpu = "vcpu", context = "ctxt",
    });
    structure!(checks, domctl::VcpuInfo, "struct xen_domctl_getvcpuinfo", whole {
        vcpu = "vcpu", online = "online", blocked = "blocked", running = "running", cpu_time = "cpu_time", cpu = "cpu",
    });
    structure!(checks, domctl::Subscribe, "struct xen_domctl_subscribe", whole { port = "port" });
    structure!(checks, domctl::HvmContext, "struct xen_domctl_hvmcontext", whole { size = "size", buffer = "buffer" });
    structure!(checks, domctl::AddressSize, "struct xen_domctl_address_size", whole { size = "size" });
    structure!(checks, domctl::ExtVcpuContext, "struct xen_domctl_ext_vcpucontext", head {
        vcpu = "vcpu", size = "size",
    });
    structure!(checks, domctl::TscInfo, "struct xen_domctl_tsc_info", whole {
        mode = "tsc_mode", khz = "gtsc_khz", incarnation = "incarnation", elapsed_ns = "elapsed_nsec",
    });
    structure!(checks, domctl::PageFrameInfo, "struct xen_domctl_getpageframeinfo3", whole {
        num = "num", array = "array",
    });
    structure!(checks, domctl::VcpuExtState, "struct xen_domctl_vcpuextstate", whole {
        vcpu = "vcpu", xfeature_mask = "xfeature_mask", size = "size", buffer = "buffer",
    });
    structure!(checks, domctl::VcpuMsrs, "struct xen_domctl_vcpu_msrs", whole {
        vcpu = "vcpu", msr_count = "msr_count", msrs = "msrs",
    });
    structure!(checks, domctl::CpuPolicy, "struct xen_domctl_cpu_policy", whole {
        nr_leaves = "nr_leaves", nr_msrs = "nr_msrs", leaves = "leaves", msrs = "msrs",
        err_leaf = "err_leaf", err_subleaf = "err_subleaf", err_msr = "err_msr",
    });
    numbers!(checks,
        domctl::VCPU_MSR_BYTES => "sizeof(struct xen_domctl_vcpu_msr)",
        domctl::CPUID_LEAF_BYTES => "sizeof(struct xen_cpuid_leaf)",
        domctl::MSR_ENTRY_BYTES => "sizeof(struct xen_msr_entry)",
        5168u64 => "sizeof(vcpu_guest_context_t)",
    );
}

fn domctl_numbers(checks: &mut Vec<Check>) {
    numbers!(checks,
        domctl::PAUSE_DOMAIN => "XEN_DOMCTL_pausedomain",
        domctl::UNPAUSE_DOMAIN => "XEN_DOMCTL_unpausedomain",
        domctl::GET_DOMAIN_INFO => "XEN_DOMCTL_getdomaininfo",
        domctl::SHADOW_OP => "XEN_DOMCTL_shadow_op",
        domctl::SET_VCPU_CONTEXT => "XEN_DOMCTL_setvcpucontext",
        domctl::GET_VCPU_CONTEXT => "XEN_DOMCTL_getvcpucontext",
        domctl::GET_VCPU_INFO => "XEN_DOMCTL_getvcpuinfo",
        domctl::RESUME_DOMAIN => "XEN_DOMCTL_resumedomain",
        domctl::SUBSCRIBE => "XEN_DOMCTL_subscribe",
        domctl::GET_HVM_CONTEXT => "XEN_DOMCTL_gethvmcontext",
        domctl::SET_HVM_CONTEXT => "XEN_DOMCTL_sethvmcontext",
        domctl::GET_ADDRESS_SIZE => "XEN_DOMCTL_get_address_size",
        domctl::SET_EXT_VCPU_CONTEXT => "XEN_DOMCTL_set_ext_vcpucontext",
        domctl::GET_EXT_VCPU_CONTEXT => "XEN_DOMCTL_get_ext_vcpucontext",
        domctl::GET_TSC_INFO => "XEN_DOMCTL_gettscinfo",
        domctl::SET_TSC_INFO => "XEN_DOMCTL_settscinfo",
        domctl::GET_PAGE_FRAME_INFO => "XEN_DOMCTL_getpageframeinfo3",
        domctl::SET_VCPU_EXT_STATE => "XEN_DOMCTL_setvcpuextstate",
        domctl::GET_VCPU_EXT_STATE => "XEN_DOMCTL_getvcpuextstate",
        domctl::GET_VCPU_MSRS => "XEN_DOMCTL_get_vcpu_msrs",
        domctl::SET_VCPU_MSRS => "XEN_DOMCTL_set_vcpu_msrs",
        domctl::GET_CPU_POLICY => "XEN_DOMCTL_get_cpu_policy",
        domctl::SET_CPU_POLICY => "XEN_DOMCTL_set_cpu_policy",
        size_of::<domctl::DomainFlags>() => "sizeof(((struct xen_domctl_getdomaininfo *)0)->flags)",
        domctl::DomainFlags::DYING.bits() => "XEN_DOMINF_dying",
        domctl::DomainFlags::HVM.bits() => "XEN_DOMINF_hvm_guest",
        domctl::DomainFlags::SHUTDOWN.bits() => "XEN_DOMINF_shutdown",
        domctl::DomainFlags::PAUSED.bits() => "XEN_DOMINF_paused",
        domctl::SHUTDOWN_MASK => "XEN_DOMINF_shutdownmask",
        domctl::SHUTDOWN_SHIFT => "XEN_DOMINF_shutdownshift",
        domctl::SHADOW_OFF => "XEN_DOMCTL_SHADOW_OP_OFF",
        domctl::SHADOW_ENABLE_LOG_DIRTY => "XEN_DOMCTL_SHADOW_OP_ENABLE_LOGDIRTY",
        domctl::SHADOW_CLEAN => "XEN_DOMCTL_SHADOW_OP_CLEAN",
        domctl::SHADOW_MODE_FINAL => "XEN_DOMCTL_SHADOW_LOGDIRTY_FINAL",
        domctl::CPUID_INPUT_UNUSED => "XEN_CPUID_INPUT_UNUSED",
        domctl::PAGE_TYPE_SHIFT => "XEN_DOMCTL_PFINFO_LTAB_SHIFT",
    );
}

fn sysctl_header(checks: &mut Vec<Check>) {
    checks.push(check("sizeof(struct xen_sysctl)", sysctl::SYSCTL_BYTES));
    checks.push(check("offsetof(struct xen_sysctl, u)", sysctl::HEAD_BYTES));
    structure!(checks, sysctl::Head, "struct xen_sysctl", head {
        command = "cmd", interface_version = "interface_version",
    });
    structure!(checks, sysctl::PhysInfo, "struct xen_sysctl_physinfo", whole {
        threads_per_core = "threads_per_core", cores_per_socket = "cores_per_socket", nr_cpus = "nr_cpus",
        max_cpu_id = "max_cpu_id", nr_nodes = "nr_nodes", max_node_id = "max_node_id", cpu_khz = "cpu_khz",
        capabilities = "capabilities", arch_capabilities = "arch_capabilities", pad = "pad",
        total_pages = "total_pages", free_pages = "free_pages", scrub_pages = "scrub_pages",
        outstanding_pages = "outstanding_pages", max_mfn = "max_mfn", hw_cap = "hw_cap",
    });
    structure!(checks, sysctl::CpuPolicy, "struct xen_sysctl_cpu_policy", whole {
        index = "index", nr_leaves = "nr_leaves", nr_msrs = "nr_msrs", reserved = "_rsvd", leaves = "leaves",
        msrs = "msrs",
    });
    numbers!(checks,
        abi::hypercall::SYSCTL => "__HYPERVISOR_sysctl",
        sysctl::PHYS_INFO => "XEN_SYSCTL_physinfo",
        sysctl::GET_CPU_POLICY => "XEN_SYSCTL_get_cpu_policy",
        size_of::<sysctl::Capabilities>() => "sizeof(((struct xen_sysctl_physinfo *)0)->capabilities)",
        sysctl::Capabilities::HVM.bits() => "XEN_SYSCTL_PHYSCAP_hvm",
        sysctl::Capabilities::PV.bits() => "XEN_SYSCTL_PHYSCAP_pv",
        sysctl::Capabilities::SHADOW.bits() => "XEN_SYSCTL_PHYSCAP_shadow",
        sysctl::POLICY_PV_MAX => "XEN_SYSCTL_cpu_policy_pv_max",
        sysctl::POLICY_HVM_MAX => "XEN_SYSCTL_cpu_policy_hvm_max",
    );
}

fn other_headers(checks: &mut Vec<Check>) {
    structure!(checks, memory::Reservation, "struct xen_memory_reservation", whole {
        extent_start = "extent_start", nr_extents = "nr_extents", extent_order = "extent_order",
        mem_flags = "mem_flags", domain = "domid",
    });
    structure!(checks, memory::MachphysList, "struct xen_machphys_mfn_list", whole {
        max_extents = "max_extents", extent_start = "extent_start", nr_extents = "nr_extents",
    });
    structure!(checks, abi::MulticallEntry, "struct multicall_entry", whole {
        op = "op", result = "result", args = "args",
    });
    structure!(checks, hvm::Param, "struct xen_hvm_param", whole {
        domain = "domid", index = "index", value = "value",
    });
    structure!(checks, sched::RemoteShutdown, "struct sched_remote_shutdown", whole {
        domain = "domain_id", reason = "reason",
    });
    structure!(checks, sched::Watchdog, "struct sched_watchdog", whole {
        id = "id", timeout = "timeout",
    });
    structure!(checks, evtchn::AllocUnbound, "struct evtchn_alloc_unbound", whole {
        domain = "dom", remote_domain = "remote_dom", port = "port",
    });
    structure!(checks, evtchn::Status, "struct evtchn_status", whole {
        domain = "dom", port = "port", status = "status", vcpu = "vcpu", what = "u",
    });
    structure!(checks, grant::QuerySize, "struct gnttab_query_size", whole {
        domain = "dom", nr_frames = "nr_frames", max_nr_frames = "max_nr_frames", status = "status",
    });
    structure!(checks, grant::GetVersion, "struct gnttab_get_version", whole { domain = "dom", version = "version" });
    structure!(checks, save::Descriptor, "struct hvm_save_descriptor", whole {
        typecode = "typecode", instance = "instance", length = "length",
    });
    structure!(checks, mmu::Update, "struct mmu_update", whole { address = "ptr", value = "val" });
    structure!(checks, dm::Buffer, "struct xen_dm_op_buf", whole { handle = "h", size = "size" });
    structure!(checks, dm::ModifiedMemory, "struct xen_dm_op", head {
        op = "op", pad = "pad", nr_extents = "u.modified_memory.nr_extents", opaque = "u.modified_memory.opaque",
    });
    structure!(checks, dm::Extent, "struct xen_dm_op_modified_memory_extent", whole {
        nr = "nr", pad = "pad", first_pfn = "first_pfn",
    });
    structure!(checks, mmu::ExtOp, "struct mmuext_op", whole { command = "cmd", mfn = "arg1.mfn", arg2 = "arg2" });
    structure!(checks, grant::EntryV1, "struct grant_entry_v1", whole {
        flags = "flags", domain = "domid", frame = "frame",
    });
    structure!(checks, privcmd::Hypercall, "struct privcmd_hypercall", whole { op = "op", arg = "arg" });
    structure!(checks, privcmd::MmapBatch, "struct privcmd_mmapbatch_v2", whole {
        num = "num", domain = "dom", address = "addr", frames = "arr", errors = "err",
    });
    structure!(checks, privcmd::MmapResource, "struct privcmd_mmap_resource", whole {
        domain = "dom", kind = "type", id = "id", index = "idx", num = "num", address = "addr",
    });
    structure!(checks, evtchn::BindInterdomain, "struct ioctl_evtchn_bind_interdomain", whole {
        remote_domain = "remote_domain", remote_port = "remote_port",
    });
    numbers!(checks,
        size_of::<abi::Handle>() => "sizeof(XEN_GUEST_HANDLE_64(uint8))",
        size_of::<memory::Domain>() => "sizeof(domid_t)",
        understudy_xen::DomId::XEN.0 => "DOMID_XEN",
        abi::hypercall::MMU_UPDATE => "__HYPERVISOR_mmu_update",
        abi::hypercall::DM_OP => "__HYPERVISOR_dm_op",
        abi::hypercall::MEMORY_OP => "__HYPERVISOR_memory_op",
        abi::hypercall::XEN_VERSION => "__HYPERVISOR_xen_version",
        abi::hypercall::GRANT_TABLE_OP => "__HYPERVISOR_grant_table_op",
        abi::SHARED_INFO_WALLCLOCK => "offsetof(struct shared_info, wc_version)",
        abi::SHARED_INFO_WALLCLOCK_BYTES =>
            "offsetof(struct shared_info, wc_sec_hi) + 4 - offsetof(struct shared_info, wc_version)",
        save::CODE_END => "HVM_SAVE_CODE(END)",
        save::CODE_HEADER => "HVM_SAVE_CODE(HEADER)",
        save::CODE_CPU => "HVM_SAVE_CODE(CPU)",
        save::CPU_RAX => "offsetof(struct hvm_hw_cpu, rax)",
        evtchn::STATUS => "EVTCHNOP_status",
        evtchn::STATUS_CLOSED => "EVTCHNSTAT_closed",
        evtchn::STATUS_UNBOUND => "EVTCHNSTAT_unbound",
        evtchn::STATUS_INTERDOMAIN => "EVTCHNSTAT_interdomain",
        evtchn::STATUS_PIRQ => "EVTCHNSTAT_pirq",
        evtchn::STATUS_VIRQ => "EVTCHNSTAT_virq",
        evtchn::STATUS_IPI => "EVTCHNSTAT_ipi",
        evtchn::FIFO_MASKED => "EVTCHN_FIFO_MASKED",
        evtchn::FIFO_LINKED => "EVTCHN_FIFO_LINKED",
        grant::QUERY_SIZE => "GNTTABOP_query_size",
        grant::GET_VERSION => "GNTTABOP_get_version",
        grant::READING => "GTF_reading",
        grant::WRITING => "GTF_writing",
        abi::hypercall::MMUEXT_OP => "__HYPERVISOR_mmuext_op",
        abi::hypercall::SCHED_OP => "__HYPERVISOR_sched_op",
        abi::hypercall::EVENT_CHANNEL_OP => "__HYPERVISOR_event_channel_op",
        abi::hypercall::HVM_OP => "__HYPERVISOR_hvm_op",
        abi::hypercall::DOMCTL => "__HYPERVISOR_domctl",
        abi::XENVER_VERSION => "XENVER_version",
        memory::DECREASE_RESERVATION => "XENMEM_decrease_reservation",
        memory::MAXIMUM_RAM_PAGE => "XENMEM_maximum_ram_page",
        memory::MACHPHYS_MFN_LIST => "XENMEM_machphys_mfn_list",
        memory::POPULATE_PHYSMAP => "XENMEM_populate_physmap",
        memory::MAXIMUM_GPFN => "XENMEM_maximum_gpfn",
        memory::RESOURCE_GRANT_TABLE => "XENMEM_resource_grant_table",
        memory::RESOURCE_GRANT_TABLE_SHARED => "XENMEM_resource_grant_table_id_shared",
        hvm::SET_PARAM => "HVMOP_set_param",
        hvm::GET_PARAM => "HVMOP_get_param",
        u64::from(evtchn::DOMID_SELF) => "DOMID_SELF",
        evtchn::ALLOC_UNBOUND => "EVTCHNOP_alloc_unbound",
        u64::from(sched::SHUTDOWN_SUSPEND) => "SHUTDOWN_suspend",
        sched::REMOTE_SHUTDOWN => "SCHEDOP_remote_shutdown",
        sched::WATCHDOG => "SCHEDOP_watchdog",
        dm::MODIFIED_MEMORY => "XEN_DMOP_modified_memory",
        mmu::MACHPHYS_UPDATE => "MMU_MACHPHYS_UPDATE",
        mmu::PIN_L1_TABLE => "MMUEXT_PIN_L1_TABLE",
        mmu::PIN_L4_TABLE => "MMUEXT_PIN_L4_TABLE",
        grant::PERMIT_ACCESS => "GTF_permit_access",
        grant::RESERVED_ENTRIES => "GNTTAB_NR_RESERVED_ENTRIES",
        privcmd::HYPERCALL => "IOCTL_PRIVCMD_HYPERCALL",
        privcmd::MMAP_BATCH_V2 => "IOCTL_PRIVCMD_MMAPBATCH_V2",
        privcmd::RESTRICT => "IOCTL_PRIVCMD_RESTRICT",
        privcmd::MMAP_RESOURCE => "IOCTL_PRIVCMD_MMAP_RESOURCE",
        evtchn::BIND_VIRQ => "IOCTL_EVTCHN_BIND_VIRQ",
        evtchn::BIND_INTERDOMAIN => "IOCTL_EVTCHN_BIND_INTERDOMAIN",
        evtchn::BIND_UNBOUND_PORT => "IOCTL_EVTCHN_BIND_UNBOUND_PORT",
        evtchn::UNBIND => "IOCTL_EVTCHN_UNBIND",
        evtchn::NOTIFY => "IOCTL_EVTCHN_NOTIFY",
    );
}

/// A C program that prints the values of the expressions, one a line.
fn program(checks: &[Check]) -> String {
    let mut program = String::from(
        "#define __XEN_TOOLS__ 1\n#include <stddef.h>\n#include <stdint.h>\n#include <stdio.h>\n#include <sys/ioctl.h>\n\
         #include <xenctrl.h>\n#include <xen/xen.h>\n#include <xen/domctl.h>\n#include <xen/sysctl.h>\n\
         #include <xen/memory.h>\n#include <xen/sched.h>\n#include <xen/version.h>\n#include <xen/grant_table.h>\n#include <xen/event_channel.h>\n#include <xen/hvm/save.h>\n#include <xen/hvm/hvm_op.h>\n#include <xen/hvm/dm_op.h>\n\
         #include <xen/sys/privcmd.h>\n#include <xen/sys/evtchn.h>\nint main(void) {\n",
    );
    // The versions come first: what is compared is of those versions.
    let first =
        ["XEN_DOMCTL_INTERFACE_VERSION", "XEN_SYSCTL_INTERFACE_VERSION"].map(|name| check(name, 0u64));
    for Check { expression, .. } in first.iter().chain(checks) {
        writeln!(program, "printf(\"%llu\\n\", (unsigned long long)(uint64_t)({expression}));")
            .expect("strings grow");
    }
    program.push_str("return 0; }\n");
    program
}

/// What the headers say, or why that cannot be known here.
fn headers_say(program: &str) -> Result<Vec<u64>, String> {
    if !Path::new("/usr/include/xenctrl.h").exists() {
        return Err("no Xen headers here (Debian: libxen-dev)".into());
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (source, binary) = (folder.path().join("layout.c"), folder.path().join("layout"));
    std::fs::write(&source, program).expect("a temporary file");
    let compiler = Command::new("cc").arg("-o").arg(&binary).arg(&source).output();
    let compiled = compiler.map_err(|error| format!("no C compiler here ({error})"))?;
    assert!(compiled.status.success(), "{}", String::from_utf8_lossy(&compiled.stderr));
    let run = Command::new(&binary).output().expect("what was compiled runs");
    let lines = String::from_utf8(run.stdout).expect("numbers are text");
    Ok(lines.lines().map(|line| line.parse().expect("a number on each line")).collect())
}

#[test]
fn structures_and_numbers_are_those_of_the_public_headers() {
    let mut checks = Vec::new();
    domctl_structures(&mut checks);
    domctl_numbers(&mut checks);
    sysctl_header(&mut checks);
    other_headers(&mut checks);
    let theirs = match headers_say(&program(&checks)) {
        Ok(theirs) => theirs,
        Err(why) => return skipped(&why),
    };
    assert_eq!(theirs.len(), checks.len() + 2);
    let [version, sysctl] = [0, 1].map(|at| u32::try_from(theirs[at]).expect("a version is small"));
    println!("{} things of domctl version {version:#x}, sysctl {sysctl:#x} compared", checks.len());
    let differ = |(check, theirs): (&Check, &u64)| {
        (check.ours != *theirs).then(|| format!("{} is {theirs}, not {}", check.expression, check.ours))
    };
    let differences: Vec<String> = checks.iter().zip(&theirs[2..]).filter_map(differ).collect();
    assert!(differences.is_empty(), "Xen {version:#x}:\n{}", differences.join("\n"));
    assert!(domctl::KNOWN_VERSIONS.contains(&version), "headers of an unknown version {version:#x}");
    assert!(sysctl::KNOWN_VERSIONS.contains(&sysctl), "headers of an unknown sysctl version {sysctl:#x}");
}

/// Says that nothing was compared, also to `tests/run`, which counts it as skipped and not as passed.
fn skipped(why: &str) {
    println!("skipped: {why}");
    if let Some(list) = std::env::var_os("UNDERSTUDY_SKIPPED") {
        let mut list = OpenOptions::new().append(true).create(true).open(list).expect("tests/run's own file");
        writeln!(list, "abi_layout: {why}").expect("a line can be added");
    }
}

/// Structures of `abi/` that no header has.
const OURS: [&str; 1] = ["domctl::Nothing"];

/// The public structures of `abi/`, as this test names them: `module::Name`.
fn structures_of_abi() -> Vec<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/abi");
    let mut names = Vec::new();
    for file in std::fs::read_dir(folder).expect("the sources are here") {
        let path = file.expect("a folder can be read").path();
        let module = match path.file_stem().and_then(|stem| stem.to_str()).expect("files have names") {
            "mod" => "abi",
            module => module,
        };
        let source = std::fs::read_to_string(&path).expect("the sources are here");
        let structs = source.lines().filter_map(|line| line.strip_prefix("pub struct "));
        let name = |rest: &str| rest.split(|at: char| !at.is_alphanumeric()).next().map(str::to_owned);
        names.extend(structs.filter_map(name).map(|name| format!("{module}::{name}")));
    }
    names
}

#[test]
fn every_structure_of_abi_is_compared() {
    let names = structures_of_abi();
    assert!(names.contains(&"abi::Handle".into()) && names.len() > 30, "they are found: {names:?}");
    let source = include_str!("abi_layout.rs");
    let is_compared = |name: &&String| {
        source.contains(&format!("structure!(checks, {name}, "))
            || source.contains(&format!("size_of::<{name}>() => "))
    };
    let forgotten: Vec<&String> =
        names.iter().filter(|name| !is_compared(name) && !OURS.contains(&name.as_str())).collect();
    assert!(forgotten.is_empty(), "tests/abi_layout.rs does not compare {forgotten:?}");
}
