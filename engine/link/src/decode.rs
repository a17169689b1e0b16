//! Decodes the body of one whole frame whose seal matched.

use super::LinkError;
use super::body::Body;
use super::frame::{
    BULLETIN_BYTES_MAX, DISKS_MAX, FACTS_BYTES_MAX, Frame, GuestFrame, GuestId, LinkFrame, WitnessFrame,
};
use super::hello::{Hello, HelloAnswer, Identity};
use super::kind::{Conversation, Kind};
use super::packets::PacketFrame;
use super::refusal::{HoldReason, HoldRefusal};
use super::service::{RefuseReason, Service};
use super::values::{CopyTag, DeclineTag, StandingTag, Value};
use alloc::borrow::ToOwned;
use alloc::boxed::Box;
use alloc::vec::Vec;
use understudy_checkpoint::domain::{Description, GuestKind};
use understudy_checkpoint::epoch::WritesSummary;
use understudy_checkpoint::pages::EpochSummary;
use understudy_checkpoint::{Epoch, Generation};
use understudy_session::lease::{self, Lease, LeaseReply, LeaseRequest};
use understudy_session::{
    Copy, CopyEnd, Decline, EpochKind, Mode, Record, RequestId, Standing, ToPrimary, ToSecondary,
    WitnessOutcome, WitnessReply, WitnessRequest,
};

/// Reads a body of `kind` for `guest`. Accepts only what [`encode`](super::encode) could have written.
pub(super) fn decode(kind: u16, guest: u32, bytes: &[u8]) -> Result<Frame<'_>, LinkError> {
    let known = Kind::of(kind).ok_or(LinkError::UnknownKind(kind))?;
    let mut body = Body(bytes);
    let frame = match (known.conversation(), GuestId::new(guest)) {
        (Conversation::Link, None) => link_frame(known, &mut body)?.into(),
        (Conversation::Guest, Some(guest)) => guest_frame(known, &mut body)?.of(guest),
        (Conversation::Witness, None) => witness_frame(known, &mut body)?.into(),
        _ => return Err(LinkError::WrongAddress { kind, guest }),
    };
    body.end()?;
    Ok(frame)
}

fn link_frame(kind: Kind, body: &mut Body<'_>) -> Result<LinkFrame, LinkError> {
    Ok(match kind {
        Kind::Hello => LinkFrame::Hello(Hello {
            versions: (body.u16()?, body.u16()?),
            service: Service::read(body)?,
            from: identity(body)?,
        }),
        Kind::HelloAnswer => {
            LinkFrame::HelloAnswer(HelloAnswer { version: body.u16()?, from: identity(body)? })
        }
        Kind::Refuse => {
            LinkFrame::Refuse { reason: RefuseReason::read(body)?, detail: body.text()?.to_owned() }
        }
        Kind::Bye => LinkFrame::Bye,
        Kind::Ping => LinkFrame::Ping,
        Kind::Pong => LinkFrame::Pong,
        Kind::Bulletin if body.0.len() > BULLETIN_BYTES_MAX => {
            return Err(LinkError::FrameTooLong { bytes: body.0.len(), limit: BULLETIN_BYTES_MAX });
        }
        Kind::Bulletin => LinkFrame::Bulletin(core::mem::take(&mut body.0).to_vec()),
        Kind::FactsWanted => LinkFrame::FactsWanted,
        Kind::Facts if body.0.len() > FACTS_BYTES_MAX => {
            return Err(LinkError::FrameTooLong { bytes: body.0.len(), limit: FACTS_BYTES_MAX });
        }
        Kind::Facts => LinkFrame::Facts(core::mem::take(&mut body.0).to_vec()),
        _ => return Err(LinkError::UnknownKind(kind.number())),
    })
}

fn witness_frame<'a>(kind: Kind, body: &mut Body<'a>) -> Result<WitnessFrame<'a>, LinkError> {
    let (id, guest) = (RequestId(body.u64()?), body.name()?);
    let request = match kind {
        Kind::WitnessRead => WitnessRequest::Read { id },
        Kind::WitnessSwap => WitnessRequest::Swap { id, expect: body.u64()?, new: record(body)? },
        Kind::WitnessReclaim => WitnessRequest::Reclaim { id, expect: body.u64()?, new: record(body)? },
        Kind::WitnessReply => return Ok(WitnessFrame::Reply { guest, reply: reply(id, body)? }),
        Kind::LeaseRead => {
            return Ok(WitnessFrame::AboutLease { host: guest, request: LeaseRequest::Read { id } });
        }
        Kind::LeaseSwap => {
            let request = LeaseRequest::Swap { id, expect: body.u64()?, new: lease(body)? };
            return Ok(WitnessFrame::AboutLease { host: guest, request });
        }
        Kind::LeaseReply => {
            let outcome = WitnessOutcome::read(body)?;
            let lease = if body.flag()? { Some(lease(body)?) } else { None };
            return Ok(WitnessFrame::LeaseReply { host: guest, reply: LeaseReply { id, outcome, lease } });
        }
        _ => return Err(LinkError::UnknownKind(kind.number())),
    };
    Ok(WitnessFrame::Request { guest, request })
}

