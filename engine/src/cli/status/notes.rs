//! What `status` notes below a guest's row: a full sync, how output leaves, what paces the checkpoints, a takeover, a late commit.
//!
//! ```text
//!   g1     primary  yes …
//!          └ full sync: 42 %, 31.0 MiB/s on the link, 12.3 s left
//!          └ colo, mode auto: the copy is live; 75 % of what left did so by a match
//! ```

use super::came;
use super::table::times;
use crate::config::human::{show_bytes, show_us};
use crate::control::status::FullSyncStatus;
use crate::control::{GuestRole, GuestStatus};
use std::fmt::Write;

/// The notes on `guest`, in the order in which they are shown. `now_ns` is of the node's monotonic clock.
pub(super) fn of(guest: &GuestStatus, now_ns: u64) -> Vec<String> {
    let notes = [
        compared(guest),
        guest.full_sync.map(|sync| format!("full sync: {}", progress(&sync))),
        disk(guest),
        pace(guest),
        colo(guest),
        guest.takeover.map(|takeover| came::words(&takeover, now_ns)),
        late_commit(guest),
        (!guest.reason.is_empty()).then(|| guest.reason.clone()),
    ];
    notes.into_iter().flatten().collect()
}

/// What it costs to find the changed pages by comparing, if they are found so.
fn compared(guest: &GuestStatus) -> Option<String> {
    let (took, memory) = (show_us(guest.pause_parts_us.drain), show_bytes(guest.compared_bytes));
    (guest.compared_bytes > 0)
        .then(|| format!("changes are found by comparing: {took} of each pause (median), {memory} of memory"))
}

/// How far a full sync is. Most of a disk is copied before the memory is.
pub(in crate::cli) fn progress(sync: &FullSyncStatus) -> String {
    let of_disk = show_bytes(sync.of_disk_bytes);
    match sync.disk_left_bytes {
        None if sync.pages == 0 && sync.of_disk_bytes > 0 => {
            return format!("the peer is asked what it has of the disk's {of_disk}");
        }
        Some(left @ 1..) if sync.pages == 0 => {
            return format!("{} of the disk's {of_disk} left, then the memory", show_bytes(left));
        }
        _ => {}
    }
    let left = sync.left_ms.map_or("the time left is not known yet".into(), |ms| {
        format!("{} left", show_us(ms.saturating_mul(1_000)))
    });
    let limit =
        sync.limit_bytes_per_s.map_or(String::new(), |limit| format!(" (limit {}/s)", show_bytes(limit)));
    format!("{:.0} %, {}/s on the link{limit}, {left}", sync.share * 100.0, show_bytes(sync.bytes_per_s))
}

/// How far the other host's disk is behind; `None` for a guest without a disk, and where its copy is.
fn disk(guest: &GuestStatus) -> Option<String> {
    let disk = guest.disk.as_ref()?;
    let (bytes, behind) = (show_bytes(disk.bytes), show_bytes(disk.behind_bytes?));
    Some(format!("disk of {bytes}: the other host's lacks {behind} of it at most"))
}

/// How output leaves before its ack; `None` if the guest's mode is remus.
fn colo(guest: &GuestStatus) -> Option<String> {
    let colo = &guest.colo;
    if guest.role != GuestRole::Primary || matches!(&*colo.mode, "" | "remus") {
        return None;
    }
    let mut text = format!("colo, mode {}: ", colo.mode);
    if colo.live {
        text.push_str("the copy is live");
    } else {
        let _ = write!(text, "not live: {}", colo.reason);
    }
    if let Some(share) = colo.match_share {
        let _ = write!(text, "; {:.0} % of what left did so by a match", share * 100.0);
    }
    if colo.match_us.count > 0 {
        let _ = write!(text, ", after {}", times(colo.match_us));
    }
    let diverged: Vec<String> = colo
        .diverged
        .iter()
        .filter(|(_, count)| **count > 0)
        .map(|(why, count)| format!("{why} {count}"))
        .collect();
    if !diverged.is_empty() {
        let _ = write!(text, "; checkpoints for what did not match: {}", diverged.join(", "));
    }
    Some(text)
}

/// What paces the guest's checkpoints, unless that is a clock.
fn pace(guest: &GuestStatus) -> Option<String> {
    let by = match guest.paced_by.as_deref()? {
        "output" => "output that waited",
        "batch" => "answers that were expected",
        "quiet" => "nothing, but the longest interval",
        "interval_min" => "the shortest interval",
        "pause_share" => "the guest's share of time",
        "link_rate" => "the link's rate",
        "cpu_share" => "the processor's share",
        "encoder" => "the one before, which was still being encoded",
        _ => return None,
    };
    Some(format!("checkpoints go by output ({}); the newest waited for {by}", guest.pacing))
}

