//! A PV guest that takes part in suspending, on a simulated hypervisor with a xenstored that drops connections.

use super::*;
use crate::abi::domctl::{self, DomainFlags};
use crate::simulated::{Asked, Simulated, set_payload, suspended_flags};
use crate::xenstore::fake::{Fake, Kind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use zerocopy::FromZeros;

const CONTROL: &str = "/local/domain/1/control/shutdown";

struct Guest {
    store: Fake,
    is_suspended: Arc<AtomicBool>,
    is_paused: Arc<AtomicBool>,
    vcpu_writes: Arc<AtomicU32>,
    suspender: Suspender,
    hypervisor: Arc<Simulated>,
}

impl Guest {
    fn new() -> Self {
        let (store, hypervisor) = (Fake::start(), Simulated::new());
        let is_suspended = Arc::new(AtomicBool::new(false));
        let is_paused = Arc::new(AtomicBool::new(false));
        let vcpu_writes = Arc::new(AtomicU32::new(0));
        let (suspended, paused) = (is_suspended.clone(), is_paused.clone());
        hypervisor.answer(Asked::Domctl(domctl::GET_DOMAIN_INFO), move |call| {
            let mut info = domctl::DomainInfo::new_zeroed();
            info.domain = 1;
            if suspended.load(Ordering::SeqCst) {
                info.flags |= suspended_flags();
            }
            if paused.load(Ordering::SeqCst) {
                info.flags |= DomainFlags::PAUSED;
            }
            set_payload(call, &info);
            Ok(0)
        });
        hypervisor.answer(Asked::Domctl(domctl::GET_VCPU_CONTEXT), |_| Ok(0));
        let (suspended, writes) = (is_suspended.clone(), vcpu_writes.clone());
        hypervisor.answer(Asked::Domctl(domctl::SET_VCPU_CONTEXT), move |_| {
            assert!(suspended.load(Ordering::SeqCst), "the registers of a running vCPU are written");
            writes.fetch_add(1, Ordering::SeqCst);
            Ok(0)
        });
        let suspended = is_suspended.clone();
        hypervisor.answer(Asked::Domctl(domctl::RESUME_DOMAIN), move |_| {
            suspended.store(false, Ordering::SeqCst);
            Ok(0)
        });
        let xen = Xen::over(hypervisor.clone()).unwrap();
        let mut suspender = Suspender::over(xen, store.reopening(), DomId(1), false);
        let soon = Duration::from_millis(50);
        suspender.patience = Patience { answer: soon, freeze: soon, paused: soon };
        Self { store, is_suspended, is_paused, vcpu_writes, suspender, hypervisor }
    }

    /// Makes the guest follow each request at once.
    fn follows(&self) {
        let suspended = self.is_suspended.clone();
        self.store.on_write(move |path, value, nodes| {
            if (path, value) == (CONTROL, "suspend") {
                suspended.store(true, Ordering::SeqCst);
                nodes.insert(CONTROL.into(), String::new());
            }
        });
    }

    fn resume(&mut self) {
        self.suspender.resume().unwrap();
        self.suspender.after_resume();
    }

    fn runs(&self) -> bool {
        !self.is_suspended.load(Ordering::SeqCst)
    }
}

#[test]
fn a_guest_runs_on_whatever_becomes_of_xenstored() {
    let mut guest = Guest::new();
    guest.follows();
    guest.suspender.suspend().unwrap();
    assert!(guest.suspender.guest_took_part());
    // Both tries meet a xenstored that is being restarted.
    guest.store.tree().hang_ups = 2;
    guest.resume();
    assert!(guest.runs());
    // Told once more, it touches nothing: the guest runs.
    guest.suspender.resume().unwrap();
    assert_eq!(guest.vcpu_writes.load(Ordering::SeqCst), 1);
    assert!(guest.store.tree().resumed.is_empty());
    // Xenstored hears of it before the next suspend.
    guest.suspender.suspend().unwrap();
    assert_eq!(guest.store.tree().resumed, ["1"]);
    guest.resume();
    assert_eq!(guest.store.tree().resumed, ["1", "1"]);
}

#[test]
fn a_checkpoint_asks_for_no_more_than_it_needs_and_xenstored_only_once_while_the_guest_stands() {
    const INFO: Asked = Asked::Domctl(domctl::GET_DOMAIN_INFO);
    let mut guest = Guest::new();
    guest.follows();
    guest.hypervisor.asked();
    let before = calls::of_this_thread();
    guest.suspender.suspend().unwrap();
    let asked = calls::of_this_thread().since(before);
    assert_eq!((asked.hypercalls, asked.store_requests, asked.waits), (2, 1, 1));
    assert_eq!(guest.hypervisor.asked(), [INFO; 2], "whether it runs, and whether it has stopped");
    guest.suspender.resume().unwrap();
    let resume = [domctl::GET_VCPU_CONTEXT, domctl::SET_VCPU_CONTEXT, domctl::RESUME_DOMAIN];
    assert_eq!(guest.hypervisor.asked()[1..], resume.map(Asked::Domctl));
    assert!(guest.runs() && guest.store.tree().resumed.is_empty(), "xenstored is told when nothing waits");
    guest.suspender.after_resume();
    guest.suspender.after_resume();
    assert_eq!(guest.store.tree().resumed, ["1"]);
    assert!(guest.hypervisor.asked().is_empty());
}

#[test]
fn a_restarted_xenstored_costs_nothing() {
    let mut guest = Guest::new();
    guest.follows();
    guest.suspender.suspend().unwrap();
    guest.store.tree().hang_ups = 1;
    guest.resume();
    assert_eq!(guest.store.tree().resumed, ["1"], "it was asked once more, over a new connection");
}

#[test]
fn a_request_that_the_guest_never_saw_is_withdrawn() {
    let mut guest = Guest::new();
    assert!(matches!(guest.suspender.suspend(), Err(DomainError::SuspendTimeout(_))));
    assert_eq!(guest.store.tree().nodes[CONTROL], "");
    assert!(!guest.suspender.is_asked_to_suspend());
}

#[test]
fn a_request_that_the_guest_took_and_did_not_follow_is_remembered() {
    let mut guest = Guest::new();
    guest.store.on_write(|_, _, nodes| drop(nodes.insert(CONTROL.into(), String::new())));
    assert!(matches!(guest.suspender.suspend(), Err(DomainError::SuspendTimeout(_))));
    assert!(guest.suspender.is_asked_to_suspend());
    // It follows at last.
    guest.is_suspended.store(true, Ordering::SeqCst);
    guest.suspender.resume().unwrap();
    assert!(guest.runs() && !guest.suspender.is_asked_to_suspend());
}

#[test]
fn a_paused_guest_is_settled_once_it_runs() {
    let mut guest = Guest::new();
    guest.is_paused.store(true, Ordering::SeqCst);
    guest.store.tree().nodes.insert(CONTROL.into(), "suspend".into());
    assert_eq!(guest.suspender.settle().unwrap(), Settled::Later);
    guest.is_paused.store(false, Ordering::SeqCst);
    guest.follows();
    assert_eq!(guest.suspender.settle().unwrap(), Settled::Ran);
    assert!(guest.runs());
    assert_eq!(guest.store.tree().nodes[CONTROL], "");
}

/// The engine pauses a guest whose output leaks, and waits for the capture that is under way.
#[test]
fn a_guest_that_is_paused_while_it_freezes_is_not_waited_for() {
    let mut guest = Guest::new();
    let never = Duration::from_secs(3600);
    guest.suspender.patience = Patience { answer: never, freeze: never, paused: Duration::from_millis(50) };
    let paused = guest.is_paused.clone();
    guest.store.on_write(move |_, _, nodes| {
        // It takes the request, and is paused before it has followed.
        nodes.insert(CONTROL.into(), String::new());
        paused.store(true, Ordering::SeqCst);
    });
    let error = guest.suspender.suspend().unwrap_err();
    assert!(error.to_string().contains("paused"), "{error}");
    assert!(guest.suspender.is_asked_to_suspend(), "it follows when it runs again");
    // One that has not taken the request does not find it later.
    let mut guest = Guest::new();
    guest.suspender.patience = Patience { answer: never, freeze: never, paused: Duration::from_millis(50) };
    guest.is_paused.store(true, Ordering::SeqCst);
    guest.suspender.suspend().unwrap_err();
    assert_eq!(guest.store.tree().nodes[CONTROL], "");
    assert!(!guest.suspender.is_asked_to_suspend());
}

/// A request that is out is remembered until it is withdrawn, whatever xenstore refuses meanwhile: a guest that followed it
/// later would stand still, and nobody would resume it.
#[test]
fn a_guest_is_not_taken_for_suspended_or_unasked_where_a_quota_of_xenstored_is_used_up() {
    let mut guest = Guest::new();
    guest.store.tree().refused = vec![(Kind::Write, "ENOSPC")];
    let error = guest.suspender.suspend().unwrap_err();
    assert!(error.to_string().contains("quota of xenstored"), "{error}");
    assert_eq!(guest.store.tree().nodes.get(CONTROL), None, "the guest was not asked");

    guest.store.tree().refused = vec![(Kind::TransactionStart, "ENOSPC")];
    let error = guest.suspender.suspend().unwrap_err();
    assert!(error.to_string().contains("quota of xenstored"), "{error}");
    assert!(guest.suspender.is_asked_to_suspend(), "it may follow at any moment");

    guest.store.tree().refused.clear();
    assert!(guest.suspender.settle().is_err(), "it does not follow");
    assert!(!guest.suspender.is_asked_to_suspend());
    assert_ne!(guest.store.tree().nodes.get(CONTROL).map(String::as_str), Some("suspend"));
}

/// This machine has no event channels, so that the guest is polled; whether other tools hear of it is the same question.
#[test]
fn other_tools_hear_of_suspends_but_for_the_time_in_which_checkpoints_are_made() {
    let mut guest = Guest::new();
    guest.follows();
    assert!(matches!(guest.suspender.hears, Hears::Everybody), "no checkpoint was made yet");
    guest.suspender.suspend().unwrap();
    assert!(!matches!(guest.suspender.hears, Hears::Everybody));
    guest.resume();
    guest.suspender.leave_alone();
    assert!(matches!(guest.suspender.hears, Hears::Everybody));
    guest.suspender.settle().unwrap();
    assert!(matches!(guest.suspender.hears, Hears::Everybody), "one that is only settled is not listened to");
}
