//! The guest's service does what a map would do, and its stack survives every frame.

mod common;

use common::{Collector, answer, config, datagram, request_frame};
use proptest::prelude::*;
use std::collections::HashMap;
use understudy_lab::memcached::{Reply, Request};
use understudy_lab::{Guest, Load};

#[derive(Clone, Debug)]
enum Op {
    Get(String),
    Set(String, u32, Vec<u8>),
    Incr(String, u64),
}

fn op() -> impl Strategy<Value = Op> {
    // Few keys, so that operations meet; one of the longest kind.
    let key = || prop_oneof!["[a-d]", Just("k".repeat(250))];
    let value = prop_oneof![
        "[0-9]{1,21}".prop_map(String::into_bytes),
        proptest::collection::vec(any::<u8>(), 0..=1024)
    ];
    prop_oneof![
        key().prop_map(Op::Get),
        (key(), any::<u32>(), value).prop_map(|(key, flags, value)| Op::Set(key, flags, value)),
        (key(), any::<u64>()).prop_map(|(key, by)| Op::Incr(key, by)),
    ]
}

/// What a map answers, as text.
fn model(map: &mut HashMap<String, (u32, Vec<u8>)>, op: &Op) -> Vec<u8> {
    let mut text = Vec::new();
    match op {
        Op::Get(key) => match map.get(key) {
            Some((flags, value)) => {
                Reply::Value { key: key.as_bytes(), flags: *flags, value }.write(&mut text)
            }
            None => Reply::Miss.write(&mut text),
        },
        Op::Set(key, flags, value) => {
            map.insert(key.clone(), (*flags, value.clone()));
            Reply::Stored.write(&mut text);
        }
        Op::Incr(key, by) => match map.get_mut(key) {
            None => Reply::NotFound.write(&mut text),
            Some((_, value)) => match std::str::from_utf8(value)
                .ok()
                .and_then(|text| text.parse::<u64>().ok())
            {
                Some(number) if value.iter().all(u8::is_ascii_digit) => {
                    let sum = number.wrapping_add(*by);
                    *value = sum.to_string().into_bytes();
                    Reply::Number(sum).write(&mut text);
                }
                _ => Reply::ClientError("cannot increment or decrement non-numeric value").write(&mut text),
            },
        },
    }
    text
}

fn ask(guest: &mut Guest, id: u16, request: &Request<'_>) -> Vec<Vec<u8>> {
    let port = Collector::default();
    guest.deliver(&request_frame(id, request), &port);
    port.take()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn the_service_answers_as_a_map_would(ops in proptest::collection::vec(op(), 1..200)) {
        let (mut guest, mut map) = (Guest::boot(&config(Load::IDLE, 0)).unwrap(), HashMap::new());
        for (id, op) in ops.iter().enumerate() {
            let request = match op {
                Op::Get(key) => Request::Get { key: key.as_bytes() },
                Op::Set(key, flags, value) => Request::Set { key: key.as_bytes(), flags: *flags, value, noreply: false },
                Op::Incr(key, by) => Request::Incr { key: key.as_bytes(), by: *by, noreply: false },
            };
            let answers = ask(&mut guest, id as u16, &request);
            prop_assert_eq!(answers.len(), 1);
            prop_assert_eq!(answer(&answers[0]), Some((id as u16, model(&mut map, op))));
        }
    }

    #[test]
    fn no_frame_makes_the_guest_fall_over_or_forget(
        payloads in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..100), 1..20),
        flips in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..20),
        cuts in proptest::collection::vec(any::<prop::sample::Index>(), 1..20),
    ) {
        let (mut guest, port) = (Guest::boot(&config(Load::IDLE, 0)).unwrap(), Collector::default());
        let kept = Request::Set { key: b"kept", flags: 9, value: b"value", noreply: false };
        ask(&mut guest, 0, &kept);
        let good = request_frame(7, &Request::Incr { key: b"other", by: 1, noreply: false });
        payloads.iter().for_each(|payload| {
            guest.deliver(payload, &port);
            guest.deliver(&datagram(payload), &port);
            guest.deliver(&datagram(&[&[0, 1, 0, 0, 0, 1, 0, 0], &payload[..]].concat()), &port);
        });
        for (at, byte) in flips {
            let mut bad = good.clone();
            let at = at.index(bad.len());
            bad[at] ^= byte;
            guest.deliver(&bad, &port);
        }
        cuts.iter().for_each(|cut| guest.deliver(&good[..cut.index(good.len())], &port));
        let answers = ask(&mut guest, 1, &Request::Get { key: b"kept" });
        prop_assert_eq!(answer(&answers[0]).unwrap().1, b"VALUE kept 9 5\r\nvalue\r\nEND\r\n");
    }
}

#[test]
fn noreply_is_silent_and_a_message_of_several_datagrams_is_refused() {
    let mut guest = Guest::boot(&config(Load::IDLE, 0)).unwrap();
    let silent = Request::Set { key: b"k", flags: 0, value: b"1", noreply: true };
    assert_eq!(ask(&mut guest, 1, &silent).len(), 0);
    let port = Collector::default();
    guest.deliver(&datagram(b"\x00\x05\x00\x00\x00\x02\x00\x00get k\r\n"), &port);
    let (id, text) = answer(&port.take()[0]).unwrap();
    assert_eq!((id, text.as_slice()), (5, &b"SERVER_ERROR multi-packet request not supported\r\n"[..]));
}

#[test]
fn a_full_store_says_out_of_memory_and_goes_on() {
    let mut guest = Guest::boot(&config(Load::IDLE, 0)).unwrap();
    let refused = (0..1000u32).find_map(|number| {
        let key = format!("key-{number}");
        let set = Request::Set { key: key.as_bytes(), flags: 0, value: b"0", noreply: false };
        let (_, text) = answer(&ask(&mut guest, 1, &set)[0]).unwrap();
        (text != b"STORED\r\n").then_some(text)
    });
    assert_eq!(refused.unwrap(), b"SERVER_ERROR out of memory storing object\r\n");
    let incr = Request::Incr { key: b"key-0", by: 5, noreply: false };
    assert_eq!(answer(&ask(&mut guest, 1, &incr)[0]).unwrap().1, b"5\r\n");
}
