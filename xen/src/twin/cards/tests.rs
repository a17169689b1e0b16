//! Cards in a xenstore of our own. What the kernel does with them only the rig shows.

use super::*;
use crate::xenstore::fake::Fake;

const DOMAIN: DomId = DomId(5);

/// A guest with one card, connected.
fn guest() -> Fake {
    let fake = Fake::start();
    for (path, value) in [
        ("/libxl/5/device/console/0/state", "1"),
        ("/libxl/5/device/vif/0/backend", "/local/domain/0/backend/vif/5/0"),
        ("/local/domain/0/backend/vif/5/0/state", "4"),
        ("/local/domain/5/device/vif/0/state", "4"),
        ("/local/domain/5/device/vif/0/mac", "00:16:3e:00:00:22"),
        ("/local/domain/5/device/vif/0/multi-queue-num-queues", "1"),
        ("/local/domain/5/device/vif/0/tx-ring-ref", "520"),
        ("/local/domain/5/device/vif/0/rx-ring-ref", "521"),
        ("/local/domain/5/device/vif/0/event-channel-tx", "7"),
        ("/local/domain/5/device/vif/0/event-channel-rx", "8"),
    ] {
        set(&fake, path, value);
    }
    fake
}

/// A node, and the nodes above it.
fn set(fake: &Fake, path: &str, value: &str) {
    fake.tree().nodes.insert(path.into(), value.into());
}

#[test]
fn where_the_rings_are_is_read_and_written_and_nothing_else() {
    let fake = guest();
    let mut store = fake.connect();
    let rings = RingKeys::of(&mut store, DOMAIN).unwrap();
    let expected = [
        ("0/event-channel-rx", "8"),
        ("0/event-channel-tx", "7"),
        ("0/multi-queue-num-queues", "1"),
        ("0/rx-ring-ref", "521"),
        ("0/tx-ring-ref", "520"),
    ];
    assert_eq!(rings.0, expected.map(|(key, value)| (key.to_owned(), value.to_owned())));
    set(&fake, "/local/domain/5/device/vif/0/tx-ring-ref", "269");
    let others = RingKeys::of(&mut store, DOMAIN).unwrap();
    assert!(others != rings && others.are_named_as(&rings), "a twin has other references");
    rings.write(&mut store, DOMAIN).unwrap();
    assert_eq!(RingKeys::of(&mut store, DOMAIN).unwrap(), rings);
}

#[test]
fn each_queue_has_rings_of_its_own() {
    let fake = guest();
    let mut store = fake.connect();
    let one = RingKeys::of(&mut store, DOMAIN).unwrap();
    for (key, value) in [("queue-0/tx-ring-ref", "9"), ("queue-1/tx-ring-ref", "10")] {
        set(&fake, &format!("/local/domain/5/device/vif/0/{key}"), value);
    }
    let several = RingKeys::of(&mut store, DOMAIN).unwrap();
    assert!(several.0.contains(&("0/queue-1/tx-ring-ref".into(), "10".into())), "{several:?}");
    assert!(!several.are_named_as(&one) && !one.are_named_as(&several));
}

#[test]
fn only_connected_cards_of_netback_can_be_taken() {
    let fake = guest();
    let mut store = fake.connect();
    let mut cards = || of(&mut store, DOMAIN);
    assert_eq!(cards().unwrap().len(), 1);
    set(&fake, "/local/domain/0/backend/vif/5/0/state", "2");
    assert!(
        matches!(cards(), Err(TwinError::CardNotConnected { device: 0, .. })),
        "netback would stay unconnected"
    );
    set(&fake, "/local/domain/0/backend/vif/5/0/state", "4");
    set(&fake, "/local/domain/0/backend/vif/5/0/type", "vif_ioemu");
    assert!(matches!(cards(), Err(TwinError::CardElsewhere { device: 0, .. })));
    set(&fake, "/local/domain/0/backend/vif/5/0/type", "vif");
    set(&fake, "/libxl/5/device/vbd/51712/state", "1");
    let error = cards().unwrap_err();
    assert!(error.to_string().contains("a device of the kind vbd"), "{error}");
}
