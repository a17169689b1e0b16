//! etcd as the witness: three real members that are killed, paused, left without a majority and restored from a snapshot, with
//! certificates and users, raced for by two nodes.
//!
//! Ignored where Debian's etcd-server and etcd-client may be missing: `tests/run etcd` runs them.

mod cluster;
mod interception;
mod nodes;

use cluster::{Etcd, records_of};
use interception::Interception;
use std::sync::Barrier;
use std::time::{Duration, Instant};
use understudy::etcd::{EtcdAddress, EtcdError, Records, User};
use understudy_checkpoint::Generation;
use understudy_session::lease::{Lease, LeaseRequest, Standing};
use understudy_session::{Copy, NodeName, Record, RequestId, WitnessOutcome, WitnessReply, WitnessRequest};

fn record(revision: u64, generation: u64, owner: &str, holder: Option<&str>) -> Record {
    let copy = holder.map_or(Copy::Stale, |holder| Copy::Fresh { holder: NodeName(holder.into()) });
    Record { revision, generation: Generation(generation), owner: NodeName(owner.into()), copy }
}

fn swap(records: &Records, guest: &str, new: Record) -> Result<WitnessReply, EtcdError> {
    let request = WitnessRequest::Swap { id: RequestId(1), expect: new.revision - 1, new };
    records.answer(guest, &request)
}

fn outcome(records: &Records, guest: &str, new: Record) -> WitnessOutcome {
    swap(records, guest, new).unwrap().outcome
}

#[test]
#[ignore = "needs etcd"]
fn the_rules_of_authority_hold_and_of_those_who_race_one_wins() {
    let etcd = Etcd::start();
    let (a, b) = (etcd.records("a"), etcd.records("b"));
    assert_eq!(a.read("web").unwrap(), None);
    assert_eq!(outcome(&a, "web", record(1, 1, "a", None)), WitnessOutcome::Swapped);
    assert_eq!(outcome(&b, "web", record(2, 2, "b", None)), WitnessOutcome::Illegal, "its copy is stale");
    assert_eq!(outcome(&b, "web", record(1, 1, "b", None)), WitnessOutcome::Conflict, "it came too late");
    assert_eq!(outcome(&a, "web", record(2, 1, "a", Some("b"))), WitnessOutcome::Swapped);
    assert_eq!(outcome(&b, "web", record(3, 2, "b", None)), WitnessOutcome::Swapped, "a takeover");
    let told = swap(&a, "web", record(3, 1, "a", None)).unwrap();
    assert_eq!((told.outcome, told.record), (WitnessOutcome::Conflict, Some(record(3, 2, "b", None))));
    let reclaim = |revision, generation| WitnessRequest::Reclaim {
        id: RequestId(2),
        expect: revision - 1,
        new: record(revision, generation, "a", None),
    };
    assert_eq!(a.answer("web", &reclaim(4, 2)).unwrap().outcome, WitnessOutcome::Illegal);
    assert_eq!(a.answer("web", &reclaim(4, 3)).unwrap().outcome, WitnessOutcome::Swapped, "a person's word");

    // A takeover against "stale", round after round, each through members of its own.
    let rounds = 30;
    let mut won = [0, 0];
    for round in 0..rounds {
        let guest = format!("raced-{round}");
        assert_eq!(outcome(&a, &guest, record(1, 1, "a", None)), WitnessOutcome::Swapped);
        assert_eq!(outcome(&a, &guest, record(2, 1, "a", Some("b"))), WitnessOutcome::Swapped);
        let start = Barrier::new(2);
        let race = |records: &Records, new: Record| {
            start.wait();
            outcome(records, &guest, new)
        };
        let (stale, takeover) = std::thread::scope(|scope| {
            let takeover = scope.spawn(|| race(&b, record(3, 2, "b", None)));
            (race(&a, record(3, 1, "a", None)), takeover.join().unwrap())
        });
        let winners = [stale, takeover].map(|outcome| outcome == WitnessOutcome::Swapped);
        assert_eq!(winners.iter().filter(|won| **won).count(), 1, "round {round}: {stale:?}, {takeover:?}");
        let owner = if winners[0] { "a" } else { "b" };
        let held = a.read(&guest).unwrap().unwrap();
        assert_eq!((held.revision, &*held.owner.0), (3, owner), "what was told is what is held");
        won = [won[0] + u32::from(winners[0]), won[1] + u32::from(winners[1])];
    }
    eprintln!("of {rounds} races the owner won {}, the holder of the copy {}", won[0], won[1]);
}

