//! A twin on a simulated hypervisor: what is written, and what is kept.

use super::*;
use crate::abi::domctl::{self, DomainFlags, HvmContext, VcpuContext};
use crate::abi::grant::{self, EntryV1};
use crate::simulated::{Asked, Simulated, payload, set_payload, suspended_flags};
use crate::twin::shape::{layout, shape};
use crate::twin::{RingKeys, Unlike};
use crate::xenstore::fake::Fake;
use std::sync::{Arc, Mutex};
use understudy_checkpoint::domain::Sink;
use understudy_checkpoint::epoch::Image;
use understudy_checkpoint::{PageEntry, PageType};
use zerocopy::{FromBytes, FromZeros, IntoBytes};

const DOMAIN: DomId = DomId(4);
const SHARED_INFO: u64 = 3;
/// The pfn at which the domain sees its grant table.
const GRANTS: u64 = 6;

fn twin() -> (Arc<Simulated>, Twin) {
    let hypervisor = Simulated::new();
    hypervisor.answer(Asked::Grant(grant::QUERY_SIZE), |call| {
        call.argument()[4] = 1;
        Ok(0)
    });
    hypervisor.answer(Asked::Domctl(domctl::GET_DOMAIN_INFO), |call| {
        set_payload(call, &domctl::DomainInfo { domain: 4, ..domctl::DomainInfo::new_zeroed() });
        Ok(0)
    });
    hypervisor.move_frame(GRANTS, Simulated::GRANT_FRAME);
    let xen = Xen::over(hypervisor.clone()).unwrap();
    hypervisor.asked();
    (hypervisor, Twin { xen, domain: DOMAIN, layout: layout(&[0..5, 6..7]), cards: Vec::new() })
}

fn grants(entries: &[(usize, EntryV1)]) -> Page {
    let mut table = [0; PAGE_SIZE];
    for (at, entry) in entries {
        table[at * 8..][..8].copy_from_slice(entry.as_bytes());
    }
    table
}

/// A guest whose pages hold their pfn + 0x10, and whose grant 2 is a ring.
fn guest() -> Capture {
    let mut pages = Image::new(7);
    for pfn in [0, 1, 2, 3, 4, 6] {
        let entry = PageEntry::new(Pfn(pfn), PageType::Normal);
        pages.apply_page(entry, Some(&[0x10 + pfn as u8; PAGE_SIZE]));
    }
    let ring = EntryV1 { flags: grant::PERMIT_ACCESS | grant::READING, domain: 0, frame: 0x123 };
    Capture {
        shape: shape(SHARED_INFO),
        layout: layout(&[0..5, 6..7]),
        pages,
        grants: grants(&[(2, ring)]).to_vec(),
        context: vec![8; 40],
        rings: RingKeys::default(),
    }
}

#[test]
fn all_becomes_the_guests_but_what_belongs_to_this_host() {
    let (hypervisor, twin) = twin();
    let console = EntryV1 { flags: grant::PERMIT_ACCESS | grant::WRITING, domain: 0, frame: 0 };
    hypervisor.write_grant_table(&grants(&[(0, EntryV1 { frame: 0, ..console })]));
    let mut guest = guest();
    guest.grants[..8].copy_from_slice(EntryV1 { flags: grant::PERMIT_ACCESS, ..console }.as_bytes());
    (0..5).for_each(|pfn| hypervisor.write_frame(pfn, &[0xEE; PAGE_SIZE]));
    hypervisor.write_frame(1, &[0x11; PAGE_SIZE]);
    hypervisor.answer(Asked::Domctl(domctl::SET_HVM_CONTEXT), |call| {
        assert_eq!(payload::<HvmContext>(call).size, 40);
        assert!(call.data().unwrap()[..40].iter().all(|byte| *byte == 8));
        Ok(0)
    });
    let done = twin.overwrite(&guest).unwrap();
    assert_eq!(done.pages, 4, "page 1 was the guest's already, and the grant table is no page");
    for pfn in [0, 1, 2, 4] {
        assert_eq!(hypervisor.read_frame(pfn), [0x10 + pfn as u8; PAGE_SIZE]);
    }
    let shared_info = hypervisor.read_frame(SHARED_INFO);
    let wallclock = |at: &usize| (0xC00..0xC10).contains(at);
    for (at, byte) in shared_info.iter().enumerate() {
        assert_eq!(*byte, if wallclock(&at) { 0xEE } else { 0x13 }, "at {at:#x}");
    }
    let ring = EntryV1 { flags: grant::PERMIT_ACCESS, domain: 0, frame: 0x123 };
    assert_eq!(hypervisor.read_grant_table(), grants(&[(0, console), (2, ring)]), "no mark is left either");
}

#[test]
fn a_grant_that_is_in_use_for_something_else_costs_nothing() {
    let (hypervisor, twin) = twin();
    let used = EntryV1 { flags: grant::PERMIT_ACCESS | grant::READING, domain: 0, frame: 0x99 };
    let table = grants(&[(2, used)]);
    hypervisor.write_grant_table(&table);
    hypervisor.write_frame(0, &[0xEE; PAGE_SIZE]);
    let error = twin.overwrite(&guest()).unwrap_err();
    assert!(matches!(error, TwinError::Grant { .. }) && error.to_string().contains("0x99"), "{error}");
    assert_eq!((hypervisor.read_grant_table(), hypervisor.read_frame(0)), (table, [0xEE; PAGE_SIZE]));
}

#[test]
fn a_page_that_the_copy_lacks_is_told() {
    let (hypervisor, twin) = twin();
    let guest = Capture { pages: Image::new(7), ..guest() };
    let error = twin.overwrite(&guest).unwrap_err();
    assert!(matches!(error, TwinError::NoPage { pfn: 0, .. }), "{error}");
    assert!(!hypervisor.asked().contains(&Asked::Domctl(domctl::SET_HVM_CONTEXT)), "it does not run");
}

