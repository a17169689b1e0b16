//! Every node crashed, every connection cut, after every single event of the first epochs.

use super::cluster::Cluster;
use super::fate::Fate;
use super::faults::{Fault, Thread};
use super::harm::Trouble;
use super::judge::Violation;
use super::network::{LINK, NODES, witness_channel};
use super::options::Options;
use super::rng::Rng;
use super::run::finish;
use super::settings::Settings;
use std::ops::Range;
use understudy::control::Wish;
use understudy::node::Glance;
use understudy_checkpoint::Epoch;
use understudy_session::{Mode, Span, Time};

/// The faults tried after each event.
pub fn faults() -> Vec<Fault> {
    let long = Span::from_ms(400);
    let short = Span::from_ms(60);
    let mut faults = Vec::new();
    for node in 0..NODES {
        faults.push(Fault::Crash { node, silent: false, back_after: None });
        faults.push(Fault::Crash { node, silent: true, back_after: Some(short) });
        faults.push(Fault::Hang { node, lasts: long });
    }
    for channel in [LINK, witness_channel(0), witness_channel(1)] {
        faults.push(Fault::Reset { channel });
        for ends in [[true, true], [true, false], [false, true]] {
            faults.push(Fault::Stall { channel, ends, lasts: long });
        }
    }
    faults.push(Fault::WitnessLingers { lasts: long });
    for thread in [Thread::Capture, Thread::Encode, Thread::Receive] {
        faults.push(Fault::ThreadDies { guest: 0, thread });
    }
    let troubles =
        [Trouble::Once, Trouble::LogLost, Trouble::ForEver, Trouble::SuspendsLate, Trouble::UnmappedPage];
    for trouble in troubles {
        faults.push(Fault::CapturesFail { guest: 0, trouble });
    }
    faults.push(Fault::LogOff { guest: 0 });
    faults.push(Fault::BitsStolen { guest: 0 });
    faults.push(Fault::RedirectLost { guest: 0, lasts: short });
    faults.push(Fault::StandingSuffers { host: 1, guest: 0, fate: Fate::Destroyed });
    faults.push(Fault::StandingSuffers { host: 1, guest: 0, fate: Fate::Ran });
    faults.push(Fault::ReceiverHangs { host: 1, guest: 0, lasts: Some(short) });
    faults
}

/// Those that are the first or the second of a pair: a takeover needs a reason before it can fail.
pub fn faults_of_pairs() -> Vec<Fault> {
    let takeovers = [
        Fault::ActivationFails { host: 1 },
        Fault::ActivationShort { host: 1 },
        Fault::ActivationSlow { host: 1 },
        Fault::DiesActivating { host: 1 },
    ];
    faults().into_iter().chain(takeovers).collect()
}

/// Those that are tried while a copy runs.
pub fn faults_of_copies() -> Vec<Fault> {
    let of_copies = [
        Fault::CopyCrashes { guest: 0 },
        Fault::Mode { guest: 0, mode: Mode::Remus },
        Fault::CommitFails { host: 1 },
        Fault::Wish { guest: 0, wish: Wish::Switchover },
        Fault::ForceTakeover { host: 1, guest: 0 },
    ];
    faults().into_iter().chain(of_copies).collect()
}

/// The events of a run without faults from when output leaves by a match with a first copy until it does with a second one: what is
/// halted, acked, committed, set and run lies in between.
pub fn life_of_a_copy(seed: u64, settings: &Settings) -> Range<u64> {
    let live_base = |cluster: &Cluster| match cluster.hosts[0].glance(0) {
        Some(Glance::Primary { live_base, .. }) => live_base,
        _ => None,
    };
    let begins = events_before(seed, settings, |cluster| live_base(cluster).is_some());
    let mut first = None;
    let ends = events_before(seed, settings, |cluster| {
        let base = live_base(cluster);
        first = first.or(base);
        base > first
    });
    begins..ends
}

/// How many events a run without faults takes until the secondary has committed `epoch`.
pub fn events_until(epoch: Epoch, seed: u64, settings: &Settings) -> u64 {
    events_before(seed, settings, |cluster| {
        let committed = |host: &super::host::Host| host.image(0).is_some_and(|(_, at, _)| at >= epoch);
        cluster.hosts.iter().any(committed)
    })
}

fn events_before(seed: u64, settings: &Settings, mut reached: impl FnMut(&Cluster) -> bool) -> u64 {
    let mut cluster = Cluster::new(Rng::new(seed), settings.clone(), Options::default());
    let mut events = 0;
    while !reached(&cluster) {
        events += 1;
        cluster.run(Time(u64::MAX), events);
        assert!(events < 10_000, "without faults the guest is protected soon");
    }
    events
}

/// Runs to the given event, lets `first` strike, and (if there is one) `second` a little later; then heals.
pub fn strike_after(
    seed: u64,
    settings: &Settings,
    events: u64,
    first: Fault,
    second: Option<(Span, Fault)>,
) -> Option<Violation> {
    let mut cluster = Cluster::new(Rng::new(seed), settings.clone(), Options::default());
    cluster.run(Time(u64::MAX), events);
    cluster.inject(first);
    if let Some((after, fault)) = second {
        let at = cluster.now + after;
        cluster.run(at, u64::MAX);
        cluster.inject(fault);
    }
    let end = cluster.now + Span::from_ms(300);
    cluster.run(end, u64::MAX);
    finish(&mut cluster);
    cluster.violation.take()
}