/// A host's lease, as our witness keeps it: renewed by the host, taken away by another one, and of both at once one wins.
#[test]
#[ignore = "needs etcd"]
fn a_lease_is_renewed_or_taken_away_and_of_those_who_race_one_wins() {
    let mut etcd = Etcd::start();
    let (a, b) = (etcd.records("a"), etcd.records("b"));
    let host = NodeName("a".into());
    let lease = |number, standing| Lease::of_numbers(number, standing, 5_000).unwrap();
    let swap = |records: &Records, new: Lease| {
        let request = LeaseRequest::Swap { id: RequestId(1), expect: new.number - 1, new };
        records.lease_answer(&host, &request)
    };
    let read = LeaseRequest::Read { id: RequestId(2) };
    assert_eq!(b.lease_answer(&host, &read).unwrap().lease, None);
    let outcome = |records: &Records, new| swap(records, new).unwrap().outcome;
    assert_eq!(outcome(&b, lease(1, Standing::Held)), WitnessOutcome::Illegal, "for itself alone");
    assert_eq!(outcome(&a, lease(1, Standing::Held)), WitnessOutcome::Swapped);
    assert_eq!(outcome(&a, lease(2, Standing::Held)), WitnessOutcome::Swapped);
    assert_eq!(outcome(&b, lease(2, Standing::Taken)), WitnessOutcome::Conflict, "it was renewed");
    assert_eq!(b.read("a").unwrap(), None, "no guest's record");

    let mut number = 2;
    let mut taken = 0;
    for _ in 0..20 {
        let start = Barrier::new(2);
        let race = |records: &Records, standing| {
            start.wait();
            outcome(records, lease(number + 1, standing))
        };
        let (renewed, taking) = std::thread::scope(|scope| {
            let taking = scope.spawn(|| race(&b, Standing::Taken));
            (race(&a, Standing::Held), taking.join().unwrap())
        });
        let winners = [renewed, taking].map(|outcome| outcome == WitnessOutcome::Swapped);
        assert_eq!(winners.iter().filter(|won| **won).count(), 1, "{renewed:?}, {taking:?}");
        let standing = if winners[0] { Standing::Held } else { Standing::Taken };
        number += 1;
        assert_eq!(a.lease_answer(&host, &read).unwrap().lease, Some(lease(number, standing)));
        if winners[1] {
            taken += 1;
            number += 1;
            assert_eq!(outcome(&a, lease(number, Standing::Held)), WitnessOutcome::Swapped, "it returns");
        }
    }
    eprintln!("of 20 races the taker won {taken}");

    etcd.kill(1);
    etcd.kill(2);
    let lost = swap(&b, lease(number + 1, Standing::Taken));
    assert!(matches!(lost, Err(EtcdError::Unreachable { .. })), "no majority, no answer: {lost:?}");
}

