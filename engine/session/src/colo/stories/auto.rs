//! Mode auto: when a copy is tried, and when it rests because it does not pay.

use super::*;

/// Frames of one second each.
fn frames_leave(pair: &mut Pair, by_match: u64, by_ack: u64, seconds: u64) {
    for _ in 0..seconds {
        pair.wait(1_000);
        pair.tell_primary(primary::Input::FramesLeft { by_match, by_ack });
    }
}

#[test]
fn auto_tries_a_copy_where_output_waits_and_rests_longer_each_time_that_it_does_not_pay() {
    let mut pair = Pair::protected(Mode::Auto);
    frames_leave(&mut pair, 0, 1, 10);
    assert_eq!(matches_from(&pair), [], "a guest that says nothing gains nothing");
    frames_leave(&mut pair, 0, 100, 2);
    pair.wait(2 * INTERVAL_MS);
    assert!(pair.primary.live_base().is_some());
    frames_leave(&mut pair, 60, 40, 20);
    assert_eq!(rests(&pair), [], "it pays");
    assert!(pair.primary.live_base().is_some());
    frames_leave(&mut pair, 20, 80, 4);
    assert_eq!(rests(&pair), [(Rest::FewMatches { percent: 20 }, 5)]);
    assert_eq!(pair.primary.live_base(), None);
    pair.forget();
    frames_leave(&mut pair, 0, 100, 2);
    assert_eq!(matches_from(&pair), [], "it rests");
    assert_eq!(pair.secondary.live_base(), None);
    frames_leave(&mut pair, 0, 100, 8);
    assert!(!matches_from(&pair).is_empty(), "and is tried again");
    assert_eq!(rests(&pair), [(Rest::FewMatches { percent: 0 }, 10)]);
    frames_leave(&mut pair, 100, 0, 30);
    assert!(matches!(pair.primary.state(), State::Protected));
}
