//! Suspend, pause and stop: when they return, the guest neither runs nor speaks.

mod common;

use common::{Collector, GUEST_IP, answer, config, copy_whole, request_frame};
use std::sync::Arc;
use std::time::{Duration, Instant};
use understudy_checkpoint::domain::{DomainError, DomainState, Source};
use understudy_lab::memcached::Request;
use understudy_lab::wire::{Body, Frame};
use understudy_lab::{GuestConfig, LabGuest, Load, RING_FRAMES};

const GET: Request<'_> = Request::Get { key: b"k" };
const INCR: Request<'_> = Request::Incr { key: b"k", by: 1, noreply: false };

fn start(load: Load) -> (LabGuest, Arc<Collector>) {
    let port = Arc::new(Collector::default());
    (LabGuest::start(&config(load, 1), port.clone()).unwrap(), port)
}

/// Waits for the guest to do something; the bound only guards against hanging.
fn eventually<T>(mut look: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(seen) = look() {
            return seen;
        }
        assert!(start.elapsed() < Duration::from_secs(30), "it never happened");
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn next_answer(port: &Collector) -> String {
    let (_, text) = eventually(|| port.take().iter().find_map(|frame| answer(frame)));
    String::from_utf8(text).unwrap()
}

#[test]
fn a_suspended_guest_neither_runs_nor_speaks_and_then_goes_on() {
    let (guest, port) = start(Load::LOOP);
    let mut source = guest.source();
    eventually(|| (guest.counters().load_pages > 1000).then_some(()));
    for _ in 0..200 {
        source.suspend().unwrap();
        guest.inject(&request_frame(1, &GET));
        port.take();
        let before = guest.counters();
        std::thread::yield_now();
        assert_eq!(guest.counters(), before);
        assert_eq!(port.take().len(), 0);
        source.resume().unwrap();
    }
    assert_eq!(next_answer(&port), "END\r\n");
    let before = guest.counters().load_pages;
    eventually(|| (guest.counters().load_pages > before).then_some(()));
}

#[test]
fn a_paused_guest_stays_paused_through_checkpoints() {
    let (guest, port) = start(Load::LOOP);
    let mut source = guest.source();
    eventually(|| (guest.counters().load_pages > 1000).then_some(()));
    guest.pause();
    guest.inject(&request_frame(1, &GET));
    let before = guest.counters();
    for _ in 0..200 {
        source.suspend().unwrap();
        source.resume().unwrap();
        std::thread::yield_now();
        assert_eq!(guest.counters(), before, "it writes as fast as it can when it runs");
    }
    assert!(port.take().iter().all(|frame| answer(frame).is_none()));
    guest.unpause();
    assert_eq!(next_answer(&port), "END\r\n");
}

#[test]
fn guest_time_stands_still_while_it_does_not_run() {
    let (guest, _) = start(Load::IDLE);
    let mut source = guest.source();
    let captured = |source: &mut understudy_lab::LabSource| {
        let mut state = DomainState::default();
        source.capture_state(&mut state).unwrap();
        understudy_lab::Registers::read_state(&state).unwrap().time_ns
    };
    source.suspend().unwrap();
    let before = captured(&mut source);
    std::thread::sleep(Duration::from_millis(20));
    let resuming = Instant::now();
    source.resume().unwrap();
    source.suspend().unwrap();
    // However long this thread was kept waiting: the guest ran between these two moments.
    let ran_at_most = resuming.elapsed();
    assert!(captured(&mut source) - before <= ran_at_most.as_nanos() as u64);
}

#[test]
fn frames_that_find_the_ring_full_are_dropped_and_counted() {
    let (guest, _) = start(Load::IDLE);
    guest.pause();
    let taken = (0..RING_FRAMES + 7).filter(|_| guest.inject(&request_frame(1, &GET))).count();
    assert_eq!((taken, guest.frames_dropped()), (RING_FRAMES, 7));
    assert!(!guest.inject(&[0; 5]), "no frame is that short");
}

#[test]
fn a_guest_takes_what_was_put_into_its_ring_once_it_is_told_and_many_frames_tell_by_themselves() {
    let (guest, port) = start(Load::IDLE);
    let mut answered = 0;
    for many in [1, 5, 300] {
        let numbers: Vec<_> = (0..many).map(|_| guest.push(&request_frame(1, &GET))).collect();
        assert_eq!(numbers, (answered..answered + many).map(Some).collect::<Vec<_>>());
        guest.notify();
        answered += many;
        while guest.frames_taken() < answered {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    // The last of a hundred is not told of; most are.
    (0..100).for_each(|_| assert!(guest.push(&request_frame(1, &GET)).is_some()));
    while guest.frames_taken() < answered + 96 {
        std::thread::sleep(Duration::from_millis(1));
    }
    drop(port);
}

#[test]
fn a_stopped_guest_is_gone_for_its_source_too() {
    let (guest, port) = start(Load::LOOP);
    let mut source = guest.source();
    guest.stop();
    port.take();
    guest.inject(&request_frame(1, &GET));
    assert!(guest.is_stopped());
    assert!(matches!(source.suspend(), Err(DomainError::Gone(_))));
    assert!(matches!(source.describe(), Err(DomainError::Gone(_))));
    assert_eq!(port.take().len(), 0);
}

#[test]
fn a_guest_ends_with_its_last_handle_and_lets_its_port_go() {
    let (guest, port) = start(Load::LOOP);
    let source = guest.source();
    drop(guest);
    assert!(Arc::strong_count(&port) == 2, "the source keeps it alive");
    drop(source);
    eventually(|| (Arc::strong_count(&port) == 1).then_some(()));
}

#[test]
fn a_restored_guest_announces_itself_and_knows_what_it_knew() {
    let (guest, port) = start(Load::MIXED);
    let set = Request::Set { key: b"k", flags: 0, value: b"41", noreply: false };
    guest.inject(&request_frame(1, &set));
    assert_eq!(next_answer(&port), "STORED\r\n");
    let mut source = guest.source();
    source.suspend().unwrap();
    let description = source.describe().unwrap();
    let image = copy_whole(&mut source);
    guest.stop();

    let port = Arc::new(Collector::default());
    let restored = LabGuest::restore(image, port.clone()).unwrap();
    let first = eventually(|| port.take().into_iter().next());
    assert!(
        matches!(Frame::parse(&first).unwrap().body, Body::Arp(arp) if arp.sender_ip == GUEST_IP && arp.target_ip == GUEST_IP)
    );
    restored.inject(&request_frame(2, &INCR));
    assert_eq!(next_answer(&port), "42\r\n");
    assert_eq!(restored.source().describe().unwrap(), description);
}

#[test]
fn a_configuration_no_guest_can_be_made_from_is_refused() {
    let good = config(Load::IDLE, 0);
    let wrong = [
        GuestConfig { name: "a b".into(), ..good.clone() },
        GuestConfig { name: String::new(), ..good.clone() },
        GuestConfig { memory_bytes: 4096 * 255, ..good.clone() },
        GuestConfig { memory_bytes: (1 << 20) + 1, ..good.clone() },
        GuestConfig { memory_bytes: !4095, ..good.clone() },
        GuestConfig { mac: understudy_lab::Mac::BROADCAST, ..good.clone() },
    ];
    for config in wrong {
        assert!(LabGuest::start(&config, Arc::new(Collector::default())).is_err(), "{config:?}");
    }
    assert_eq!(good.check(), Ok(()));
}