fn guest_frame<'a>(kind: Kind, body: &mut Body<'a>) -> Result<GuestFrame<'a>, LinkError> {
    let rest = |body: &mut Body<'a>| core::mem::take(&mut body.0);
    Ok(match kind {
        Kind::GuestOffer => GuestFrame::Offer {
            generation: None,
            name: body.name()?,
            description: Box::new(description(body)?),
        },
        Kind::GuestOfferGeneration => GuestFrame::Offer {
            generation: Some(body.generation()?),
            name: body.name()?,
            description: Box::new(description(body)?),
        },
        Kind::GuestOfferDisks => {
            let (generation, name) = (Some(body.generation()?), body.name()?);
            let mut description = Box::new(description(body)?);
            description.disks_bytes = disks_bytes(body)?;
            GuestFrame::Offer { generation, name, description }
        }
        Kind::DiskWrites => {
            GuestFrame::DiskWrites { generation: body.generation()?, tag: body.epoch()?, batch: rest(body) }
        }
        Kind::DiskEnd => GuestFrame::DiskEnd {
            generation: body.generation()?,
            epoch: body.epoch()?,
            summary: WritesSummary { writes: body.u64()?, bytes: body.u64()?, digest: body.u128()? },
        },
        Kind::DiskAsk => {
            GuestFrame::DiskAsk { generation: body.generation()?, epoch: body.epoch()?, ask: rest(body) }
        }
        Kind::DiskSay => {
            GuestFrame::DiskSay { generation: body.generation()?, epoch: body.epoch()?, say: rest(body) }
        }
        Kind::HoldDeclined => GuestFrame::HoldDeclined(HoldRefusal {
            reason: HoldReason::read(body)?,
            detail: body.text()?.to_owned(),
        }),
        Kind::HoldReady => GuestFrame::HoldReady,
        Kind::NeedsFencing => GuestFrame::NeedsFencing,
        Kind::Input
        | Kind::Taken
        | Kind::Cut
        | Kind::Handshake
        | Kind::Released
        | Kind::Room
        | Kind::Output => GuestFrame::Packets(PacketFrame::read(kind, body)?),
        Kind::Window => GuestFrame::Window { through_bytes: body.u64()? },
        Kind::PageBatch => GuestFrame::PageBatch(rest(body)),
        Kind::LibxcState => GuestFrame::LibxcState(rest(body)),
        Kind::LibxlState => GuestFrame::LibxlState(rest(body)),
        Kind::EpochEnd => GuestFrame::EpochEnd {
            generation: body.generation()?,
            epoch: body.epoch()?,
            summary: EpochSummary { entries: body.u64()?, data_pages: body.u64()?, digest: body.u64()? },
        },
        Kind::Offer
        | Kind::EpochBegin
        | Kind::PrimaryHeartbeat
        | Kind::Switchover
        | Kind::Farewell
        | Kind::CopyWanted => GuestFrame::ToSecondary(to_secondary(kind, body)?),
        Kind::Stand | Kind::Ack | Kind::Declined | Kind::SecondaryHeartbeat | Kind::Live | Kind::Halted => {
            GuestFrame::ToPrimary(to_primary(kind, body)?)
        }
        _ => return Err(LinkError::UnknownKind(kind.number())),
    })
}

fn identity(body: &mut Body<'_>) -> Result<Identity, LinkError> {
    Ok(Identity { instance: body.u64()?, node: body.node()? })
}

fn description(body: &mut Body<'_>) -> Result<Description, LinkError> {
    Ok(Description {
        kind: GuestKind::read(body)?,
        page_count: body.u64()?,
        libxc_version: body.u32()?,
        xen_version: (body.u32()?, body.u32()?),
        config: body.blob()?.to_vec(),
        static_records: body.blob()?.to_vec(),
        disks_bytes: Vec::new(),
    })
}

