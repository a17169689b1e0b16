//! Wraps text for people into lines of at most [`WIDTH`] columns.
//!
//! ```text
//!   [piece, piece, piece, …]  ─►  └ piece; piece; piece;
//!                                   piece; a piece that is longer than a line goes on in
//!                                   the next one, between two words
//! ```
//!
//! Not here: the content of the pieces ([`table`](super::table)).

/// The most columns of a line.
pub const WIDTH: usize = 100;

/// The pieces as lines: `first` precedes the first line, as many blanks the others. A line ends between two pieces if
/// possible, otherwise between two words, and within a word that no line can hold.
pub fn wrap(first: &str, pieces: &[String]) -> String {
    let room = WIDTH - first.chars().count();
    let mut lines = Lines { room, done: Vec::new(), line: String::new() };
    for (index, piece) in pieces.iter().enumerate() {
        let end = if index + 1 < pieces.len() { ";" } else { "" };
        lines.put(&format!("{piece}{end}"));
    }
    let next = format!("\n{}", " ".repeat(first.chars().count()));
    format!("{first}{}", lines.end().join(&next))
}

struct Lines {
    room: usize,
    done: Vec<String>,
    line: String,
}

impl Lines {
    /// Adds a piece, unbroken if a line can hold it.
    fn put(&mut self, piece: &str) {
        if piece.chars().count() <= self.room {
            self.put_whole(piece);
        } else {
            piece.split_whitespace().for_each(|word| self.put_word(word));
        }
    }

    fn put_word(&mut self, word: &str) {
        let letters: Vec<char> = word.chars().collect();
        for part in letters.chunks(self.room) {
            self.put_whole(&part.iter().collect::<String>());
        }
    }

    fn put_whole(&mut self, text: &str) {
        let blank = usize::from(!self.line.is_empty());
        if self.line.chars().count() + blank + text.chars().count() > self.room {
            self.done.push(std::mem::take(&mut self.line));
        } else if blank > 0 {
            self.line.push(' ');
        }
        self.line.push_str(text);
    }

    fn end(mut self) -> Vec<String> {
        self.done.push(self.line);
        self.done
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_ends_between_pieces_then_between_words_then_anywhere() {
        let short = |letter: &str| letter.repeat(60);
        assert_eq!(wrap("- ", &["one".into(), "two".into()]), "- one; two");
        assert_eq!(wrap("- ", &[short("a"), short("b")]), format!("- {};\n  {}", short("a"), short("b")));
        let words = vec!["word".to_owned(); 40].join(" ");
        let long = wrap("      ", &[words.clone(), "x".repeat(250)]);
        assert!(
            long.lines().all(|line| line.chars().count() <= WIDTH && line.starts_with("      ")),
            "{long}"
        );
        let unwrapped: Vec<&str> = long.split_whitespace().collect();
        assert_eq!(unwrapped[..40].join(" "), format!("{words};"));
        assert_eq!(unwrapped[40..].concat(), "x".repeat(250));
    }

    #[test]
    fn nothing_is_an_empty_line() {
        assert_eq!(wrap("- ", &[]), "- ");
    }
}
