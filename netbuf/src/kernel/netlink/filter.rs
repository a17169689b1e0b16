//! Filters that redirect: a classifier with one `mirred` action.
//!
//! ```text
//!   tcmsg         info = priority << 16 | ETH_P_ALL, big-endian;  parent = the hook
//!   TCA_OPTIONS   { classifier's own, ACT { [1] { KIND "mirred", OPTIONS { PARMS }, COOKIE } } }
//!   tc_mirred     | index u32 | capab u32 | action i32 | refs i32 | binds i32 | eaction i32 | ifindex u32 |
//! ```
//!
//! The cookie (16 bytes that the kernel keeps and shows) says whose the redirect is.
//! Numbers: `linux/pkt_cls.h`, `linux/tc_act/tc_mirred.h`, `linux/filter.h`.

use super::qdisc::{TCA_CHAIN, TCA_KIND, TCA_OPTIONS, TCMSG_BYTES, fixed};
use super::wire::{self, CREATE, DUMP, EXCLUSIVE, Request, WireError};
use std::os::fd::RawFd;

const NEW_FILTER: u16 = 44;
const DELETE_FILTER: u16 = 45;
const GET_FILTER: u16 = 46;
const ETH_P_ALL: u16 = 0x0003;

const TCA_ACT_KIND: u16 = 1;
const TCA_ACT_OPTIONS: u16 = 2;
const TCA_ACT_COOKIE: u16 = 6;
const TCA_MIRRED_PARMS: u16 = 2;
const TCA_BPF_OPS: u16 = 5;
const TCA_BPF_FD: u16 = 6;
const TCA_BPF_NAME: u16 = 7;
const TCA_BPF_FLAGS: u16 = 8;
const MIRRED_VERDICT_AT: usize = 8;
const MIRRED_EACTION_AT: usize = 20;
const MIRRED_IFINDEX_AT: usize = 24;
const TC_ACT_STOLEN: u32 = 4;

/// Bytes of a cookie.
pub(crate) const COOKIE_BYTES: usize = 16;

/// The direction of the frames that a filter sees.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Hook {
    /// Frames that the interface delivers to the host.
    Ingress,
    /// Frames that the host transmits on the interface.
    Egress,
    /// The same frames behind that, where the interface's root qdisc sorts them.
    Queue,
}

impl Hook {
    /// The parent handle of the hook's filters: `TC_H_CLSACT` with `TC_H_MIN_INGRESS` or `TC_H_MIN_EGRESS`; 0 for those of the
    /// root qdisc.
    pub(crate) fn parent(self) -> u32 {
        match self {
            Self::Ingress => 0xffff_fff2,
            Self::Egress => 0xffff_fff3,
            Self::Queue => 0,
        }
    }
}

/// The frames that a filter matches.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Matcher {
    /// Frames without this mark, by a classic BPF program.
    Unmarked(u32),
    /// Every frame, after the loaded program with this descriptor has marked it.
    Program(RawFd),
}

/// The classifier of all our filters.
const KIND: &str = "bpf";
/// Its attribute that holds actions.
const TCA_BPF_ACT: u16 = 1;

/// Where a redirect sends frames.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Target {
    /// As if the host transmitted it on the interface of this index.
    TransmitOn(u32),
    /// As if the interface of this index had received it.
    ReceiveOn(u32),
}

/// A filter as the kernel describes it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Filter {
    pub(crate) priority: u16,
    /// `ETH_P_ALL`, or the only protocol that it sees.
    pub(crate) protocol: u16,
    /// The kernel starts in chain 0.
    pub(crate) chain: u32,
    /// 0: this describes the classifier, not one of its filters.
    pub(crate) handle: u32,
    pub(crate) kind: String,
    /// The instructions of a classic BPF program.
    pub(crate) program: Vec<u8>,
    /// The cookie of the first action.
    pub(crate) cookie: Option<[u8; COOKIE_BYTES]>,
    /// The interface that `mirred` redirects to; 0 once it is gone.
    pub(crate) target: Option<u32>,
    /// The direction of `mirred` (`TCA_EGRESS_REDIR` and so on) and its verdict.
    pub(crate) way: Option<(u32, u32)>,
}

impl Filter {
    /// The description that the kernel will give of the filter that `request` adds, except for its handle.
    pub(crate) fn added_by(request: &mut Request) -> Self {
        decode(&request.encode(0)[wire::HEADER_BYTES..]).expect("we write what can be read")
    }

    /// Whether this is one of the tables in which `u32` keeps its filters.
    pub(crate) fn is_table(&self) -> bool {
        self.kind == "u32" && self.handle & 0xfff == 0
    }

