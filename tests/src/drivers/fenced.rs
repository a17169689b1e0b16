//! Seeds with a guest that needs fencing. They are long, because a watchdog has seconds, and few; their faults are those that
//! decide whether a host is reset: it hangs with its guest going on, is cut off, loses its engine or its power.

use super::faults::Fault;
use super::mutant::Mutant;
use super::network::{LINK, WITNESS, witness_channel};
use super::rng::Rng;
use super::settings::Settings;
use understudy::control::Wish;
use understudy_session::primary::Pacing;
use understudy_session::{Mode, Span, Time};

/// Faults strike before this.
pub const END: Time = Time(14_000_000_000);

/// Sets the seed to a guest that needs fencing.
pub fn prepare(settings: &mut Settings) {
    (settings.is_fenced, settings.has_witness, settings.outlives) = (true, true, true);
    (settings.witness_forgets, settings.autostarts, settings.guests) = (false, false, 1);
    (settings.answers, settings.modes) = (None, [Mode::Remus; 2]);
    // Both hosts reach its disk: there is nothing to send.
    settings.disks = false;
    // A second has enough checkpoints with fewer than others have.
    settings.pacing = Pacing::Clock { interval: Span::from_ms(25) };
}

/// The faults of such a seed, each with its time: one or two, so that a copy is there which has to be waited for.
pub fn plan(rng: &mut Rng, mutant: Option<Mutant>) -> Vec<(Time, Fault)> {
    if mutant == Some(Mutant::WatchdogUnset) {
        return vec![first_host_hangs(rng)];
    }
    // The first copy is fresh after half a second.
    let mut at = Time(0) + rng.span_us(500_000, 2_000_000);
    let mut plan = Vec::new();
    for _ in 0..1 + rng.below(2) {
        for fault in any(rng) {
            plan.push((at, fault));
        }
        at = at + rng.span_us(10_000, 9_000_000);
    }
    plan.retain(|(at, _)| *at < END);
    plan
}

/// For longer than the other host has to wait for a reset: few seeds would draw it.
fn first_host_hangs(rng: &mut Rng) -> (Time, Fault) {
    (Time(0) + rng.span_us(800_000, 2_000_000), Fault::Hang { node: 0, lasts: Span::from_ms(11_000) })
}

fn any(rng: &mut Rng) -> Vec<Fault> {
    let lasts = rng.span_us(500_000, 11_000_000);
    let node = usize::from(rng.chance(30));
    let stall = |channel| Fault::Stall { channel, ends: [true, true], lasts };
    match rng.below(10) {
        0..=2 => vec![Fault::Hang { node, lasts }],
        3 | 4 => vec![stall(LINK), stall(witness_channel(node))],
        5 => vec![stall(LINK)],
        6 => vec![Fault::Crash { node, silent: true, back_after: Some(rng.span_us(100_000, 9_000_000)) }],
        7 => vec![Fault::Crash { node, silent: false, back_after: Some(rng.span_us(20_000, 9_000_000)) }],
        8 => {
            let back_after = Some(rng.span_us(20_000, 1_500_000));
            let lingers = Fault::WitnessLingers { lasts: Span::from_ms(1_500) };
            vec![Fault::Crash { node: WITNESS, silent: rng.chance(50), back_after }, lingers]
        }
        _ => vec![Fault::Wish { guest: 0, wish: Wish::Switchover }],
    }
}
