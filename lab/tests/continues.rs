//! Nothing of a guest lives outside its memory and registers: a copy, given the same input, does the same.

mod common;

use common::{Collector, config, differing, image_of, request_frame};
use proptest::prelude::*;
use understudy_lab::memcached::Request;
use understudy_lab::{Content, Guest, Load, Rate};

/// What may happen to a guest.
#[derive(Clone, Debug)]
enum Happening {
    Time(u64),
    Get(u8),
    Set(u8, Vec<u8>),
    Incr(u8, u64),
    Bytes(Vec<u8>),
}

fn happening() -> impl Strategy<Value = Happening> {
    prop_oneof![
        (0u64..200_000_000).prop_map(Happening::Time),
        any::<u8>().prop_map(Happening::Get),
        (any::<u8>(), proptest::collection::vec(b'0'..=b'9', 1..18)).prop_map(|(k, v)| Happening::Set(k, v)),
        (any::<u8>(), any::<u64>()).prop_map(|(key, by)| Happening::Incr(key, by)),
        proptest::collection::vec(any::<u8>(), 0..80).prop_map(Happening::Bytes),
    ]
}

fn load() -> impl Strategy<Value = Load> {
    let content = prop_oneof![
        Just(Content::Words),
        Just(Content::Text),
        Just(Content::Random),
        Just(Content::Zero),
        Just(Content::Mixed)
    ];
    let rate = prop_oneof![Just(Rate::Max), (0u64..100_000).prop_map(Rate::PagesPerSecond)];
    (rate, 1u64..400, 0u8..100, content).prop_map(|(rate, set_pages, skew_percent, content)| Load {
        rate,
        set_pages,
        skew_percent,
        content,
    })
}

fn live_through(guest: &mut Guest, happenings: &[Happening], port: &Collector) {
    for (id, happening) in happenings.iter().enumerate() {
        let key = |number: &u8| format!("key-{}", number % 16);
        let frame = match happening {
            Happening::Time(ns) => {
                guest.advance(*ns);
                guest.run_timers(port);
                for _ in 0..50 {
                    if guest.load_is_due() {
                        guest.write_load_page();
                    }
                }
                continue;
            }
            Happening::Get(number) => request_frame(id as u16, &Request::Get { key: key(number).as_bytes() }),
            Happening::Set(number, value) => {
                let key = key(number);
                let request = Request::Set { key: key.as_bytes(), flags: 3, value, noreply: false };
                request_frame(id as u16, &request)
            }
            Happening::Incr(number, by) => {
                let key = key(number);
                request_frame(id as u16, &Request::Incr { key: key.as_bytes(), by: *by, noreply: false })
            }
            Happening::Bytes(bytes) => bytes.clone(),
        };
        guest.deliver(&frame, port);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn a_copy_given_the_same_input_does_the_same(
        load in load(),
        seed: u64,
        before in proptest::collection::vec(happening(), 0..60),
        after in proptest::collection::vec(happening(), 1..60),
    ) {
        let mut original = Guest::boot(&config(load, seed)).unwrap();
        live_through(&mut original, &before, &Collector::default());
        let mut copy = Guest::from_image(image_of(&original)).unwrap();
        prop_assert_eq!(copy.registers(), original.registers());

        let (from_original, from_copy) = (Collector::default(), Collector::default());
        live_through(&mut original, &after, &from_original);
        live_through(&mut copy, &after, &from_copy);
        prop_assert_eq!(from_original.take(), from_copy.take());
        prop_assert_eq!(copy.registers(), original.registers());
        prop_assert_eq!(differing(&image_of(&original), &image_of(&copy)), vec![]);
    }
}

#[test]
fn an_image_that_is_no_lab_guest_is_refused() {
    let original = Guest::boot(&config(Load::IDLE, 0)).unwrap();
    let mut without_state = image_of(&original);
    understudy_checkpoint::domain::Sink::apply_state(&mut without_state, &Default::default());
    assert!(Guest::from_image(without_state).unwrap_err().to_string().contains("no lab registers"));

    let mut other_size = understudy_checkpoint::epoch::Image::new(300);
    understudy_checkpoint::domain::Sink::apply_state(&mut other_size, image_of(&original).state());
    assert!(Guest::from_image(other_size).unwrap_err().to_string().contains("do not belong together"));
}
