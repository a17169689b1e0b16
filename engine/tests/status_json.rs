//! The JSON of `status` is an interface: this is what it looks like, and docs/STATUS.md says so, key by key and state by state.
//!
//! Not here: what makes a node say which of it.

use std::collections::BTreeSet;
use std::path::Path;
use understudy::control::events::{Event, Subject};
use understudy::control::status::{
    CertificateStatus, ColoStatus, CopiedAhead, DiskStatus, ExportState, ExportStatus, FORMAT,
    FencedHostStatus, FencingStatus, FullSyncStatus, GuestStatus, KeptEpoch, KeptStatus, MaintenanceStatus,
    PageCounts, PathStatus, PauseCalls, PauseParts, PeerStatus, Quantiles, SpareStatus, Takeover,
    WaitingStatus, WatchdogState, WitnessKind, WitnessStatus,
};
use understudy::control::{Bulletin, GuestBulletin, GuestRole, GuestState, Said, Status, WitnessBulletin};

fn document() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/STATUS.md");
    std::fs::read_to_string(path).unwrap()
}

/// One of everything.
fn whole() -> Status {
    let guest = GuestStatus {
        name: "g1".into(),
        role: GuestRole::Primary,
        peer: "b".into(),
        state: GuestState::Protected,
        protected: true,
        wished: true,
        reason: String::new(),
        generation: 2,
        epoch: Some(1204),
        acked: Some(1203),
        committed: Some(1203),
        commit_age_ms: Some(14),
        interval_ms: 200.0,
        pacing: "interval-min=100us,interval-max=200ms,pause-share=25%,cpu-share=100%,link-rate=1073741824"
            .into(),
        paced_by: Some("output".into()),
        pause_us: Quantiles { count: 1204, p50: 310, p99: 900, max: 1500 },
        pause_parts_us: PauseParts {
            suspend: 60,
            drain: 40,
            copy: 120,
            state: 30,
            device_model: 0,
            cut: 2,
            resume: 50,
        },
        pause_calls: PauseCalls {
            hypercalls: PauseParts {
                suspend: 8,
                drain: 4,
                copy: 0,
                state: 3,
                device_model: 0,
                cut: 0,
                resume: 5,
            },
            store_requests: 1,
            waits: 3,
        },
        commit_us: Quantiles { count: 1203, p50: 2100, p99: 4000, max: 9000 },
        pages: PageCounts { zero: 10, unchanged: 400, delta: 90_000, lz4: 8000, raw: 300 },
        copied_ahead: CopiedAhead { kept: 51_200, again: 1900 },
        raw_bytes: 404_316_160,
        link_bytes: 9_626_575,
        compared_bytes: 0,
        held_bytes: 1514,
        dropped_frames: 0,
        takeover: Some(Takeover {
            detected_at_ns: 81_000_000_000,
            authority_at_ns: 81_012_000_000,
            committed_at_ns: Some(80_990_000_000),
            activated_at_ns: 81_030_000_000,
            first_frame_at_ns: Some(81_032_000_000),
            from_epoch: 77,
        }),
        full_sync: Some(FullSyncStatus {
            share: 0.25,
            pages: 16_384,
            of_pages: 65_536,
            link_bytes: 33_554_432,
            bytes_per_s: 16_777_216,
            left_ms: Some(6_000),
            limit_bytes_per_s: Some(33_554_432),
            disk_left_bytes: Some(0),
            of_disk_bytes: 8 << 30,
        }),
        disk: Some(DiskStatus { bytes: 8 << 30, behind_bytes: Some(131_072), fault: String::new() }),
        kept: KeptStatus {
            epochs: vec![KeptEpoch { epoch: 1180, at_ms: 1_764_540_000_000 }],
            bytes: 4 << 20,
        },
        export: Some(ExportStatus {
            path: "/root/g1.save".into(),
            epoch: Some(1180),
            bytes: 256 << 20,
            state: ExportState::Done,
            reason: String::new(),
        }),
        colo: ColoStatus {
            mode: "auto".into(),
            live: true,
            reason: String::new(),
            base: Some(1203),
            released_by_match: 300,
            released_by_ack: 100,
            match_share: Some(0.75),
            diverged: [("content", 3), ("copy_ended", 0), ("full", 0), ("silence", 1), ("unmatched", 0)]
                .map(|(why, count)| (why.to_owned(), count))
                .into(),
            match_us: Quantiles { count: 300, p50: 181, p99: 724, max: 1448 },
        },
    };
    Status {
        format: FORMAT,
        node: "a".into(),
        pid: 4711,
        clock_ns: 81_500_000_000,
        maintenance: MaintenanceStatus { on: true, since: Some(1_924_900_000) },
        witness: WitnessStatus {
            configured: true,
            kind: Some(WitnessKind::Own),
            address: "127.0.0.1:7000".into(),
            connected: true,
            reason: String::new(),
        },
        certificate: Some(CertificateStatus {
            fingerprint: "ba7816bf".repeat(8),
            expires: Some(1_924_905_600),
        }),
        fencing: Some(FencingStatus {
            watchdog: WatchdogState::Armed,
            left_ms: Some(4_100),
            lease: Some(712),
            reason: String::new(),
            waits_for: vec![FencedHostStatus { node: "b".into(), left_ms: Some(5_200) }],
        }),
        peers: vec![PeerStatus {
            node: "b".into(),
            address: Some("127.0.0.1:7002".parse().unwrap()),
            addresses: vec!["127.0.0.1:7002".parse().unwrap()],
            path: Some(PathStatus { from: "127.0.0.1".parse().unwrap(), to: "127.0.0.1".parse().unwrap() }),
            connected: true,
            reason: String::new(),
            round_trip_us: Some(180),
            spares: vec![SpareStatus {
                address: "127.0.0.2:7002".parse().unwrap(),
                answers: false,
                reason: "nothing comes any more".into(),
            }],
            said: Some(Said {
                age_ms: 400,
                bulletin: Bulletin {
                    version: "0.1.0".into(),
                    maintenance: MaintenanceStatus { on: true, since: Some(1_924_900_000) },
                    witness: WitnessBulletin { configured: true, connected: true },
                    guests: vec![GuestBulletin {
                        name: "g1".into(),
                        role: GuestRole::Secondary,
                        peer: "a".into(),
                        state: "standing".into(),
                        protected: false,
                        reason: String::new(),
                        generation: 2,
                        epoch: Some(1204),
                        committed: Some(1203),
                        commit_age_ms: Some(14),
                    }],
                    left_out: 0,
                },
            }),
        }],
        guests: vec![guest],
        waiting: vec![WaitingStatus { name: "g2".into(), reason: "it does not run here".into() }],
    }
}