    /// Whether the two describe the same filter.
    pub(crate) fn is_as(&self, other: &Self) -> bool {
        Self { handle: 0, ..self.clone() } == Self { handle: 0, ..other.clone() }
    }
}

fn info(priority: u16) -> u32 {
    u32::from(priority) << 16 | u32::from(ETH_P_ALL.to_be())
}

/// Request: add a redirect of arriving frames. The kernel refuses it with `EEXIST` if the priority is taken.
pub(crate) fn add(
    (index, name): (u32, &str),
    priority: u16,
    matcher: Matcher,
    target: Target,
    cookie: [u8; COOKIE_BYTES],
) -> Request {
    let mut request = Request::new(
        NEW_FILTER,
        super::CHANGE | CREATE | EXCLUSIVE,
        &fixed(index, 0, Hook::Ingress.parent(), info(priority)),
        format!("a redirect on {name} (modules cls_bpf, act_mirred)"),
    );
    request.string(TCA_KIND, KIND).nested(TCA_OPTIONS, |options| {
        match matcher {
            Matcher::Unmarked(mark) => add_classic_program(options, mark),
            Matcher::Program(descriptor) => {
                options
                    .attribute(TCA_BPF_FD, &descriptor.to_ne_bytes())
                    .string(TCA_BPF_NAME, "understudy marker");
            }
        }
        options.nested(TCA_BPF_ACT, |actions| {
            actions.nested(1, |action| add_mirred(action, target, cookie));
        });
    });
    request
}

/// Request: add a filter that drops every arriving frame. The program's return value is the verdict, so only the
/// classifier is needed. There is no action to carry the cookie, so the program's first instructions load it, word by
/// word.
pub(crate) fn add_drop((index, name): (u32, &str), priority: u16, cookie: [u8; COOKIE_BYTES]) -> Request {
    /// `TCA_BPF_FLAG_ACT_DIRECT`.
    const ACT_DIRECT: u32 = 1;
    const TC_ACT_SHOT: u32 = 2;
    let mut request = Request::new(
        NEW_FILTER,
        super::CHANGE | CREATE | EXCLUSIVE,
        &fixed(index, 0, Hook::Ingress.parent(), info(priority)),
        format!("a filter that drops on {name} (module cls_bpf)"),
    );
    let words = cookie.chunks(4).map(|word| wire::u32_at(word, 0).expect("four bytes"));
    let program: Vec<_> =
        words.map(|word| (LD_IMM, 0, 0, word)).chain([(RET_K, 0, 0, TC_ACT_SHOT)]).collect();
    request.string(TCA_KIND, KIND).nested(TCA_OPTIONS, |options| {
        add_instructions(options, &program);
        options.attribute(TCA_BPF_FLAGS, &ACT_DIRECT.to_ne_bytes());
    });
    request
}

/// The cookie that a program loads first, if [`add_drop`] made it.
fn loaded_cookie(program: &[u8]) -> Option<[u8; COOKIE_BYTES]> {
    let (loads, verdict) = program.split_at_checked(COOKIE_BYTES / 4 * INSTRUCTION_BYTES)?;
    let is_ours = loads.chunks(INSTRUCTION_BYTES).all(|it| wire::u16_at(it, 0) == Some(LD_IMM));
    let words: Vec<u8> = loads.chunks(INSTRUCTION_BYTES).flat_map(|it| it[4..].to_vec()).collect();
    (is_ours && verdict.len() == INSTRUCTION_BYTES).then(|| words.try_into().ok()).flatten()
}

/// `ld #k` of classic BPF.
const LD_IMM: u16 = 0x00;
/// `ret #k`.
const RET_K: u16 = 0x06;
/// Bytes of a `struct sock_filter`.
const INSTRUCTION_BYTES: usize = 8;

/// `ld mark; jeq #mark, ret 0, ret -1`: zero does not match, all ones do.
fn add_classic_program(options: &mut Request, mark: u32) {
    const LD_W_ABS: u16 = 0x20;
    const JEQ_K: u16 = 0x15;
    /// `SKF_AD_OFF + SKF_AD_MARK`.
    const MARK_AT: u32 = 0xffff_f014;
    let program = [(LD_W_ABS, 0, 0, MARK_AT), (JEQ_K, 0, 1, mark), (RET_K, 0, 0, 0), (RET_K, 0, 0, u32::MAX)];
    add_instructions(options, &program);
    options.string(TCA_BPF_NAME, "understudy unmarked");
}

