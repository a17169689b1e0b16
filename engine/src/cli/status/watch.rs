//! `status --watch`: the status anew whenever something changes on the node, and every second.
//!
//! ```text
//!   a terminal     redrawn in place; a node that does not answer is said there, and asked again
//!   anything else  one status after the other; with --output json an object a line; it ends when the node does not answer
//! ```

use super::colours::colour;
use super::render;
use crate::cli::{CliError, ControlArgs, Exit, OutputFormat, not_written};
use crate::console;
use std::io::{self, IsTerminal};
use std::thread;
use std::time::Duration;

/// Between two statuses, at most: ages grow while nothing else changes.
const SHOW_EVERY_MS: u64 = 1_000;

/// Between two statuses, at least.
const REST: Duration = Duration::from_millis(100);

/// Shows it until nobody reads any more, or a signal ends this.
pub(super) fn run(control: &ControlArgs) -> Result<Exit, CliError> {
    let client = control.client()?;
    let in_place = control.output == OutputFormat::Text && io::stdout().is_terminal();
    loop {
        // Before the status, so that nothing falls in between.
        let newest = client.events(u64::MAX, 0).map(|page| page.newest);
        let text = match client.status() {
            Ok(status) if control.output == OutputFormat::Json => {
                let json = serde_json::to_string(&status);
                json.map_err(|error| CliError::Internal(format!("The status has no JSON form: {error}")))?
                    + "\n"
            }
            Ok(status) => render(&status),
            Err(error) if in_place => format!("{error}\n"),
            Err(error) => return Err(error.into()),
        };
        let is_read = if in_place { console::redraw(&text, colour) } else { console::stream(&text) };
        if !is_read.map_err(not_written)? {
            return Ok(Exit::Ok);
        }
        thread::sleep(REST);
        let is_told = newest.is_ok_and(|newest| client.events(newest, SHOW_EVERY_MS).is_ok());
        if !is_told {
            thread::sleep(Duration::from_millis(SHOW_EVERY_MS));
        }
    }
}
