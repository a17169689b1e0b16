//! The first lines of `status`: the node itself, its witness and peers, and what an operator should know of them.
//!
//! ```text
//!   node a, process 4711; witness connected; peer b NOT connected
//!     └ in maintenance: takes no new copies; `understudy maintenance off` ends it
//!     └ b: nobody listens there
//! ```

use crate::control::Status;
use crate::control::status::{FencingStatus, WatchdogState, WitnessKind};
use std::fmt::Write;
use std::time::{SystemTime, UNIX_EPOCH};

/// The lines about the node.
pub(super) fn head(status: &Status) -> String {
    let link = |connected| if connected { "connected" } else { "NOT connected" };
    let mut text = format!("node {}, process {}; ", status.node, status.pid);
    if status.witness.configured {
        let etcd = if status.witness.kind == Some(WitnessKind::Etcd) { " etcd" } else { "" };
        let _ = write!(text, "witness{etcd} {}", link(status.witness.connected));
    } else {
        text.push_str("no witness: only an operator can order a takeover");
    }
    for peer in &status.peers {
        let _ = write!(text, "; peer {} {}", peer.node, link(peer.connected));
        // With one address there is nothing to say.
        if let Some(path) = peer.path.filter(|_| peer.addresses.len() > 1) {
            let _ = write!(text, " from {} to {}", path.from, path.to);
        }
    }
    text.push('\n');
    if status.maintenance.on {
        text.push_str("  └ in maintenance: takes no new copies; `understudy maintenance off` ends it\n");
    }
    let witness = ("witness", &status.witness.reason);
    let peers = status.peers.iter().map(|peer| (&*peer.node, &peer.reason));
    for (name, reason) in std::iter::once(witness).chain(peers).filter(|(_, reason)| !reason.is_empty()) {
        let _ = writeln!(text, "  └ {name}: {reason}");
    }
    for (peer, spare) in status.peers.iter().flat_map(|peer| peer.spares.iter().map(move |it| (peer, it))) {
        if !spare.answers {
            let _ =
                writeln!(text, "  └ {} does not answer at {}: {}", peer.node, spare.address, spare.reason);
        }
    }
    text += &status.fencing.as_ref().map_or_else(String::new, fencing);
    let days = status.certificate.as_ref().and_then(|own| own.expires).map(days_until);
    if let Some(days) = days.filter(|days| *days < EXPIRY_SAID_DAYS) {
        let _ = writeln!(text, "  └ certificate: good for {days} days more; have it signed anew, and reload");
    }
    text
}

/// This host's watchdog, and the hosts that are waited for.
fn fencing(status: &FencingStatus) -> String {
    let watchdog = match status.watchdog {
        WatchdogState::Off => "the watchdog of this host is NOT set",
        WatchdogState::Renewed => "the lease of this host is confirmed; nothing here needs its watchdog",
        WatchdogState::Armed => "the watchdog of this host is set",
        WatchdogState::Near => "the watchdog of this host is NEAR: guests that need it stand still",
    };
    let mut text = format!("  └ fencing: {watchdog}");
    if !status.reason.is_empty() {
        let _ = write!(text, ": {}", status.reason);
    }
    for host in &status.waits_for {
        let _ = write!(text, "; waits until {} is fenced", host.node);
        if let Some(left_ms) = host.left_ms {
            let _ = write!(text, " ({} s at least)", left_ms.div_ceil(1_000));
        }
    }
    text + "\n"
}

/// A certificate that expires within this time is mentioned.
const EXPIRY_SAID_DAYS: u64 = 30;

/// Whole days from now to a time in seconds since 1970; 0 if the time has passed.
pub(in crate::cli) fn days_until(seconds: u64) -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs());
    seconds.saturating_sub(now) / (24 * 60 * 60)
}
