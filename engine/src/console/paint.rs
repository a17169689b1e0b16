//! Colours on a terminal: few, and never in a pipe, in a file or in JSON.

use std::ffi::OsStr;
use std::io::{self, IsTerminal};

/// What a word means to an operator.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Colour {
    /// All is well.
    Good,
    /// Worth a look.
    Odd,
    /// Somebody should act.
    Bad,
}

/// The word in its colour.
pub fn paint(colour: Colour, word: &str) -> String {
    let number = match colour {
        Colour::Good => 32,
        Colour::Odd => 33,
        Colour::Bad => 31,
    };
    format!("\x1b[{number}m{word}\x1b[0m")
}

/// Whether standard output is a terminal on which colours are wanted.
pub(super) fn are_colours_shown() -> bool {
    let variable = |name| std::env::var_os(name);
    io::stdout().is_terminal() && are_wanted(variable("NO_COLOR").as_deref(), variable("TERM").as_deref())
}

/// `NO_COLOR`, if it is set to anything, and a terminal that calls itself dumb or nothing say no.
fn are_wanted(no_color: Option<&OsStr>, term: Option<&OsStr>) -> bool {
    no_color.is_none_or(OsStr::is_empty) && term.is_some_and(|term| !term.is_empty() && term != "dumb")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_person_and_a_terminal_may_say_no() {
        let wanted = |no_color: Option<&str>, term: Option<&str>| {
            are_wanted(no_color.map(OsStr::new), term.map(OsStr::new))
        };
        assert!(wanted(None, Some("xterm")) && wanted(Some(""), Some("linux")));
        for (no_color, term) in [
            (Some("1"), Some("xterm")),
            (Some("0"), Some("xterm")),
            (None, Some("dumb")),
            (None, None),
            (None, Some("")),
        ] {
            assert!(!wanted(no_color, term), "{no_color:?} {term:?}");
        }
    }
}
