//! Which findings follow from which facts: a test for each finding, and one for a guest that has none.

use super::VERSION;
use super::facts::{
    Capacity, FORMAT, GuestFacts, HostFacts, Leaf, Presence, State, Suspends, WitnessFacts, XenFacts,
};
use super::finding::{Finding, HostName, Severity};
use super::judge::{Other, Sought, judge};
use crate::control::status::WitnessKind;
use crate::guest::obstacle::Obstacle;
use std::collections::BTreeSet;
use understudy_checkpoint::domain::GuestKind;
use understudy_link::VERSIONS;

const MIB: u64 = 1 << 20;
const NO_SUBLEAF: u32 = u32::MAX;

const OBSTACLES: [Obstacle; 7] = [
    Obstacle::ControlDomain,
    Obstacle::TraditionalDeviceModel,
    Obstacle::StubDomain,
    Obstacle::PassedThrough,
    Obstacle::Disks,
    Obstacle::OtherDevices,
    Obstacle::Vnuma,
];

/// Leaf 0 of a processor from Intel, and leaf 7 with these features in ebx.
fn processor(features: u32) -> Vec<Leaf> {
    vec![
        Leaf { leaf: 0, subleaf: NO_SUBLEAF, registers: [0xD, 0x756E_6547, 0x6C65_746E, 0x4965_6E69] },
        Leaf { leaf: 7, subleaf: 0, registers: [0, features, 0, 0] },
    ]
}

fn host() -> HostFacts {
    let capacity = Capacity { free_bytes: 512 * MIB, runs_hvm: true, runs_pv: true, has_shadow_paging: true };
    HostFacts {
        format: FORMAT,
        understudy: VERSION.into(),
        link: (*VERSIONS.start(), *VERSIONS.end()),
        xen: Some(XenFacts {
            version: (4, 17),
            host: Some(capacity),
            pv_limit: processor(0xF),
            hvm_limit: processor(0xFF),
        }),
        domains: vec!["Domain-0".into()],
        interfaces: vec!["lo".into(), "xenbr0".into()],
        available_bytes: Some(256 * MIB),
        mappings_max: Some(65_530),
        modules: [("tun".into(), Presence::Present), ("cls_bpf".into(), Presence::Loadable)].into(),
        has_xl: true,
        has_save_helper: true,
        autostarted: vec!["other".into()],
        in_pacemaker: vec!["another".into()],
        witness: None,
        unlearnt: Vec::new(),
    }
}

fn guest() -> GuestFacts {
    GuestFacts {
        name: "web".into(),
        kind: GuestKind::Pvh,
        is_32_bit: false,
        memory_bytes: 64 * MIB,
        overhead_bytes: 8 * MIB,
        state: State::Running,
        suspends: Suspends::OnRequest,
        obstacles: Vec::new(),
        taken_by: None,
        nics: 1,
        bridges: vec!["xenbr0".into()],
        cpuid: processor(0xFF),
    }
}

fn pv() -> GuestFacts {
    GuestFacts { kind: GuestKind::Pv, cpuid: processor(0xF), ..guest() }
}

fn judged(guest: GuestFacts, here: &HostFacts, there: &HostFacts) -> Vec<Finding> {
    judge("web", &Sought::Found(Box::new(guest)), here, Some(Other { name: "b", facts: there }))
}

fn codes(findings: &[Finding]) -> Vec<&'static str> {
    findings.iter().map(Finding::code).collect()
}

/// The findings after this change to the guest.
fn of_guest(change: impl FnOnce(&mut GuestFacts)) -> Vec<&'static str> {
    let mut guest = guest();
    change(&mut guest);
    codes(&judged(guest, &host(), &host()))
}

/// The findings after this change to the other host.
fn of_other(guest: GuestFacts, change: impl FnOnce(&mut HostFacts)) -> Vec<&'static str> {
    let mut there = host();
    change(&mut there);
    codes(&judged(guest, &host(), &there))
}

fn capacity(host: &mut HostFacts) -> &mut Capacity {
    host.xen.as_mut().unwrap().host.as_mut().unwrap()
}

#[test]
fn a_guest_against_which_nothing_stands_has_no_findings() {
    assert_eq!(judged(guest(), &host(), &host()), []);
    assert_eq!(judged(pv(), &host(), &host()), []);
    assert_eq!(judge("web", &Sought::Found(Box::new(guest())), &host(), None), []);
}

#[test]
fn without_xen_nothing_else_is_said_of_the_guest() {
    let without = HostFacts { xen: None, ..host() };
    let nowhere = Sought::Unreadable("no xenstore".into());
    assert_eq!(codes(&judge("web", &nowhere, &without, None)), ["no_xen"]);
    assert_eq!(of_other(guest(), |there| there.xen = None), ["no_xen"]);
}

