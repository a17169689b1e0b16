//! Addresses for processes that are told where to listen.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU8, Ordering};

/// An address that stays free until somebody is told of it: of its own loopback host, where neither another test nor the
/// near end of a connection (those are of 127.0.0.1) takes the port meanwhile.
pub(crate) fn free_address() -> SocketAddr {
    static HOSTS: AtomicU8 = AtomicU8::new(0);
    let [.., of_process, process] = std::process::id().to_be_bytes();
    let host = Ipv4Addr::new(127, 64 + HOSTS.fetch_add(1, Ordering::Relaxed) % 128, of_process, process);
    TcpListener::bind((host, 0)).unwrap().local_addr().unwrap()
}
