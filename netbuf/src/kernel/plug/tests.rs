//! Tests of the plug's way on kernels that have none: through the ifb and back.

use super::*;
use nix::sched::{CloneFlags, unshare};
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, bind, recv, send, socket, sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike};
use std::os::fd::{AsRawFd, OwnedFd};
use std::process::Command;

fn ip(words: &str) {
    assert!(Command::new("ip").args(words.split_whitespace()).status().unwrap().success(), "ip {words}");
}

fn packet_socket(interface: &str) -> OwnedFd {
    let socket =
        socket(AddressFamily::Packet, SockType::Raw, SockFlag::empty(), SockProtocol::EthAll).unwrap();
    let mut all = nix::ifaddrs::getifaddrs().unwrap().filter(|it| it.interface_name == interface);
    let address = all.find_map(|it| it.address?.as_link_addr().copied()).unwrap();
    bind(socket.as_raw_fd(), &address).unwrap();
    nix::sys::socket::setsockopt(&socket, sockopt::ReceiveTimeout, &TimeVal::milliseconds(400)).unwrap();
    socket
}

/// Whether a frame with `bytes` behind its header comes out. What the bridge itself sends (it joins multicast
/// groups when it comes up) is passed over.
fn comes_out(from: &OwnedFd, to: &OwnedFd, bytes: usize) -> bool {
    let sent = [&[0xff; 6][..], &[2, 0, 0, 0, 1, 2], &[0x88, 0xb6], &vec![7; bytes]].concat();
    send(from.as_raw_fd(), &sent, MsgFlags::empty()).unwrap();
    let mut into = [0; 2000];
    loop {
        match recv(to.as_raw_fd(), &mut into, MsgFlags::empty()) {
            Ok(length) if into[..length] == sent => return true,
            Ok(_) => {}
            Err(Errno::EAGAIN) => return false,
            Err(error) => panic!("{error}"),
        }
    }
}

/// Everything of the plug's way but the plug, for kernels without one: an ifb that passes. Also a frame
/// with nothing behind its Ethernet header takes that way, by `matchall` as by `u32`.
#[test]
#[ignore = "needs root and network namespaces"]
fn frames_go_through_the_ifb_and_back_however_short() {
    unshare(CloneFlags::CLONE_NEWNET).expect("this test needs root and network namespaces");
    for words in [
        "link add br0 type bridge",
        "link set br0 up",
        "link add vif1.0 type veth peer name guest0",
        "link add out0 type veth peer name out1",
        "link set vif1.0 master br0 up",
        "link set out0 master br0 up",
        "link set guest0 addrgenmode none up",
        "link set out1 addrgenmode none up",
    ] {
        ip(words);
    }
    let (guest, outside) = (packet_socket("guest0"), packet_socket("out1"));
    let arrives = |bytes| comes_out(&guest, &outside, bytes);
    // The kernel opens a bridge's ports some time after their cables are up.
    assert!((0..50).any(|_| arrives(100)), "the direct way");
    let mut connection = Connection::open().unwrap();
    let owner = Owner::this_process().unwrap();
    let vif = Device::find(&mut connection, "vif1.0").unwrap();
    let ifb = create_ifb(&mut connection, &vif.intermediate_name(), &owner).unwrap();
    assert!(matches!(
        create_ifb(&mut connection, &ifb.name, &owner),
        Err(KernelError::InUse { pid, .. }) if pid == std::process::id()
    ));
    let index = ifb.index;
    let nics = vec![Nic { vif, ifb, schedule: Schedule::passing(Epoch(0)) }];
    let watch = Watch::open().unwrap();
    let limits = Limits::default();
    let mut inner = Inner { connection, nics, watch, leak: None, limits, owner };
    inner.redirect().unwrap();
    assert!([0, 1, 3, 4, 1400].into_iter().all(|bytes| !arrives(bytes)), "the ifb is down");
    let up = link::Change { up: Some(true), ..Default::default() };
    inner.connection.all(&mut [link::change(index, "us-vif1.0", up)], |_| false).unwrap();
    assert!([0, 1, 3, 4, 1400].into_iter().all(&arrives), "through the ifb");
    inner.take_out().unwrap();
    assert!(arrives(100), "the direct way again");
    assert!(find_link(&mut inner.connection, "us-vif1.0").unwrap().is_none());
}