#[test]
fn a_guest_that_is_not_there_or_cannot_be_looked_at_is_told() {
    assert_eq!(codes(&judge("web", &Sought::Missing, &host(), None)), ["guest_not_found"]);
    let unreadable = judge("web", &Sought::Unreadable("xl fails".into()), &host(), None);
    assert_eq!(codes(&unreadable), ["guest_unreadable"]);
    assert_eq!(unreadable[0].to_string(), "web cannot be examined: xl fails");
}

#[test]
fn what_the_engine_refuses_is_found() {
    let expected = [
        "control_domain",
        "traditional_device_model",
        "stub_domain",
        "passed_through",
        "disks",
        "other_devices",
        "vnuma",
    ];
    assert_eq!(of_guest(|guest| guest.obstacles = OBSTACLES.into()), expected);
}

#[test]
fn a_narrow_pv_guest_is_found() {
    assert_eq!(of_guest(|guest| guest.is_32_bit = true), ["narrow"]);
}

#[test]
fn a_guest_that_does_not_run_is_found_and_not_asked_whether_it_suspends() {
    let stands = |state| {
        of_guest(|guest| {
            guest.state = state;
            guest.suspends = Suspends::Never;
        })
    };
    assert_eq!(stands(State::Paused), ["paused"]);
    for state in [State::Suspended, State::Crashed, State::ShutDown, State::Dying] {
        assert_eq!(stands(state), ["ended"], "{state:?}");
    }
}

#[test]
fn a_guest_that_cannot_suspend_is_found() {
    assert_eq!(of_guest(|guest| guest.suspends = Suspends::Never), ["no_suspend"]);
    assert_eq!(of_guest(|guest| guest.suspends = Suspends::Unannounced), ["suspend_unannounced"]);
    assert_eq!(of_guest(|guest| guest.suspends = Suspends::Unasked), [""; 0]);
}

#[test]
fn pv_guests_need_shadow_paging_here_and_should_have_it_there() {
    let mut without = host();
    capacity(&mut without).has_shadow_paging = false;
    assert_eq!(codes(&judged(pv(), &without, &host())), ["no_log_dirty"]);
    assert_eq!(codes(&judged(pv(), &host(), &without)), ["no_log_dirty_there"]);
    assert_eq!(judged(guest(), &without, &without), [], "nested paging has its own log");
}

#[test]
fn a_host_that_does_not_run_such_guests_is_found() {
    assert_eq!(of_other(guest(), |there| capacity(there).runs_hvm = false), ["kind_not_run"]);
    assert_eq!(of_other(guest(), |there| capacity(there).runs_pv = false), [""; 0]);
    // Such a host reports no limit for them either.
    let without_pv = |there: &mut HostFacts| {
        capacity(there).runs_pv = false;
        there.xen.as_mut().unwrap().pv_limit = Vec::new();
    };
    assert_eq!(of_other(pv(), without_pv), ["kind_not_run"]);
}

#[test]
fn a_name_that_is_taken_there_is_found() {
    assert_eq!(of_other(guest(), |there| there.domains.push("web".into())), ["name_taken"]);
}

#[test]
fn each_bridge_that_is_missing_there_is_found_once() {
    let mut two = guest();
    two.bridges = ["lan", "xenbr0", "lan"].map(String::from).into();
    let findings = judged(two, &host(), &host());
    assert_eq!(codes(&findings), ["bridge_missing"]);
    assert!(findings[0].to_string().contains("no bridge lan, which"));
}

#[test]
fn a_guest_that_does_not_fit_there_is_found() {
    assert_eq!(of_other(guest(), |there| capacity(there).free_bytes = 72 * MIB), [""; 0]);
    assert_eq!(of_other(guest(), |there| capacity(there).free_bytes = 72 * MIB - 1), ["no_memory"]);
    assert_eq!(of_other(guest(), |there| there.available_bytes = Some(64 * MIB - 1)), ["no_image_memory"]);
    assert_eq!(of_other(guest(), |there| there.available_bytes = None), [""; 0]);
}

#[test]
fn guests_move_to_newer_hypervisors_only() {
    let releases = |there, here| {
        let (mut at_home, mut away) = (host(), host());
        at_home.xen.as_mut().unwrap().version = here;
        away.xen.as_mut().unwrap().version = there;
        codes(&judged(guest(), &at_home, &away))
    };
    assert_eq!(releases((4, 17), (4, 17)), [""; 0]);
    assert_eq!(releases((4, 17), (4, 20)), ["older_xen"]);
    assert_eq!(releases((4, 20), (4, 17)), ["newer_xen"]);
    assert_eq!(releases((5, 0), (4, 20)), ["newer_xen"]);
}

