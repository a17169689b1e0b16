//! Three TCP stacks: a client's, the primary's and its copy's. The guests have the same address and MAC; nothing connects the
//! three but the process that holds their taps. They ask for each other's MAC addresses as hosts do: what the guests ask and answer
//! is compared like everything else.
//!
//! ```text
//!   client      t0  10.7.0.1  fd00:7::1  02:00:00:00:07:01
//!   primary     t0  10.7.0.2  fd00:7::2  02:00:00:00:07:02
//!   secondary   t0  10.7.0.2  fd00:7::2  02:00:00:00:07:02
//! ```

use crate::place::Place;
use clap::ValueEnum;
use std::net::IpAddr;
use understudy_netbuf::kernel::{Offloads, Tap};

/// Addresses of IPv4 or of IPv6.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum Family {
    V4,
    V6,
}

impl Family {
    /// The guest's address.
    pub(crate) fn guest(self) -> IpAddr {
        match self {
            Self::V4 => [10, 7, 0, 2].into(),
            Self::V6 => [0xfd00, 7, 0, 0, 0, 0, 0, 2].into(),
        }
    }
}

/// The namespaces.
pub(crate) struct World {
    pub(crate) client: Place,
    pub(crate) primary: Place,
    pub(crate) secondary: Place,
}

/// Their taps.
pub(crate) struct Taps {
    pub(crate) client: Tap,
    pub(crate) primary: Tap,
    pub(crate) secondary: Tap,
}

impl World {
    pub(crate) fn new(offloads: Offloads) -> Result<(Self, Taps), String> {
        let world = Self { client: Place::new()?, primary: Place::new()?, secondary: Place::new()? };
        let taps = Taps {
            client: wire_up(&world.client, 1, offloads)?,
            primary: wire_up(&world.primary, 2, offloads)?,
            secondary: wire_up(&world.secondary, 2, offloads)?,
        };
        Ok((world, taps))
    }
}

fn wire_up(place: &Place, own: u8, offloads: Offloads) -> Result<Tap, String> {
    let tap = place.run(move || Tap::create("t0", offloads)).map_err(|error| error.to_string())?;
    place.set("ipv6/conf/default/accept_dad", "0")?;
    place.set("ipv6/conf/t0/accept_dad", "0")?;
    place.set("ipv6/conf/t0/accept_ra", "0")?;
    place.set("ipv6/conf/t0/router_solicitations", "0")?;
    place.set("ipv4/tcp_no_metrics_save", "1")?;
    place.ip(format!(
        "link set lo up\n\
         link set t0 address 02:00:00:00:07:0{own} addrgenmode none\n\
         addr add 10.7.0.{own}/24 dev t0\n\
         addr add fd00:7::{own}/64 dev t0 nodad\n\
         link set t0 up\n"
    ))?;
    Ok(tap)
}
