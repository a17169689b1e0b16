//! The faults that a seed plans, at random times and aimed at moments.

use super::faults::{Aimed, Fault, Moment};
use super::rng::Rng;
use super::weights::Weights;
use understudy_session::{Mode, Time, primary, secondary};

/// Faults strike before this.
pub const FAULTS_END: Time = Time(700_000_000);

/// The faults of a seed, each with its time.
pub fn plan(rng: &mut Rng, weights: &Weights) -> Vec<(Time, Fault)> {
    let count = match rng.below(10) {
        0 => 0,
        1..=6 => 1 + rng.below(3),
        _ => 4 + rng.below(6),
    };
    let mut plan: Vec<_> =
        (0..count).map(|_| (Time(rng.below(FAULTS_END.0 / 1000) * 1000), weights.any(rng))).collect();
    // Half of all interesting things happen while something else is still going on.
    for index in 1..plan.len() {
        if rng.chance(50) {
            plan[index].0 = plan[index - 1].0 + rng.span_us(1, 60_000);
        }
    }
    plan.retain(|(at, _)| *at < FAULTS_END);
    plan
}

/// What else befalls guests that may run twice: changes of mode, copies that crash, and anything at all at moments that there
/// are with a copy alone.
pub fn of_copies(rng: &mut Rng, weights: &Weights) -> (Vec<(Time, Fault)>, Vec<Aimed>) {
    let one = |rng: &mut Rng| {
        let guest = usize::from(rng.chance(25));
        let mode = [Mode::Remus, Mode::Colo, Mode::Auto, Mode::Colo][rng.below(4) as usize];
        if rng.chance(25) { Fault::CopyCrashes { guest } } else { Fault::Mode { guest, mode } }
    };
    let count = if rng.chance(50) { 1 + rng.below(3) } else { 0 };
    let plan = (0..count).map(|_| (Time(rng.below(FAULTS_END.0 / 1000) * 1000), one(rng))).collect();
    let count = if rng.chance(60) { 1 + rng.below(3) } else { 0 };
    let aimed = (0..count).map(|_| {
        let moment =
            [Moment::Matches, Moment::CopyLives, Moment::CopyHalts, Moment::CopyHalts][rng.below(4) as usize];
        let fault = if rng.chance(20) { one(rng) } else { weights.any(rng) };
        Aimed { moment, after: rng.span_us(0, 10_000), fault }
    });
    (plan, aimed.collect())
}

/// Faults of a seed that strike at moments of decision, which chance alone would seldom hit.
pub fn aimed(rng: &mut Rng, weights: &Weights) -> Vec<Aimed> {
    let count = if rng.chance(50) { 1 + rng.below(4) } else { 0 };
    (0..count)
        .map(|_| Aimed { moment: any_moment(rng), after: rng.span_us(0, 4_000), fault: weights.any(rng) })
        .collect()
}

fn any_moment(rng: &mut Rng) -> Moment {
    use primary::State as P;
    use secondary::State as S;
    match rng.below(14) {
        0 => Moment::Primary(P::Claiming),
        1 => Moment::Primary(P::Unprotected),
        2 => Moment::Primary(P::Seeding),
        3 | 4 => Moment::Primary(P::Arming),
        5 => Moment::Primary(P::Protected),
        6 => Moment::Primary(P::LinkLost),
        7 => Moment::Primary(P::MarkingStale),
        8 => Moment::Primary(P::SwitchingOver),
        9 => Moment::Secondary(S::Alone),
        10 => Moment::Secondary(S::TakingOver),
        11 => Moment::Secondary(S::Activating),
        12 => Moment::Primary(P::Contested),
        _ => Moment::Primary(P::PausedUndecided),
    }
}
