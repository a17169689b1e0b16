//! Queueing disciplines: `clsact` (the hooks that filters hang on), `noqueue`, and `plug`.
//!
//! ```text
//!   tcmsg         | family u8 | pad [u8;3] | index i32 | handle u32 | parent u32 | info u32 |   20 bytes
//!   tc_plug_qopt  | action i32 | limit u32, bytes |                                              8 bytes
//! ```
//!
//! Numbers: `linux/rtnetlink.h`, `linux/pkt_sched.h`, `linux/gen_stats.h`.

use super::wire::{self, CREATE, DUMP, EXCLUSIVE, Request, WireError};
use std::fmt;

const NEW_QDISC: u16 = 36;
const GET_QDISC: u16 = 38;

/// Bytes of `struct tcmsg`.
pub(super) const TCMSG_BYTES: usize = 20;
/// `TCA_KIND`.
pub(super) const TCA_KIND: u16 = 1;
/// `TCA_OPTIONS`.
pub(super) const TCA_OPTIONS: u16 = 2;
/// `TCA_CHAIN`, of filters.
pub(super) const TCA_CHAIN: u16 = 11;
const TCA_STATS2: u16 = 7;
/// `TCA_STATS_QUEUE`: `struct gnet_stats_queue { qlen, backlog, drops, requeues, overlimits }`.
const TCA_STATS_QUEUE: u16 = 3;

const ROOT: u32 = 0xffff_ffff;
/// Parent of `clsact` and `ingress`.
pub(crate) const CLSACT_PARENT: u32 = 0xffff_fff1;
const CLSACT_HANDLE: u32 = 0xffff_0000;

/// What a plug is told (`TCQ_PLUG_*`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Plug {
    /// Closes what has gathered since the last `Buffer` and gathers anew.
    Buffer,
    /// Lets out what the last `Buffer` closed.
    ReleaseOne,
    /// Lets everything out, now and from here on.
    ReleaseIndefinite,
    /// Holds at most this many bytes.
    Limit(u32),
}

impl fmt::Display for Plug {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Buffer => f.write_str("close what it holds"),
            Self::ReleaseOne => f.write_str("let one epoch out"),
            Self::ReleaseIndefinite => f.write_str("let everything out"),
            Self::Limit(bytes) => write!(f, "hold at most {bytes} bytes"),
        }
    }
}

/// A queueing discipline as the kernel describes it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Qdisc {
    pub(crate) index: u32,
    pub(crate) parent: u32,
    pub(crate) kind: String,
    pub(crate) held_frames: u32,
    pub(crate) held_bytes: u32,
    pub(crate) dropped: u32,
}

impl Qdisc {
    /// Whether frames for the wire wait in it.
    pub(crate) fn is_root(&self) -> bool {
        self.parent == ROOT
    }

    /// Whether filters on what arrives can hang on it.
    pub(crate) fn has_hooks(&self) -> bool {
        self.kind == "clsact" || self.kind == "ingress"
    }
}

/// `struct tcmsg`.
pub(super) fn fixed(index: u32, handle: u32, parent: u32, info: u32) -> [u8; TCMSG_BYTES] {
    let mut bytes = [0; TCMSG_BYTES];
    for (at, value) in [(4, index), (8, handle), (12, parent), (16, info)] {
        bytes[at..at + 4].copy_from_slice(&value.to_ne_bytes());
    }
    bytes
}

/// Gives an interface its hooks. Refused with `EEXIST` where it has them.
pub(crate) fn add_clsact(index: u32, name: &str) -> Request {
    let mut request = Request::new(
        NEW_QDISC,
        super::CHANGE | CREATE | EXCLUSIVE,
        &fixed(index, CLSACT_HANDLE, CLSACT_PARENT, 0),
        format!("the clsact qdisc on {name} (module sch_ingress)"),
    );
    request.string(TCA_KIND, "clsact");
    request
}

/// Makes an interface's root take frames straight to the driver: nothing waits, reorders or drops in between.
pub(crate) fn add_noqueue(index: u32, name: &str) -> Request {
    let mut request = Request::new(
        NEW_QDISC,
        super::CHANGE | CREATE,
        &fixed(index, 0, ROOT, 0),
        format!("the noqueue qdisc on {name}"),
    );
    request.string(TCA_KIND, "noqueue");
    request
}

