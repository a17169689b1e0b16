//! Encodes frames as bytes.

use super::body::TEXT_BYTES_MAX;
use super::body::{put_blob, put_optional_u64, put_text, put_u16, put_u32, put_u64};
use super::frame::{
    BULLETIN_BYTES_MAX, DISKS_MAX, FACTS_BYTES_MAX, Frame, GuestFrame, GuestId, LinkFrame, WitnessFrame,
};
use super::hello::{Hello, HelloAnswer, Identity};
use super::kind::Kind;
use super::lane::{Class, Lane};
use super::values::{CopyTag, DeclineTag, StandingTag, Value};
use super::{BODY_BYTES_MAX, header};
use alloc::vec::Vec;
use understudy_checkpoint::domain::Description;
use understudy_session::lease::{Lease, LeaseReply, LeaseRequest};
use understudy_session::{
    Copy, Decline, Record, Standing, ToPrimary, ToSecondary, WitnessReply, WitnessRequest,
};

/// One encoded frame, complete but not sealed: [`Outbox`](super::Outbox) numbers and seals it as it leaves.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Encoded {
    lane: Lane,
    class: Class,
    since: u16,
    bytes: Vec<u8>,
}

/// Why a frame cannot be sent. None of it was.
#[derive(thiserror::Error, Clone, PartialEq, Eq, Debug)]
pub enum EncodeError {
    /// The body would be longer than a frame may be.
    #[error("{what} takes {bytes} bytes on a link, and a frame carries at most {BODY_BYTES_MAX}")]
    TooLong { what: &'static str, bytes: usize },
    /// More disks than a guest may have.
    #[error("The guest has {disks} disks, and at most {DISKS_MAX} are replicated")]
    Disks { disks: usize },
    /// A bulletin that nobody takes.
    #[error("A bulletin of {bytes} bytes is longer than the {BULLETIN_BYTES_MAX} that a peer takes")]
    Bulletin { bytes: usize },
    /// Facts that nobody takes.
    #[error("Facts of {bytes} bytes are longer than the {FACTS_BYTES_MAX} that a peer takes")]
    Facts { bytes: usize },
    /// A name is empty or too long.
    #[error("A name in {what} has {bytes} bytes; use 1 to {TEXT_BYTES_MAX}")]
    Name { what: &'static str, bytes: usize },
}

impl Encoded {
    /// The lane it is sent in.
    pub fn lane(&self) -> Lane {
        self.lane
    }

    /// Its priority among lanes.
    pub fn class(&self) -> Class {
        self.class
    }

    /// The first version of the protocol that has it.
    pub(super) fn since(&self) -> u16 {
        self.since
    }

    /// Bytes on the link, header included.
    pub fn len_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Numbers and seals it: these bytes go on the wire.
    pub fn seal(mut self, sequence: u32) -> Vec<u8> {
        header::seal(&mut self.bytes, sequence);
        self.bytes
    }
}

/// Encodes a frame. A reason that is too long is cut; anything else that does not fit is an error.
pub fn encode(frame: &Frame<'_>) -> Result<Encoded, EncodeError> {
    check(frame)?;
    let mut bytes = Vec::with_capacity(header::HEADER_BYTES + body_bytes_hint(frame));
    header::open(&mut bytes, frame.kind().number(), frame.guest().map_or(0, GuestId::get));
    put_body(&mut bytes, frame);
    header::close(&mut bytes);
    let lane = Lane::of(frame);
    Ok(Encoded { lane, class: Class::of(lane, bytes.len()), since: frame.since(), bytes })
}

/// Checks that a frame fits, before any memory is allocated for it.
fn check(frame: &Frame<'_>) -> Result<(), EncodeError> {
    let what = frame.kind_name();
    let long_bytes = match frame {
        Frame::Guest(_, GuestFrame::Offer { name, description, .. }) => {
            check_offer(name, description)?;
            0
        }
        Frame::Guest(_, GuestFrame::Packets(packets)) => packets.packet_bytes(),
        Frame::Link(LinkFrame::Bulletin(said)) if said.len() > BULLETIN_BYTES_MAX => {
            return Err(EncodeError::Bulletin { bytes: said.len() });
        }
        Frame::Link(LinkFrame::Facts(facts)) if facts.len() > FACTS_BYTES_MAX => {
            return Err(EncodeError::Facts { bytes: facts.len() });
        }
        // All others have a few numbers, names and at most one reason.
        Frame::Guest(
            _,
            GuestFrame::DiskWrites { batch: bytes, .. }
            | GuestFrame::DiskAsk { ask: bytes, .. }
            | GuestFrame::DiskSay { say: bytes, .. },
        ) => 16 + bytes.len(),
        frame => verbatim(frame).map_or(0, <[u8]>::len),
    };
    if long_bytes > BODY_BYTES_MAX {
        return Err(EncodeError::TooLong { what, bytes: long_bytes });
    }
    let names = names_in(frame).into_iter().flatten();
    match names.map(str::len).find(|bytes| !(1..=TEXT_BYTES_MAX).contains(bytes)) {
        Some(bytes) => Err(EncodeError::Name { what, bytes }),
        None => Ok(()),
    }
}

/// The bytes of a body that consists of bytes alone, or of a few numbers before them.
fn verbatim<'a>(frame: &Frame<'a>) -> Option<&'a [u8]> {
    match frame {
        Frame::Guest(
            _,
            GuestFrame::PageBatch(bytes)
            | GuestFrame::LibxcState(bytes)
            | GuestFrame::LibxlState(bytes)
            | GuestFrame::DiskWrites { batch: bytes, .. }
            | GuestFrame::DiskAsk { ask: bytes, .. }
            | GuestFrame::DiskSay { say: bytes, .. },
        ) => Some(bytes),
        _ => None,
    }
}

