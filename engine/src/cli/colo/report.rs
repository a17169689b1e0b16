//! What a comparison found: for people, and as the JSON of `colo compare --output json`, which docs/COLO.md describes.
//! Keys of the JSON are added, never changed or removed.

use super::evidence::Sent;
use serde::Serialize;
use std::collections::BTreeMap;

/// One capture.
#[derive(Serialize, Clone, PartialEq, Eq, Debug)]
pub(super) struct CaptureReport {
    pub(super) file: String,
    /// Frames that were read.
    pub(super) frames: u64,
    /// Those that the guest sent.
    pub(super) guest_frames: u64,
    /// Those that are neither from the guest nor to it.
    pub(super) stranger_frames: u64,
    /// Those of the guest that the capture has cut short: they were not compared.
    pub(super) cut_frames: u64,
    /// Why not all of it was read.
    pub(super) ended_early: Option<String>,
}

/// What became of frames of the primary's guest.
#[derive(Serialize, Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(super) struct Fates {
    pub(super) frames: u64,
    pub(super) bytes: u64,
    /// Left by match.
    pub(super) matched: u64,
    /// Of these, with an ack or window that was lowered to the copy's.
    pub(super) capped: u64,
    /// Of these, so late that a checkpoint would have come first.
    pub(super) late: u64,
    /// Would have waited for a checkpoint.
    pub(super) waited: u64,
    /// Sent after their flow had diverged, so not compared.
    pub(super) after_divergence: u64,
    /// Cut short by the capture, so not compared.
    pub(super) cut: u64,
    /// At the end of the captures neither guest's twin nor a reason was seen.
    pub(super) open: u64,
}

impl Fates {
    pub(super) fn add(&mut self, more: &Self) {
        let Self { frames, bytes, matched, capped, late, waited, after_divergence, cut, open } = more;
        let pairs = [
            (&mut self.frames, frames),
            (&mut self.bytes, bytes),
            (&mut self.matched, matched),
            (&mut self.capped, capped),
            (&mut self.late, late),
            (&mut self.waited, waited),
            (&mut self.after_divergence, after_divergence),
            (&mut self.cut, cut),
            (&mut self.open, open),
        ];
        for (sum, count) in pairs {
            *sum += count;
        }
    }
}

/// How long matched frames waited, in milliseconds.
#[derive(Serialize, Clone, Copy, PartialEq, Debug)]
pub(super) struct Waits {
    pub(super) p50: f64,
    pub(super) p99: f64,
    pub(super) max: f64,
}

/// One flow.
#[derive(Serialize, Clone, PartialEq, Debug)]
pub(super) struct FlowReport {
    pub(super) flow: String,
    #[serde(flatten)]
    pub(super) fates: Fates,
    /// The longest that a matched frame waited, in milliseconds.
    pub(super) longest_wait_ms: f64,
    /// The kind of its divergence.
    pub(super) diverged: Option<&'static str>,
}

/// One divergence.
#[derive(Serialize, Clone, PartialEq, Debug)]
pub(super) struct DivergenceReport {
    pub(super) flow: String,
    pub(super) kind: &'static str,
    pub(super) why: String,
    /// Seconds after the primary's first frame.
    pub(super) at_s: f64,
    /// Bytes of the guest's stream before it, of those in the capture; only of TCP.
    pub(super) stream_position: Option<u64>,
    /// What the primary's guest sent there, if that is still known.
    pub(super) primary: Option<Sent>,
    /// What the secondary's guest sent there, in the primary's numbers.
    pub(super) secondary: Option<Sent>,
}

/// All of it.
#[derive(Serialize, Clone, PartialEq, Debug)]
pub(super) struct Report {
    /// Nothing diverged, and both captures were read to their ends.
    pub(super) ok: bool,
    pub(super) guest: String,
    pub(super) guest_is_inferred: bool,
    /// What was added to the secondary's times.
    pub(super) offset_s: f64,
    /// `told`, `common_frame` or `first_frames`.
    pub(super) offset_by: &'static str,
    /// Connections of the secondary that had another port or number on the client's side.
    pub(super) replaced_clients: u64,
    pub(super) primary: CaptureReport,
    pub(super) secondary: CaptureReport,
    pub(super) all: Fates,
    /// Frames that left in time by match, of those that were compared; `null`: none was.
    pub(super) matched_share: Option<f64>,
    pub(super) waits_ms: Option<Waits>,
    pub(super) flow_count: u64,
    pub(super) diverged_flow_count: u64,
    /// How many divergences of each kind.
    pub(super) divergences_by_kind: BTreeMap<&'static str, u64>,
    pub(super) divergences: Vec<DivergenceReport>,
    /// Divergences that are counted and not listed.
    pub(super) unlisted_divergences: u64,
    pub(super) flows: Vec<FlowReport>,
    /// Flows that are counted and not listed.
    pub(super) unlisted_flows: u64,
}

