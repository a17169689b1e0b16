//! A client, a guest and its copy with numbers of its own: whatever comes late, twice or in another order, the copy sees one
//! connection, and what it sends is in the primary's numbers.

use crate::model::{self, Plan, Seen, Simulation};
use core::cell::RefCell;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

fn plan() -> impl Strategy<Value = Plan> {
    let script = prop::collection::vec(prop_oneof![8 => 0_u8..200, 1 => Just(model::guest::CALL)], 1..40)
        .prop_map(|mut script| {
            // It calls at most once.
            let mut calls = 0;
            script.retain(|byte| {
                *byte != model::guest::CALL || {
                    calls += 1;
                    calls == 1
                }
            });
            script.push(1);
            script
        });
    (
        any::<u64>(),
        1_u64..40,
        0_u64..60,
        0_u64..15,
        60_u64..400,
        prop::collection::vec(50_u64..1500, 0..3),
        prop::collection::vec((0_u64..1200, script), 1..6),
    )
        .prop_map(|(seed, link_ms, told_ms, jitter_ms, checkpoint_ms, mut takeovers, scripts)| {
            takeovers.sort_unstable();
            Plan { seed, link_ms, told_ms, jitter_ms, checkpoint_ms, takeovers, scripts }
        })
}

#[test]
fn the_copy_sees_one_connection() {
    let total = RefCell::new(Seen::default());
    let mut runner = TestRunner::new(Config { cases: 64, failure_persistence: None, ..Config::default() });
    let ran = runner.run(&plan(), |plan| {
        let seen = Simulation::new(plan).run().map_err(TestCaseError::fail)?;
        let mut total = total.borrow_mut();
        total.matched += seen.matched;
        total.acked += seen.acked;
        total.waited += seen.waited;
        total.carried += seen.carried;
        total.takeovers += seen.takeovers;
        total.checkpoints += seen.checkpoints;
        Ok(())
    });
    ran.unwrap();
    let seen = total.into_inner();
    println!("{seen:?}");
    assert!(seen.matched > 1000 && seen.acked > 100 && seen.waited > 50, "{seen:?}");
    assert!(seen.carried > 10 && seen.takeovers > 20 && seen.checkpoints > 100, "{seen:?}");
}