/// Sizes to the body's end, at least one.
fn disks_bytes(body: &mut Body<'_>) -> Result<Vec<u64>, LinkError> {
    let mut sizes = Vec::new();
    while sizes.is_empty() || !body.0.is_empty() {
        if sizes.len() == DISKS_MAX {
            return Err(LinkError::BodyTooLong(body.0.len()));
        }
        sizes.push(body.u64()?);
    }
    Ok(sizes)
}

fn to_secondary(kind: Kind, body: &mut Body<'_>) -> Result<ToSecondary, LinkError> {
    let generation = body.generation()?;
    Ok(match kind {
        Kind::Offer => ToSecondary::Offer { generation, acked: body.optional_u64()?.map(Epoch) },
        Kind::EpochBegin => ToSecondary::EpochBegin {
            generation,
            epoch: body.epoch()?,
            kind: EpochKind::read(body)?,
            base: body.optional_u64()?.map(Epoch),
        },
        Kind::PrimaryHeartbeat => ToSecondary::Heartbeat { generation },
        Kind::Switchover => ToSecondary::Switchover { generation, epoch: body.epoch()? },
        Kind::Farewell => ToSecondary::Farewell { generation },
        Kind::CopyWanted => ToSecondary::CopyWanted {
            generation,
            mode: Mode::read(body)?,
            from: body.optional_u64()?.map(Epoch),
        },
        _ => return Err(LinkError::UnknownKind(kind.number())),
    })
}

fn to_primary(kind: Kind, body: &mut Body<'_>) -> Result<ToPrimary, LinkError> {
    let generation = body.generation()?;
    Ok(match kind {
        Kind::Stand => ToPrimary::Stand { generation, standing: standing(body)? },
        Kind::Ack => ToPrimary::Ack { generation, epoch: body.epoch()? },
        Kind::Declined => {
            ToPrimary::Declined { generation, epoch: body.optional_u64()?.map(Epoch), why: decline(body)? }
        }
        Kind::SecondaryHeartbeat => ToPrimary::Heartbeat { generation },
        Kind::Live => ToPrimary::Live { generation, base: body.epoch()? },
        Kind::Halted => ToPrimary::Halted { generation, base: body.epoch()?, why: CopyEnd::read(body)? },
        _ => return Err(LinkError::UnknownKind(kind.number())),
    })
}

fn standing(body: &mut Body<'_>) -> Result<Standing, LinkError> {
    match (StandingTag::read(body)?, body.generation()?, body.epoch()?) {
        (StandingTag::Nothing, Generation(0), Epoch(0)) => Ok(Standing::Nothing),
        (StandingTag::Complete, generation, epoch) => Ok(Standing::Complete { generation, epoch }),
        (StandingTag::Nothing, ..) => Err(not_empty(StandingTag::Nothing)),
    }
}

fn decline(body: &mut Body<'_>) -> Result<Decline, LinkError> {
    let (tag, newer) = (DeclineTag::read(body)?, body.generation()?);
    if tag != DeclineTag::Fenced && newer != Generation(0) {
        return Err(not_empty(tag));
    }
    Ok(match tag {
        DeclineTag::Fenced => Decline::Fenced { generation: newer },
        DeclineTag::WrongBase => Decline::WrongBase,
        DeclineTag::Damaged => Decline::Damaged,
        DeclineTag::TooLarge => Decline::TooLarge,
        DeclineTag::ImageLost => Decline::ImageLost,
        DeclineTag::TakingOver => Decline::TakingOver,
        DeclineTag::Diverged => Decline::Diverged,
    })
}

/// The error for a value whose unused fields are not zero.
fn not_empty<V: Value>(tag: V) -> LinkError {
    LinkError::UnknownValue { field: V::FIELD, value: tag.row().number }
}

fn reply(id: RequestId, body: &mut Body<'_>) -> Result<WitnessReply, LinkError> {
    let outcome = WitnessOutcome::read(body)?;
    let record = if body.flag()? { Some(record(body)?) } else { None };
    Ok(WitnessReply { id, outcome, record })
}

fn lease(body: &mut Body<'_>) -> Result<Lease, LinkError> {
    let (number, standing, watchdog_ms) = (body.u64()?, lease::Standing::read(body)?, body.u32()?);
    Lease::of_numbers(number, standing, watchdog_ms).ok_or(LinkError::NoLease { number, watchdog_ms })
}

fn record(body: &mut Body<'_>) -> Result<Record, LinkError> {
    Ok(Record {
        revision: body.u64()?,
        generation: body.generation()?,
        owner: body.node()?,
        copy: match CopyTag::read(body)? {
            CopyTag::Stale => Copy::Stale,
            CopyTag::Fresh => Copy::Fresh { holder: body.node()? },
        },
    })
}
