//! The colours of `status`: of the column that says whether guests are protected, and of what is not connected.
//!
//! Done to the text as it is shown, so that its columns stay where they are.

use super::guests::COLUMNS;
use crate::console::{Colour, paint};

const CUT_OFF: &str = "NOT connected";

/// The text with colours.
pub(super) fn colour(text: &str) -> String {
    let mut column = None;
    let mut coloured = String::with_capacity(text.len() + 256);
    for line in text.split_inclusive('\n') {
        if line.starts_with(COLUMNS[0]) {
            column = column_of(line);
            coloured.push_str(line);
        } else if line.trim().is_empty() {
            column = None;
            coloured.push_str(line);
        } else if let Some((from, to)) = column
            && !line.starts_with(' ')
        {
            coloured += &in_column(line, from, to);
        } else {
            coloured += &line.replace(CUT_OFF, &paint(Colour::Bad, CUT_OFF));
        }
    }
    coloured
}

/// Where the column begins and ends, in letters.
fn column_of(header: &str) -> Option<(usize, usize)> {
    let letters = |end: usize| header[..end].chars().count();
    Some((letters(header.find(COLUMNS[2])?), letters(header.find(COLUMNS[3])?)))
}

fn in_column(line: &str, from: usize, to: usize) -> String {
    let at = |letters: usize| line.char_indices().nth(letters).map_or(line.len(), |(at, _)| at);
    let (before, cell, after) = (&line[..at(from)], &line[at(from)..at(to)], &line[at(to)..]);
    let words = cell.trim_end();
    let colour = match words {
        "yes" | "copy: standing" => Colour::Good,
        _ if words.starts_with("no: ") => Colour::Bad,
        _ if words.starts_with("yes: ") || words.starts_with("copy: ") => Colour::Odd,
        _ => return line.to_owned(),
    };
    format!("{before}{}{}{after}", paint(colour, words), &cell[words.len()..])
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
node a, process 1; witness NOT connected; peer b connected

GUEST  ROLE       PROTECTED        EPOCH
gä     primary    yes              1
       └ no: this is what a reason says
g2     primary    no: unprotected  2
g3     secondary  copy: seeding    3

peer b, NOT connected, as it was 3 s ago: no witness
";

    #[test]
    fn what_is_good_or_bad_is_coloured_and_nothing_else_and_no_letter_moves() {
        let shown = colour(TEXT);
        for (colour, words) in [
            (Colour::Bad, "NOT connected"),
            (Colour::Good, "yes"),
            (Colour::Bad, "no: unprotected"),
            (Colour::Odd, "copy: seeding"),
        ] {
            assert!(shown.contains(&paint(colour, words)), "{words}: {shown}");
        }
        assert_eq!(shown.matches("\x1b[0m").count(), 5);
        let mut bare = shown;
        for code in ["\x1b[31m", "\x1b[32m", "\x1b[33m", "\x1b[0m"] {
            bare = bare.replace(code, "");
        }
        assert_eq!(bare, TEXT);
    }
}
