//! Frames to bytes.

use super::body::{put_blob, put_optional_u64, put_text, put_u16, put_u32, put_u64};
use super::frame::{Frame, GuestId, Hello, HelloAnswer, Identity, RefuseReason, Service};
use super::outbox::Lane;
use super::{BODY_BYTES_MAX, header, kind};
use crate::session::{
    Copy, Decline, EpochKind, Record, Standing, ToPrimary, ToSecondary, WitnessOutcome, WitnessReply,
    WitnessRequest,
};
use understudy_checkpoint::domain::{Description, GuestKind};

/// One frame in bytes, closed and not yet sealed: [`Outbox`](super::Outbox) numbers and seals it as it leaves.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Encoded {
    lane: Lane,
    bytes: Vec<u8>,
}

impl Encoded {
    /// Whose order it keeps.
    pub fn lane(&self) -> Lane {
        self.lane
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

/// Encodes a frame. Panics if a body would pass [`BODY_BYTES_MAX`]: callers bound what they put in.
pub fn encode(frame: &Frame<'_>) -> Encoded {
    let mut bytes = Vec::with_capacity(header::HEADER_BYTES + body_bytes_hint(frame));
    header::open(&mut bytes, kind_of(frame), frame.guest().map_or(0, GuestId::get));
    put_body(&mut bytes, frame);
    assert!(bytes.len() - header::HEADER_BYTES <= BODY_BYTES_MAX, "{} is too long", frame.kind_name());
    header::close(&mut bytes);
    Encoded { lane: Lane::of(frame), bytes }
}

/// Memory for the body in one piece: exact where it may be long.
fn body_bytes_hint(frame: &Frame<'_>) -> usize {
    match frame {
        Frame::PageBatch { batch: bytes, .. }
        | Frame::LibxcState { records: bytes, .. }
        | Frame::LibxlState { records: bytes, .. } => bytes.len(),
        _ => 64,
    }
}

fn kind_of(frame: &Frame<'_>) -> u16 {
    match frame {
        Frame::Hello(_) => kind::HELLO,
        Frame::HelloAnswer(_) => kind::HELLO_ANSWER,
        Frame::Refuse { .. } => kind::REFUSE,
        Frame::Bye => kind::BYE,
        Frame::Ping => kind::PING,
        Frame::Pong => kind::PONG,
        Frame::GuestOffer { .. } => kind::GUEST_OFFER,
        Frame::ToSecondary { message, .. } => match message {
            ToSecondary::Offer { .. } => kind::OFFER,
            ToSecondary::EpochBegin { .. } => kind::EPOCH_BEGIN,
            ToSecondary::Heartbeat { .. } => kind::PRIMARY_HEARTBEAT,
            ToSecondary::Switchover { .. } => kind::SWITCHOVER,
            ToSecondary::Farewell { .. } => kind::FAREWELL,
        },
        Frame::PageBatch { .. } => kind::PAGE_BATCH,
        Frame::LibxcState { .. } => kind::LIBXC_STATE,
        Frame::LibxlState { .. } => kind::LIBXL_STATE,
        Frame::EpochEnd { .. } => kind::EPOCH_END,
        Frame::ToPrimary { message, .. } => match message {
            ToPrimary::Stand { .. } => kind::STAND,
            ToPrimary::Ack { .. } => kind::ACK,
            ToPrimary::Declined { .. } => kind::DECLINED,
            ToPrimary::Heartbeat { .. } => kind::SECONDARY_HEARTBEAT,
        },
        Frame::WitnessRequest { request: WitnessRequest::Read { .. }, .. } => kind::WITNESS_READ,
        Frame::WitnessRequest { request: WitnessRequest::Swap { .. }, .. } => kind::WITNESS_SWAP,
        Frame::WitnessReply { .. } => kind::WITNESS_REPLY,
    }
}

fn put_body(out: &mut Vec<u8>, frame: &Frame<'_>) {
    match frame {
        Frame::Hello(Hello { versions, service, from }) => {
            put_u16(out, versions.0);
            put_u16(out, versions.1);
            out.push(match service {
                Service::Node => 1,
                Service::Witness => 2,
            });
            put_identity(out, from);
        }
        Frame::HelloAnswer(HelloAnswer { version, from }) => {
            put_u16(out, *version);
            put_identity(out, from);
        }
        Frame::Refuse { reason, detail } => {
            out.push(reason_number(*reason));
            put_text(out, detail);
        }
        Frame::Bye | Frame::Ping | Frame::Pong => {}
        Frame::GuestOffer { name, description, .. } => {
            put_text(out, name);
            put_description(out, description);
        }
        Frame::ToSecondary { message, .. } => put_to_secondary(out, message),
        Frame::PageBatch { batch: bytes, .. }
        | Frame::LibxcState { records: bytes, .. }
        | Frame::LibxlState { records: bytes, .. } => out.extend_from_slice(bytes),
        Frame::EpochEnd { generation, epoch, summary, .. } => {
            let words = [generation.0, epoch.0, summary.entries, summary.data_pages, summary.digest];
            words.into_iter().for_each(|word| put_u64(out, word));
        }
        Frame::ToPrimary { message, .. } => put_to_primary(out, message),
        Frame::WitnessRequest { guest, request } => put_witness_request(out, guest, request),
        Frame::WitnessReply { guest, reply } => put_witness_reply(out, guest, reply),
    }
}

fn put_identity(out: &mut Vec<u8>, identity: &Identity) {
    put_u64(out, identity.instance);
    put_text(out, &identity.node.0);
}

fn reason_number(reason: RefuseReason) -> u8 {
    match reason {
        RefuseReason::NoCommonVersion => 1,
        RefuseReason::WrongService => 2,
        RefuseReason::Duplicate => 3,
        RefuseReason::UnknownNode => 4,
        RefuseReason::Full => 5,
        RefuseReason::Protocol => 6,
    }
}

fn put_description(out: &mut Vec<u8>, description: &Description) {
    out.push(match description.kind {
        GuestKind::Pv => 1,
        GuestKind::Hvm => 2,
        GuestKind::Pvh => 3,
    });
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
            out.push(match kind {
                EpochKind::Seed => 1,
                EpochKind::Delta => 2,
            });
            put_optional_u64(out, base.map(|epoch| epoch.0));
        }
        ToSecondary::Heartbeat { generation } | ToSecondary::Farewell { generation } => {
            put_u64(out, generation.0);
        }
        ToSecondary::Switchover { generation, epoch } => {
            put_u64(out, generation.0);
            put_u64(out, epoch.0);
        }
    }
}