/// A commit older than this is mentioned.
const LATE_MS: u64 = 1_000;

/// Says how old a protected guest's last commit is, if it is late.
fn late_commit(guest: &GuestStatus) -> Option<String> {
    let is_here = guest.role == GuestRole::Primary && guest.protected;
    let late_ms = LATE_MS.max((guest.interval_ms * 4.0) as u64);
    let age_ms = guest.commit_age_ms.filter(|age_ms| is_here && *age_ms > late_ms)?;
    let age = show_us(age_ms.saturating_mul(1_000));
    Some(format!(
        "the last checkpoint is {age} old, and what the guest sends waits as long: the link or the other host is slower \
         than the guest changes"
    ))
}

#[cfg(test)]
mod tests {
    use super::super::tests::guest;
    use super::*;
    use crate::control::status::{ColoStatus, DiskStatus, Quantiles};

    #[test]
    fn a_copy_that_runs_is_told_and_why_it_does_not() {
        assert_eq!(colo(&guest("g1")), None);
        let live = ColoStatus {
            mode: "auto".into(),
            live: true,
            match_share: Some(0.75),
            diverged: [("content".to_owned(), 3), ("full".to_owned(), 0)].into(),
            match_us: Quantiles { count: 300, p50: 181, p99: 724, max: 1448 },
            ..ColoStatus::default()
        };
        let said = |colo_status| colo(&GuestStatus { colo: colo_status, ..guest("g1") });
        assert_eq!(
            said(live).as_deref(),
            Some(
                "colo, mode auto: the copy is live; 75 % of what left did so by a match, after 181 µs / 724 µs; \
                 checkpoints for what did not match: content 3"
            )
        );
        let off = ColoStatus {
            mode: "colo".into(),
            reason: "the guest is not protected".into(),
            ..ColoStatus::default()
        };
        assert_eq!(said(off).as_deref(), Some("colo, mode colo: not live: the guest is not protected"));
    }

    #[test]
    fn a_full_sync_says_how_far_it_is() {
        let begun = FullSyncStatus::default();
        assert_eq!(progress(&begun), "0 %, 0 B/s on the link, the time left is not known yet");
        let of_disk = FullSyncStatus { disk_left_bytes: Some(3 << 30), of_disk_bytes: 8 << 30, ..begun };
        assert_eq!(progress(&of_disk), "3.0 GiB of the disk's 8.0 GiB left, then the memory");
        let asked = FullSyncStatus { disk_left_bytes: None, ..of_disk };
        assert_eq!(progress(&asked), "the peer is asked what it has of the disk's 8.0 GiB");
        let sync = FullSyncStatus { share: 0.42, bytes_per_s: 31 << 20, left_ms: Some(12_300), ..begun };
        assert_eq!(progress(&sync), "42 %, 31.0 MiB/s on the link, 12.3 s left");
        let limited = FullSyncStatus { limit_bytes_per_s: Some(32 << 20), ..sync };
        assert_eq!(progress(&limited), "42 %, 31.0 MiB/s on the link (limit 32.0 MiB/s), 12.3 s left");
    }

    #[test]
    fn a_disk_says_how_far_the_other_one_is_behind() {
        let here = DiskStatus { bytes: 8 << 30, behind_bytes: Some(128 << 10), fault: String::new() };
        let there = DiskStatus { behind_bytes: None, ..here.clone() };
        let said = |of_disk| disk(&GuestStatus { disk: of_disk, ..guest("g1") });
        assert_eq!(
            said(Some(here)).as_deref(),
            Some("disk of 8.0 GiB: the other host's lacks 128.0 KiB of it at most")
        );
        assert_eq!((said(Some(there)), said(None)), (None, None));
    }

    #[test]
    fn a_late_commit_is_told() {
        let late = GuestStatus { commit_age_ms: Some(4_600), ..guest("g1") };
        assert!(late_commit(&late).is_some_and(|note| note.starts_with("the last checkpoint is 4.6 s old")));
        assert_eq!(late_commit(&guest("g1")), None);
        let slow = GuestStatus { commit_age_ms: Some(4_600), interval_ms: 2_000.0, ..guest("g1") };
        assert_eq!(late_commit(&slow), None, "its interval is as long");
        let held = GuestStatus { role: GuestRole::Secondary, ..late };
        assert_eq!(late_commit(&held), None);
    }
}
