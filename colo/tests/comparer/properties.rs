//! What holds for all streams, and that each rule is needed for it: a comparer that lacks one is noticed, by the judge whose
//! rule it is.

use super::dice::Dice;
use super::history::{LIMITS, history};
use super::judges::{self, Judge, Verdict};
use super::support::SEED;
use proptest::prelude::*;
use std::collections::BTreeSet;
use understudy_colo::comparer::{Comparer, Limits, Mutant};

type Property = fn(u64, Comparer) -> Verdict;

const PROPERTIES: [(Property, Limits); 5] = [
    (judges::equal_streams, DEFAULT),
    (judges::different_streams, DEFAULT),
    (judges::silent_copy, DEFAULT),
    (judges::datagrams, DEFAULT),
    (|seed, comparer| history(seed, comparer).map(|_| ()), LIMITS),
];

const DEFAULT: Limits = Limits {
    flows_max: 16,
    frames_max: 65_536,
    flow_frames_max: 16_384,
    bytes_max: 16 << 20,
    match_min: understudy_checkpoint::time::Span::from_ms(100),
    match_max: understudy_checkpoint::time::Span::from_ms(100),
    ack_max: understudy_checkpoint::time::Span::from_ms(100),
    silence_max: understudy_checkpoint::time::Span::from_ms(1000),
};

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, ..ProptestConfig::default() })]

    #[test]
    fn equal_streams_leave_whole(seed in any::<u64>()) {
        prop_assert_eq!(judges::equal_streams(seed, Comparer::new(DEFAULT, SEED)), Ok(()));
    }

    #[test]
    fn nothing_leaves_after_a_difference(seed in any::<u64>()) {
        prop_assert_eq!(judges::different_streams(seed, Comparer::new(DEFAULT, SEED)), Ok(()));
    }

    #[test]
    fn a_copy_that_falls_silent_is_noticed(seed in any::<u64>()) {
        prop_assert_eq!(judges::silent_copy(seed, Comparer::new(DEFAULT, SEED)), Ok(()));
    }

    #[test]
    fn datagrams_leave_as_often_as_both_sent_them(seed in any::<u64>()) {
        prop_assert_eq!(judges::datagrams(seed, Comparer::new(DEFAULT, SEED)), Ok(()));
    }

    #[test]
    fn only_the_live_copy_of_the_right_base_lets_out(seed in any::<u64>()) {
        prop_assert!(history(seed, Comparer::new(LIMITS, SEED)).is_ok());
    }
}

#[test]
fn histories_are_not_empty() {
    let (mut left, mut told) = (0, 0);
    for seed in 0..100 {
        let (more_left, more_told) = history(seed, Comparer::new(LIMITS, SEED)).unwrap();
        (left, told) = (left + more_left, told + more_told);
    }
    assert!(left > 1000 && told > 50, "{left} frames left, {told} checkpoints");
}

#[test]
fn each_rule_is_needed() {
    use Judge::{Acks, Base, Clock, Content, Datagrams, Edges, Silence};
    let expected: [(Mutant, &[Judge]); 6] = [
        (Mutant::AckRuleOff, &[Acks, Edges]),
        (Mutant::AnyBase, &[Acks, Base, Content]),
        (Mutant::TimeoutOff, &[Silence]),
        (Mutant::OldClocks, &[Clock]),
        (Mutant::LengthOnly, &[Content, Datagrams]),
        (Mutant::EndIgnored, &[Content]),
    ];
    for (mutant, may_notice) in expected {
        let mut noticed = BTreeSet::new();
        let mut dice = Dice::new(1);
        for _ in 0..150 {
            let seed = dice.next();
            for (property, limits) in PROPERTIES {
                noticed.extend(property(seed, Comparer::mutant(limits, SEED, mutant)).err());
            }
        }
        assert!(noticed.contains(&may_notice[0]), "{mutant:?}: {noticed:?}");
        assert!(noticed.iter().all(|judge| may_notice.contains(judge)), "{mutant:?}: {noticed:?}");
    }
}