#[test]
fn engines_of_other_versions_are_found() {
    assert_eq!(of_other(guest(), |there| there.understudy = "9.9.9".into()), ["understudy_skew"]);
    let next = VERSIONS.end() + 1;
    assert_eq!(of_other(guest(), |there| there.link = (next, next)), ["link_skew"]);
    assert_eq!(of_other(guest(), |there| there.link = (*VERSIONS.start(), next)), [""; 0]);
}

#[test]
fn hosts_without_a_toolstack_are_found() {
    assert_eq!(of_other(guest(), |there| there.has_xl = false), ["no_xl"]);
    assert_eq!(of_other(guest(), |there| there.has_save_helper = false), ["no_save_helper"]);
    let without = HostFacts { has_xl: false, has_save_helper: false, ..host() };
    assert_eq!(codes(&judged(guest(), &without, &host())), ["no_xl"]);
}

#[test]
fn a_processor_that_lacks_what_the_guest_sees_is_found() {
    let limit =
        |features| move |there: &mut HostFacts| there.xen.as_mut().unwrap().hvm_limit = processor(features);
    assert_eq!(of_other(guest(), limit(0x1FF)), [""; 0]);
    assert_eq!(of_other(guest(), limit(0x7F)), ["features_missing"]);
    let mut there = host();
    limit(0)(&mut there);
    let findings = judged(guest(), &host(), &there);
    let text = findings[0].to_string();
    assert!(text.contains("fsgsbase (leaf 0x7.0 ebx bit 0)") && text.contains(" and 2 more; hide"), "{text}");
}

#[test]
fn a_processor_of_another_make_is_one_finding() {
    let amd = |there: &mut HostFacts| {
        there.xen.as_mut().unwrap().hvm_limit[0].registers = [0, 0x6874_7541, 0x444D_4163, 0x6974_6E65];
    };
    assert_eq!(of_other(guest(), amd), ["other_vendor"]);
}

#[test]
fn a_kernel_that_cannot_hold_output_is_found_on_either_host() {
    let lacking = HostFacts { modules: [("cls_bpf".into(), Presence::Missing)].into(), ..host() };
    assert_eq!(codes(&judged(guest(), &lacking, &lacking)), ["kernel_lacks"; 2]);
    assert_eq!(judged(GuestFacts { nics: 0, ..guest() }, &lacking, &lacking), []);
    let silent = HostFacts { modules: [("cls_bpf".into(), Presence::Unknown)].into(), ..host() };
    assert_eq!(judged(guest(), &silent, &silent), []);
}

#[test]
fn what_could_not_be_learnt_is_told_of_both_hosts() {
    let unlearnt = HostFacts { unlearnt: vec!["why".into()], ..host() };
    assert_eq!(codes(&judged(guest(), &unlearnt, &unlearnt)), ["unlearnt"; 2]);
}

#[test]
fn a_witness_that_does_not_answer_and_two_witnesses_are_found() {
    let with = |address: &str, trouble: Option<&str>| {
        let kind = if address.starts_with("etcd") { WitnessKind::Etcd } else { WitnessKind::Own };
        let witness = WitnessFacts { kind, address: address.into(), trouble: trouble.map(Into::into) };
        HostFacts { witness: Some(witness), ..host() }
    };
    let of = |here: &HostFacts, there: &HostFacts| codes(&judged(guest(), here, there));
    let (own, tunnelled) = (with("127.0.0.1:7100", None), with("127.0.0.1:7200", None));
    let (etcd, other_way) = (with("etcd://10.0.0.1:2379/s", None), with("etcd://10.0.0.2:2379/s", None));
    assert_eq!(of(&own, &tunnelled), [""; 0], "one witness may have two addresses");
    assert_eq!(of(&etcd, &other_way), [""; 0]);
    assert_eq!(of(&etcd, &host()), [""; 0], "a host without a node's configuration says nothing");
    assert_eq!(of(&etcd, &own), ["witnesses_differ"]);
    assert_eq!(of(&etcd, &with("etcd://10.0.0.1:2379/t", None)), ["witnesses_differ"]);
    assert_eq!(of(&with("127.0.0.1:7100", Some("nobody there")), &own), ["witness_unreachable"]);
}

#[test]
fn facts_that_cannot_be_do_no_harm() {
    let mut absurd = host();
    absurd.link = (9, 0);
    absurd.available_bytes = Some(0);
    capacity(&mut absurd).free_bytes = 0;
    absurd.xen.as_mut().unwrap().version = (u32::MAX, u32::MAX);
    absurd.domains = vec![String::new(); 1000];
    let mut huge = guest();
    (huge.memory_bytes, huge.overhead_bytes) = (u64::MAX, u64::MAX);
    let expected =
        ["mappings_too_few", "link_skew", "mappings_too_few", "no_memory", "no_image_memory", "newer_xen"];
    assert_eq!(codes(&judged(huge, &host(), &absurd)), expected);
}

