//! What a kernel has counted of a namespace, where a rewriter that is wrong shows before a client notices.

use crate::place::Place;
use std::collections::BTreeMap;

/// Counters that only wrong numbers and checksums move.
const NEVER: [&str; 4] = ["TSEcrRejected", "OutOfWindowIcmps", "PAWSActive", "InCsumErrors"];
/// Counters that a segment moves, too, which was overtaken by one sent again.
const NOT_IN_ORDER: [&str; 1] = ["PAWSEstab"];
/// Told when they are not 0; they are no judgement.
const TOLD: [&str; 5] = ["RetransSegs", "TCPTimeouts", "TCPChallengeACK", "TCPACKSkippedSeq", "EstabResets"];

/// Counters by name: those of TCP, and its extended ones.
pub(crate) struct Counters(BTreeMap<String, u64>);

impl Counters {
    pub(crate) fn read(place: &Place) -> Result<Self, String> {
        place.run(|| {
            let mut all = BTreeMap::new();
            for name in ["snmp", "netstat"] {
                let path = format!("/proc/thread-self/net/{name}");
                let text = std::fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))?;
                all.extend(parse(&text));
            }
            // A table that is read wrongly must not pass for one in which nothing was counted.
            match NEVER.iter().chain(&TOLD).find(|name| !all.contains_key(**name) && !is_new(name)) {
                Some(missing) => Err(format!("the kernel does not count {missing}")),
                None => Ok(Self(all)),
            }
        })
    }

    /// Counters that should be 0. `is_calm`: nothing was lost or overtaken.
    pub(crate) fn wrong(&self, is_calm: bool) -> impl Iterator<Item = (&'static str, u64)> {
        let more: &[_] = if is_calm { &NOT_IN_ORDER } else { &[] };
        self.not_zero(NEVER.iter().chain(more))
    }

    /// Others that are worth telling.
    pub(crate) fn told(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.not_zero(TOLD.iter().chain(&NOT_IN_ORDER))
    }

    fn not_zero<'a>(
        &self,
        names: impl Iterator<Item = &'a &'static str>,
    ) -> impl Iterator<Item = (&'static str, u64)> {
        names.filter_map(|name| Some((*name, *self.0.get(*name)?)).filter(|(_, count)| *count > 0))
    }
}

/// Linux counts it since 6.15.
fn is_new(name: &str) -> bool {
    name == "TSEcrRejected"
}

/// `Tcp: NAME NAME…`, and beneath it `Tcp: COUNT COUNT…`.
fn parse(text: &str) -> BTreeMap<String, u64> {
    let lines: Vec<_> = text.lines().collect();
    let tables = lines.chunks_exact(2).filter(|pair| pair[0].starts_with("Tcp"));
    let cells = tables.flat_map(|pair| pair[0].split_whitespace().zip(pair[1].split_whitespace()).skip(1));
    cells.filter_map(|(name, count)| Some((name.to_owned(), count.parse().ok()?))).collect()
}