impl Fates {
    /// Frames that left in time by match, of those that were compared.
    pub(super) fn share(&self) -> Option<f64> {
        let compared = self.frames - self.cut - self.open;
        (compared > 0).then(|| (self.matched - self.late) as f64 / compared as f64)
    }
}

impl Report {
    /// The report for people.
    pub(super) fn text(&self) -> String {
        let mut lines = Vec::new();
        let how = if self.guest_is_inferred {
            "inferred: alone in both captures it answers connections"
        } else {
            "as told"
        };
        lines.push(format!("guest      {} ({how})", self.guest));
        let by = match self.offset_by {
            "told" => "as told",
            "common_frame" => "by the first frame to the guest that is in both captures",
            _ => "the first frame to the guest in each is one moment; none is in both",
        };
        lines.push(format!("clocks     {:+.6} s for the secondary's times ({by})", self.offset_s));
        if self.replaced_clients > 0 {
            let count = self.replaced_clients;
            lines.push(format!(
                "clients    those of {count} connections differ, and are compared as if they were the primary's"
            ));
        }
        lines.push(format!("primary    {}", capture(&self.primary)));
        lines.push(format!("secondary  {}", capture(&self.secondary)));
        lines.push(String::new());
        lines.extend(self.flow_lines());
        lines.extend(self.divergences.iter().flat_map(divergence));
        if self.unlisted_divergences > 0 {
            lines.push(format!("… and {} divergences more", self.unlisted_divergences));
        }
        lines.extend(self.summary());
        lines.join("\n")
    }

    fn flow_lines(&self) -> Vec<String> {
        let mut lines = vec![format!(
            "{:>8} {:>12} {:>9} {:>6} {:>7} {:>7} {:>6} {:>11}  flow",
            "frames", "bytes", "by match", "late", "waited", "after", "other", "longest ms"
        )];
        lines.extend(self.flows.iter().map(|one| {
            let Fates { frames, bytes, matched, late, waited, after_divergence, cut, open, .. } = one.fates;
            format!(
                "{frames:>8} {bytes:>12} {:>9} {late:>6} {waited:>7} {after_divergence:>7} {:>6} {:>11.3}  {}{}",
                matched - late,
                cut + open,
                one.longest_wait_ms,
                one.flow,
                one.diverged.map(|kind| format!("  DIVERGED: {kind}")).unwrap_or_default(),
            )
        }));
        if self.unlisted_flows > 0 {
            lines.push(format!("… and {} flows more", self.unlisted_flows));
        }
        lines.push(String::new());
        lines
    }

    fn summary(&self) -> Vec<String> {
        let Fates { frames, matched, capped, late, waited, after_divergence, cut, open, .. } = self.all;
        let share = self.matched_share.map_or("none was compared".into(), |share| {
            format!("{:.1} % of those that were compared would have left in time by match", 100.0 * share)
        });
        let mut lines = vec![format!("{frames} frames of the guest in {} flows: {share}", self.flow_count)];
        lines.push(format!(
            "  {} by match in time, {late} late, {waited} at a checkpoint, {after_divergence} after a divergence, \
             {cut} cut by the capture, {open} open at its end",
            matched - late
        ));
        if capped > 0 {
            lines.push(format!("  {capped} of them with an ack or a window lowered to the copy's"));
        }
        if let Some(Waits { p50, p99, max }) = self.waits_ms {
            lines.push(format!("  they waited p50 {p50:.3} ms, p99 {p99:.3} ms, longest {max:.3} ms"));
        }
        let kinds = self.divergences_by_kind.iter().map(|(kind, count)| format!("{count} {kind}"));
        let kinds = kinds.collect::<Vec<_>>().join(", ");
        lines.push(match self.diverged_flow_count {
            0 => "no divergence".into(),
            count => format!("{count} of {} flows DIVERGED: {kinds}", self.flow_count),
        });
        lines
    }
}

fn capture(report: &CaptureReport) -> String {
    let CaptureReport { file, frames, guest_frames, stranger_frames, cut_frames, ended_early } = report;
    let mut text = format!("{file}: {frames} frames, {guest_frames} of the guest");
    if *stranger_frames > 0 {
        text.push_str(&format!(", {stranger_frames} of others"));
    }
    if *cut_frames > 0 {
        text.push_str(&format!("; {cut_frames} CUT SHORT by the capture: use `tcpdump -s 0`"));
    }
    if let Some(why) = ended_early {
        text.push_str(&format!("; ENDED EARLY: {why}"));
    }
    text
}

fn divergence(found: &DivergenceReport) -> Vec<String> {
    let place =
        found.stream_position.map(|at| format!(", byte {at} of the guest's stream")).unwrap_or_default();
    let mut lines =
        vec![format!("{}: {} [{}], {:.6} s{place}", found.flow, found.why, found.kind, found.at_s)];
    for (who, sent) in [("primary", &found.primary), ("secondary", &found.secondary)] {
        match sent {
            Some(sent) => lines.extend([format!("  {who}, frame {}", sent.frame), sent.to_string()]),
            None => lines.push(format!("  {who}: nothing there")),
        }
    }
    lines.push(String::new());
    lines
}
