//! The names of hosts and guests.

use super::{GuestId, HostId};
use understudy_session::NodeName;

/// The name of a host's engine.
pub(super) fn name(host: HostId) -> NodeName {
    NodeName(["A", "B"][host].to_owned())
}

/// The name of a guest: the first starts on A, the second on B.
pub(super) fn guest_name(guest: GuestId) -> &'static str {
    ["first", "second"][guest]
}

/// The guest of this name.
pub(super) fn guest_of(name: &str) -> GuestId {
    usize::from(name != guest_name(0))
}
