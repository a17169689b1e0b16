//! Shows what the drill is doing, on one line of a terminal that is overwritten; nothing without a terminal.

use crate::console;
use std::io::{IsTerminal, stderr};
use std::time::Instant;

/// The line.
#[derive(Debug)]
pub struct Progress {
    is_terminal: bool,
    began: Instant,
    shown: bool,
}

impl Progress {
    /// A line on standard error; empty if that is not a terminal.
    pub fn new() -> Self {
        Self { is_terminal: stderr().is_terminal(), began: Instant::now(), shown: false }
    }

    /// Shows what is being done now.
    pub fn show(&mut self, text: std::fmt::Arguments<'_>) {
        if self.is_terminal {
            self.shown = true;
            console::draw(format!("\r\x1b[2K{:6.1} s  {text}", self.began.elapsed().as_secs_f64()));
        }
    }

    /// Clears the line.
    pub fn clear(&mut self) {
        if std::mem::take(&mut self.shown) {
            console::clear_line();
        }
    }
}

impl Default for Progress {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.clear();
    }
}
