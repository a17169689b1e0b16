//! A guest with a copy that runs, under faults drawn from a seed: the sessions are real, what surrounds them is modelled.
//! Judges see what happens; each deliberately wrong driver is caught by a judge that is heard alone.
//!
//! Not here: offsets of sequence numbers (`colo`), and the drivers of a node (the simulator in `tests/`, which runs no copies).

mod faults;
mod guest;
mod host;
mod judge;
mod mutant;
mod primary_side;
mod secondary_side;
mod world;

use judge::Rule;
use mutant::Mutant;
use std::collections::BTreeMap;
use world::World;

#[test]
fn every_rule_holds_whatever_fails() {
    let mut looked: BTreeMap<&str, u64> = BTreeMap::new();
    for seed in 0..300 {
        let mut world = World::new(seed, None, None);
        world.run();
        if let Some((rule, what)) = &world.judges.broken {
            panic!("seed {seed}: {rule:?} is broken at {} us: {what}", world.now.0 / 1_000);
        }
        world.judges.looked.iter().for_each(|(what, count)| *looked.entry(what).or_default() += count);
    }
    println!("{looked:?}");
    // What nothing led to was not judged.
    for what in [
        "copies set",
        "left by match",
        "left by ack",
        "left late",
        "takeovers after another",
        "from a live copy",
        "from a set copy",
        "from the image",
        "left to a person",
    ] {
        assert!(looked.get(what).is_some_and(|count| *count > 10), "{what}: {looked:?}");
    }
}

#[test]
fn each_wrong_driver_is_caught_by_its_judge_alone() {
    for (mutant, rule) in Mutant::ALL {
        let caught = (0..400).find(|seed| {
            let mut world = World::new(*seed, Some(rule), Some(mutant));
            world.run();
            world.judges.broken.is_some()
        });
        println!("{mutant:?} {rule:?}: {caught:?}");
        assert!(caught.is_some(), "{mutant:?} is not caught by {rule:?}");
    }
    let judged: std::collections::BTreeSet<_> = Mutant::ALL.iter().map(|(_, rule)| *rule).collect();
    assert_eq!(judged.into_iter().collect::<Vec<_>>(), Rule::ALL);
}