#[test]
fn a_twin_that_took_memory_is_not_overwritten() {
    let (hypervisor, twin) = twin();
    hypervisor.write_frame(0, &[0xEE; PAGE_SIZE]);
    hypervisor.answer(Asked::Domctl(domctl::GET_DOMAIN_INFO), |call| {
        set_payload(
            call,
            &domctl::DomainInfo { domain: 4, tot_pages: 1, ..domctl::DomainInfo::new_zeroed() },
        );
        Ok(0)
    });
    assert!(matches!(twin.overwrite(&guest()), Err(TwinError::Ballooned { before: 0, now: 1, .. })));
    assert_eq!(hypervisor.read_frame(0), [0xEE; PAGE_SIZE]);
}

#[test]
fn a_frame_that_cannot_be_mapped_is_told() {
    let (hypervisor, twin) = twin();
    hypervisor.break_frame(4, nix::errno::Errno::EINVAL);
    let error = twin.overwrite(&guest()).unwrap_err();
    assert!(matches!(error, TwinError::NoFrame { frame: 4, .. }), "{error}");
}

#[test]
fn a_twin_is_stopped_from_outside_and_its_vcpus_begin_anew() {
    let (hypervisor, twin) = twin();
    let shutdown = Asked::Sched(sched::REMOTE_SHUTDOWN);
    let reset = Asked::Domctl(domctl::SET_VCPU_CONTEXT);
    let looks = Arc::new(Mutex::new(0));
    let seen = looks.clone();
    hypervisor.answer(shutdown, |call| {
        assert_eq!(call.argument()[..8], [4, 0, 0, 0, 2, 0, 0, 0]);
        Ok(0)
    });
    hypervisor.answer(Asked::Domctl(domctl::GET_DOMAIN_INFO), move |call| {
        let mut looks = seen.lock().unwrap();
        *looks += 1;
        // A vCPU takes a moment to stop.
        let flags = if *looks < 3 { DomainFlags::HVM } else { DomainFlags::HVM | suspended_flags() };
        set_payload(call, &domctl::DomainInfo { domain: 4, flags, ..domctl::DomainInfo::new_zeroed() });
        Ok(0)
    });
    let vcpus = Arc::new(Mutex::new(Vec::new()));
    let were_reset = vcpus.clone();
    hypervisor.answer(reset, move |call| {
        assert!(call.data().is_none(), "no context: it is reset");
        were_reset.lock().unwrap().push(payload::<VcpuContext>(call).vcpu);
        Ok(0)
    });
    twin.stop(2).unwrap();
    assert_eq!(*vcpus.lock().unwrap(), [0, 1]);
    let asked = hypervisor.asked();
    assert_eq!((asked[0], asked[asked.len() - 1]), (shutdown, reset));
}

#[test]
fn a_domain_that_is_no_twin_is_refused_with_what_differs() {
    let (hypervisor, twin) = twin();
    let fake = Fake::start();
    let mut store = fake.connect();
    let ports = Arc::new(Mutex::new(2));
    let bound = ports.clone();
    hypervisor.answer(Asked::Domctl(domctl::GET_DOMAIN_INFO), |call| {
        let flags = DomainFlags::HVM;
        let shared_info_frame = SHARED_INFO;
        let info =
            domctl::DomainInfo { domain: 4, flags, shared_info_frame, ..domctl::DomainInfo::new_zeroed() };
        set_payload(call, &info);
        Ok(0)
    });
    hypervisor.answer(Asked::Grant(grant::GET_VERSION), |call| {
        call.argument()[4] = 1;
        Ok(0)
    });
    hypervisor.answer(Asked::Hvm(crate::abi::hvm::GET_PARAM), |_| Ok(0));
    hypervisor.answer(Asked::Evtchn(crate::abi::evtchn::STATUS), move |call| {
        let mut status = crate::abi::evtchn::Status::read_from_prefix(call.argument()).unwrap().0;
        if status.port > *bound.lock().unwrap() {
            return Err(nix::errno::Errno::EINVAL);
        }
        (status.status, status.what) = (crate::abi::evtchn::STATUS_IPI, [0, 0]);
        status.write_to_prefix(call.argument()).unwrap();
        Ok(0)
    });
    let mut guest = guest();
    guest.shape = Shape::of(&twin.xen, &mut store, DOMAIN).unwrap();
    twin.check(&mut store, &guest).unwrap();
    // A port more, of which the domain knows; and then one that is the toolstack's.
    *ports.lock().unwrap() = 3;
    let error = twin.check(&mut store, &guest).unwrap_err();
    assert!(
        matches!(error, TwinError::Unlike { why: Unlike::Port { port: 3, guest: None, .. }, .. }),
        "{error}"
    );
    assert!(
        error.to_string().starts_with("domain 4 is no twin of the guest: event channel port 3"),
        "{error}"
    );
    fake.tree().nodes.insert("/local/domain/4/understudy/suspend-port".into(), "3".into());
    twin.check(&mut store, &guest).unwrap();
    *ports.lock().unwrap() = 300;
    assert!(matches!(twin.check(&mut store, &guest), Err(TwinError::ManyPorts { port: 300, .. })));
    *ports.lock().unwrap() = 2;
    guest.layout = layout(&[0..5, 7..8]);
    assert!(matches!(
        twin.check(&mut store, &guest),
        Err(TwinError::Unlike { why: Unlike::Layout { .. }, .. })
    ));
    assert!(hypervisor.asked().iter().all(|asked| *asked != Asked::Sched(sched::REMOTE_SHUTDOWN)));
}