#[test]
fn a_status_is_this_text() {
    let document = document();
    let (_, golden) = document.split_once("```json\n").expect("an example");
    let (golden, _) = golden.split_once("\n```").unwrap();
    assert_eq!(serde_json::to_string_pretty(&whole()).unwrap(), golden, "right: docs/STATUS.md");
    assert_eq!(serde_json::from_str::<Status>(golden).unwrap(), whole());
}

/// The keys of a document, with what they lie in.
fn keys(value: &serde_json::Value, path: &str, found: &mut BTreeSet<String>) {
    match value {
        serde_json::Value::Object(members) => {
            for (key, value) in members {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                keys(value, &path, found);
            }
        }
        serde_json::Value::Array(items) => {
            items.iter().for_each(|item| keys(item, &format!("{path}[]"), found));
        }
        _ => {
            found.insert(path.to_owned());
        }
    }
}

/// What stands in backquotes in the first cells of a table's rows.
fn first_cells(text: &str) -> BTreeSet<String> {
    let rows = text.lines().filter_map(|line| line.strip_prefix("| `"));
    rows.filter_map(|row| row.split('`').next()).map(String::from).collect()
}

#[test]
fn each_key_is_documented_and_no_other() {
    let document = document();
    let (table, _) = document.split_once("\n## States").unwrap();
    let mut found = BTreeSet::new();
    keys(&serde_json::to_value(whole()).unwrap(), "", &mut found);
    assert_eq!(first_cells(table), found, "left: docs/STATUS.md, right: the status");
}

#[test]
fn each_state_is_documented_by_the_name_that_it_has() {
    let document = document();
    let (_, table) = document.split_once("\n## States").unwrap();
    let (table, _) = table.split_once("\n## ").unwrap();
    let states: BTreeSet<String> = GuestState::ALL.iter().map(ToString::to_string).collect();
    assert_eq!(states.len(), GuestState::ALL.len());
    assert_eq!(first_cells(table), states, "left: docs/STATUS.md, right: the states");
    for role in [GuestRole::Primary, GuestRole::Secondary] {
        let name = serde_json::to_value(role).unwrap();
        assert!(document.contains(&format!("`{}`", name.as_str().unwrap())), "{name}");
    }
}

#[test]
fn an_event_is_this_line_and_each_of_its_keys_is_documented() {
    let document = document();
    let (_, chapter) = document.split_once("\n## Events").unwrap();
    let event = Event {
        number: 7,
        at_ms: 1_796_066_558_960,
        subject: Subject::Guest,
        name: "g1".into(),
        state: "link_lost".into(),
        was: "protected".into(),
        role: Some(GuestRole::Primary),
        generation: Some(2),
        reason: "the link to b is down and may come back".into(),
    };
    let (_, golden) = chapter.split_once("```json\n").unwrap();
    let (golden, table) = golden.split_once("\n```").unwrap();
    assert_eq!(serde_json::to_string(&event).unwrap(), golden, "right: docs/STATUS.md");
    let mut found = BTreeSet::new();
    keys(&serde_json::to_value(event).unwrap(), "", &mut found);
    assert_eq!(first_cells(table), found);
    for subject in [Subject::Node, Subject::Guest, Subject::Link, Subject::Witness, Subject::Maintenance] {
        let name = serde_json::to_value(subject).unwrap();
        assert!(table.contains(&format!("`{}`", name.as_str().unwrap())), "{name}");
    }
}