fn put_to_primary(out: &mut Vec<u8>, message: &ToPrimary) {
    match message {
        ToPrimary::Stand { generation, standing } => {
            put_u64(out, generation.0);
            let (tag, held) = match standing {
                Standing::Nothing => (0, (0, 0)),
                Standing::Complete { generation, epoch } => (1, (generation.0, epoch.0)),
            };
            out.push(tag);
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
            let (tag, newer) = match why {
                Decline::Fenced { generation } => (1, generation.0),
                Decline::WrongBase => (2, 0),
                Decline::Damaged => (3, 0),
                Decline::TooLarge => (4, 0),
                Decline::ImageLost => (5, 0),
                Decline::TakingOver => (6, 0),
                Decline::Diverged => (7, 0),
            };
            out.push(tag);
            put_u64(out, newer);
        }
        ToPrimary::Heartbeat { generation } => put_u64(out, generation.0),
    }
}

fn put_witness_request(out: &mut Vec<u8>, guest: &str, request: &WitnessRequest) {
    match request {
        WitnessRequest::Read { id } => {
            put_u64(out, id.0);
            put_text(out, guest);
        }
        WitnessRequest::Swap { id, expect, new } => {
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
    out.push(match reply.outcome {
        WitnessOutcome::Told => 1,
        WitnessOutcome::Swapped => 2,
        WitnessOutcome::Conflict => 3,
        WitnessOutcome::Illegal => 4,
    });
    out.push(u8::from(reply.record.is_some()));
    if let Some(record) = &reply.record {
        put_record(out, record);
    }
}

fn put_record(out: &mut Vec<u8>, record: &Record) {
    put_u64(out, record.revision);
    put_u64(out, record.generation.0);
    put_text(out, &record.owner.0);
    match &record.copy {
        Copy::Stale => out.push(0),
        Copy::Fresh { holder } => {
            out.push(1);
            put_text(out, &holder.0);
        }
    }
}