/// Whether a guest can be offered on a link at all.
pub fn check_offer(name: &str, description: &Description) -> Result<(), EncodeError> {
    let (what, bytes) = (Kind::GuestOffer.words(), offer_bytes(name, description));
    let disks = description.disks_bytes.len();
    if disks > DISKS_MAX {
        return Err(EncodeError::Disks { disks });
    }
    if bytes > BODY_BYTES_MAX { Err(EncodeError::TooLong { what, bytes }) } else { Ok(()) }
}

fn offer_bytes(name: &str, description: &Description) -> usize {
    let disks = 8 * description.disks_bytes.len();
    let long =
        description.config.len().saturating_add(description.static_records.len()).saturating_add(disks);
    long.saturating_add(OFFER_FIXED_BYTES + name.len())
}

/// Bytes of an offer beside its name, configuration and static records.
const OFFER_FIXED_BYTES: usize = 8 + 1 + 1 + 8 + 3 * 4 + 2 * 4;

fn names_in<'a>(frame: &'a Frame<'_>) -> [Option<&'a str>; 3] {
    let of_record = |guest: &'a str, record: Option<&'a Record>| {
        let holder = record.and_then(|record| match &record.copy {
            Copy::Stale => None,
            Copy::Fresh { holder } => Some(&*holder.0),
        });
        [Some(guest), record.map(|record| &*record.owner.0), holder]
    };
    match frame {
        Frame::Link(
            LinkFrame::Hello(Hello { from, .. }) | LinkFrame::HelloAnswer(HelloAnswer { from, .. }),
        ) => [Some(&from.node.0), None, None],
        Frame::Guest(_, GuestFrame::Offer { name, .. }) => [Some(name), None, None],
        Frame::Link(_) | Frame::Guest(..) => [None; 3],
        Frame::Witness(WitnessFrame::Request { guest, request }) => match request {
            WitnessRequest::Read { .. } => of_record(guest, None),
            WitnessRequest::Swap { new, .. } | WitnessRequest::Reclaim { new, .. } => {
                of_record(guest, Some(new))
            }
        },
        Frame::Witness(WitnessFrame::Reply { guest, reply }) => of_record(guest, reply.record.as_ref()),
        Frame::Witness(WitnessFrame::AboutLease { host, .. } | WitnessFrame::LeaseReply { host, .. }) => {
            [Some(host), None, None]
        }
    }
}

/// How much memory the body takes: exact for bodies that may be long.
fn body_bytes_hint(frame: &Frame<'_>) -> usize {
    match frame {
        Frame::Guest(_, GuestFrame::Packets(packets)) => 24 + packets.packet_bytes(),
        Frame::Link(LinkFrame::Bulletin(said) | LinkFrame::Facts(said)) => said.len(),
        frame => verbatim(frame).map_or(64, <[u8]>::len),
    }
}

