//! A frame of a tap, and a wire on which frames are late, lost, or overtake each other.
//!
//! ```text
//!   virtio_net_hdr:  flags │ type │ header bytes u16 │ segment bytes u16 │ checksum from u16 │ at u16     10 bytes,
//!   then Ethernet                                                                                        host's order
//! ```

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::net::Ipv6Addr;
use std::time::{Duration, Instant};
use understudy_colo::packet::{Content, Offload, Packet, Side};
use understudy_colo::{Card, Frame};
use understudy_netbuf::kernel::Tap;
use understudy_tests::drivers::rng::Rng;

/// A frame with its header, as a tap gives and takes it.
pub(crate) type Bytes = Vec<u8>;

const NEEDS_CHECKSUM: u8 = 1;
const TCP_V4: u8 = 1;
const TCP_V6: u8 = 4;
const TCP_CHECKSUM_AT: u16 = 16;

/// A frame of a tap as what is compared of it.
pub(crate) fn view(bytes: &[u8]) -> Frame<'_> {
    let (header, ethernet) = bytes.split_at(Tap::HEADER_BYTES);
    Frame { card: Card(0), offload: offload(header), bytes: ethernet }
}

/// Whether it is a guest's segment.
pub(crate) fn is_tcp(bytes: &[u8]) -> bool {
    matches!(Packet::parse(view(bytes), Side::Guest).content, Content::Tcp(_))
}

/// Whether a guest tells a router which groups its new interface listens to (RFC 3810), which each does in its own time. A copy's
/// interface is not new.
pub(crate) fn is_of_the_start(bytes: &[u8]) -> bool {
    const ROUTERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0x16);
    Packet::parse(view(bytes), Side::Guest).flow.world == ROUTERS
}

/// What the header in front of a frame leaves to do.
pub(crate) fn offload(header: &[u8]) -> Offload {
    let segment_bytes = match header[1] {
        0 => 0,
        _ => u16::from_ne_bytes([header[4], header[5]]),
    };
    Offload { is_checksum_partial: header[0] & NEEDS_CHECKSUM != 0, segment_bytes }
}

/// A frame without its header gets one again. `side` is who sent it.
pub(crate) fn with_header(side: Side, offload: Offload, ethernet: &[u8]) -> Bytes {
    let mut header = [0; Tap::HEADER_BYTES];
    let packet = Packet::parse(Frame { card: Card(0), offload, bytes: ethernet }, side);
    if let Content::Tcp(segment) = packet.content {
        let tcp_at = segment.at as u16;
        if offload.is_checksum_partial {
            header[0] = NEEDS_CHECKSUM;
            header[6..8].copy_from_slice(&tcp_at.to_ne_bytes());
            header[8..10].copy_from_slice(&TCP_CHECKSUM_AT.to_ne_bytes());
        }
        if offload.segment_bytes > 0 {
            header[1] = if packet.flow.guest.to_ipv4_mapped().is_some() { TCP_V4 } else { TCP_V6 };
            let header_bytes = tcp_at + 20 + segment.options.0.len() as u16;
            header[2..4].copy_from_slice(&header_bytes.to_ne_bytes());
            header[4..6].copy_from_slice(&offload.segment_bytes.to_ne_bytes());
        }
    }
    [&header, ethernet].concat()
}

/// What a wire does to frames.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Weather {
    /// How late each frame is.
    pub(crate) delay: Duration,
    /// Of 10,000 frames, so many are lost.
    pub(crate) lost: u64,
    /// Of 10,000 frames, so many are late by up to `late_max` more: those behind them overtake.
    pub(crate) overtaken: u64,
    /// See there.
    pub(crate) late_max: Duration,
}

/// Frames under way.
pub(crate) struct Wire {
    weather: Weather,
    rng: Rng,
    under_way: BinaryHeap<Reverse<(Instant, u64, Bytes)>>,
    sent: u64,
}

impl Wire {
    pub(crate) fn new(weather: Weather, seed: u64) -> Self {
        Self { weather, rng: Rng::new(seed), under_way: BinaryHeap::new(), sent: 0 }
    }

    pub(crate) fn send(&mut self, now: Instant, frame: Bytes) {
        let Weather { delay, lost, overtaken, late_max } = self.weather;
        if self.rng.below(10_000) < lost {
            return;
        }
        let is_late = self.rng.below(10_000) < overtaken && !late_max.is_zero();
        let more = if is_late { self.rng.below(late_max.as_micros() as u64) } else { 0 };
        self.sent += 1;
        self.under_way.push(Reverse((now + delay + Duration::from_micros(more), self.sent, frame)));
    }

    /// The next frame that has arrived.
    pub(crate) fn arrived(&mut self, now: Instant) -> Option<Bytes> {
        self.under_way.peek().filter(|Reverse((at, ..))| *at <= now)?;
        self.under_way.pop().map(|Reverse((.., frame))| frame)
    }

    /// When the next one arrives.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.under_way.peek().map(|Reverse((at, ..))| *at)
    }

    /// The wire is cut: what was under way is gone, and counted.
    pub(crate) fn cut(&mut self) -> u64 {
        let lost = self.under_way.len() as u64;
        self.under_way.clear();
        lost
    }
}
