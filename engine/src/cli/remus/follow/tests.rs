//! What is made of a node's statuses, one after the other.

use super::*;
use crate::control::status::{FORMAT, WaitingStatus, WitnessKind, WitnessStatus};

fn peer(node: &str, address: &str) -> PeerStatus {
    PeerStatus {
        node: node.into(),
        address: Some(address.parse().unwrap()),
        addresses: vec![address.parse().unwrap()],
        path: None,
        connected: true,
        reason: String::new(),
        round_trip_us: None,
        said: None,
        spares: Vec::new(),
    }
}

fn status(guest: Option<(&str, bool)>, waiting: Option<&str>) -> Status {
    let guest = guest.map(|(state, wished)| {
        let role = if state == "standing" { "secondary" } else { "primary" };
        let zeros = r#""count":0,"p50":0,"p99":0,"max":0"#;
        let text = format!(
            r#"{{"name":"web","role":"{role}","state":"{state}","protected":{},"wished":{wished},"reason":"why",
            "generation":1,"epoch":null,"acked":null,"committed":null,"commit_age_ms":null,"interval_ms":40.0,
            "pause_us":{{{zeros}}},"commit_us":{{{zeros}}},"raw_bytes":0,"link_bytes":0,"held_bytes":0,
            "pause_parts_us":{{"suspend":0,"drain":0,"copy":0,"state":0,"cut":0,"resume":0}},
            "pages":{{"zero":0,"unchanged":0,"delta":0,"lz4":0,"raw":0}},"dropped_frames":0,"takeover":null}}"#,
            state == "protected"
        );
        serde_json::from_str(&text).unwrap()
    });
    Status {
        format: FORMAT,
        node: "a".into(),
        pid: 1,
        clock_ns: 0,
        maintenance: Default::default(),
        witness: WitnessStatus {
            configured: true,
            kind: Some(WitnessKind::Own),
            address: "127.0.0.1:7000".into(),
            connected: true,
            reason: String::new(),
        },
        certificate: None,
        fencing: None,
        peers: vec![peer("b", "127.0.0.1:7102")],
        guests: guest.into_iter().collect(),
        waiting: waiting
            .map(|reason| WaitingStatus { name: "web".into(), reason: reason.into() })
            .into_iter()
            .collect(),
    }
}

/// What the last of these statuses leads to, in a word, and its text.
fn after(history: &[Status]) -> (&'static str, String) {
    let mut watch = Watch::new("web".into(), "b".into());
    lead(&mut watch, history)
}

fn lead(watch: &mut Watch, history: &[Status]) -> (&'static str, String) {
    let now = Instant::now();
    let (last, before) = history.split_last().unwrap();
    for status in before {
        let seen = watch.see(status, now).unwrap();
        assert!(!matches!(seen, Seen::Over(_)), "{seen:?}");
    }
    match watch.see(last, now) {
        Ok(Seen::Same) => ("same", watch.said.clone()),
        Ok(Seen::News) => ("news", watch.said.clone()),
        Ok(Seen::Over(how)) => ("over", how),
        Err(error) => (if error.exit() == Exit::Refused { "refused" } else { "failed" }, error.to_string()),
    }
}

#[test]
fn a_guest_is_followed_from_being_looked_for_to_its_end() {
    let looked_for = status(None, Some(""));
    let seeding = status(Some(("seeding", true)), None);
    let protected = status(Some(("protected", true)), None);
    let ended = status(Some(("ended", true)), Some(""));
    assert_eq!(after(std::slice::from_ref(&looked_for)), ("news", "is being looked for".into()));
    assert_eq!(after(&[looked_for.clone(), looked_for.clone()]).0, "same");
    assert_eq!(after(&[looked_for, seeding.clone()]), ("news", "not protected: why".into()));
    let (what, text) = after(&[seeding.clone(), protected.clone()]);
    assert!(what == "news" && text.contains("every 40 ms"), "{text}");
    assert_eq!(after(&[protected.clone(), seeding, protected.clone()]).0, "news", "protected again");
    assert_eq!(after(&[protected, ended]).0, "over");
}

