//! Bytes to frames: the body of one whole frame whose seal held.

use super::body::Body;
use super::frame::{Frame, GuestId, Hello, HelloAnswer, Identity, RefuseReason, Service};
use super::refusal::{HoldReason, HoldRefusal};
use super::{LinkError, kind};
use alloc::borrow::ToOwned;
use alloc::boxed::Box;
use understudy_checkpoint::domain::{Description, GuestKind};
use understudy_checkpoint::pages::EpochSummary;
use understudy_checkpoint::{Epoch, Generation};
use understudy_session::{
    Copy, Decline, EpochKind, Record, RequestId, Standing, ToPrimary, ToSecondary, WitnessOutcome,
    WitnessReply, WitnessRequest,
};

/// Reads a body of `kind` for `guest`. Nothing is taken that [`encode`](super::encode) would not have written.
pub(super) fn decode(kind: u16, guest: u32, bytes: &[u8]) -> Result<Frame<'_>, LinkError> {
    let mut body = Body(bytes);
    let frame = match (kind::has_guest(kind), GuestId::new(guest)) {
        (true, Some(guest)) => guest_frame(kind, guest, &mut body)?,
        (false, None) => link_frame(kind, &mut body)?,
        _ => return Err(LinkError::WrongAddress { kind, guest }),
    };
    body.end()?;
    Ok(frame)
}

fn link_frame<'a>(kind: u16, body: &mut Body<'a>) -> Result<Frame<'a>, LinkError> {
    Ok(match kind {
        kind::HELLO => Frame::Hello(Hello {
            versions: (body.u16()?, body.u16()?),
            service: match body.u8()? {
                1 => Service::Node,
                2 => Service::Witness,
                value => return Err(LinkError::UnknownValue { field: "service", value }),
            },
            from: identity(body)?,
        }),
        kind::HELLO_ANSWER => Frame::HelloAnswer(HelloAnswer { version: body.u16()?, from: identity(body)? }),
        kind::REFUSE => Frame::Refuse { reason: reason(body)?, detail: body.text()?.to_owned() },
        kind::BYE => Frame::Bye,
        kind::PING => Frame::Ping,
        kind::PONG => Frame::Pong,
        kind::WITNESS_READ => {
            let id = RequestId(body.u64()?);
            Frame::WitnessRequest { guest: body.name()?, request: WitnessRequest::Read { id } }
        }
        kind::WITNESS_SWAP => {
            let (id, guest) = (RequestId(body.u64()?), body.name()?);
            let request = WitnessRequest::Swap { id, expect: body.u64()?, new: record(body)? };
            Frame::WitnessRequest { guest, request }
        }
        kind::WITNESS_RECLAIM => {
            let (id, guest) = (RequestId(body.u64()?), body.name()?);
            let request = WitnessRequest::Reclaim { id, expect: body.u64()?, new: record(body)? };
            Frame::WitnessRequest { guest, request }
        }
        kind::WITNESS_REPLY => witness_reply(body)?,
        _ => return Err(LinkError::UnknownKind(kind)),
    })
}

fn guest_frame<'a>(kind: u16, guest: GuestId, body: &mut Body<'a>) -> Result<Frame<'a>, LinkError> {
    let rest = |body: &mut Body<'a>| core::mem::take(&mut body.0);
    Ok(match kind {
        kind::GUEST_OFFER => Frame::GuestOffer {
            guest,
            generation: None,
            name: body.name()?,
            description: Box::new(description(body)?),
        },
        kind::GUEST_OFFER_GENERATION => Frame::GuestOffer {
            guest,
            generation: Some(body.generation()?),
            name: body.name()?,
            description: Box::new(description(body)?),
        },
        kind::HOLD_DECLINED => Frame::HoldDeclined {
            guest,
            refusal: HoldRefusal { reason: hold_reason(body)?, detail: body.text()?.to_owned() },
        },
        kind::HOLD_READY => Frame::HoldReady { guest },
        kind::WINDOW => Frame::Window { guest, through_bytes: body.u64()? },
        kind::PAGE_BATCH => Frame::PageBatch { guest, batch: rest(body) },
        kind::LIBXC_STATE => Frame::LibxcState { guest, records: rest(body) },
        kind::LIBXL_STATE => Frame::LibxlState { guest, records: rest(body) },
        kind::EPOCH_END => Frame::EpochEnd {
            guest,
            generation: body.generation()?,
            epoch: body.epoch()?,
            summary: EpochSummary { entries: body.u64()?, data_pages: body.u64()?, digest: body.u64()? },
        },
        kind::OFFER..=kind::FAREWELL => Frame::ToSecondary { guest, message: to_secondary(kind, body)? },
        kind::STAND..=kind::SECONDARY_HEARTBEAT => {
            Frame::ToPrimary { guest, message: to_primary(kind, body)? }
        }
        _ => return Err(LinkError::UnknownKind(kind)),
    })
}

fn identity(body: &mut Body<'_>) -> Result<Identity, LinkError> {
    Ok(Identity { instance: body.u64()?, node: body.node()? })
}

