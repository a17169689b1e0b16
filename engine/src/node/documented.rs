//! Compares limits in the documents with those in the code.

use super::greet::STRANGERS_MAX;
use super::links::CONNECTIONS_MAX;
use super::numbers::GUESTS_MAX;
use super::offers::HELD_MAX;
use understudy_checkpoint::stream::limits;
use understudy_link::{
    BODY_BYTES_MAX, GUEST_PAGES_MAX, LANE_BYTES_HARD_MAX, LANE_BYTES_MAX, SMALL_BODY_BYTES_MAX,
    STATE_BYTES_MAX, TEXT_BYTES_MAX, WINDOW_BYTES,
};

/// A number as the documents write it: 4,194,304.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// A power of two as the documents write it: 2²⁸.
fn power(number: u64) -> String {
    assert!(number.is_power_of_two(), "{number}");
    let digit = |digit: char| "⁰¹²³⁴⁵⁶⁷⁸⁹".chars().nth(digit.to_digit(10).unwrap() as usize).unwrap();
    format!("2{}", number.ilog2().to_string().chars().map(digit).collect::<String>())
}

fn mib(bytes: usize) -> String {
    format!("{} MiB", bytes >> 20)
}

/// Whether the row with this first cell has a second cell that begins like this.
fn says(document: &str, row: &str, limit: &str) {
    let begin = format!("| {row} | {limit}");
    assert!(document.contains(&begin), "there is no row that begins {begin:?}");
}

#[test]
fn the_links_limits_are_those_of_its_document() {
    let document = include_str!("../../../docs/LINK.md");
    for (row, limit) in [
        ("body before the hello is done, and on a link to the witness", SMALL_BODY_BYTES_MAX as u64),
        ("body on an open link", BODY_BYTES_MAX as u64),
        ("libxc or libxl state in one frame", STATE_BYTES_MAX as u64),
        ("text", TEXT_BYTES_MAX as u64),
        ("waiting in a lane, before producers wait", LANE_BYTES_MAX as u64),
        ("waiting in a lane, before the connection ends", LANE_BYTES_HARD_MAX as u64),
        ("epoch frames of one guest under way", WINDOW_BYTES),
        ("page frames of a guest", GUEST_PAGES_MAX),
        ("guests that one end may offer on a connection", GUESTS_MAX as u64),
        ("guests held by one node", HELD_MAX as u64),
    ] {
        says(document, row, &format!("{} |", grouped(limit)));
    }
}

#[test]
fn the_streams_limits_are_those_of_its_document() {
    let document = include_str!("../../../docs/STREAM.md");
    says(document, "frames of a guest (pfns)", &format!("below {}:", power(limits::PFNS_MAX)));
    let small = limits::SMALL_RECORD_BYTES_MAX >> 10;
    says(
        document,
        "body of a record",
        &format!("{} (Xen's own); {small} KiB", mib(limits::RECORD_BYTES_MAX)),
    );
    says(document, "entries of one `PAGE_DATA`", &power(limits::PAGE_ENTRIES_MAX as u64));
    says(document, "configuration in xl's header", &mib(limits::CONFIG_BYTES_MAX));
    assert_eq!(limits::HVM_CONTEXT_BYTES_MAX, limits::EMULATOR_CONTEXT_BYTES_MAX, "one row for both");
    says(
        document,
        "HVM context, device model's state",
        &format!("{} each", mib(limits::HVM_CONTEXT_BYTES_MAX)),
    );
    says(document, "keys of a device model", &mib(limits::XENSTORE_BYTES_MAX));
    says(document, "parameters of an HVM guest", &grouped(limits::HVM_PARAMS_MAX as u64));
    says(document, "vCPUs", &grouped(u64::from(limits::VCPUS_MAX)));
    let needs =
        format!("at most {} frames ({} GiB of addresses)", power(GUEST_PAGES_MAX), GUEST_PAGES_MAX >> 18);
    assert!(document.contains(&needs) && document.contains(&mib(BODY_BYTES_MAX)), "{needs}");
}

#[test]
fn the_limits_that_operators_are_told_are_those_of_the_code() {
    let settings = include_str!("../../../docs/SETTINGS.md");
    let troubles = include_str!("../../../docs/TROUBLESHOOTING.md");
    for words in [
        format!("{} GiB is the most that can be protected", GUEST_PAGES_MAX >> 18),
        format!("together they have to fit in {}", mib(BODY_BYTES_MAX)),
        format!("up to {CONNECTIONS_MAX} connections"),
        format!("Up to {STRANGERS_MAX} of them may be from strangers"),
        format!("Names have 1 to {} letters", crate::names::NAME_BYTES_MAX),
    ] {
        assert!(
            [settings, troubles].iter().any(|document| document.contains(&words)),
            "no document says {words:?}"
        );
    }
}
