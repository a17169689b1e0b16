//! The dirty log is complete: whatever differs between two suspends was reported, under every load.

mod common;

use common::{Collector, all_pages, config, copy_into, copy_whole, differing, request_frame};
use std::sync::Arc;
use std::time::Duration;
use understudy_checkpoint::Pfn;
use understudy_checkpoint::domain::{DomainState, Sink, Source};
use understudy_checkpoint::epoch::Image;
use understudy_checkpoint::pages::DirtyBitmap;
use understudy_lab::memcached::Request;
use understudy_lab::{Guest, LabGuest, Load};

const LOADS: [&str; 8] = [
    "idle",
    "mixed,set=600K",
    "loop,set=600K",
    "rate=max,set=600K,skew=0.9,content=text",
    "rate=max,set=100K,skew=0,content=random",
    "rate=max,set=600K,skew=0.5,content=zero",
    "rate=max,set=600K,skew=0.5,content=mixed",
    "rate=50000,set=4K,skew=0,content=words",
];

fn start(load: &str, seed: u64) -> LabGuest {
    let load: Load = load.parse().unwrap();
    LabGuest::start(&config(load, seed), Arc::new(Collector::default())).unwrap()
}

fn ask_something(guest: &LabGuest, round: u64) {
    for number in 0..20 {
        let key = format!("key-{number}-{round}");
        let set = Request::Set { key: key.as_bytes(), flags: 0, value: b"1", noreply: true };
        guest.inject(&request_frame(number, &set));
        guest
            .inject(&request_frame(number, &Request::Incr { key: key.as_bytes(), by: round, noreply: true }));
    }
}

#[test]
fn every_page_that_changed_between_two_suspends_was_reported() {
    for (seed, load) in LOADS.iter().enumerate() {
        let guest = start(load, seed as u64);
        let mut source = guest.source();
        source.suspend().unwrap();
        source.begin_log_dirty().unwrap();
        let mut before = copy_whole(&mut source);
        let mut changed_in_all = 0;
        for round in 0..5 {
            ask_something(&guest, round);
            source.resume().unwrap();
            std::thread::sleep(Duration::from_millis(5));
            source.suspend().unwrap();
            let mut dirty = DirtyBitmap::new(before.page_count());
            source.drain_dirty(&mut dirty).unwrap();
            let after = copy_whole(&mut source);
            let changed = differing(&before, &after);
            let silent: Vec<&Pfn> = changed.iter().filter(|pfn| !dirty.get(**pfn)).collect();
            assert!(silent.is_empty(), "load {load}: {silent:?} changed and was not reported");
            changed_in_all += changed.len();
            before = after;
        }
        assert!(changed_in_all > 0, "load {load}: nothing changed, so nothing was tested");
    }
}

#[test]
fn a_live_copy_and_the_dirty_pages_after_it_are_the_guest() {
    for (seed, load) in LOADS.iter().enumerate() {
        let guest = start(load, seed as u64);
        let mut source = guest.source();
        let page_count = source.describe().unwrap().page_count;
        source.begin_log_dirty().unwrap();
        let (mut image, mut dirty) = (Image::new(page_count), all_pages(page_count));
        for round in 0..3 {
            ask_something(&guest, round);
            copy_into(&mut source, &dirty, &mut image);
            dirty.clear();
            source.drain_dirty(&mut dirty).unwrap();
        }
        source.suspend().unwrap();
        source.drain_dirty(&mut dirty).unwrap();
        copy_into(&mut source, &dirty, &mut image);
        let mut state = DomainState::default();
        source.capture_state(&mut state).unwrap();
        image.apply_state(&state);

        let whole = copy_whole(&mut source);
        assert_eq!(differing(&image, &whole), vec![], "load {load}");
        assert_eq!(image.state(), whole.state(), "a suspended guest's state stands still");
        assert!(Guest::from_image(image).is_ok());
    }
}