/// Puts a plug, which holds from the first frame on, at an interface's root.
pub(crate) fn add_plug(index: u32, name: &str, limit_bytes: u32) -> Request {
    let mut request = Request::new(
        NEW_QDISC,
        super::CHANGE | CREATE | EXCLUSIVE,
        &fixed(index, 0, ROOT, 0),
        format!("the plug qdisc on {name} (module sch_plug)"),
    );
    request.string(TCA_KIND, "plug").attribute(TCA_OPTIONS, &plug_options(Plug::Limit(limit_bytes)));
    request
}

/// Tells the plug at an interface's root what to do.
pub(crate) fn tell_plug(index: u32, name: &str, plug: Plug) -> Request {
    let mut request = Request::new(
        NEW_QDISC,
        super::CHANGE,
        &fixed(index, 0, ROOT, 0),
        format!("the order to {plug} to the plug on {name}"),
    );
    request.string(TCA_KIND, "plug").attribute(TCA_OPTIONS, &plug_options(plug));
    request
}

fn plug_options(plug: Plug) -> [u8; 8] {
    let (action, limit_bytes): (i32, u32) = match plug {
        Plug::Buffer => (0, 0),
        Plug::ReleaseOne => (1, 0),
        Plug::ReleaseIndefinite => (2, 0),
        Plug::Limit(bytes) => (3, bytes),
    };
    let mut bytes = [0; 8];
    bytes[..4].copy_from_slice(&action.to_ne_bytes());
    bytes[4..].copy_from_slice(&limit_bytes.to_ne_bytes());
    bytes
}

/// Asks for the queueing disciplines of all interfaces.
pub(crate) fn dump() -> Request {
    Request::new(GET_QDISC, DUMP, &fixed(0, 0, 0, 0), "to list the qdiscs")
}

/// Reads the body of an `RTM_NEWQDISC`.
pub(crate) fn decode(body: &[u8]) -> Result<Qdisc, WireError> {
    let short = WireError("a qdisc's description is cut short");
    let rest = body.get(TCMSG_BYTES..).ok_or(short)?;
    let mut qdisc = Qdisc {
        index: wire::u32_at(body, 4).ok_or(short)?,
        parent: wire::u32_at(body, 12).ok_or(short)?,
        ..Qdisc::default()
    };
    for attribute in wire::attributes(rest) {
        match attribute? {
            (TCA_KIND, value) => qdisc.kind = wire::text(value),
            (TCA_STATS2, value) => {
                if let Some(queue) = wire::attribute(value, TCA_STATS_QUEUE)? {
                    let counter = |at| wire::u32_at(queue, at).ok_or(short);
                    qdisc.held_frames = counter(0)?;
                    qdisc.held_bytes = counter(4)?;
                    qdisc.dropped = counter(8)?;
                }
            }
            _ => (),
        }
    }
    Ok(qdisc)
}

#[cfg(test)]
#[cfg(target_endian = "little")]
mod tests {
    use super::super::wire::tests_support::bytes;
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn golden_plug() {
        let head = "3c000000 2400 0500 09000000 00000000 00 000000 05000000 00000000 ffffffff 00000000 \
                    0900 0100 706c756700 000000";
        for (plug, options) in [
            (Plug::Buffer, "0c00 0200 00000000 00000000"),
            (Plug::ReleaseOne, "0c00 0200 01000000 00000000"),
            (Plug::ReleaseIndefinite, "0c00 0200 02000000 00000000"),
            (Plug::Limit(10_000_000), "0c00 0200 03000000 80969800"),
        ] {
            let expected = bytes(&format!("{head} {options}"));
            assert_eq!(tell_plug(5, "us-vif1", plug).encode(9), expected, "{plug:?}");
        }
    }

    #[test]
    fn golden_clsact() {
        let expected = "30000000 2400 0506 01000000 00000000 00 000000 05000000 0000ffff f1ffffff 00000000 \
                        0b00 0100 636c7361637400 00";
        assert_eq!(add_clsact(5, "vif1").encode(1), bytes(expected));
    }

    #[test]
    fn golden_description() {
        let body = bytes(
            "00 000000 05000000 00000180 ffffffff 02000000 \
             0900 0100 706c756700 000000 \
             1c00 0700 1800 0300 03000000 94110000 02000000 00000000 00000000",
        );
        let expected = Qdisc {
            index: 5,
            parent: ROOT,
            kind: "plug".into(),
            held_frames: 3,
            held_bytes: 4500,
            dropped: 2,
        };
        assert_eq!(decode(&body), Ok(expected));
    }

    proptest! {
        #[test]
        fn hostile_descriptions_never_panic(body in proptest::collection::vec(any::<u8>(), 0..120)) {
            let _ = decode(&body);
        }
    }
}
