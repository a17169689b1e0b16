//! What the lab's tests share: a port that collects, frames of a client, and copies of a guest.
#![allow(dead_code, reason = "each test file uses its own part of this")]

use parking_lot::Mutex;
use std::net::Ipv4Addr;
use understudy_checkpoint::domain::{DomainState, Sink, Source};
use understudy_checkpoint::epoch::{Image, Staging};
use understudy_checkpoint::pages::DirtyBitmap;
use understudy_checkpoint::{PageEntry, PageType, Pfn};
use understudy_lab::memcached::{self, Request};
use understudy_lab::wire::{Body, Flow, Frame, Udp};
use understudy_lab::{Guest, GuestConfig, LabSource, Load, Mac, Port};

pub(crate) const GUEST_MAC: Mac = Mac([0, 0x16, 0x3E, 0, 0, 1]);
pub(crate) const GUEST_IP: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
pub(crate) const CLIENT_MAC: Mac = Mac([2, 0, 0, 0, 0, 2]);
pub(crate) const CLIENT_IP: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);

/// A small guest, so that tests copy and compare all of it.
pub(crate) fn config(load: Load, seed: u64) -> GuestConfig {
    GuestConfig { memory_bytes: 1 << 20, load, seed, ..GuestConfig::new("test", GUEST_MAC, GUEST_IP) }
}

/// Keeps what a guest sends.
#[derive(Default)]
pub(crate) struct Collector(pub(crate) Mutex<Vec<Vec<u8>>>);

impl Port for Collector {
    fn transmit(&self, frame: &[u8]) {
        self.0.lock().push(frame.to_vec());
    }
}

impl Collector {
    pub(crate) fn take(&self) -> Vec<Vec<u8>> {
        std::mem::take(&mut self.0.lock())
    }
}

/// A datagram from the client to the guest's service.
pub(crate) fn datagram(payload: &[u8]) -> Vec<u8> {
    let flow = Flow { src: CLIENT_IP, dst: GUEST_IP };
    let udp = Udp { src_port: 5000, dst_port: memcached::PORT, payload };
    let mut bytes = Vec::new();
    Frame { dst: GUEST_MAC, src: CLIENT_MAC, body: Body::Udp(flow, udp) }.write(&mut bytes);
    bytes
}

pub(crate) fn request_frame(id: u16, request: &Request<'_>) -> Vec<u8> {
    let mut payload = Vec::new();
    memcached::write_header(id, &mut payload);
    request.write(&mut payload);
    datagram(&payload)
}

/// The id and text of a frame that is an answer of the service to the client.
pub(crate) fn answer(frame: &[u8]) -> Option<(u16, Vec<u8>)> {
    match Frame::parse(frame)?.body {
        Body::Udp(flow, udp) if flow.dst == CLIENT_IP && udp.dst_port == 5000 => {
            let (id, text) = memcached::split(udp.payload)?.ok()?;
            Some((id, text.to_vec()))
        }
        _ => None,
    }
}

/// A copy of a guest at rest, as a takeover would start from.
pub(crate) fn image_of(guest: &Guest) -> Image {
    let mut image = Image::new(guest.ram().page_count());
    for pfn in (0..guest.ram().page_count()).map(Pfn) {
        image.apply_page(PageEntry::new(pfn, PageType::Normal), Some(guest.ram().page(pfn)));
    }
    let mut state = DomainState::default();
    guest.registers().write_state(&mut state);
    image.apply_state(&state);
    image
}

pub(crate) fn all_pages(page_count: u64) -> DirtyBitmap {
    let mut wanted = DirtyBitmap::new(page_count);
    wanted.set_all();
    wanted
}

/// Copies the wanted pages of a source into `image`, through a staging smaller than they are.
pub(crate) fn copy_into(source: &mut LabSource, wanted: &DirtyBitmap, image: &mut Image) {
    let (mut staging, mut next) = (Staging::new(100), Some(Pfn(0)));
    while let Some(from) = next {
        staging.clear();
        next = source.copy_pages(wanted, from, &mut staging, 2).unwrap();
        for (entry, page) in staging.entries().iter().zip(staging.pages()) {
            image.apply_page(*entry, Some(page));
        }
    }
}

/// Copies all of a suspended source.
pub(crate) fn copy_whole(source: &mut LabSource) -> Image {
    let page_count = source.describe().unwrap().page_count;
    let mut image = Image::new(page_count);
    copy_into(source, &all_pages(page_count), &mut image);
    let mut state = DomainState::default();
    source.capture_state(&mut state).unwrap();
    image.apply_state(&state);
    image
}

/// The frames in which two images differ.
pub(crate) fn differing(one: &Image, other: &Image) -> Vec<Pfn> {
    assert_eq!(one.page_count(), other.page_count());
    (0..one.page_count()).map(Pfn).filter(|pfn| one.page(*pfn) != other.page(*pfn)).collect()
}
