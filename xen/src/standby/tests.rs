//! A PVH guest's standby domain on a simulated hypervisor: what is checked before it counts.

use super::*;
use crate::abi::domctl::{self, DomainFlags};
use crate::abi::hvm;
use crate::simulated::{Asked, Simulated, set_payload, suspended_flags};
use nix::errno::Errno;
use std::mem::ManuallyDrop;
use std::sync::{Arc, Mutex};
use understudy_checkpoint::stream::libxc::{HvmContext, Record};
use zerocopy::FromZeros;

/// The domain as Xen describes it: flags and UUID byte; `None` if it does not exist.
type Said = Arc<Mutex<Option<(DomainFlags, u8)>>>;

const PAUSED: Option<(DomainFlags, u8)> = Some((DomainFlags::HVM.union(DomainFlags::PAUSED), 7));

/// Domain 4, which libxl has completed and which was given `state`, without pages. It must not be dropped, because that would ask
/// the `xl` of this host to destroy a domain.
pub(super) fn completed(xen: Xen, what: Description, state: DomainState) -> ManuallyDrop<Standby> {
    let end = RingEnd { port: 1, backend: DomId(0) };
    ManuallyDrop::new(Standby {
        domain: DomId(4),
        name: "web".into(),
        uuid: Some([7; 16]),
        rings: Rings { store: end, console: end },
        build: Build::Complete,
        pages: StandbyPages::new(&xen, DomId(4), &what).unwrap(),
        xen,
        what,
        state,
        fault: None,
        is_refused: false,
        is_activated: false,
        is_changed: false,
        is_begun: false,
        is_used: false,
        mark: |_, _| Ok(()),
    })
}

fn standby() -> (Arc<Simulated>, Said, ManuallyDrop<Standby>) {
    let hypervisor = Simulated::new();
    let said: Said = Arc::new(Mutex::new(PAUSED));
    let seen = said.clone();
    hypervisor.answer(Asked::Domctl(domctl::GET_DOMAIN_INFO), move |call| {
        let Some((flags, uuid)) = *seen.lock().unwrap() else { return Err(Errno::ESRCH) };
        let mut info = domctl::DomainInfo::new_zeroed();
        (info.domain, info.flags, info.handle) = (4, flags, [uuid; 16]);
        set_payload(call, &info);
        Ok(0)
    });
    hypervisor.answer(Asked::Hvm(hvm::SET_PARAM), |_| Ok(0));
    hypervisor.answer(Asked::Domctl(domctl::SET_HVM_CONTEXT), |_| Ok(0));
    let xen = Xen::over(hypervisor.clone()).unwrap();
    let what = Description {
        kind: GuestKind::Pvh,
        page_count: 64,
        libxc_version: 3,
        xen_version: (4, 17),
        config: Vec::new(),
        static_records: Vec::new(),
        disks_bytes: Vec::new(),
    };
    let mut state = DomainState::default();
    Record::HvmContext(HvmContext { blob: &[1; 64] }).write(&mut state.libxc);
    (hypervisor, said, completed(xen, what, state))
}

#[test]
fn only_a_domain_that_stands_as_it_was_left_may_be_acknowledged() {
    for (now, what) in [
        (None, "was destroyed"),
        (Some((DomainFlags::HVM | DomainFlags::DYING, 7)), "is being destroyed"),
        (Some((DomainFlags::HVM, 7)), "was let run"),
        (Some((DomainFlags::HVM | suspended_flags(), 7)), "was let run"),
        (Some((DomainFlags::HVM | DomainFlags::PAUSED, 8)), "its number is another's"),
    ] {
        let (_port, said, mut standby) = standby();
        assert_eq!(standby.check(), None);
        *said.lock().unwrap() = now;
        let fault = standby.check().unwrap();
        assert!(fault.contains(what), "{fault}");
        *said.lock().unwrap() = PAUSED;
        assert_eq!(standby.check(), Some(fault), "what was lost once stays lost");
    }
}

#[test]
fn a_domain_of_the_same_number_is_not_destroyed_in_its_place() {
    let (hypervisor, said, standby) = standby();
    assert!(standby.is_ours_to_destroy());
    *said.lock().unwrap() = Some((DomainFlags::HVM, 8));
    assert!(!standby.is_ours_to_destroy(), "its number was used again");
    *said.lock().unwrap() = None;
    assert!(!standby.is_ours_to_destroy());
    *said.lock().unwrap() = PAUSED;
    hypervisor.fail(Asked::Domctl(domctl::GET_DOMAIN_INFO), &[Errno::EPERM]);
    assert!(!standby.is_ours_to_destroy(), "nothing is destroyed that is not known");
}

