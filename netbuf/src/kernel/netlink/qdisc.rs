//! Queueing disciplines: `clsact` (the hooks that filters hang on) and `noqueue`.
//!
//! ```text
//!   tcmsg         | family u8 | pad [u8;3] | index i32 | handle u32 | parent u32 | info u32 |   20 bytes
//! ```
//!
//! Numbers: `linux/rtnetlink.h`, `linux/pkt_sched.h`.

use super::wire::{self, CREATE, DUMP, EXCLUSIVE, Request, WireError};

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

const ROOT: u32 = 0xffff_ffff;
/// Parent of `clsact` and `ingress`.
pub(crate) const CLSACT_PARENT: u32 = 0xffff_fff1;
const CLSACT_HANDLE: u32 = 0xffff_0000;

/// A queueing discipline as the kernel describes it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Qdisc {
    pub(crate) index: u32,
    pub(crate) parent: u32,
    pub(crate) kind: String,
}

impl Qdisc {
    /// Whether filters on arriving frames can be attached to it.
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

/// Request: give an interface its hooks. Refused with `EEXIST` if it has them.
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

/// Request: pass an interface's frames straight to the driver; nothing waits, reorders or drops in between.
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

/// Request: list the qdiscs of all interfaces.
pub(crate) fn dump() -> Request {
    Request::new(GET_QDISC, DUMP, &fixed(0, 0, 0, 0), "to list the qdiscs")
}

/// Decodes the body of an `RTM_NEWQDISC`.
pub(crate) fn decode(body: &[u8]) -> Result<Qdisc, WireError> {
    let short = WireError("a qdisc's description is cut short");
    let rest = body.get(TCMSG_BYTES..).ok_or(short)?;
    let mut qdisc = Qdisc {
        index: wire::u32_at(body, 4).ok_or(short)?,
        parent: wire::u32_at(body, 12).ok_or(short)?,
        ..Qdisc::default()
    };
    for attribute in wire::attributes(rest) {
        if let (TCA_KIND, value) = attribute? {
            qdisc.kind = wire::text(value);
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
    fn golden_clsact() {
        let expected = "30000000 2400 0506 01000000 00000000 00 000000 05000000 0000ffff f1ffffff 00000000 \
                        0b00 0100 636c7361637400 00";
        assert_eq!(add_clsact(5, "vif1").encode(1), bytes(expected));
    }

    #[test]
    fn golden_description() {
        let body = bytes(
            "00 000000 05000000 0000ffff f1ffffff 02000000 \
             0b00 0100 636c7361637400 00 \
             1c00 0700 1800 0300 03000000 94110000 02000000 00000000 00000000",
        );
        let expected = Qdisc { index: 5, parent: CLSACT_PARENT, kind: "clsact".into() };
        assert_eq!(decode(&body), Ok(expected));
    }

    proptest! {
        #[test]
        fn hostile_descriptions_never_panic(body in proptest::collection::vec(any::<u8>(), 0..120)) {
            let _ = decode(&body);
        }
    }
}
