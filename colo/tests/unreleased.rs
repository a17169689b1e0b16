//! What a copy has sent and nobody has seen: kept by number, and sent with a clock that does not go back.

mod support;

use proptest::prelude::*;
use support::{ACK, CARD, WHOLE, guest, is_checksum_right, odd_stamps, segment, stamps};
use understudy_colo::packet::Frame;
use understudy_colo::unreleased::{Full, Limits, Unreleased};

fn push(unreleased: &mut Unreleased, bytes: &[u8]) -> Result<(), Full> {
    unreleased.push(Frame { card: CARD, offload: WHOLE, bytes })
}

fn told(unreleased: &Unreleased, from: u64) -> Vec<(u64, Vec<u8>)> {
    unreleased.from(from).map(|(number, kept)| (number, kept.bytes.clone())).collect()
}

#[test]
fn what_has_left_is_kept_no_longer_and_numbers_go_on() {
    let mut unreleased = Unreleased::new(Limits::default());
    for byte in 0..4 {
        push(&mut unreleased, &[byte; 20]).unwrap();
    }
    unreleased.released(1);
    assert_eq!(told(&unreleased, 0), [(2, vec![2; 20]), (3, vec![3; 20])]);
    assert_eq!(told(&unreleased, 3), [(3, vec![3; 20])]);
    assert!(told(&unreleased, 9).is_empty());
    unreleased.released(u64::MAX);
    assert_eq!((unreleased.next(), unreleased.load()), (4, (0, 0)));
    push(&mut unreleased, &[9; 20]).unwrap();
    assert_eq!(told(&unreleased, 4), [(4, vec![9; 20])]);
    unreleased.clear();
    assert_eq!((unreleased.next(), unreleased.load()), (0, (0, 0)));
}

#[test]
fn what_has_no_room_is_refused_and_takes_no_number() {
    let mut unreleased = Unreleased::new(Limits { frames_max: 2, bytes_max: 100 });
    push(&mut unreleased, &[1; 60]).unwrap();
    assert_eq!(push(&mut unreleased, &[2; 60]), Err(Full), "bytes");
    push(&mut unreleased, &[3; 10]).unwrap();
    assert_eq!(push(&mut unreleased, &[4; 10]), Err(Full), "frames");
    assert_eq!(told(&unreleased, 0), [(0, vec![1; 60]), (1, vec![3; 10])]);
}

#[test]
fn each_connection_leaves_with_the_newest_clock_that_its_copy_told() {
    let mut unreleased = Unreleased::new(Limits::default());
    let data = |port, sequence, options: &[u8]| {
        guest(ACK, sequence, 5).port(port).options(options).payload(b"four").frame()
    };
    // Over the wrap of clocks; the other connection has a clock of its own, and at an odd byte.
    push(&mut unreleased, &data(1, 1, &stamps(u32::MAX - 5, 7))).unwrap();
    push(&mut unreleased, &data(2, 1, &odd_stamps(100, 7))).unwrap();
    push(&mut unreleased, &data(1, 5, &stamps(3, 8))).unwrap();
    push(&mut unreleased, &data(1, 9, &stamps(2, 8))).unwrap();
    push(&mut unreleased, &data(3, 1, &[])).unwrap();
    push(&mut unreleased, b"no segment at all").unwrap();
    let frames = unreleased.take();
    let clocks: Vec<_> = frames[..5]
        .iter()
        .map(|kept| segment(&kept.bytes).options.timestamps().map(|(stamps, _)| (stamps.value, stamps.echo)))
        .collect();
    assert_eq!(clocks, [Some((3, 7)), Some((100, 7)), Some((3, 8)), Some((3, 8)), None]);
    assert!(frames[..5].iter().all(|kept| is_checksum_right(&kept.bytes)));
    assert_eq!(frames[5].bytes, b"no segment at all");
    assert_eq!((unreleased.next(), unreleased.load()), (6, (0, 0)));
}

proptest! {
    /// Whatever leaves in between: what is kept is what was taken in and has not left, and within the bounds.
    #[test]
    fn what_is_kept_is_what_has_not_left(steps in proptest::collection::vec((any::<bool>(), 1usize..40), 1..200)) {
        let limits = Limits { frames_max: 20, bytes_max: 400 };
        let mut unreleased = Unreleased::new(limits);
        let (mut taken, mut left) = (Vec::new(), 0);
        for (is_sent, amount) in steps {
            if is_sent {
                if push(&mut unreleased, &vec![taken.len() as u8; amount]).is_ok() {
                    taken.push(amount);
                }
            } else {
                let through = (left + amount) as u64 % (taken.len() as u64 + 2);
                unreleased.released(through);
                left = left.max(taken.len().min(through as usize + 1));
            }
            let kept: Vec<_> = unreleased.from(0).map(|(number, kept)| (number, kept.bytes.len())).collect();
            let expected: Vec<_> = (left..taken.len()).map(|number| (number as u64, taken[number])).collect();
            prop_assert_eq!(kept, expected);
            let (frames, bytes) = unreleased.load();
            prop_assert!(frames <= limits.frames_max && bytes <= limits.bytes_max);
            prop_assert_eq!(bytes, taken[left..].iter().sum::<usize>());
        }
    }
}
