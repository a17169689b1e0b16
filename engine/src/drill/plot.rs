//! Time lines and histograms as SVG inside of the [`page`](super::page).
//!
//! ```text
//!   failure ├──────────┬───────┬────────┬──────────●           12 noticed, 14 authority, 21 activated, 25 first reply
//!
//!   ▁▂▇▃▁   counts above, upper ends of the buckets below
//! ```

use super::report::{Millis, Times};
use super::spread::Spread;
use crate::config::human::show_us;
use std::fmt::Write;

const WIDTH: f64 = 860.0;
const LEFT: f64 = 10.0;

/// Where a time line ends.
const RIGHT: f64 = WIDTH - 30.0;

const COLOURS: [&str; 5] = ["#953800", "#8250df", "#0969da", "#116329", "#57606a"];

/// Text as it stands in HTML.
pub(super) fn text_of(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            _ if letter.is_control() => safe.push('\u{FFFD}'),
            _ => safe.push(letter),
        }
    }
    safe
}

/// What a round's times are called on its line.
fn moments(times: &Times) -> Vec<(&'static str, &'static str, Millis)> {
    let all = [
        ("noticed", times.detected_ms),
        ("authority", times.authority_ms),
        ("activated", times.activated_ms),
        ("first answer", times.first_reply_ms),
        ("protected again", times.protected_ms),
    ];
    let named = all.into_iter().zip(COLOURS);
    named.filter_map(|((name, time), colour)| Some((name, colour, time?))).collect()
}

/// A round's time line: each moment a mark, and its words below one another, so that none hides another.
pub(super) fn time_line(times: &Times) -> String {
    let moments = moments(times);
    if moments.is_empty() {
        return String::new();
    }
    let longest = moments.iter().map(|(.., time)| time.0).fold(1.0, f64::max);
    let height = 34.0 + 15.0 * moments.len() as f64;
    let mut svg = format!(
        "<svg role=\"img\" aria-label=\"time line\" width=\"{WIDTH}\" height=\"{height}\" viewBox=\"0 0 {WIDTH} {height}\">\n\
         <line x1=\"{LEFT}\" y1=\"16\" x2=\"{RIGHT}\" y2=\"16\" stroke=\"#57606a\"/>\n\
         <line x1=\"{LEFT}\" y1=\"6\" x2=\"{LEFT}\" y2=\"26\" stroke=\"#a40e26\" stroke-width=\"3\"/>\n"
    );
    for (row, (name, colour, time)) in moments.iter().enumerate() {
        let x = LEFT + (RIGHT - LEFT) * (time.0.max(0.0) / longest);
        let y = 40.0 + 15.0 * row as f64;
        // Words stand to the left of a mark in the right half, so that they do not leave the picture.
        let (anchor, at) = if x > WIDTH / 2.0 { ("end", x - 5.0) } else { ("start", x + 5.0) };
        let _ = writeln!(
            svg,
            "<line x1=\"{x:.1}\" y1=\"8\" x2=\"{x:.1}\" y2=\"{y:.1}\" stroke=\"{colour}\" stroke-width=\"1.5\"/>\
             <circle cx=\"{x:.1}\" cy=\"16\" r=\"4\" fill=\"{colour}\"/>\
             <text x=\"{at:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{} {:.1} ms</text>",
            text_of(name),
            time.0
        );
    }
    svg + "</svg>\n"
}

/// A histogram; nothing to draw where nothing was counted.
pub(super) fn histogram(spread: &Spread) -> String {
    const HEIGHT: f64 = 120.0;
    let bars = spread.bars();
    let most = bars.iter().map(|(_, count)| *count).max().unwrap_or(0);
    if most == 0 {
        return "<p>Nothing was counted.</p>\n".into();
    }
    let step = ((WIDTH - 2.0 * LEFT) / bars.len() as f64).min(80.0);
    let mut svg = format!(
        "<svg role=\"img\" aria-label=\"histogram\" width=\"{WIDTH}\" height=\"{h}\" viewBox=\"0 0 {WIDTH} {h}\">\n",
        h = HEIGHT + 50.0
    );
    let mut last = None;
    for (at, (end, count)) in bars.iter().enumerate() {
        let x = LEFT + step * at as f64;
        let tall = HEIGHT * (*count as f64 / most as f64);
        let (y, wide, middle) = (20.0 + HEIGHT - tall, step - 6.0, x + step / 2.0 - 3.0);
        let words = match (end, last) {
            (Some(end), _) => format!("≤ {}", show_us(*end)),
            (None, Some(last)) => format!("> {}", show_us(last)),
            (None, None) => "longer".into(),
        };
        last = end.or(last);
        let _ = writeln!(
            svg,
            "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{wide:.1}\" height=\"{tall:.1}\" fill=\"#0969da\"/>\
             <text x=\"{middle:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{count}</text>\
             <text x=\"{middle:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
            y - 4.0,
            HEIGHT + 36.0,
            text_of(&words)
        );
    }
    svg + "</svg>\n"
}