fn reason(body: &mut Body<'_>) -> Result<RefuseReason, LinkError> {
    Ok(match body.u8()? {
        1 => RefuseReason::NoCommonVersion,
        2 => RefuseReason::WrongService,
        3 => RefuseReason::Duplicate,
        4 => RefuseReason::UnknownNode,
        5 => RefuseReason::Full,
        6 => RefuseReason::Protocol,
        7 => RefuseReason::NameInUse,
        value => return Err(LinkError::UnknownValue { field: "reason of a refusal", value }),
    })
}

fn hold_reason(body: &mut Body<'_>) -> Result<HoldReason, LinkError> {
    Ok(match body.u8()? {
        1 => HoldReason::Name,
        2 => HoldReason::TooLarge,
        3 => HoldReason::Memory,
        4 => HoldReason::Network,
        5 => HoldReason::Unfit,
        6 => HoldReason::Toolstack,
        7 => HoldReason::TooMany,
        8 => HoldReason::NameTaken,
        9 => HoldReason::Internal,
        value => return Err(LinkError::UnknownValue { field: "reason not to hold a guest", value }),
    })
}

fn description(body: &mut Body<'_>) -> Result<Description, LinkError> {
    Ok(Description {
        kind: match body.u8()? {
            1 => GuestKind::Pv,
            2 => GuestKind::Hvm,
            3 => GuestKind::Pvh,
            value => return Err(LinkError::UnknownValue { field: "kind of guest", value }),
        },
        page_count: body.u64()?,
        libxc_version: body.u32()?,
        xen_version: (body.u32()?, body.u32()?),
        config: body.blob()?.to_vec(),
        static_records: body.blob()?.to_vec(),
    })
}

fn to_secondary(kind: u16, body: &mut Body<'_>) -> Result<ToSecondary, LinkError> {
    let generation = body.generation()?;
    Ok(match kind {
        kind::OFFER => ToSecondary::Offer { generation, acked: body.optional_u64()?.map(Epoch) },
        kind::EPOCH_BEGIN => ToSecondary::EpochBegin {
            generation,
            epoch: body.epoch()?,
            kind: match body.u8()? {
                1 => EpochKind::Seed,
                2 => EpochKind::Delta,
                value => return Err(LinkError::UnknownValue { field: "kind of epoch", value }),
            },
            base: body.optional_u64()?.map(Epoch),
        },
        kind::PRIMARY_HEARTBEAT => ToSecondary::Heartbeat { generation },
        kind::SWITCHOVER => ToSecondary::Switchover { generation, epoch: body.epoch()? },
        kind::FAREWELL => ToSecondary::Farewell { generation },
        _ => return Err(LinkError::UnknownKind(kind)),
    })
}

fn to_primary(kind: u16, body: &mut Body<'_>) -> Result<ToPrimary, LinkError> {
    let generation = body.generation()?;
    Ok(match kind {
        kind::STAND => ToPrimary::Stand {
            generation,
            standing: match (body.u8()?, body.generation()?, body.epoch()?) {
                (0, Generation(0), Epoch(0)) => Standing::Nothing,
                (1, generation, epoch) => Standing::Complete { generation, epoch },
                (value, ..) => return Err(LinkError::UnknownValue { field: "standing", value }),
            },
        },
        kind::ACK => ToPrimary::Ack { generation, epoch: body.epoch()? },
        kind::DECLINED => ToPrimary::Declined {
            generation,
            epoch: body.optional_u64()?.map(Epoch),
            why: match (body.u8()?, body.generation()?) {
                (1, generation) => Decline::Fenced { generation },
                (2, Generation(0)) => Decline::WrongBase,
                (3, Generation(0)) => Decline::Damaged,
                (4, Generation(0)) => Decline::TooLarge,
                (5, Generation(0)) => Decline::ImageLost,
                (6, Generation(0)) => Decline::TakingOver,
                (7, Generation(0)) => Decline::Diverged,
                (value, _) => return Err(LinkError::UnknownValue { field: "reason to decline", value }),
            },
        },
        kind::SECONDARY_HEARTBEAT => ToPrimary::Heartbeat { generation },
        _ => return Err(LinkError::UnknownKind(kind)),
    })
}

fn witness_reply<'a>(body: &mut Body<'a>) -> Result<Frame<'a>, LinkError> {
    let (id, guest) = (RequestId(body.u64()?), body.name()?);
    let outcome = match body.u8()? {
        1 => WitnessOutcome::Told,
        2 => WitnessOutcome::Swapped,
        3 => WitnessOutcome::Conflict,
        4 => WitnessOutcome::Illegal,
        value => return Err(LinkError::UnknownValue { field: "outcome", value }),
    };
    let record = if body.flag()? { Some(record(body)?) } else { None };
    Ok(Frame::WitnessReply { guest, reply: WitnessReply { id, outcome, record } })
}

fn record(body: &mut Body<'_>) -> Result<Record, LinkError> {
    Ok(Record {
        revision: body.u64()?,
        generation: body.generation()?,
        owner: body.node()?,
        copy: match body.u8()? {
            0 => Copy::Stale,
            1 => Copy::Fresh { holder: body.node()? },
            value => return Err(LinkError::UnknownValue { field: "state of the copy", value }),
        },
    })
}