/// One of each finding.
fn every_finding() -> Vec<Finding> {
    let host = || HostName::Other("b".into());
    let guest = || "web".to_owned();
    let text = String::new;
    let mut all = vec![
        Finding::NoXen { host: host() },
        Finding::GuestNotFound { guest: guest() },
        Finding::GuestUnreadable { guest: guest(), why: text() },
        Finding::Narrow { guest: guest() },
        Finding::Autostarted { host: host(), guest: guest() },
        Finding::InPacemaker { host: host(), guest: guest() },
        Finding::Paused { guest: guest() },
        Finding::Ended { guest: guest(), how: "it crashed" },
        Finding::NoSuspend { guest: guest() },
        Finding::SuspendUnannounced { guest: guest() },
        Finding::TakenByRemus { guest: guest(), pid: 1 },
        Finding::MappingsTooFew { host: host(), guest: guest(), max: 1, needed: 2 },
        Finding::NoLogDirty { guest: guest() },
        Finding::NoLogDirtyThere { guest: guest(), host: host() },
        Finding::KindNotRun { host: host(), kind: "PV", remedy: "" },
        Finding::NameTaken { host: host(), guest: guest() },
        Finding::BridgeMissing { host: host(), bridge: text(), guest: guest() },
        Finding::NoMemory { host: host(), guest: guest(), free_bytes: 1, needed_bytes: 2 },
        Finding::NoImageMemory { host: host(), guest: guest(), available_bytes: 1, needed_bytes: 2 },
        Finding::OlderXen { host: host(), there: (4, 17), here: (4, 20) },
        Finding::NewerXen { host: host(), guest: guest(), there: (4, 20), here: (4, 17) },
        Finding::LinkSkew { host: host(), theirs: text(), ours: VERSION },
        Finding::UnderstudySkew { host: host(), theirs: text(), ours: VERSION },
        Finding::NoXl { host: host() },
        Finding::NoSaveHelper { host: host() },
        Finding::OtherVendor { host: host(), guest: guest(), ours: text(), theirs: text() },
        Finding::FeaturesMissing { host: host(), guest: guest(), features: Vec::new() },
        Finding::KernelLacks { host: host(), guest: guest(), modules: Vec::new() },
        Finding::Unlearnt { host: host(), why: text() },
        Finding::WitnessUnreachable { host: host(), address: text(), why: text() },
        Finding::WitnessesDiffer { host: host(), there: text(), here: text() },
    ];
    all.extend(OBSTACLES.map(|obstacle| Finding::Configured { guest: guest(), obstacle }));
    all
}

#[test]
fn a_guest_that_cannot_be_mapped_whole_is_refused_on_either_host() {
    let large = |guest: &mut GuestFacts| guest.memory_bytes = 256 << 30;
    assert!(of_guest(large).iter().filter(|code| **code == "mappings_too_few").count() == 2);
    let few = |host: &mut HostFacts| host.mappings_max = Some(1_000);
    assert_eq!(of_other(guest(), few), ["mappings_too_few"]);
    let unknown = |host: &mut HostFacts| host.mappings_max = None;
    assert!(of_other(guest(), unknown).is_empty(), "another host may not tell it");
}

#[test]
fn who_else_starts_a_guest_is_told_of_either_host() {
    let web = || vec!["web".to_owned()];
    let starts = |host: &mut HostFacts| (host.autostarted, host.in_pacemaker) = (web(), web());
    let mut here = host();
    starts(&mut here);
    assert_eq!(codes(&judged(guest(), &here, &host())), ["autostarted", "in_pacemaker"]);
    assert_eq!(of_other(guest(), starts), ["autostarted", "in_pacemaker"]);
}

#[test]
fn a_guest_that_remus_makes_checkpoints_of_is_left_alone() {
    assert_eq!(of_guest(|guest| guest.taken_by = Some(4711)), ["taken_by_remus"]);
}

#[test]
fn the_operators_table_lists_every_finding_with_its_weight_and_no_other() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/PREFLIGHT.md");
    let page = std::fs::read_to_string(path).unwrap();
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `"));
    let listed: BTreeSet<(String, bool)> = rows
        .map(|row| {
            let (code, rest) = row.split_once('`').unwrap();
            (code.to_owned(), rest.starts_with(" (warns)"))
        })
        .collect();
    let all = every_finding();
    let ours = all.iter().map(|finding| (finding.code().to_owned(), finding.severity() == Severity::Warn));
    assert_eq!(listed, ours.collect());
}
