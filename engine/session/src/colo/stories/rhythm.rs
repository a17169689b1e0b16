//! When the guest of a copy that runs is captured: rarely, at once after a divergence, and never too late for held output.

use super::*;

#[test]
fn a_divergence_has_a_checkpoint_made_at_once_but_not_within_the_gap() {
    let mut pair = Pair::live();
    let gap_ms = GAP.0 / 1_000_000;
    diverge(&mut pair);
    pair.wait(gap_ms - 3);
    assert_eq!(captures(&pair), [], "the last one was a moment ago");
    pair.wait(3);
    assert_eq!(captures(&pair).len(), 1);
    pair.wait(500);
    assert_eq!(captures(&pair).len(), 1, "nothing diverges");
    pair.forget();
    diverge(&mut pair);
    assert_eq!(captures(&pair).len(), 1, "at once");
    assert_eq!(pair.primary.paced_by(), Some(primary::PacedBy::Divergence));
    pair.forget();
    let base = Epoch(pair.base().0 - 1);
    pair.tell_primary(primary::Input::Diverged { base, why: Divergence::Silence });
    pair.wait(500);
    assert_eq!(captures(&pair), [], "what is said of an older base is over");
}

#[test]
fn while_a_copy_is_live_checkpoints_are_rare_and_the_guest_stays_protected() {
    let mut pair = Pair::live();
    pair.wait(PERIOD_MS - 100);
    assert_eq!((captures(&pair).len(), pair.primary.state()), (0, State::Protected));
    pair.wait(200);
    assert_eq!(captures(&pair).len(), 1);
    assert_eq!(pair.primary.paced_by(), Some(primary::PacedBy::Period));
    // The end of a long stretch without acks is not the secondary's fault.
    pair.wait(PERIOD_MS - 500);
    pair.tell_secondary(secondary::Input::CopyCrashed { has_forwarded: true });
    assert_eq!(pair.primary.state(), State::Protected);
    pair.wait(1_000);
    assert_eq!(pair.primary.state(), State::Protected);
}

#[test]
fn held_output_near_its_limit_waits_for_no_copy() {
    let mut pair = Pair::live();
    pair.tell_primary(primary::Input::OutputPressure);
    assert_eq!(captures(&pair).len(), 1);
}

#[test]
fn a_checkpoint_waits_a_bounded_time_for_a_copy_to_be_set_and_not_every_time() {
    let mut pair = Pair::protected(Mode::Colo);
    pair.hold(Held::Set);
    pair.wait(INTERVAL_MS + 1);
    pair.forget();
    pair.wait(LIVE_MAX_MS - 3);
    assert_eq!(captures(&pair), []);
    pair.wait(INTERVAL_MS);
    assert_eq!(captures(&pair).len(), 1);
    assert!(
        pair.of_primary.iter().any(|it| matches!(it, Output::Send(ToSecondary::CopyWanted { .. }))),
        "said again"
    );
    pair.forget();
    pair.wait(40 * INTERVAL_MS);
    assert!(captures(&pair).len() > 35, "as without a copy for a while: {}", captures(&pair).len());
    pair.let_go(Held::Set);
    assert_eq!(pair.primary.live_base(), pair.primary.acked());
}
