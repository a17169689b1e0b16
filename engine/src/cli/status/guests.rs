//! The guests of the node in `status`: a row each, and notes below it.
//!
//! ```text
//!   GUEST  ROLE     PROTECTED  EPOCH  COMMIT AGE  PAUSE p50 / p99    COMMIT p50 / p99   LINK           GENERATION
//!   g1     primary  yes        1204   14 ms       310 µs / 900 µs    2.1 ms / 4.0 ms    31 MiB (42:1)  2
//! ```

use super::notes;
use super::table::{Table, age, natural, or_dash, protected_words, role_words, times};
use crate::config::human::show_bytes;
use crate::control::{GuestStatus, Status};

pub(super) const COLUMNS: [&str; 9] = [
    "GUEST",
    "ROLE",
    "PROTECTED",
    "EPOCH",
    "COMMIT AGE",
    "PAUSE p50 / p99",
    "COMMIT p50 / p99",
    "LINK",
    "GENERATION",
];

/// Shows each guest.
pub(super) fn put(text: &mut String, status: &Status) {
    let mut guests: Vec<&GuestStatus> = status.guests.iter().collect();
    guests.sort_by_cached_key(|guest| natural(&guest.name));
    let table = Table::begin(text, &COLUMNS, guests.iter().map(|guest| row(guest)).collect());
    for (number, guest) in guests.into_iter().enumerate() {
        table.put_row(text, number);
        notes::of(guest, status.clock_ns).iter().for_each(|note| table.put_note(text, note));
    }
}

fn row(guest: &GuestStatus) -> [String; 9] {
    [
        guest.name.clone(),
        role_words(guest.role).to_owned(),
        protected_words(guest.role, guest.protected, &guest.state.to_string()),
        or_dash(guest.epoch.map(|epoch| epoch.to_string())),
        age(guest.commit_age_ms),
        times(guest.pause_us),
        times(guest.commit_us),
        saved(guest),
        guest.generation.to_string(),
    ]
}

/// Bytes on the link, and the ratio of the pages' bytes to them.
fn saved(guest: &GuestStatus) -> String {
    if guest.link_bytes == 0 {
        return "-".to_owned();
    }
    let ratio = guest.raw_bytes as f64 / guest.link_bytes as f64;
    format!("{} ({ratio:.1}:1)", show_bytes(guest.link_bytes))
}