/// A program of `struct sock_filter`s: code, jump if true, jump if false, value.
fn add_instructions(options: &mut Request, program: &[(u16, u8, u8, u32)]) {
    const TCA_BPF_OPS_LEN: u16 = 4;
    let mut bytes = Vec::new();
    for &(code, if_true, if_false, value) in program {
        bytes.extend_from_slice(&code.to_ne_bytes());
        bytes.extend_from_slice(&[if_true, if_false]);
        bytes.extend_from_slice(&value.to_ne_bytes());
    }
    let length = u16::try_from(program.len()).expect("five at most");
    options.attribute(TCA_BPF_OPS_LEN, &length.to_ne_bytes()).attribute(TCA_BPF_OPS, &bytes);
}

fn add_mirred(action: &mut Request, target: Target, cookie: [u8; COOKIE_BYTES]) {
    const TCA_EGRESS_REDIR: u32 = 1;
    const TCA_INGRESS_REDIR: u32 = 3;
    let (eaction, ifindex) = match target {
        Target::TransmitOn(index) => (TCA_EGRESS_REDIR, index),
        Target::ReceiveOn(index) => (TCA_INGRESS_REDIR, index),
    };
    let mut parms = [0; 28];
    for (at, value) in
        [(MIRRED_VERDICT_AT, TC_ACT_STOLEN), (MIRRED_EACTION_AT, eaction), (MIRRED_IFINDEX_AT, ifindex)]
    {
        parms[at..at + 4].copy_from_slice(&value.to_ne_bytes());
    }
    action
        .string(TCA_ACT_KIND, "mirred")
        .nested(TCA_ACT_OPTIONS, |options| {
            options.attribute(TCA_MIRRED_PARMS, &parms);
        })
        .attribute(TCA_ACT_COOKIE, &cookie);
}

/// Request: delete every filter of a priority on arriving frames.
pub(crate) fn delete((index, name): (u32, &str), priority: u16) -> Request {
    let fixed = fixed(index, 0, Hook::Ingress.parent(), info(priority));
    Request::new(DELETE_FILTER, super::CHANGE, &fixed, format!("to remove the redirect of {name}"))
}

/// Request: list the filters of a hook.
pub(crate) fn dump((index, name): (u32, &str), hook: Hook) -> Request {
    let fixed = fixed(index, 0, hook.parent(), 0);
    Request::new(GET_FILTER, DUMP, &fixed, format!("to list the filters of {name}"))
}

/// Decodes the body of an `RTM_NEWTFILTER`. A filter of another kind than ours has neither cookie nor target.
pub(crate) fn decode(body: &[u8]) -> Result<Filter, WireError> {
    let short = WireError("a filter's description is cut short");
    let rest = body.get(TCMSG_BYTES..).ok_or(short)?;
    let info = wire::u32_at(body, 16).ok_or(short)?;
    let kind = wire::attribute(rest, TCA_KIND)?.map(wire::text).unwrap_or_default();
    let chain = wire::attribute(rest, TCA_CHAIN)?.and_then(|value| wire::u32_at(value, 0));
    let mut filter = Filter {
        priority: (info >> 16) as u16,
        protocol: u16::from_be(info as u16),
        chain: chain.unwrap_or(0),
        handle: wire::u32_at(body, 8).ok_or(short)?,
        kind: kind.clone(),
        ..Filter::default()
    };
    if kind != KIND {
        return Ok(filter);
    }
    let Some(options) = wire::attribute(rest, TCA_OPTIONS)? else { return Ok(filter) };
    filter.program = wire::attribute(options, TCA_BPF_OPS)?.unwrap_or_default().to_vec();
    filter.cookie = loaded_cookie(&filter.program);
    let Some(actions) = wire::attribute(options, TCA_BPF_ACT)? else { return Ok(filter) };
    let Some(action) = wire::attribute(actions, 1)? else { return Ok(filter) };
    filter.cookie = wire::attribute(action, TCA_ACT_COOKIE)?.and_then(|value| value.try_into().ok());
    if wire::attribute(action, TCA_ACT_KIND)?.map(wire::text).as_deref() == Some("mirred")
        && let Some(options) = wire::attribute(action, TCA_ACT_OPTIONS)?
        && let Some(parms) = wire::attribute(options, TCA_MIRRED_PARMS)?
    {
        let number = |at| wire::u32_at(parms, at).ok_or(short);
        filter.target = Some(number(MIRRED_IFINDEX_AT)?);
        filter.way = Some((number(MIRRED_EACTION_AT)?, number(MIRRED_VERDICT_AT)?));
    }
    Ok(filter)
}

#[cfg(test)]
#[cfg(target_endian = "little")]
mod tests;
