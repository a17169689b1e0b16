//! Versions of the protocol.

use core::ops::RangeInclusive;

/// Versions of the protocol that this engine speaks: the current one and those before it that a host may still have.
pub const VERSIONS: RangeInclusive<u16> = 1..=7;

/// The first version with refusals for single guests, windows, and pings between nodes.
pub const GUEST_REFUSALS_SINCE: u16 = 2;

/// The first version in which a guest's host tells what the guest has taken of its input, and a copy's host what it
/// keeps.
pub const INPUT_TAKEN_SINCE: u16 = 4;

/// The first version with disks.
pub const DISKS_SINCE: u16 = 4;

/// The first version in which nodes tell each other how they stand.
pub const BULLETINS_SINCE: u16 = 5;

/// The first version with leases of hosts, and with guests that need them.
pub const LEASES_SINCE: u16 = 6;

/// The first version with connections that carry nothing but signs of life, and with questions for a host's facts.
pub const SPARES_SINCE: u16 = 7;

/// The first version whose epochs carry checks of unchanged pages and the digest of their state.
pub(crate) const CHECKS_SINCE: u16 = 2;