#[test]
fn a_guest_that_ended_before_is_looked_for_again() {
    let ended = status(Some(("ended", true)), Some(""));
    assert_eq!(after(&[ended]), ("news", "is being looked for".into()));
}

#[test]
fn what_cannot_be_protected_is_refused_with_the_nodes_reason() {
    let (what, text) = after(&[status(None, Some("it has disks"))]);
    assert!(what == "refused" && text.contains("it has disks"), "{text}");
    let claiming = status(Some(("claiming", true)), None);
    assert_eq!(after(&[claiming, status(None, None)]).0, "refused", "the claim was not granted");
}

#[test]
fn a_guest_that_is_gone_from_here_runs_on_the_peer_or_nobody_knows() {
    let protected = status(Some(("protected", true)), None);
    let (gone, there) = (status(None, None), status(Some(("standing", true)), None));
    let (what, text) = after(&[protected.clone(), gone.clone(), there]);
    assert!(what == "over" && text.contains("runs on b"), "{text}");

    let mut watch = Watch::new("web".into(), "b".into());
    assert_eq!(lead(&mut watch, &[protected, gone.clone()]).0, "news");
    let error = watch.see(&gone, Instant::now() + TRACE_MAX).unwrap_err();
    assert_eq!(error.exit(), Exit::CheckFailed);
}

#[test]
fn protection_that_anybody_ended_is_over_once_output_passes() {
    let protected = status(Some(("protected", true)), None);
    let (leaving, left) =
        (status(Some(("marking_stale", false)), None), status(Some(("unprotected", false)), None));
    assert_eq!(after(&[protected.clone(), leaving.clone()]).0, "news");
    assert_eq!(after(&[protected.clone(), leaving, left]).0, "over");
    let waits_for_the_peer = status(Some(("unprotected", true)), None);
    assert_eq!(after(&[protected, waits_for_the_peer]).0, "news", "the node protects it again");
}

#[test]
fn one_signal_ends_protection_and_two_end_waiting_for_it() {
    let mut watch = Watch::new("web".into(), "b".into());
    watch.end("SIGINT").unwrap();
    assert_eq!(watch.end("SIGINT").unwrap_err().exit(), Exit::Refused);
    assert_eq!(lead(&mut watch, &[status(None, None)]).0, "over", "it was not found yet");
}

#[test]
fn a_host_is_a_peer_by_name_or_by_address() {
    let peers = [peer("b", "127.0.0.1:7102"), peer("c", "127.0.0.2:7103"), peer("d", "127.0.0.2:7104")];
    for (host, name) in [
        ("b", "b"),
        ("root@b", "b"),
        ("127.0.0.1", "b"),
        ("root@127.0.0.1:7102", "b"),
        ("127.0.0.2:7104", "d"),
    ] {
        assert_eq!(peer_for(host, &peers).unwrap(), name);
    }
    for (host, reason) in [
        ("e", "has b, c, d"),
        ("127.0.0.2", "Several peers"),
        ("nc b 8002", "not a peer"),
        ("", "not a peer"),
    ] {
        let error = peer_for(host, &peers).unwrap_err();
        assert_eq!(error.exit(), Exit::Refused, "{host}");
        assert!(error.to_string().contains(reason), "{error}");
    }
    assert!(peer_for("b", &[]).unwrap_err().to_string().contains("has none"));
}

#[test]
fn a_number_that_is_a_guests_name_is_that_guest() {
    let mut named = status(Some(("protected", true)), None);
    named.guests[0].name = "12".into();
    assert_eq!(name_of("12", knows(&named, "12")).unwrap(), "12");
    assert_eq!(name_of("web", knows(&named, "web")).unwrap(), "web");
}
