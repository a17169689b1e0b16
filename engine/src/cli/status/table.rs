//! The tables of `status`: columns as wide as their widest cell, and notes below a row.
//!
//! ```text
//!   GUEST  ROLE     PROTECTED          header
//!   g2     primary  no: unprotected    row
//!          └ Peer b does not answer    note, below the second column
//! ```

use crate::config::human::show_us;
use crate::control::GuestRole;
use crate::control::status::Quantiles;
use std::fmt::{Display, Write};

/// The rows of a table with `N` columns.
pub(super) struct Table<const N: usize> {
    rows: Vec<[String; N]>,
    widths: [usize; N],
}

impl<const N: usize> Table<N> {
    /// Puts the header, after an empty line.
    pub(super) fn begin(text: &mut String, columns: &[&str; N], rows: Vec<[String; N]>) -> Self {
        let widths = std::array::from_fn(|column| {
            let cells = rows.iter().map(|row| row[column].chars().count());
            cells.chain([columns[column].len()]).max().unwrap_or(0)
        });
        text.push('\n');
        put_line(text, &columns.map(String::from), &widths);
        Self { rows, widths }
    }

    /// Puts the row of this number.
    pub(super) fn put_row(&self, text: &mut String, number: usize) {
        put_line(text, &self.rows[number], &self.widths);
    }

    /// Puts a note on the row above.
    pub(super) fn put_note(&self, text: &mut String, note: impl Display) {
        let _ = writeln!(text, "{:width$}  └ {note}", "", width = self.widths[0]);
    }
}

fn put_line<const N: usize>(text: &mut String, cells: &[String; N], widths: &[usize; N]) {
    let mut line = String::new();
    for (cell, width) in cells.iter().zip(widths) {
        let _ = write!(line, "{cell:width$}  ");
    }
    text.push_str(line.trim_end());
    text.push('\n');
}

/// Sorts names as people count: m2 comes before m10.
pub(super) fn natural(name: &str) -> Vec<(String, u64)> {
    let mut parts = Vec::new();
    let mut rest = name;
    while !rest.is_empty() {
        let digits_at = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        let (word, after) = rest.split_at(digits_at);
        let number_ends = after.find(|c: char| !c.is_ascii_digit()).unwrap_or(after.len());
        let (number, after) = after.split_at(number_ends);
        parts.push((word.to_owned(), number.parse().unwrap_or(u64::MAX)));
        rest = after;
    }
    parts
}

/// The column `ROLE`.
pub(super) fn role_words(role: GuestRole) -> &'static str {
    match role {
        GuestRole::Primary => "primary",
        GuestRole::Secondary => "secondary",
    }
}

/// The column `PROTECTED`. A later version may send a `state` that is not among [`GuestState`](crate::control::GuestState).
pub(super) fn protected_words(role: GuestRole, is_protected: bool, state: &str) -> String {
    let words = state.replace('_', " ");
    match (role, is_protected) {
        (GuestRole::Secondary, _) => format!("copy: {words}"),
        (GuestRole::Primary, true) if words == "protected" => "yes".to_owned(),
        (GuestRole::Primary, true) => format!("yes: {words}"),
        (GuestRole::Primary, false) => format!("no: {words}"),
    }
}

/// The column `COMMIT AGE`.
pub(super) fn age(ms: Option<u64>) -> String {
    or_dash(ms.map(|ms| show_us(ms.saturating_mul(1_000))))
}

/// The median and the 99th percentile.
pub(super) fn times(times: Quantiles) -> String {
    if times.count == 0 {
        return "-".to_owned();
    }
    format!("{} / {}", show_us(times.p50), show_us(times.p99))
}

pub(super) fn or_dash(text: Option<String>) -> String {
    text.unwrap_or_else(|| "-".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guests_are_listed_as_people_count() {
        let mut names = ["m10", "m2", "a", "m1", "m1-b2", "m"];
        names.sort_by_cached_key(|name| natural(name));
        assert_eq!(names, ["a", "m1", "m1-b2", "m2", "m10", "m"]);
    }
}