#[test]
fn what_cannot_be_asked_is_not_acknowledged() {
    let (hypervisor, _said, mut standby) = standby();
    hypervisor.fail(Asked::Domctl(domctl::GET_DOMAIN_INFO), &[Errno::EPERM]);
    assert!(standby.check().is_some());
}

#[test]
fn a_domain_that_ran_holds_no_image_and_one_that_was_destroyed_still_does() {
    let (_port, said, mut standby) = standby();
    *said.lock().unwrap() = None;
    assert!(standby.activate().is_err());
    assert!(standby.to_image().is_some(), "its memory is mapped here, and never ran");
    *said.lock().unwrap() = Some((DomainFlags::HVM, 7));
    assert!(standby.activate().is_err());
    assert!(standby.to_image().is_none());
}

#[test]
fn state_that_xen_does_not_take_is_known_with_the_full_copy_and_costs_no_image() {
    let (hypervisor, _said, mut standby) = standby();
    standby.try_state().unwrap();
    hypervisor.fail(Asked::Domctl(domctl::SET_HVM_CONTEXT), &[Errno::EINVAL]);
    let error = standby.try_state().unwrap_err();
    assert!(matches!(error, StandbyError::State(_)) && standby.is_refused(), "{error}");
    assert!(standby.to_image().is_some());
}

#[test]
fn a_step_that_fails_for_a_moment_is_done_again() {
    let (hypervisor, _said, standby) = standby();
    hypervisor.fail(Asked::Domctl(domctl::SET_HVM_CONTEXT), &[Errno::ENOMEM, Errno::EAGAIN]);
    retry(|| standby.give_state()).unwrap();
    assert!(standby.to_image().is_some(), "nothing of it was overwritten");
}

#[test]
fn a_takeover_that_meets_a_shortage_has_changed_nothing_and_goes_on_when_it_has_passed() {
    let (hypervisor, _said, mut standby) = standby();
    let tried = |standby: &mut Standby| {
        let error = standby.activate().unwrap_err();
        assert!(standby.may_try_again(&error) && standby.to_image().is_some(), "{error}");
    };
    for errno in [Errno::ENOMEM, Errno::EAGAIN, Errno::EBUSY, Errno::EMFILE, Errno::ENFILE] {
        hypervisor.fail(Asked::Domctl(domctl::GET_DOMAIN_INFO), &[errno]);
        tried(&mut standby);
    }
    // Xenstored is away: the domain is given nothing before it is marked.
    standby.mark = |_, _| Err(StoreError::Closed);
    hypervisor.fail(Asked::Domctl(domctl::SET_HVM_CONTEXT), &[Errno::EINVAL; 9]);
    tried(&mut standby);
    standby.mark = |_, _| Ok(());
    let error = standby.activate().unwrap_err();
    assert!(!standby.may_try_again(&error), "{error}: this does not pass");
    assert!(standby.to_image().is_some(), "another domain is built of it");
}

#[test]
fn a_domain_that_ran_is_not_tried_again() {
    let (_port, said, mut standby) = standby();
    *said.lock().unwrap() = Some((DomainFlags::HVM, 7));
    let error = standby.activate().unwrap_err();
    assert!(!standby.may_try_again(&error), "{error}");
}

/// libxl destroys a domain that it cannot complete, some time before its xl ends.
#[test]
fn a_domain_that_libxl_gave_up_is_gone_before_libxl_says_so_and_its_image_is_kept() {
    let (_port, said, mut standby) = standby();
    let (give_up, given_up) = std::sync::mpsc::channel::<()>();
    standby.build = Build::Completing(std::thread::spawn(move || {
        let _ = given_up.recv();
        std::thread::sleep(Duration::from_millis(100));
        Err(build::Incomplete::Refused("the bridge is missing".into()))
    }));
    assert_eq!(standby.failure(), None, "libxl is at it, and the domain stands");
    assert_eq!(standby.check(), None);
    *said.lock().unwrap() = None;
    drop(give_up);
    let why = standby.failure().expect("what is gone is asked about");
    assert!(why.contains("the bridge is missing") && standby.has_image(), "{why}");
    assert!(standby.to_image().is_some());
}
