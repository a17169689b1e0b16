//! The guest g1 and its hosts, asked over their control sockets.

use crate::support::HANG_GUARD;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};
use understudy::control::{Client, GuestStatus, Status};

pub(crate) const GUEST: &str = "name=g1,memory=16M,mac=52:54:00:00:00:01,ip=10.77.0.11,load=mixed";

pub(crate) fn client(root: &Path, node: &str) -> Client {
    Client::new(root.join(format!("{node}.sock")))
}

pub(crate) fn wait_for<T>(client: &Client, what: impl Fn(&Status) -> Option<T>) -> T {
    let began = Instant::now();
    let mut last = None;
    while began.elapsed() < HANG_GUARD {
        last = client.status().ok();
        if let Some(found) = last.as_ref().and_then(&what) {
            return found;
        }
        thread::sleep(Duration::from_millis(20));
    }
    panic!("it never came to stand as wanted: {last:#?}");
}

pub(crate) fn guest(status: &Status, wanted: impl Fn(&GuestStatus) -> bool) -> Option<GuestStatus> {
    status.guests.iter().find(|guest| guest.name == "g1" && wanted(guest)).cloned()
}