#[test]
#[ignore = "needs etcd"]
fn without_a_majority_nothing_is_told_not_even_what_a_member_still_knows() {
    let mut etcd = Etcd::start();
    let a = etcd.records("a");
    assert_eq!(outcome(&a, "web", record(1, 1, "a", None)), WitnessOutcome::Swapped);
    etcd.kill(2);
    etcd.wait("two of three members answer", || a.read("web").is_ok());
    assert_eq!(outcome(&a, "web", record(2, 1, "a", Some("b"))), WitnessOutcome::Swapped);
    etcd.kill(1);

    // The member that is left would tell an old state to whoever asks for less than we do.
    let key = "understudy/web";
    let stale = etcd.ctl(0, &["get", "--consistency=s", "--print-value-only", key]);
    assert!(stale.contains("\"revision\":2"), "{stale}");
    let began = Instant::now();
    let asked = a.read("web");
    assert!(matches!(asked, Err(EtcdError::Unreachable { .. })), "{asked:?}");
    let swapped = swap(&a, "web", record(3, 1, "a", None));
    assert!(matches!(swapped, Err(EtcdError::Unreachable { .. })), "{swapped:?}");
    assert!(began.elapsed() < Duration::from_secs(30), "each member has its time and no more");

    etcd.begin(1);
    etcd.begin(2);
    etcd.wait("the members are back", || a.read("web").is_ok());
    assert_eq!(
        a.read("web").unwrap(),
        Some(record(2, 1, "a", Some("b"))),
        "nothing was asked of the disk alone"
    );
}

#[test]
#[ignore = "needs etcd"]
fn a_swap_whose_answer_was_lost_is_no_refusal_and_the_record_says_what_became_of_it() {
    let etcd = Etcd::start();
    let member = etcd.member(0);
    let place = Interception::start(member.members[0]);
    let direct = etcd.records("a");
    let a = etcd.records_at(EtcdAddress { members: vec![place.listen], ..member }, "a");

    // Done, and nobody was told.
    place.lose_answers(true);
    let claim = record(1, 1, "a", None);
    let why = swap(&a, "web", claim.clone()).unwrap_err();
    assert!(matches!(why, EtcdError::Unreachable { .. }), "{why}");
    place.lose_answers(false);
    let again = swap(&a, "web", claim.clone()).unwrap();
    assert_eq!((again.outcome, again.record), (WitnessOutcome::Conflict, Some(claim.clone())), "its own");

    // Not done when it was given up, and done late.
    place.hold(true);
    let fresh = record(2, 1, "a", Some("b"));
    assert!(swap(&a, "web", fresh.clone()).is_err());
    assert_eq!(direct.read("web").unwrap(), Some(claim), "this is not final: the swap is on its way");
    place.hold(false);
    etcd.wait("the swap arrives", || direct.read("web").unwrap() == Some(fresh.clone()));

    // Given up and made void: what arrives late changes nothing.
    place.hold(true);
    assert!(swap(&a, "web", record(3, 1, "a", None)).is_err());
    assert_eq!(outcome(&etcd.records("b"), "web", record(3, 2, "b", None)), WitnessOutcome::Swapped);
    place.hold(false);
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(direct.read("web").unwrap(), Some(record(3, 2, "b", None)));
}

#[test]
#[ignore = "needs etcd"]
fn a_paused_leader_costs_an_election_and_no_member_is_asked_in_vain_for_ever() {
    let etcd = Etcd::start();
    let (a, leader) = (etcd.records("a"), etcd.leader());
    assert_eq!(outcome(&a, "web", record(1, 1, "a", None)), WitnessOutcome::Swapped);
    etcd.pause(leader);
    let began = Instant::now();
    etcd.wait("another leads", || a.read("web").is_ok());
    eprintln!("answered again {:?} after the leader was paused", began.elapsed());
    assert_eq!(outcome(&a, "web", record(2, 1, "a", Some("b"))), WitnessOutcome::Swapped);
    etcd.go_on(leader);
    // The old leader, asked alone, tells what was decided without it or nothing.
    let alone = etcd.records_at(etcd.member(leader), "a");
    etcd.wait("the old leader follows", || match alone.read("web") {
        Ok(held) => {
            assert_eq!(held, Some(record(2, 1, "a", Some("b"))), "no older state is ever told");
            true
        }
        Err(_) => false,
    });
}

