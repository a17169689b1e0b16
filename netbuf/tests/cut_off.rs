//! A card whose output cannot be held is cut off until it can be: against this machine's kernel.

mod rig;

use rig::capture::{Capture, let_pass};
use rig::judge::{AckLog, Verdict};
use rig::scenario::{self, Guest};
use rig::{Rig, engine, inventory, ip};
use understudy_checkpoint::Epoch;
use understudy_netbuf::Limits;
use understudy_netbuf::kernel::{Connection, CutOff, KernelError, OutputCommit, OwnQueue, Start, leftovers};

/// Something of the host's own has the name that the tap would get.
fn take_the_name_of_the_tap() {
    ip("link add us-vif1.0 type bridge");
}

#[test]
#[ignore = "needs root and network namespaces"]
fn what_cannot_be_held_is_cut_off_until_it_can_be() {
    let rig = Rig::new();
    let before = inventory();
    take_the_name_of_the_tap();
    let refused = OwnQueue::attach(&["vif1.0"], Epoch(0), Limits::default(), Start::Holding);
    assert!(matches!(refused, Err(KernelError::Foreign { name }) if name == "us-vif1.0"));
    let cut_off = CutOff::new("vif1.0").unwrap();
    let_pass();
    let capture = Capture::start(&rig.outside);
    let guest = Guest::new(&rig, Epoch(0));
    guest.send_all(0..20);
    // As a hotplug script does.
    ip("link set vif1.0 up");
    cut_off.renew().unwrap();
    guest.send_all(20..40);
    let_pass();
    ip("link del us-vif1.0");
    let output = OwnQueue::attach(&["vif1.0"], Epoch(0), Limits::default(), Start::Holding).unwrap();
    cut_off.replaced().unwrap();
    guest.send_all(40..60);
    let_pass();
    let mut acks = AckLog::default();
    guest.checkpoint_and_release(&output, &mut acks);
    let verdict = Verdict::of(&capture.finish(), &acks, 60);
    assert_eq!((verdict.seen, verdict.early, verdict.lost), (20, 0, 40), "{verdict:?}");
    output.pass().unwrap();
    output.detach().unwrap();
    scenario::nothing_is_left(&before);
}

#[test]
#[ignore = "needs root and network namespaces"]
fn what_was_cut_off_passes_again_and_a_dead_engines_cut_is_found() {
    let rig = Rig::new();
    let before = inventory();
    CutOff::new("vif1.0").unwrap().lift().unwrap();
    scenario::nothing_is_left(&before);
    let capture = Capture::start(&rig.outside);
    let guest = Guest::new(&rig, Epoch(0));
    guest.send_all(0..20);
    let_pass();
    let mut engine = engine::start("cut off");
    guest.send_all(20..40);
    engine.kill().unwrap();
    engine.wait().unwrap();
    guest.send_all(40..60);
    let told = capture.finish().into_iter().filter_map(|seen| seen.told).count();
    assert_eq!(told, 20, "only what was sent before it was cut off");
    let mut connection = Connection::open().unwrap();
    let found = leftovers::find(&mut connection).unwrap();
    assert_eq!((found.len(), found[0].interface(), found[0].in_use().unwrap()), (1, "vif1.0", false));
    leftovers::repair(&mut connection, &found[0]).unwrap();
    scenario::nothing_is_left(&before);
}
