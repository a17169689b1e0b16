//! A guest on a simulated hypervisor is captured.

use super::*;
use crate::abi::domctl::{self, DomainFlags, HvmContext};
use crate::abi::{evtchn, grant, hvm, save};
use crate::simulated::{Asked, Simulated, payload, set_payload, suspended_flags};
use crate::twin::shape::layout;
use crate::xenstore::fake::Fake;
use nix::errno::Errno;
use std::sync::Arc;
use zerocopy::{FromZeros, IntoBytes};

const DOMAIN: DomId = DomId(4);

/// A context of one vCPU whose registers are all 7.
fn context() -> Vec<u8> {
    let mut context = Vec::new();
    for (typecode, body) in
        [(save::CODE_HEADER, &[9; 24][..]), (save::CODE_CPU, &[7; 600]), (save::CODE_END, &[])]
    {
        let length = u32::try_from(body.len()).unwrap();
        context.extend_from_slice(save::Descriptor { typecode, instance: 0, length }.as_bytes());
        context.extend_from_slice(body);
    }
    context
}

/// A guest without ports, whose grant table has one frame.
fn guest(flags: DomainFlags) -> (Arc<Simulated>, Xen) {
    let hypervisor = Simulated::new();
    hypervisor.answer(Asked::Domctl(domctl::GET_DOMAIN_INFO), move |call| {
        set_payload(call, &domctl::DomainInfo { domain: 4, flags, ..domctl::DomainInfo::new_zeroed() });
        Ok(0)
    });
    hypervisor.answer(Asked::Domctl(domctl::GET_HVM_CONTEXT), |call| {
        let context = context();
        let asked: HvmContext = payload(call);
        match call.data() {
            Some(_) if (asked.size as usize) < context.len() => return Err(Errno::ENOSPC),
            Some(data) => data[..context.len()].copy_from_slice(&context),
            None => {}
        }
        set_payload(call, &HvmContext { size: context.len() as u32, ..asked });
        Ok(0)
    });
    for (question, answer) in [(grant::QUERY_SIZE, 1), (grant::GET_VERSION, 1)] {
        hypervisor.answer(Asked::Grant(question), move |call| {
            call.argument()[4] = answer;
            Ok(0)
        });
    }
    hypervisor.answer(Asked::Evtchn(evtchn::STATUS), |_| Err(Errno::EINVAL));
    hypervisor.answer(Asked::Hvm(hvm::GET_PARAM), |_| Ok(0));
    let xen = Xen::over(hypervisor.clone()).unwrap();
    (hypervisor, xen)
}

fn captured(xen: &Xen) -> Result<Capture, TwinError> {
    Capture::of(xen, &mut Fake::start().connect(), DOMAIN, layout(&[0..3, 9..10]))
}

#[test]
fn a_suspended_guest_is_captured_with_its_suspend_cancelled() {
    let (hypervisor, xen) = guest(DomainFlags::HVM | suspended_flags());
    for pfn in [0, 1, 2, 9] {
        hypervisor.write_frame(pfn, &[pfn as u8; PAGE_SIZE]);
    }
    hypervisor.write_grant_table(&[5; PAGE_SIZE]);
    let captured = captured(&xen).unwrap();
    for pfn in [0, 1, 2, 9] {
        assert_eq!(captured.pages.page(Pfn(pfn)), Some(&[pfn as u8; PAGE_SIZE]));
    }
    assert_eq!((captured.pages.page(Pfn(3)), &captured.grants[..]), (None, &[5; PAGE_SIZE][..]));
    let rax = 8 + 24 + 8 + save::CPU_RAX;
    assert_eq!(captured.context[rax - 1..rax + 9], [7, 1, 0, 0, 0, 0, 0, 0, 0, 7]);
}

#[test]
fn a_guest_that_runs_or_has_ended_is_not_captured() {
    for flags in
        [DomainFlags::HVM, DomainFlags::HVM | DomainFlags::PAUSED, DomainFlags::HVM | DomainFlags::SHUTDOWN]
    {
        let (_port, xen) = guest(flags);
        assert!(matches!(captured(&xen), Err(TwinError::NotSuspended { domain: DOMAIN })), "{flags:?}");
    }
}

#[test]
fn a_guest_of_another_kind_or_layout_is_not_captured() {
    let (_port, xen) = guest(suspended_flags());
    assert!(matches!(captured(&xen), Err(TwinError::Kind { .. })));
    let (hypervisor, xen) = guest(DomainFlags::HVM | suspended_flags());
    hypervisor.answer(Asked::Grant(grant::GET_VERSION), |call| {
        call.argument()[4] = 2;
        Ok(0)
    });
    assert!(matches!(captured(&xen), Err(TwinError::GrantVersion { version: 2, .. })));
}

#[test]
fn a_guest_with_a_queued_event_or_a_page_that_has_gone_is_not_captured() {
    let (hypervisor, xen) = guest(DomainFlags::HVM | suspended_flags());
    let mut events = [0; PAGE_SIZE];
    events.chunks_exact_mut(4).for_each(|word| word.copy_from_slice(&0x4000_0000u32.to_le_bytes()));
    events[5 * 4..6 * 4].copy_from_slice(&0xE000_0000u32.to_le_bytes());
    hypervisor.write_frame(2, &events);
    assert!(matches!(captured(&xen), Err(TwinError::Queued { port: 5 })));
    hypervisor.write_frame(2, &[0; PAGE_SIZE]);
    hypervisor.break_frame(9, Errno::EINVAL);
    assert!(matches!(captured(&xen), Err(TwinError::NoFrame { frame: 9, .. })));
}