fn put_body(out: &mut Vec<u8>, frame: &Frame<'_>) {
    match frame {
        Frame::Link(frame) => put_link(out, frame),
        Frame::Guest(_, frame) => put_guest(out, frame),
        Frame::Witness(WitnessFrame::Request { guest, request }) => put_witness_request(out, guest, request),
        Frame::Witness(WitnessFrame::Reply { guest, reply }) => put_witness_reply(out, guest, reply),
        Frame::Witness(WitnessFrame::AboutLease { host, request }) => put_lease_request(out, host, request),
        Frame::Witness(WitnessFrame::LeaseReply { host, reply }) => put_lease_reply(out, host, reply),
    }
}

fn put_link(out: &mut Vec<u8>, frame: &LinkFrame) {
    match frame {
        LinkFrame::Hello(Hello { versions, service, from }) => {
            put_u16(out, versions.0);
            put_u16(out, versions.1);
            service.put(out);
            put_identity(out, from);
        }
        LinkFrame::HelloAnswer(HelloAnswer { version, from }) => {
            put_u16(out, *version);
            put_identity(out, from);
        }
        LinkFrame::Refuse { reason, detail } => {
            reason.put(out);
            put_text(out, detail);
        }
        LinkFrame::Bulletin(said) | LinkFrame::Facts(said) => out.extend_from_slice(said),
        LinkFrame::Bye | LinkFrame::Ping | LinkFrame::Pong | LinkFrame::FactsWanted => {}
    }
}

fn put_guest(out: &mut Vec<u8>, frame: &GuestFrame<'_>) {
    match frame {
        GuestFrame::Offer { generation, name, description } => {
            match generation {
                Some(generation) => put_u64(out, generation.0),
                // Only a guest without disks is offered on a link of version 1.
                None if description.disks_bytes.is_empty() => {}
                None => put_u64(out, 0),
            }
            put_text(out, name);
            put_description(out, description);
            description.disks_bytes.iter().for_each(|bytes| put_u64(out, *bytes));
        }
        GuestFrame::ToSecondary(message) => put_to_secondary(out, message),
        GuestFrame::PageBatch(bytes) | GuestFrame::LibxcState(bytes) | GuestFrame::LibxlState(bytes) => {
            out.extend_from_slice(bytes);
        }
        GuestFrame::DiskWrites { generation, tag: epoch, batch: bytes }
        | GuestFrame::DiskAsk { generation, epoch, ask: bytes }
        | GuestFrame::DiskSay { generation, epoch, say: bytes } => {
            put_u64(out, generation.0);
            put_u64(out, epoch.0);
            out.extend_from_slice(bytes);
        }
        GuestFrame::DiskEnd { generation, epoch, summary } => {
            let words = [generation.0, epoch.0, summary.writes, summary.bytes];
            words.into_iter().for_each(|word| put_u64(out, word));
            out.extend_from_slice(&summary.digest.to_le_bytes());
        }
        GuestFrame::EpochEnd { generation, epoch, summary } => {
            let words = [generation.0, epoch.0, summary.entries, summary.data_pages, summary.digest];
            words.into_iter().for_each(|word| put_u64(out, word));
        }
        GuestFrame::ToPrimary(message) => put_to_primary(out, message),
        GuestFrame::HoldDeclined(refusal) => {
            refusal.reason.put(out);
            put_text(out, &refusal.detail);
        }
        GuestFrame::HoldReady | GuestFrame::NeedsFencing => {}
        GuestFrame::Packets(packets) => packets.put(out),
        GuestFrame::Window { through_bytes } => put_u64(out, *through_bytes),
    }
}

fn put_identity(out: &mut Vec<u8>, identity: &Identity) {
    put_u64(out, identity.instance);
    put_text(out, &identity.node.0);
}

fn put_description(out: &mut Vec<u8>, description: &Description) {
    description.kind.put(out);
    put_u64(out, description.page_count);
    put_u32(out, description.libxc_version);
    put_u32(out, description.xen_version.0);
    put_u32(out, description.xen_version.1);
    put_blob(out, &description.config);
    put_blob(out, &description.static_records);
}

