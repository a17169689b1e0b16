//! Interfaces: `RTM_NEWLINK`, `RTM_DELLINK`, `RTM_GETLINK`.
//!
//! ```text
//!   ifinfomsg | family u8 | pad u8 | type u16 | index i32 | flags u32 | change u32 |    16 bytes
//! ```
//!
//! Numbers: `linux/rtnetlink.h`, `linux/if_link.h`, `linux/if.h`.

use super::wire::{self, ACK, DUMP, Request, WireError};

const NEW_LINK: u16 = 16;
const DELETE_LINK: u16 = 17;
const GET_LINK: u16 = 18;

const IFINFO_BYTES: usize = 16;
/// `IFF_UP`.
const UP: u32 = 1;

const IFLA_ADDRESS: u16 = 1;
const IFLA_IFNAME: u16 = 3;
const IFLA_MTU: u16 = 4;
const IFLA_TXQLEN: u16 = 13;
const IFLA_LINKINFO: u16 = 18;
const IFLA_IFALIAS: u16 = 20;
const IFLA_STATS64: u16 = 23;
const IFLA_AF_SPEC: u16 = 26;
const IFLA_XDP: u16 = 43;
const IFLA_NEW_NETNSID: u16 = 45;
const IFLA_NEW_IFINDEX: u16 = 49;
const IFLA_XDP_ATTACHED: u16 = 2;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_INET6_ADDR_GEN_MODE: u16 = 8;
const ADDR_GEN_MODE_NONE: u8 = 1;
const AF_INET6: u16 = 10;
/// `tx_dropped` in `struct rtnl_link_stats64`: eight bytes each of rx and tx packets, bytes, errors, then
/// dropped.
const STATS64_TX_DROPPED_AT: usize = 7 * 8;

/// An interface as the kernel describes it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Link {
    pub(crate) index: u32,
    pub(crate) name: String,
    pub(crate) up: bool,
    /// The hardware address; empty if it has none.
    pub(crate) address: Vec<u8>,
    /// `veth`, `tun` and so on; empty if the interface has no kind.
    pub(crate) kind: String,
    /// The administrator's free text. Ours names the owner.
    pub(crate) alias: String,
    pub(crate) mtu_bytes: u32,
    /// Frames that arrived.
    pub(crate) rx_frames: u64,
    /// Frames that could not be transmitted.
    pub(crate) tx_dropped: u64,
    /// Whether an XDP program sees arriving frames before any filter.
    pub(crate) has_xdp: bool,
    /// In a notification of removal: the interface moved to another network namespace.
    pub(crate) has_moved: bool,
}

/// Changes to an interface. `None` leaves a property as it is.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Change<'a> {
    pub(crate) up: Option<bool>,
    pub(crate) mtu_bytes: Option<u32>,
    pub(crate) address: Option<&'a [u8]>,
    pub(crate) queue_frames: Option<u32>,
    pub(crate) alias: Option<&'a str>,
    /// Keep the host's own IPv6 from sending on the interface.
    pub(crate) silent: bool,
}

fn fixed(index: u32, flags: u32, change: u32) -> [u8; IFINFO_BYTES] {
    let mut bytes = [0; IFINFO_BYTES];
    bytes[4..8].copy_from_slice(&index.to_ne_bytes());
    bytes[8..12].copy_from_slice(&flags.to_ne_bytes());
    bytes[12..16].copy_from_slice(&change.to_ne_bytes());
    bytes
}

/// Request: describe the interface `name`.
pub(crate) fn get(name: &str) -> Request {
    let mut request = Request::new(GET_LINK, ACK, &fixed(0, 0, 0), format!("to describe {name}"));
    request.string(IFLA_IFNAME, name);
    request
}

/// Request: describe the interface `index`; errors call it `name`.
pub(crate) fn get_by_index(index: u32, name: &str) -> Request {
    Request::new(GET_LINK, ACK, &fixed(index, 0, 0), format!("to describe {name}"))
}

/// Request: list all interfaces.
pub(crate) fn dump() -> Request {
    Request::new(GET_LINK, DUMP, &fixed(0, 0, 0), "to list the interfaces")
}

