//! Tests: BPF programs attached before the redirect, some with and some without a notification from the kernel.

use super::*;
use crate::kernel::breach::{Breach, ProgramKind};
use crate::kernel::redirect::Device;
use crate::kernel::sys::programs::{self, Attached};
use nix::sched::{CloneFlags, unshare};
use std::process::Command;
use std::time::{Duration, Instant};

fn ip(words: &str) {
    assert!(Command::new("ip").args(words.split_whitespace()).status().unwrap().success(), "ip {words}");
}

fn vif() -> u32 {
    unshare(CloneFlags::CLONE_NEWNET).expect("these tests need root and network namespaces");
    ip("link add vif1.0 type veth peer name guest0");
    ip("link set vif1.0 up");
    Device::find(&mut Connection::open().unwrap(), "vif1.0").unwrap().index
}

fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < Duration::from_secs(20), "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The program is attached while output is held, or before; then it is detached.
fn comes_before_the_redirect(kind: ProgramKind, attach: impl Fn(u32) -> Attached) {
    let vif = vif();
    let take_hold = || OwnQueue::attach(&["vif1.0"], Epoch(0), Limits::default(), Start::Holding);
    let breach = Breach::Program(kind);
    let queue = take_hold().unwrap();
    queue.cut(Epoch(0)).unwrap();
    let program = attach(vif);
    wait_until("it is found", || queue.leak().is_some_and(|fault| fault.breach == breach));
    assert!(matches!(queue.cut(Epoch(1)), Err(KernelError::NotHeld { .. })));
    queue.pass().unwrap();
    assert!(queue.cut(Epoch(2)).is_err(), "it is still there");
    drop(program);
    wait_until("nothing is wrong any more", || queue.fault().is_none());
    queue.pass().unwrap();
    queue.cut(Epoch(3)).unwrap();
    queue.pass().unwrap();
    queue.detach().unwrap();
    let program = attach(vif);
    let refused = take_hold();
    let is_refused = matches!(&refused, Err(KernelError::NotHeld { breach: found, .. }) if *found == breach);
    assert!(is_refused, "{refused:?}");
    drop(program);
    take_hold().unwrap();
}

#[test]
#[ignore = "needs root and network namespaces"]
fn an_xdp_program_comes_before_the_redirect() {
    comes_before_the_redirect(ProgramKind::Xdp, programs::attach_xdp);
}

#[test]
#[ignore = "needs root and network namespaces"]
fn a_tcx_program_comes_before_the_redirect() {
    comes_before_the_redirect(ProgramKind::Tcx, programs::attach_tcx);
}