fn put_to_secondary(out: &mut Vec<u8>, message: &ToSecondary) {
    match message {
        ToSecondary::Offer { generation, acked } => {
            put_u64(out, generation.0);
            put_optional_u64(out, acked.map(|epoch| epoch.0));
        }
        ToSecondary::EpochBegin { generation, epoch, kind, base } => {
            put_u64(out, generation.0);
            put_u64(out, epoch.0);
            kind.put(out);
            put_optional_u64(out, base.map(|epoch| epoch.0));
        }
        ToSecondary::Heartbeat { generation } | ToSecondary::Farewell { generation } => {
            put_u64(out, generation.0);
        }
        ToSecondary::Switchover { generation, epoch } => {
            put_u64(out, generation.0);
            put_u64(out, epoch.0);
        }
        ToSecondary::CopyWanted { generation, mode, from } => {
            put_u64(out, generation.0);
            mode.put(out);
            put_optional_u64(out, from.map(|epoch| epoch.0));
        }
    }
}

fn put_to_primary(out: &mut Vec<u8>, message: &ToPrimary) {
    match message {
        ToPrimary::Stand { generation, standing } => {
            put_u64(out, generation.0);
            let held = match standing {
                Standing::Nothing => (0, 0),
                Standing::Complete { generation, epoch } => (generation.0, epoch.0),
            };
            StandingTag::from(standing).put(out);
            put_u64(out, held.0);
            put_u64(out, held.1);
        }
        ToPrimary::Ack { generation, epoch } => {
            put_u64(out, generation.0);
            put_u64(out, epoch.0);
        }
        ToPrimary::Declined { generation, epoch, why } => {
            put_u64(out, generation.0);
            put_optional_u64(out, epoch.map(|epoch| epoch.0));
            DeclineTag::from(why).put(out);
            put_u64(out, if let Decline::Fenced { generation } = why { generation.0 } else { 0 });
        }
        ToPrimary::Heartbeat { generation } => put_u64(out, generation.0),
        ToPrimary::Live { generation, base } => {
            put_u64(out, generation.0);
            put_u64(out, base.0);
        }
        ToPrimary::Halted { generation, base, why } => {
            put_u64(out, generation.0);
            put_u64(out, base.0);
            why.put(out);
        }
    }
}

fn put_witness_request(out: &mut Vec<u8>, guest: &str, request: &WitnessRequest) {
    match request {
        WitnessRequest::Read { id } => {
            put_u64(out, id.0);
            put_text(out, guest);
        }
        WitnessRequest::Swap { id, expect, new } | WitnessRequest::Reclaim { id, expect, new } => {
            put_u64(out, id.0);
            put_text(out, guest);
            put_u64(out, *expect);
            put_record(out, new);
        }
    }
}

fn put_witness_reply(out: &mut Vec<u8>, guest: &str, reply: &WitnessReply) {
    put_u64(out, reply.id.0);
    put_text(out, guest);
    reply.outcome.put(out);
    out.push(u8::from(reply.record.is_some()));
    if let Some(record) = &reply.record {
        put_record(out, record);
    }
}

fn put_lease_request(out: &mut Vec<u8>, host: &str, request: &LeaseRequest) {
    put_u64(out, request.id().0);
    put_text(out, host);
    if let LeaseRequest::Swap { expect, new, .. } = request {
        put_u64(out, *expect);
        put_lease(out, new);
    }
}

fn put_lease_reply(out: &mut Vec<u8>, host: &str, reply: &LeaseReply) {
    put_u64(out, reply.id.0);
    put_text(out, host);
    reply.outcome.put(out);
    out.push(u8::from(reply.lease.is_some()));
    if let Some(lease) = &reply.lease {
        put_lease(out, lease);
    }
}

fn put_lease(out: &mut Vec<u8>, lease: &Lease) {
    put_u64(out, lease.number);
    lease.standing.put(out);
    put_u32(out, lease.watchdog_ms());
}

fn put_record(out: &mut Vec<u8>, record: &Record) {
    put_u64(out, record.revision);
    put_u64(out, record.generation.0);
    put_text(out, &record.owner.0);
    CopyTag::from(&record.copy).put(out);
    if let Copy::Fresh { holder } = &record.copy {
        put_text(out, &holder.0);
    }
}