/// Request: change the interface `index`.
pub(crate) fn change(index: u32, name: &str, change: Change<'_>) -> Request {
    let flags = if change.up == Some(true) { UP } else { 0 };
    let mask = if change.up.is_some() { UP } else { 0 };
    let mut request =
        Request::new(NEW_LINK, super::CHANGE, &fixed(index, flags, mask), format!("to configure {name}"));
    if let Some(bytes) = change.mtu_bytes {
        request.attribute(IFLA_MTU, &bytes.to_ne_bytes());
    }
    if let Some(address) = change.address {
        request.attribute(IFLA_ADDRESS, address);
    }
    if let Some(frames) = change.queue_frames {
        request.attribute(IFLA_TXQLEN, &frames.to_ne_bytes());
    }
    if let Some(alias) = change.alias {
        request.attribute(IFLA_IFALIAS, alias.as_bytes());
    }
    if change.silent {
        request.nested(IFLA_AF_SPEC, |spec| {
            spec.nested(AF_INET6, |inet6| {
                inet6.attribute(IFLA_INET6_ADDR_GEN_MODE, &[ADDR_GEN_MODE_NONE]);
            });
        });
    }
    request
}

/// Request: delete the interface `index`.
pub(crate) fn delete(index: u32, name: &str) -> Request {
    Request::new(DELETE_LINK, super::CHANGE, &fixed(index, 0, 0), format!("to delete {name}"))
}

/// Decodes the body of an `RTM_NEWLINK`.
pub(crate) fn decode(body: &[u8]) -> Result<Link, WireError> {
    let short = WireError("an interface's description is cut short");
    let rest = body.get(IFINFO_BYTES..).ok_or(short)?;
    let mut link = Link {
        index: wire::u32_at(body, 4).ok_or(short)?,
        up: wire::u32_at(body, 8).ok_or(short)? & UP != 0,
        ..Link::default()
    };
    for attribute in wire::attributes(rest) {
        match attribute? {
            (IFLA_ADDRESS, value) => link.address = value.to_vec(),
            (IFLA_IFNAME, value) => link.name = wire::text(value),
            (IFLA_IFALIAS, value) => link.alias = wire::text(value),
            (IFLA_LINKINFO, value) => {
                link.kind = wire::attribute(value, IFLA_INFO_KIND)?.map(wire::text).unwrap_or_default();
            }
            (IFLA_MTU, value) => link.mtu_bytes = wire::u32_at(value, 0).ok_or(short)?,
            (IFLA_STATS64, value) => {
                link.rx_frames = wire::u64_at(value, 0).ok_or(short)?;
                link.tx_dropped = wire::u64_at(value, STATS64_TX_DROPPED_AT).ok_or(short)?;
            }
            (IFLA_XDP, value) => {
                let attached = wire::attribute(value, IFLA_XDP_ATTACHED)?;
                link.has_xdp = attached.is_some_and(|how| how.first().is_some_and(|how| *how != 0));
            }
            (IFLA_NEW_NETNSID | IFLA_NEW_IFINDEX, _) => link.has_moved = true,
            _ => (),
        }
    }
    Ok(link)
}

#[cfg(test)]
#[cfg(target_endian = "little")]
mod tests {
    use super::super::wire::tests_support::bytes;
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn golden_change() {
        let address = [2, 0, 0, 0, 1, 2];
        let change_up = Change {
            up: Some(true),
            mtu_bytes: Some(9000),
            address: Some(&address),
            silent: true,
            ..Change::default()
        };
        let expected = "44000000 1000 0500 02000000 00000000 00 00 0000 07000000 01000000 01000000 \
                        0800 0400 28230000 \
                        0a00 0100 020000000102 0000 \
                        1000 1a00 0c00 0a00 0500 0800 01000000";
        assert_eq!(change(7, "us-vif1", change_up).encode(2), bytes(expected));
    }

    #[test]
    fn golden_description() {
        let body = bytes(
            "00 00 0100 07000000 43100100 00000000 \
             0900 0300 7669663100 000000 \
             0c00 1200 0700 0100 696662 00",
        );
        let expected =
            Link { index: 7, name: "vif1".into(), up: true, kind: "ifb".into(), ..Link::default() };
        assert_eq!(decode(&body), Ok(expected));
    }

    proptest! {
        #[test]
        fn hostile_descriptions_never_panic(body in proptest::collection::vec(any::<u8>(), 0..120)) {
            let _ = decode(&body);
        }
    }
}