#[test]
#[ignore = "needs etcd"]
fn an_etcd_that_was_restored_from_a_snapshot_is_noticed_and_believed_nothing() {
    let mut etcd = Etcd::start();
    let (a, b) = (etcd.records("a"), etcd.records("b"));
    assert_eq!(outcome(&a, "web", record(1, 1, "a", None)), WitnessOutcome::Swapped);
    assert_eq!(outcome(&a, "web", record(2, 1, "a", Some("b"))), WitnessOutcome::Swapped);
    let snapshot = etcd.save();
    // Since then the copy is stale, and b has only seen that etcd lives.
    assert_eq!(outcome(&a, "web", record(3, 1, "a", None)), WitnessOutcome::Swapped);
    b.ping().unwrap();
    etcd.restore(&snapshot);

    let why = swap(&b, "web", record(3, 2, "b", None)).unwrap_err();
    assert!(matches!(why, EtcdError::WentBack(_)), "b takes nothing over from a copy that was stale: {why}");
    let why = a.read("web").unwrap_err().to_string();
    assert!(why.contains("gone back in time") && why.contains("start the nodes anew"), "{why}");
    // What begins anew, by a person's doing, is told what etcd holds.
    assert_eq!(etcd.records("b").read("web").unwrap(), Some(record(2, 1, "a", Some("b"))));
}

#[test]
#[ignore = "needs etcd"]
fn who_has_no_certificate_of_the_authority_or_no_right_is_refused_and_told_why() {
    let etcd = Etcd::start_with_certificates();
    let node = records_of(etcd.config("node", None), "a");
    assert_eq!(outcome(&node, "web", record(1, 1, "a", None)), WitnessOutcome::Swapped);
    // A stranger's certificate; and a client that takes another authority's servers for etcd.
    let why = records_of(etcd.config("stranger", None), "a").read("web").unwrap_err();
    assert!(matches!(why, EtcdError::Unreachable { .. }), "{why}");
    let mut deceived = etcd.config("node", None);
    deceived.certificates.as_mut().unwrap().ca = etcd.files().of("other-ca").certificate;
    let why = records_of(deceived, "a").read("web").unwrap_err().to_string();
    assert!(why.contains("UnknownIssuer"), "{why}");

    etcd.ctl(0, &["user", "add", "root:root-password"]);
    etcd.ctl(0, &["user", "grant-role", "root", "root"]);
    etcd.ctl(0, &["role", "add", "understudy"]);
    etcd.ctl(0, &["role", "grant-permission", "understudy", "--prefix=true", "readwrite", "understudy/"]);
    etcd.ctl(0, &["user", "add", "site:right-password"]);
    etcd.ctl(0, &["user", "grant-role", "site", "understudy"]);
    etcd.ctl(0, &["auth", "enable"]);
    let user = |password: &str| {
        let password_file = etcd.file(&format!("{password}.txt"), &format!("{password}\n"));
        Some(User { name: "site".into(), password_file })
    };
    let site = records_of(etcd.config("node", user("right-password")), "a");
    assert_eq!(site.read("web").unwrap(), Some(record(1, 1, "a", None)));
    assert_eq!(outcome(&site, "web", record(2, 1, "a", Some("b"))), WitnessOutcome::Swapped);
    let mut elsewhere = etcd.config("node", user("right-password"));
    elsewhere.address.prefix = "another-site".into();
    for (config, words) in [
        (etcd.config("node", user("wrong-password")), "etcd-user"),
        (etcd.config("node", None), "etcd-user"),
        (etcd.config("named", user("right-password")), "no common name"),
        (elsewhere, "permission denied"),
    ] {
        let why = records_of(config, "a").read("web").unwrap_err();
        assert!(matches!(why, EtcdError::Refused { .. }), "{why}");
        assert!(why.to_string().contains(words), "{why}");
    }
}

#[test]
#[ignore = "needs etcd"]
fn a_key_that_somebody_else_wrote_is_no_record_and_not_none() {
    let etcd = Etcd::start();
    let a = etcd.records("a");
    etcd.ctl(0, &["put", "understudy/web", "{\"format\":1}"]);
    let why = a.read("web").unwrap_err();
    assert!(matches!(why, EtcdError::Damaged { .. }), "{why}");
    let why = swap(&a, "web", record(1, 1, "a", None)).unwrap_err();
    assert!(matches!(why, EtcdError::Damaged { .. }), "{why}");
}
