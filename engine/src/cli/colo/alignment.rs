//! What is added to the secondary's times, so that one clock serves both captures.
//!
//! Told, or found: the first frame to the guest that is in both captures was sent once, so it is one moment. Captures of
//! guests that had clients of their own have no such frame; then the first frame to the guest is taken to be one moment
//! in each.

use super::capture::{Capture, Captured, Nanoseconds};
use super::guest::{Guest, Sender};
use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;
use understudy_colo::packet::{Content, Packet, Side};
use understudy_colo::{Card, Frame};

/// The number of frames to the guest that are examined in each capture.
const LOOKED_AT_MAX: usize = 4096;

/// How the two clocks were aligned.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Reason {
    Told,
    CommonFrame,
    FirstFrames,
}

impl Reason {
    /// Its name in the report.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Told => "told",
            Self::CommonFrame => "common_frame",
            Self::FirstFrames => "first_frames",
        }
    }
}

/// The offset added to the secondary's times, and its origin.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Alignment {
    pub(super) offset: Nanoseconds,
    pub(super) reason: Reason,
}

/// A frame to the guest.
struct Arrival {
    at: Nanoseconds,
    digest: u64,
}

impl Alignment {
    pub(super) fn find(primary: Capture, secondary: Capture, guest: Guest) -> Self {
        let (primary, secondary) = (arrivals(primary, guest), arrivals(secondary, guest));
        let mut by_digest = HashMap::new();
        for arrival in &secondary {
            by_digest.entry(arrival.digest).or_insert(arrival);
        }
        let common = primary.iter().find_map(|one| by_digest.get(&one.digest).map(|other| (one, *other)));
        let (pair, reason) = match (common, primary.first(), secondary.first()) {
            (Some(pair), ..) => (Some(pair), Reason::CommonFrame),
            (None, Some(one), Some(other)) => (Some((one, other)), Reason::FirstFrames),
            (None, ..) => (None, Reason::FirstFrames),
        };
        Self { offset: pair.map_or(0, |(one, other)| one.at.saturating_sub(other.at)), reason }
    }
}

/// The first frames to the guest. An error that ends the capture early is reported when the capture is judged.
fn arrivals(mut capture: Capture, guest: Guest) -> Vec<Arrival> {
    let frames = std::iter::from_fn(|| capture.next().ok().flatten());
    let to_guest = frames.filter(|frame| guest.sender(&frame.bytes) == Sender::World);
    to_guest.take(LOOKED_AT_MAX).map(|frame| Arrival { at: frame.at, digest: digest(&frame) }).collect()
}

/// Equal for a frame and its mirrored twin, even if the twin's ack was rewritten.
fn digest(frame: &Captured) -> u64 {
    let whole = Frame { card: Card(0), offload: Default::default(), bytes: &frame.bytes };
    let packet = Packet::parse(whole, Side::World);
    let mut hasher = DefaultHasher::new();
    packet.flow.hash(&mut hasher);
    match packet.content {
        Content::Tcp(segment) => (segment.sequence, segment.flags.0, segment.payload).hash(&mut hasher),
        Content::Datagram(datagram) => (datagram.head, datagram.body).hash(&mut hasher),
    }
    hasher.finish()
}

/// The text is no offset.
#[derive(thiserror::Error, Clone, Copy, PartialEq, Eq, Debug)]
#[error("not a number of seconds, such as 0.25 or -3")]
pub(super) struct NoOffset;

/// Parses `--offset`: seconds that the secondary's clock is behind the primary's.
pub(super) fn parse_offset(text: &str) -> Result<Nanoseconds, NoOffset> {
    let (is_negative, size) = match text.strip_prefix('-') {
        Some(size) => (true, size),
        None => (false, text),
    };
    let seconds: f64 = size.parse().map_err(|_| NoOffset)?;
    let size = Duration::try_from_secs_f64(seconds).map_err(|_| NoOffset)?;
    let ns = Nanoseconds::try_from(size.as_nanos()).map_err(|_| NoOffset)?;
    Ok(if is_negative { -ns } else { ns })
}
